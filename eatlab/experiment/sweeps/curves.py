"""What tuning curves say: quality after minutes and with shares of the data, and what it takes to reach a
quality (evaluation.md 11.2 and 11.8; EAT, Fig. 5).

Pure functions of the records of tunings. Between two measured rows quality is taken to be linear in training
seconds, after the last one it stays: whoever waits longer still has that adapter. Between two shares of the
data it is linear in log2 of the share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from eatlab.errors import UserError
from eatlab.metrics.protocols import METRICS
from eatlab.metrics.statistics import Bootstrap, Interval, interval
from eatlab.objectives.weights import LossConfig

TIMES_S = (15.0, 30.0, 60.0, 120.0, 240.0)
"""Training seconds at which quality is told."""
UNSAID = asdict(LossConfig())
"""What records from before a weight was known did not say."""
HINDERED = 1.2
"""Wall seconds a CPU second, above which a clock tells of what else the machine did."""
BETTER = {"val_explained": "higher", "val_loss": "lower", "loss": "lower"}
"""Of what a curve has beside METRICS."""


@dataclass(frozen=True)
class TuningCurve:
    """A metric along one tuning. seconds: of the training clock, ascending; values: at those; final: what the
    tuning ended with, on the test clips if they were given, else the last value.
    """

    adapter: str
    seed: int
    share: float
    parameters: int
    percent: float
    sees_emotion: bool
    seconds: tuple[float, ...]
    values: tuple[float, ...]
    final: float


@dataclass(frozen=True)
class Spread:
    """One number a seed, None where a seed has none, and their mean with its interval.

    interval: 95 %, bootstrap over seeds; of three seeds it goes from the worst to the best. None unless every
    seed has a number: the mean of those that got there would flatter. Its ends are NaN for a single seed.
    """

    seeds: tuple[float | None, ...]
    interval: Interval | None

    @property
    def mean(self) -> float:
        """NaN unless every seed has a number."""
        return math.nan if self.interval is None else self.interval.mean


def curves_of(
    records: Iterable[Mapping[str, Any]],
    metric: str,
    *,
    clock: str = "train_s",
    test: Mapping[str, Mapping[str, float]] | None = None,
) -> list[TuningCurve]:
    """The curves of a metric from records of tunings (`jobs.record_of`), in their order.

    clock: "train_s", wall seconds of training steps alone, without evaluation and saving (callbacks.py), or
    "cpu_s", the same of all cores. test: identity → metric → value on the test clips, for `final`.
    Raises UserError where a record lacks the metric, comes twice (adapter, seed, share), or differs from the
    others in more than these three.
    """
    kept = list(records)
    refuse_mixture(kept)
    found = [curve_of(record, metric, clock, test) for record in kept]
    names = [(curve.adapter, curve.seed, curve.share) for curve in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        there = f'adapter "{twice[0]}", seed {twice[1]}, share {twice[2]:g}'
        raise UserError("a tuning comes twice", there, "leave one of the two out")
    return found


def curve_of(
    record: Mapping[str, Any], metric: str, clock: str, test: Mapping[str, Mapping[str, float]] | None
) -> TuningCurve:
    """See `curves_of`."""
    rows = [row for row in record["curve"] if metric in row]
    if not rows:
        there = sorted({name for row in record["curve"] for name in row})
        raise UserError(
            f'no "{metric}" was measured of {record["identity"]}', f"there are: {', '.join(there)}"
        )
    values = tuple(float(row[metric]) for row in rows)
    return TuningCurve(
        adapter=record["adapter"],
        seed=record["seed"],
        share=share_of(record),
        parameters=record["budget"]["total"],
        percent=record["budget"]["percent"],
        sees_emotion=record.get("sees_emotion", True),
        seconds=tuple(float(row[clock]) for row in rows),
        values=values,
        final=values[-1] if test is None else tested(test, record["identity"], metric),
    )


def tested(test: Mapping[str, Mapping[str, float]], identity: str, metric: str) -> float:
    """A point's value on the test clips. Raises UserError if it has none."""
    try:
        return float(test[identity][metric])
    except KeyError as error:
        raise UserError(
            f'the tuning {identity} has no "{metric}" on the test clips', do="measure it, or leave it out"
        ) from error


def share_of(record: Mapping[str, Any]) -> float:
    """Of the training clips; records of before there were shares, and of pretrainings, are of all."""
    return float(record["config"].get("tune", {}).get("share", 1.0))


