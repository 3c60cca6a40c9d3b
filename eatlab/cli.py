"""`eatlab …`: finds the command, lays `key=value` words over its config, calls it, makes mistakes one line.

Nothing heavy is imported here: a command names its config and its function, and both are loaded on its call.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from eatlab import __version__
from eatlab.atomic import is_full
from eatlab.errors import ExitCode, UserError, did_you_mean

OVERRIDE = re.compile(r"[\w.]+=")
"""Where bare words are taken: what begins so is a key with its value, anything else is a bare word."""


@dataclass(frozen=True)
class Command:
    """One word (or two) after `eatlab`: what it does, an example, and where its config and function live."""

    does: str
    example: str
    config: str
    run: str
    options: dict[str, str] = field(default_factory=dict)  # "--json" → the key that it stands for
    flags: dict[str, str] = field(default_factory=dict)  # "--dry-run" → the key that it sets to true
    words: str = ""  # the key that bare words fill: "folder" takes one, "files..." as many as there are
    other: str = ""  # the key that takes every key=value that the config has not


COMMANDS = {
    "ablation": Command(
        does="tune an adapter on the frozen talking head, measure it against baselines, write the report",
        example="eatlab ablation adapter=deep_prompt",
        config="eatlab.experiment.ablation:AblationConfig",
        run="eatlab.experiment.ablation:run_ablation",
        options={"--json": "host.json"},
    ),
    "pretrain": Command(
        does="train the talking head from nothing, stage by stage; resumes where it was stopped",
        example="eatlab pretrain size=small",
        config="eatlab.training.stages:PretrainConfig",
        run="eatlab.training.stages:run_pretrain",
    ),
    "zoo": Command(
        does="make again what eatlab/zoo ships: teachers, judges, talking head, and their cards",
        example="eatlab zoo",
        config="eatlab.zoo.build:ZooConfig",
        run="eatlab.zoo.build:build_zoo",
    ),
    "adapters": Command(
        does="list the adapters: what each does, where it acts, its source, options and parameters",
        example="eatlab adapters size=paper",
        config="eatlab.experiment.catalogue:CatalogueConfig",
        run="eatlab.experiment.catalogue:run_catalogue",
        options={"--json": "host.json"},
    ),
    "inspect": Command(
        does="say what an adapter file holds: spec, backbone, emotions, parameters",
        example="eatlab inspect adapter.safetensors",
        config="eatlab.experiment.adapter_files:InspectConfig",
        run="eatlab.experiment.adapter_files:run_inspect",
        options={"--json": "json"},
        words="file",
    ),
    "merge": Command(
        does="add an adapter of weights into its backbone, for one emotion: a plain backbone",
        example="eatlab merge adapter.safetensors emotion=happy --out happy.safetensors",
        config="eatlab.experiment.adapter_files:MergeConfig",
        run="eatlab.experiment.adapter_files:run_merge",
        options={"--out": "out"},
        words="file",
    ),
    "budgets": Command(
        does="count what networks and adapters cost, beside the paper's; or solve adapters for one budget",
        example="eatlab budgets size=small match=1.0% --grid grid.yaml",
        config="eatlab.experiment.budgets:BudgetsConfig",
        run="eatlab.experiment.budgets:run_budgets",
        options={"--json": "host.json", "--picture": "host.picture", "--grid": "host.grid"},
    ),
    "grid": Command(
        does="tune and measure the points of a grid, each once, with any number of workers and machines",
        example="eatlab grid experiments/sweep.yaml engine=local --dry-run",
        config="eatlab.experiment.grids.grid:GridConfig",
        run="eatlab.experiment.grids.grid:run_grid",
        options={"--json": "host.json"},
        flags={"--dry-run": "dry_run"},
        words="file",
        other="words",
    ),
    "report": Command(
        does="make one page of a grid: tables, verdicts, curves, Pareto, faces; Markdown and LaTeX beside it",
        example="eatlab report experiments/sweep.yaml --out report",
        config="eatlab.experiment.sweeps.report:ReportConfig",
        run="eatlab.experiment.sweeps.report:run_report",
        options={"--out": "out"},
        words="file",
        other="words",
    ),
    "evaluate": Command(
        does="measure a folder of films beside their true ones, anybody's, by protocol standard or eat",
        example="eatlab evaluate --videos generated --truth true",
        config="eatlab.experiment.evaluation.evaluate:EvaluateConfig",
        run="eatlab.experiment.evaluation.evaluate:run_evaluate",
        options={"--videos": "videos", "--truth": "truth", "--json": "host.json"},
    ),
    "import": Command(
        does="turn released EAT checkpoints into a backbone and an adapter of ours; or a folder of peft's",
        example="eatlab import RELEASED.pth.tar --out FOLDER",
        config="eatlab.experiment.exchange:ImportConfig",
        run="eatlab.experiment.exchange:run_import",
        options={"--out": "out"},
        words="files...",
    ),
    "export": Command(
        does="turn an import's folder back into a released checkpoint; or an adapter file into peft's",
        example="eatlab export FOLDER --format released --out FILE.pth.tar",
        config="eatlab.experiment.exchange:ExportConfig",
        run="eatlab.experiment.exchange:run_export",
        options={"--out": "out", "--format": "format"},
        words="path",
    ),
    "data puppets": Command(
        does="draw the puppet corpus, with exact truth, into shards",
        example="eatlab data puppets preset=small",
        config="data_recipes.puppets.recipe:PuppetsConfig",
        run="data_recipes.puppets.recipe:run",
    ),
    "data mead": Command(
        does="find faces in real clips in MEAD layout, crop them into shards, log what was rejected and why",
        example="eatlab data mead source=folder/of/MEAD",
        config="data_recipes.mead.recipe:MeadConfig",
        run="data_recipes.mead.recipe:run",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code (`ExitCode`); whatever goes wrong is one line on stderr.

    EATLAB_DEBUG=1 adds the traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _stop_like_ctrl_c(signal.SIGTERM)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has gone, as in `eatlab --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except SystemExit as stop:  # a command that passes on how its own process ended, and what that one said
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:
        line, code = _in_one_line(error, words)
        if os.environ.get("EATLAB_DEBUG") == "1":
            traceback.print_exc()
        print(f"eatlab: {line}", file=sys.stderr)
        return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return ExitCode.DONE
    if words[0] in ("-V", "--version"):
        print(f"eatlab {__version__}")
        return ExitCode.DONE
    name, rest = _find_command(words)
    command = COMMANDS[name]
    if any(word in ("-h", "--help") for word in rest):
        print(_help_of(name, command))
        return ExitCode.DONE
    config_file, overrides = _read_options(name, command, rest)
    from pathlib import Path

    from eatlab.experiment.config import resolve

    file = Path(config_file) if config_file else None
    if command.other:
        overrides = _set_apart(overrides, _load(command.config), command.other)
    config = resolve(_load(command.config), overrides, file=file)
    return int(_load(command.run)(config))


def _find_command(words: list[str]) -> tuple[str, list[str]]:
    """The longest command that `words` begin with, and the words behind it."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, words[length:]
    group = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    asked = " ".join(words[:2]) if group and len(words) > 1 else words[0]
    raise UserError(
        f'command "{asked}" is unknown',
        f"there are: {', '.join(group or COMMANDS)}",
        did_you_mean(asked, COMMANDS),
    )


