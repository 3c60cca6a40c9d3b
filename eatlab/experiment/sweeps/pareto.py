"""Adapters between cost and quality: those that no other beats (evaluation.md 11.8; EAT, Fig. 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eatlab.errors import UserError
from eatlab.experiment.sweeps.curves import Spread, TuningCurve, by_adapter, spread


@dataclass(frozen=True)
class Standing:
    """An adapter between cost and quality. quality: its `final`; minutes: of the whole tuning."""

    adapter: str
    parameters: int
    percent: float
    sees_emotion: bool
    quality: Spread
    minutes: Spread
    on_front: bool


def standings(
    curves: Iterable[TuningCurve], better: str, *, share: float = 1.0, count_minutes: bool = False
) -> list[Standing]:
    """Adapters at a share of the data, those on the front marked: fewest parameters, best mean quality.

    count_minutes: fewest minutes as a third wish. Raises UserError if no tuning has that share.
    """
    groups = by_adapter(curves, share)
    if not groups:
        raise UserError(f"adapters tuned with a share of {share:g}", "there is no such tuning")
    quality = {name: spread([c.final for c in group], name) for name, group in groups.items()}
    minutes = {name: spread([c.seconds[-1] / 60 for c in group], name) for name, group in groups.items()}
    sign = -1.0 if better == "higher" else 1.0
    costs = [
        (float(group[0].parameters), sign * quality[name].mean, *[minutes[name].mean] * count_minutes)
        for name, group in groups.items()
    ]
    return [
        Standing(name, c[0].parameters, c[0].percent, c[0].sees_emotion, quality[name], minutes[name], best)
        for (name, c), best in zip(groups.items(), pareto_front(costs), strict=True)
    ]


def pareto_front(costs: Sequence[Sequence[float]]) -> list[bool]:
    """Which points no other dominates. costs: (points, wishes), each better if lower; NaN is a ValueError.

    One dominates another if it is nowhere worse and somewhere better; equals dominate neither.
    """
    if any(math.isnan(cost) for point in costs for cost in point):
        raise ValueError("a point without a number is neither on the front nor off it")
    return [not any(dominates(other, point) for other in costs) for point in costs]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether it is nowhere worse and somewhere better; lower is better."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