def refuse_mixture(records: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError, naming the fields, where tunings differ in more than adapter, seed and share; or if
    there are none (evaluation.md 11.5).
    """
    if not records:
        raise UserError("curves of no tuning", "there is no record", "tune an adapter first")
    settings = [setting_of(record) for record in records]
    if differ := [name for name in settings[0] if any(s[name] != settings[0][name] for s in settings)]:
        raise UserError(
            f"these {len(records)} tunings differ in {', '.join(differ)}",
            "curves are compared where adapter, seed and share alone differ",
            "give those of one setting",
        )


def setting_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What tunings must have in common to be compared."""
    config = record["config"]
    if "tune" not in config:  # a pretraining: what else differs there is what its rows are
        return {name: config[name] for name in ("size", "data", "teachers")}
    of_tune = {"schedule": config["tune"]["schedule"], "loss": UNSAID | config["tune"]["loss"]}
    return of_tune | {name: config[name] for name in ("backbone", "data", "judges")}


def clock_warnings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be said beside training minutes: hindered clocks, and clocks of different machines."""
    slow = [r for r in records if r["wall_s"] > HINDERED * r["cpu_s"]]
    names = ", ".join(f"{r['adapter']} seed {r['seed']} ({r['wall_s'] / r['cpu_s']:.1f}x)" for r in slow)
    machines = {told for r in records if (told := machine_of(r))}
    said = [f"Training clocks of a busy machine, wall seconds a CPU second: {names}."] if slow else []
    return said + [f"Training clocks of {len(machines)} kinds of machine."] * (len(machines) > 1)


def machine_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Processor, cores and precision, as far as the record knows them."""
    machine = record.get("environment", {}).get("machine", {})
    return tuple(str(machine[name]) for name in ("processor", "cores", "precision") if name in machine)


def better_of(metric: str) -> str:
    """ "higher" or "lower". Raises UserError for a metric that has no better end, or is unknown."""
    better = METRICS[metric].better if metric in METRICS else BETTER.get(metric, "")
    if not better:
        there = [*BETTER, *(name for name, known in METRICS.items() if known.better)]
        raise UserError(f'nothing says which "{metric}" is better', f"there are: {', '.join(there)}")
    return better


def by_adapter(curves: Iterable[TuningCurve], share: float | None = None) -> dict[str, list[TuningCurve]]:
    """Adapter → its curves by seed, of one share or of all; adapters in the order they come."""
    groups: dict[str, list[TuningCurve]] = {}
    for curve in curves:
        if share is None or curve.share == share:
            groups.setdefault(curve.adapter, []).append(curve)
    return {name: sorted(group, key=lambda c: (c.seed, c.share)) for name, group in groups.items()}


def known_at(curve: TuningCurve, seconds: float) -> float | None:
    """Quality of the last row measured within `seconds` of training; the final row's after the end.

    The untrained row, at 0 s, tells of 0 s alone: None where nothing was measured after it by then.
    """
    rows = zip(curve.seconds, curve.values, strict=True)
    told = [value for at, value in rows if at <= seconds and (at > 0 or seconds == 0)]
    return told[-1] if told else None


def time_to(curve: TuningCurve, target: float, better: str) -> float | None:
    """Training seconds until quality `target` is first reached; 0 if it was untrained, None if never."""
    return first_crossing(curve.seconds, curve.values, target, better)


def data_to(shares: Mapping[float, float], target: float, better: str) -> float | None:
    """Share of the clips with which `target` is first reached, None if with none.

    shares: share → final quality of one seed. The least measured share, if it reaches it: fewer may do.
    """
    crossing = first_crossing(*over_log_share(shares), target, better)
    return None if crossing is None else min(1.0, 2.0**crossing)


def first_crossing(
    places: Sequence[float], values: Sequence[float], target: float, better: str
) -> float | None:
    """Where a line through (places, values) first is `target` or better, None if nowhere.

    places: ascending. better: "higher" or "lower".
    """
    sign = {"higher": 1.0, "lower": -1.0}[better]
    goal, reached = sign * target, [sign * value for value in values]
    if reached and reached[0] >= goal:
        return places[0]
    for (x0, x1), (y0, y1) in zip(pairwise(places), pairwise(reached), strict=True):
        if y1 >= goal:
            return min(x1, x0 + (goal - y0) / (y1 - y0) * (x1 - x0))
    return None


def area_over_time(curve: TuningCurve, window_s: tuple[float, float] = (TIMES_S[0], TIMES_S[-1])) -> float:
    """Mean quality over the logarithm of training time: 1 / ln(b/a) · ∫ q(t) d ln t from a to b seconds.

    q as the module says (from the untrained row on); the integral is exact, and in the metric's own unit.
    Raises ValueError unless 0 < a < b.
    """
    start, end = window_s
    if not 0 < start < end:
        raise ValueError(f"a window runs from a time > 0 to a later one, not {window_s}")
    knots = sorted({start, end} | {t for t in curve.seconds if start < t < end})
    values = np.interp(knots, curve.seconds, curve.values).tolist()
    total = 0.0
    for (t0, t1), (q0, q1) in zip(pairwise(knots), pairwise(values), strict=True):
        slope, log = (q1 - q0) / (t1 - t0), math.log(t1 / t0)
        total += q0 * log + slope * (t1 - t0 - t0 * log)
    return total / math.log(end / start)


def area_over_share(shares: Mapping[float, float]) -> float:
    """Mean quality over the logarithm of the share of data: 1 / ln(b/a) · ∫ q(s) d ln s, a and b its ends.

    shares: share → final quality. Raises UserError for fewer than two shares.
    """
    places, values = over_log_share(shares)
    if len(places) < 2:
        raise UserError(
            "an area over shares of the data", "one share has none", "tune with two shares or more"
        )
    return float(np.trapezoid(values, places) / (places[-1] - places[0]))


def over_log_share(shares: Mapping[float, float]) -> tuple[list[float], list[float]]:
    """log2 of the shares, ascending, and their qualities."""
    return [math.log2(share) for share in sorted(shares)], [shares[share] for share in sorted(shares)]


def finals_by_seed(curves: Iterable[TuningCurve]) -> dict[int, dict[float, float]]:
    """Seed → share → final quality, of the curves of one adapter."""
    seeds: dict[int, dict[float, float]] = {}
    for curve in curves:
        seeds.setdefault(curve.seed, {})[curve.share] = curve.final
    return seeds


def spread(values: Sequence[float | None], name: str = "") -> Spread:
    """See `Spread`. name: whose seeds they are; the same name draws the same seeds, so that the points of a
    line move together. Raises ValueError without values.
    """
    known = [value for value in values if value is not None]
    if not values:
        raise ValueError("a spread is of at least one seed")
    if len(known) < len(values):
        return Spread(tuple(values), None)
    mean = float(np.mean(known))
    if len(known) == 1:
        return Spread(tuple(values), Interval(mean, math.nan, math.nan))
    bootstrap = of_seeds()
    drawn = bootstrap.over_seeds(np.repeat(np.array(known)[:, None], bootstrap.resamples, 1), name)
    return Spread(tuple(values), interval(mean, drawn))


@lru_cache(1)
def of_seeds() -> Bootstrap:
    """The project's bootstrap with clips left out: here only seeds are drawn."""
    return Bootstrap([""])


def summary(
    curves: Sequence[TuningCurve],
    metric: str,
    *,
    target: float | None = None,
    times_s: Sequence[float] = TIMES_S,
) -> list[dict[str, Any]]:
    """One plain dict an adapter, for JSON and tables; spreads as {"seeds": […], "interval": {…} or None}.

    adapter; at: seconds → quality then, at share 1; area_over_time; time_to (s), if a target is given;
    at_share: share → final quality; area_over_share and data_to, where there are two shares or more.
    """
    better = better_of(metric)
    return [
        {
            "adapter": name,
            "metric": metric,
            **of_time(name, [c for c in group if c.share == 1], better, target, times_s),
            **of_data(name, finals_by_seed(group), better, target),
        }
        for name, group in by_adapter(curves).items()
    ]


def of_time(
    name: str, curves: Sequence[TuningCurve], better: str, target: float | None, times_s: Sequence[float]
) -> dict[str, Any]:
    """What `summary` says of training time; nothing without curves."""
    if not curves:
        return {}
    window = (times_s[0], times_s[-1])
    found: dict[str, Any] = {
        "at": {f"{t:g}": asdict(spread([known_at(c, t) for c in curves], name)) for t in times_s},
        "area_over_time": asdict(spread([area_over_time(c, window) for c in curves], name)),
    }
    if target is not None:
        found["time_to"] = asdict(spread([time_to(c, target, better) for c in curves], name))
    return found


def of_data(
    name: str, seeds: Mapping[int, Mapping[float, float]], better: str, target: float | None
) -> dict[str, Any]:
    """What `summary` says of shares of the data. A share that a seed lacks is no number of that seed."""
    shares = sorted({share for finals in seeds.values() for share in finals})
    at = {f"{s:g}": asdict(spread([finals.get(s) for finals in seeds.values()], name)) for s in shares}
    found: dict[str, Any] = {"at_share": at}
    if len(shares) > 1 and all(len(finals) == len(shares) for finals in seeds.values()):
        found["area_over_share"] = asdict(spread([area_over_share(f) for f in seeds.values()], name))
        if target is not None:
            found["data_to"] = asdict(spread([data_to(f, target, better) for f in seeds.values()], name))
    return found