def _read_options(name: str, command: Command, words: list[str]) -> tuple[str, list[str]]:
    """(config file or "", overrides) from the words after a command; UserError for an unknown option."""
    options = {"--config": "", **command.options}
    config_file = ""
    overrides: list[str] = []
    bare: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            (bare if command.words and not OVERRIDE.match(word) else overrides).append(word)
            continue
        if word in command.flags:
            overrides.append(f"{command.flags[word]}=true")
            continue
        option, value = _option_value(name, word, rest, options | command.flags)
        if option == "--config":
            config_file = value
        else:
            overrides.append(f"{options[option]}={value}")
    return config_file, _filled(command.words, bare) + overrides


def _filled(key: str, bare: list[str]) -> list[str]:
    """The override that bare words stand for, in a list; a value is taken as it is written."""
    if not bare:
        return []
    if key.endswith("..."):
        return [f"{key.removesuffix('...')}={json.dumps(bare, ensure_ascii=False)}"]
    if len(bare) > 1:
        raise UserError(f'"{bare[1]}" is one word too many', f'the {key} is "{bare[0]}"', f"give one {key}")
    return [f"{key}={bare[0]}"]


def _set_apart(overrides: list[str], config_class: type, other: str) -> list[str]:
    """Overrides of a config's own keys, and all others as the list that its key `other` takes."""
    from eatlab.experiment.config import known_keys, split_override

    own = known_keys(config_class)
    others = [word for word in overrides if split_override(word)[0] not in own]
    kept = [word for word in overrides if word not in others]
    return [*kept, f"{other}={json.dumps(others, ensure_ascii=False)}"] if others else kept


