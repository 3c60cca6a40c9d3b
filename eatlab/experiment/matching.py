"""Adapters of equal budgets: each one's free option, solved for a share of the frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from eatlab.errors import UserError

NEAR = 0.1
"""A budget farther from the one asked than this share of it does not match."""


@dataclass(frozen=True)
class Match:
    """The spec of an adapter that comes nearest; percent: of the frozen backbone; knob: what was turned.

    label: the spec as tables show it.
    """

    adapter: str
    spec: str
    label: str
    parameters: int
    percent: float
    knob: str
    matches: bool


def share_of(text: str) -> float:
    """Percent from "1.0%" or "1.0". Raises UserError unless it is more than nothing."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if not 0 < percent < float("inf"):
        raise UserError(f"match={text}", "a share of the frozen backbone is asked", "write match=1.0%")
    return percent


def matched(size: str, percent: float, frozen: int) -> list[Match]:
    """Every adapter but `none`, at its nearest to that share of the `frozen` parameters.

    Raises UserError for an unknown size.
    """
    import torch

    from eatlab.adapters.adapter_set import AdapterSet
    from eatlab.adapters.budget import num_parameters
    from eatlab.adapters.registry import find, names
    from eatlab.experiment.costs import imagined

    head = imagined(size)
    target = round(percent / 100 * frozen)

    def built(spec: str) -> AdapterSet:
        with torch.device("meta"):
            return AdapterSet(spec, head)

    def count(spec: str) -> int:
        return num_parameters(built(spec))

    found = []
    for name in names():
        if name == "none":
            continue
        adapter = find(name)
        knob = getattr(adapter, "knob", "")
        counts = {spec: count(spec) for spec in specs_near(name, knob, adapter, target, count)}
        spec, parameters = min(counts.items(), key=lambda pair: abs(pair[1] - target))
        matches = abs(parameters - target) <= NEAR * target
        label = built(spec).label
        found.append(Match(name, spec, label, parameters, 100 * parameters / frozen, knob, matches))
    return found


def specs_near(name: str, knob: str, adapter: Any, target: int, count: Callable[[str], int]) -> Iterator[str]:
    """Specs of an adapter among which the nearest is; its counts grow evenly with a number."""
    if not knob:
        yield name
    elif groups := getattr(adapter, "knob_words", ()):
        for several in range(1, len(groups) + 1):
            yield from (f"{name}({knob}={','.join(words)})" for words in combinations(groups, several))
    else:
        most = largest_that_fits(name, knob, 2, count)
        smallest = count(f"{name}({knob}=1)")
        step = count(f"{name}({knob}={most})") - smallest
        nearest = max(1, 1 + round((target - smallest) / step)) if step > 0 else 1
        yield f"{name}({knob}={largest_that_fits(name, knob, nearest, count)})"


def largest_that_fits(name: str, knob: str, value: int, count: Callable[[str], int]) -> int:
    """The value, or the largest below it that the adapter takes: a backbone has only so many layers."""
    low, high = 1, value
    while low < high:
        middle = (low + high + 1) // 2
        try:
            count(f"{name}({knob}={middle})")
        except UserError:
            high = middle - 1
        else:
            low = middle
    return low


def as_text(matches: list[Match], percent: float, size: str) -> str:
    """The table; what cannot come near says so."""
    heading = f"{size}: adapters at {percent:g} % of the frozen backbone"
    rows = []
    for match in sorted(matches, key=lambda match: not match.matches):
        why = "" if match.matches else f"  cannot: {match.knob or 'no'} option gives it"
        rows.append(f"  {match.label:<44}{match.parameters:>12,}{match.percent:>9.3f} %{why}")
    return "\n".join([heading, *rows])


def as_grid(matches: list[Match], percent: float, size: str) -> str:
    """YAML that `eatlab ablation --config` takes: one table of all that match. Raises UserError for none."""
    specs = [match.spec for match in matches if match.matches]
    if not specs:
        raise UserError(f"no adapter comes near {percent:g} %", do="ask for another share")
    others = [f'  - "{spec}"' for spec in specs[1:]]
    lines = [
        f"# Adapters of equal budgets, one table: `eatlab budgets size={size} match={percent:g}%` wrote it.",
        f'adapter: "{specs[0]}"',
        "compare:" if others else "compare: []",
        *others,
    ]
    return "\n".join(lines) + "\n"
