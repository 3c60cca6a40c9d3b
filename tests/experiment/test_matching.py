"""Adapters of equal budgets."""

from __future__ import annotations

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.registry import names
from eatlab.errors import UserError
from eatlab.experiment.ablation import AblationConfig
from eatlab.experiment.config import resolve
from eatlab.experiment.costs import imagined
from eatlab.experiment.matching import (
    NEAR,
    as_grid,
    as_text,
    largest_that_fits,
    matched,
    share_of,
    specs_near,
)


@pytest.fixture(scope="module")
def found():
    return {match.adapter: match for match in matched("small", 2.0, 1_000_000)}


def test_every_adapter_is_asked_and_those_that_match_are_near(found):
    assert list(found) == [name for name in names() if name != "none"]
    assert all((abs(m.parameters - 20_000) <= NEAR * 20_000) == m.matches for m in found.values())
    assert found["lora"].matches
    assert not found["deep_prompt"].matches


def test_parameters_are_those_of_the_spec(found):
    head = imagined("small")
    for name in ("lora", "eam", "last_k"):
        with torch.device("meta"):
            count = sum(p.numel() for p in AdapterSet(found[name].spec, head).parameters())
        assert found[name].parameters == count


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 1000), st.integers(0, 60_000))
def test_no_other_number_comes_nearer(step, rest, target):
    count = lambda spec: rest + step * int(spec.rpartition("=")[2].removesuffix(")"))  # noqa: E731
    (spec,) = specs_near("toy", "rank", None, target, count)
    nearest = min(range(1, 2 + target // step), key=lambda rank: abs(rest + step * rank - target))
    assert abs(count(spec) - target) == abs(rest + step * nearest - target)


def test_an_option_that_changes_no_count_or_ends_at_once_is_taken_as_it_is():
    assert list(specs_near("toy", "rank", None, 50, lambda spec: 7)) == ["toy(rank=1)"]

    def only_one(spec: str) -> int:
        if not spec.endswith("=1)"):
            raise UserError("one at most")
        return 7

    assert list(specs_near("toy", "k", None, 50, only_one)) == ["toy(k=1)"]


def test_a_number_stops_where_the_backbone_does():
    def count(spec: str) -> int:
        if (k := int(spec.rpartition("=")[2].removesuffix(")"))) > 6:
            raise UserError("too many layers")
        return k

    assert largest_that_fits("toy", "k", 40, count) == 6
    assert largest_that_fits("toy", "k", 3, count) == 3


def test_the_grid_is_an_ablation_of_those_that_match(found, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(as_grid([*found.values()], 2.0, "small"))
    asked = resolve(AblationConfig, file=path)
    assert [asked.adapter, *asked.compare] == [m.spec for m in found.values() if m.matches]
    alone = yaml.safe_load(as_grid([found["lora"]], 2.0, "small"))
    assert alone == {"adapter": found["lora"].spec, "compare": []}


def test_what_cannot_match_says_so_and_is_in_no_grid(found):
    lines = as_text([*found.values()], 2.0, "small").splitlines()[1:]
    assert {line.split("(")[0].split()[0] for line in lines if "blind to emotion" in line} == {
        "last_k",
        "full",
    }
    assert {line.split("(")[0].split()[0] for line in lines if "cannot" not in line} == {
        match.adapter for match in found.values() if match.matches
    }
    with pytest.raises(UserError, match="no adapter comes near 2 %"):
        as_grid([found["deep_prompt"]], 2.0, "small")


@pytest.mark.parametrize(("text", "percent"), [("1.0%", 1.0), ("2", 2.0), ("0.05%", 0.05)])
def test_a_share_is_percent(text, percent):
    assert share_of(text) == percent


@pytest.mark.parametrize("text", ["", "0%", "-1", "much", "inf", "nan%"])
def test_a_share_that_is_none_is_one_line(text):
    with pytest.raises(UserError, match=r"write match=1\.0%"):
        share_of(text)