def _option_value(name: str, word: str, rest: Iterator[str], options: dict[str, str]) -> tuple[str, str]:
    option, equals, value = word.partition("=")
    if option in COMMANDS[name].flags:
        raise UserError(f"{option} takes nothing", f'there is "{word}"', f"write {option}")
    if option not in options:
        there = f"eatlab {name} has: {', '.join(options)}, and key=value"
        raise UserError(f'option "{option}" is unknown', there, did_you_mean(option, options))
    if not equals:
        value = next(rest, "")
    if not value or value.startswith("--"):
        kind = _placeholder(option)
        raise UserError(f"{option} needs a {kind.lower()}", do=f"write {option} {kind}")
    return option, value


def _placeholder(option: str) -> str:
    """What an option takes, in help and mistakes."""
    return {"--format": "NAME", "--out": "PATH"}.get(option, "FILE")


def _load(place: str) -> Any:
    """The object that "package.module:name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


# ------------------------------------------------------------------------------------------ what went wrong


def _in_one_line(error: BaseException, words: list[str]) -> tuple[str, int]:
    """(line, exit code) for whatever ended a command."""
    if isinstance(error, UserError):
        return str(error), int(error.code)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; run the same command again to go on", int(ExitCode.INTERRUPTED)
    full_disk = next((each for each in _causes(error) if is_full(each)), None)
    if full_disk is not None:
        do = "what was saved before is whole; free some space, then run the same command again to go on"
        return f"no space left on device{_where(full_disk)}; {do}", int(ExitCode.INTERRUPTED)
    if isinstance(error, PermissionError):
        return f"not allowed to use {error.filename}; give a folder that you may write to", int(
            ExitCode.BAD_INPUT
        )
    if isinstance(error, OSError) and error.filename is not None:
        why = f"{error.filename}: {(error.strerror or type(error).__name__).lower()}"
        return f"cannot use {why}; give a path that can be read and written", int(ExitCode.BAD_INPUT)
    if isinstance(error, MemoryError):
        return "out of memory; try host.workers=1", int(ExitCode.BAD_INPUT)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    do = f"EATLAB_DEBUG=1 eatlab {shlex.join(words)} shows where"
    return f"a mistake of eatlab's, not yours: {what}; {do}", 1


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _where(error: BaseException) -> str:
    filename = getattr(error, "filename", None)
    return f" while writing {filename}" if filename else ""


def _stop_like_ctrl_c(number: signal.Signals) -> None:
    """A polite kill (a scheduler's, a shutdown's) ends as Ctrl-C does: what can be saved is, exit code 75.

    A forked worker inherits the handler; it has nothing to save and just ends.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    parent = os.getpid()

    def stop(_number: int, _frame: object) -> None:
        if os.getpid() == parent:
            raise KeyboardInterrupt
        os._exit(128 + number)

    signal.signal(number, stop)


# ----------------------------------------------------------------------------------------------------- help


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:<{width}}  {command.does}\n  {'':<{width}}    {command.example}"
        for name, command in COMMANDS.items()
    ]
    return "\n".join(
        [
            "eatlab: teach a frozen talking head emotions with small adapters, and measure which is best.",
            "",
            "usage: eatlab COMMAND [key=value ...] [--config FILE.yaml]",
            "",
            *lines,
            "",
            "eatlab COMMAND --help lists the keys of a command. EATLAB_DEBUG=1 shows tracebacks.",
            "Exit codes: 0 done, 2 bad input, 3 unsafe file, 4 data damaged, 5 training diverged,",
            "75 interrupted (the same command again goes on).",
        ]
    )


def _help_of(name: str, command: Command) -> str:
    from eatlab.experiment.config import known_keys

    config_class = _load(command.config)
    keys = known_keys(config_class)
    width = max(map(len, keys), default=0)
    options = "".join(f" [{option} {_placeholder(option)}]" for option in command.options)
    options += "".join(f" [{flag}]" for flag in command.flags)
    words = f"{command.words.upper()} " if command.words else ""
    return "\n".join(
        [
            f"eatlab {name}: {command.does}",
            "",
            f"usage: eatlab {name} {words}[key=value ...] [--config FILE.yaml]{options}",
            f"example: {command.example}",
            "",
            inspect.getdoc(config_class) or "",
            "",
            "keys and their defaults:",
            *(f"  {key:<{width}}  {default}" for key, default in keys.items()),
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
