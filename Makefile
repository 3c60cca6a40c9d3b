# eatlab: every target first makes the virtual environment that it needs, once.
#   make ablation ADAPTER=deep_prompt
#   make ablation ADAPTER=deep_prompt DATA=folder/of/MEAD ARGS="--json table.json seeds=0,1,2,3,4"
# ARGS is split at spaces and never run by a shell; write "\ " for a space inside a word.

ADAPTER ?= deep_prompt
SIZE    ?= small
DATA    ?=
ARGS    ?=
PYTHON  ?= python3
VENV    ?= .venv
REFERENCE ?=
GOLDEN  ?=
TABLE   ?= table4 table5 table8 families
PRESET  ?=
export ADAPTER DATA ARGS REFERENCE GOLDEN TABLE

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

BIN     := $(VENV)/bin
READY   := $(VENV)/ready
DEV     := $(VENV)/ready-dev
MEAD    := $(VENV)/ready-mead
# Byte code is written at first import, not at install: half a minute sooner at the first command.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --no-compile --constraint constraints.txt
WORDS   := read -a words <<< "$$ARGS" || true;

.PHONY: help faces ablation tables sweep report puppets pretrain zoo budgets test test-slow test-parity test-metrics check format clean

help:  ## This list
	@echo "make TARGET [ADAPTER=$(ADAPTER)] [DATA=folder] [ARGS=\"key=value ...\"]"
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r target does; do \
		printf '  %-12s %s\n' "$$target" "$$does"; done

ablation: $(READY) $(if $(DATA),$(MEAD))  ## Tune ADAPTER on puppets (or on DATA, a folder in MEAD layout), measure it, report; SIZE=paper: a few steps there
	@$(WORDS) exec $(BIN)/eatlab ablation --config experiments/$(SIZE:small=ablation).yaml adapter="$$ADAPTER" $(if $(DATA),data="$$DATA") $${words[@]+"$${words[@]}"}

tables: $(READY)  ## The paper's ablations (tables 4, 5, 8) and all families of adapters (TABLE=table4: that one)
	@$(WORDS) for table in $$TABLE; do \
		$(BIN)/eatlab ablation --config experiments/tables/$$table.yaml $${words[@]+"$${words[@]}"}; done

sweep: $(READY)  ## All adapters × shares of the data × seeds, under two hours on two cores; killed, it goes on (PRESET=quick: minutes)
	@$(WORDS) exec $(BIN)/eatlab grid experiments/sweep$(PRESET:%=_%).yaml $${words[@]+"$${words[@]}"}

report: $(READY)  ## One page of the sweep, finished or not, from its records: seconds, no network (PRESET=quick: of that one)
	@$(WORDS) exec $(BIN)/eatlab report experiments/sweep$(PRESET:%=_%).yaml $${words[@]+"$${words[@]}"}

puppets: $(READY)  ## Draw the puppet corpus into data/puppets (ablation does it when needed)
	@$(WORDS) exec $(BIN)/eatlab data puppets $${words[@]+"$${words[@]}"}

pretrain: $(READY)  ## Train the talking head from nothing (hours on two cores; the zoo ships the result)
	@$(WORDS) exec $(BIN)/eatlab pretrain $${words[@]+"$${words[@]}"}

zoo: $(READY)  ## Make everything that eatlab/zoo ships again: teachers, judges, talking head, cards
	@$(WORDS) exec $(BIN)/eatlab zoo $${words[@]+"$${words[@]}"}

budgets: $(READY)  ## Count parameters of networks and adapters, beside the paper's (ARGS=size=small)
	@$(WORDS) exec $(BIN)/eatlab budgets $${words[@]+"$${words[@]}"}

test: $(DEV) faces  ## The suite without the slow tests (under 10 minutes on two cores)
	@$(WORDS) exec $(BIN)/python -m pytest -q -m "not slow" -n auto --maxprocesses 4 --dist loadscope --durations=10 $${words[@]+"$${words[@]}"}

test-slow: $(DEV) faces  ## The slow tests: real training runs, end to end
	@$(WORDS) exec $(BIN)/python -m pytest -q -m slow --durations=10 $${words[@]+"$${words[@]}"}

test-parity: $(DEV)  ## Reproduce the published networks' outputs (REFERENCE=folder of vectors); prints network × score
	@EATLAB_REFERENCE="$$REFERENCE" $(BIN)/python -m pytest -q tests/reference --durations=3

test-metrics: $(DEV)  ## Reproduce the golden values of both evaluation protocols (GOLDEN=file); prints case × error × tolerance
	@EATLAB_GOLDEN="$$GOLDEN" $(BIN)/python -m pytest -q tests/golden --durations=3

check: $(DEV)  ## ruff (lint and format), mypy, then the suite
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory test

# mediapipe has no wheel for every Python: without it the tests of the face finder are skipped, and say so.
faces:
	@$(MAKE) --no-print-directory $(MEAD) || echo "No mediapipe 0.10.14 for this Python: its tests will be skipped."

format: $(DEV)  ## Put imports and layout in order with ruff
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## Remove the virtual environment and caches (data/ and runs/ stay)
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	@find eatlab data_recipes tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written only after its install has succeeded; an interrupted one is done again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "eatlab needs Python 3.11 or newer; there is $$($(PYTHON) --version 2>&1); do: make PYTHON=python3.11 ..." >&2; exit 2; }
	@echo "Making $(VENV) (once; a few minutes, about 6 GB with torch's CUDA libraries) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(DEV): $(READY)
	@echo "Adding what the tests need ..."
	@$(INSTALL) --quiet --editable '.[dev]'
	@touch $@

$(MEAD): $(READY)
	@echo "Adding the face finder for real clips (mediapipe) ..."
	@$(INSTALL) --quiet --editable '.[mead]'
	@$(INSTALL) --quiet --no-deps mediapipe==0.10.14
	@touch $@
