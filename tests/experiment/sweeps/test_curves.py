"""Tuning curves: what is said of them is monotone, in the metric's unit, and never of a mixture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eatlab.errors import UserError
from eatlab.experiment.record import finite
from eatlab.experiment.sweeps.curves import (
    TuningCurve,
    area_over_share,
    area_over_time,
    better_of,
    by_adapter,
    clock_warnings,
    curves_of,
    data_to,
    first_crossing,
    known_at,
    spread,
    summary,
    time_to,
)
from eatlab.experiment.sweeps.pareto import dominates, pareto_front, standings

values = st.floats(-10, 10)
betters = st.sampled_from(["higher", "lower"])


def record(adapter: str = "eam", seed: int = 0, share: float | None = None, **more: Any) -> dict[str, Any]:
    """A record as `jobs.record_of` writes it; share None: of before there were shares."""
    tune = {"adapter": adapter, "seed": seed, "schedule": {"steps": 2}, "loss": {"floor": 0.1}}
    rows = [
        {"step": step, "train_s": 20.0 * step, "cpu_s": 10.0 * step, "m_lmd": 2.0 - 0.5 * step + 0.1 * seed}
        for step in range(3)
    ]
    return {
        "identity": f"{adapter}{seed}{share}",
        "adapter": adapter,
        "seed": seed,
        "config": {
            "tune": tune | ({} if share is None else {"share": share}),
            "backbone": "b",
            "data": {"train": "d"},
            "judges": {},
        },
        "budget": {"total": 10, "percent": 0.5},
        "wall_s": 40.0,
        "cpu_s": 39.0,
        "curve": rows,
        **more,
    }


def curve(seconds: tuple[float, ...] = (0, 20, 40), values: tuple[float, ...] = (2, 1.5, 1)) -> TuningCurve:
    return TuningCurve("eam", 0, 1.0, 10, 0.5, True, seconds, values, values[-1])


@st.composite
def curves(draw: st.DrawFn) -> TuningCurve:
    steps = draw(st.lists(st.floats(0.5, 100), min_size=1, max_size=5))
    seconds = tuple(np.cumsum([0.0, *steps]).tolist())
    return curve(seconds, tuple(draw(values) for _ in seconds))


# ---------------------------------------------------------------------------------------------- from records


def test_a_record_of_before_there_were_shares_is_of_all_clips() -> None:
    (found,) = curves_of([record()], "m_lmd")
    assert (found.share, found.seconds, found.values, found.final) == (1.0, (0, 20, 40), (2.0, 1.5, 1.0), 1.0)


def test_the_clock_may_be_that_of_the_cores_and_the_final_quality_that_of_the_test_clips() -> None:
    one = record()
    (found,) = curves_of([one], "m_lmd", clock="cpu_s", test={one["identity"]: {"m_lmd": 7.0}})
    assert (found.seconds, found.values[-1], found.final) == ((0, 10, 20), 1.0, 7.0)
    with pytest.raises(UserError, match="on the test clips"):
        curves_of([one], "m_lmd", test={})


@pytest.mark.parametrize("field", ["backbone", "data", "judges"])
def test_a_mixture_is_refused_and_the_field_named(field: str) -> None:
    other = record(seed=1)
    other["config"][field] = "another"
    with pytest.raises(UserError, match=f"differ in {field}"):
        curves_of([record(), other], "m_lmd")


def test_another_schedule_is_a_mixture_too() -> None:
    other = record(seed=1)
    other["config"]["tune"]["schedule"] = {"steps": 3}
    with pytest.raises(UserError, match="differ in schedule"):
        curves_of([record(), other], "m_lmd")


def test_what_makes_no_curve_is_one_line() -> None:
    for records, metric in (([], "m_lmd"), ([record(), record()], "m_lmd"), ([record()], "psnr")):
        with pytest.raises(UserError) as caught:
            curves_of(records, metric)
        assert "\n" not in str(caught.value)


def test_which_end_of_a_metric_is_better_is_known_or_refused() -> None:
    assert (better_of("m_lmd"), better_of("acc_emo"), better_of("val_loss")) == ("lower", "higher", "lower")
    for metric in ("acc_asked", "nonsense"):
        with pytest.raises(UserError, match="m_lmd"):
            better_of(metric)


def test_busy_and_different_machines_are_said() -> None:
    there = {"environment": {"machine": {"processor": "X", "cores": 2}}}
    assert clock_warnings([record()]) == []
    busy, machines = clock_warnings(
        [record(wall_s=80.0), record(**there), record(environment={"machine": {"cores": 4}})]
    )
    assert "eam seed 0 (2.1x)" in busy
    assert "2 kinds of machine" in machines


# ------------------------------------------------------------------------------------------- along the clock


def test_known_at_is_the_last_row_by_then_and_the_untrained_one_only_at_0() -> None:
    one = curve()
    assert [known_at(one, t) for t in (0, 15, 20, 39, 40, 1e9)] == [2, None, 1.5, 1.5, 1, 1]


def test_time_to_is_linear_between_rows() -> None:
    assert time_to(curve(), 1.25, "lower") == pytest.approx(30)
    assert time_to(curve(), 3.0, "lower") == 0
    assert time_to(curve(), 0.9, "lower") is None
    assert time_to(curve(values=(1, 5, 2)), 3.0, "higher") == pytest.approx(10)


@given(curves(), values, values, betters)
def test_more_is_never_reached_sooner(one: TuningCurve, target: float, other: float, better: str) -> None:
    easy, hard = sorted((target, other), reverse=better == "lower")
    sooner, later = time_to(one, easy, better), time_to(one, hard, better)
    assert later is None or (sooner is not None and sooner <= later)


@given(curves(), values, betters)
def test_at_the_time_to_reach_a_quality_it_is_there(one: TuningCurve, target: float, better: str) -> None:
    at = time_to(one, target, better)
    best = max(one.values) if better == "higher" else -min(one.values)
    assert (at is not None) == (best >= (target if better == "higher" else -target))
    if at is not None and at > 0:
        assert np.interp(at, one.seconds, one.values) == pytest.approx(target, abs=1e-6)


@given(curves(), values)
def test_the_area_of_a_constant_is_the_constant(one: TuningCurve, value: float) -> None:
    constant = replace(one, values=(value,) * len(one.values))
    assert area_over_time(constant) == pytest.approx(value)
    assert area_over_share({0.25: value, 0.5: value, 1.0: value}) == pytest.approx(value)


@given(curves())
def test_the_area_is_that_of_a_fine_sum(one: TuningCurve) -> None:
    grid = np.geomspace(15, 240, 20_001)
    fine = np.interp(grid, one.seconds, one.values)
    expected = np.trapezoid(fine, np.log(grid)) / math.log(16)
    assert area_over_time(one) == pytest.approx(expected, abs=1e-4)


def test_a_window_that_is_none_is_refused() -> None:
    for window in ((0.0, 1.0), (2.0, 2.0)):
        with pytest.raises(ValueError, match="window"):
            area_over_time(curve(), window)


# ------------------------------------------------------------------------------------------ along the shares


def test_data_to_is_linear_in_the_logarithm() -> None:
    shares = {1.0: 0.9, 0.25: 0.7, 0.0625: 0.5}
    assert data_to(shares, 0.6, "higher") == pytest.approx(0.125)
    assert data_to(shares, 0.1, "higher") == 0.0625
    assert data_to(shares, 0.91, "higher") is None
    assert area_over_share(shares) == pytest.approx(0.7)


def test_one_share_has_no_area() -> None:
    with pytest.raises(UserError, match="two shares"):
        area_over_share({1.0: 2.0})


@given(st.lists(st.tuples(values, values), min_size=1, max_size=6), values, betters)
def test_a_crossing_lies_on_the_line(points: list[tuple[float, float]], target: float, better: str) -> None:
    points = sorted({x: (x, y) for x, y in points}.values())
    at = first_crossing([x for x, _ in points], [y for _, y in points], target, better)
    assert at is None or points[0][0] <= at <= points[-1][0]


# ------------------------------------------------------------------------------------------------ over seeds


def test_a_spread_is_the_mean_and_of_three_seeds_from_worst_to_best() -> None:
    found = spread([1.0, 2.0, 6.0], "eam").interval
    assert found is not None
    assert (found.mean, found.low, found.high) == (3.0, 1.0, 6.0)


def test_one_seed_has_no_interval_and_a_seed_without_a_number_no_mean() -> None:
    alone = spread([1.0])
    assert alone.mean == 1.0
    assert alone.interval is not None
    assert math.isnan(alone.interval.low)
    missing = spread([1.0, None])
    assert missing.interval is None
    assert math.isnan(missing.mean)
    with pytest.raises(ValueError, match="at least one seed"):
        spread([])


@given(st.lists(values, min_size=2, max_size=5))
def test_an_interval_holds_its_mean_and_lies_within_the_seeds(seeds: list[float]) -> None:
    found = spread(seeds, "eam").interval
    assert found is not None
    least, most = min(seeds) - 1e-9, max(seeds) + 1e-9
    assert least <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= most


def test_a_summary_is_plain_and_says_what_was_asked() -> None:
    records = [record(seed=s, share=share) for s in range(2) for share in (0.25, 1.0)]
    (told,) = summary(curves_of(records, "m_lmd"), "m_lmd", target=1.2, times_s=(15, 30, 60))
    assert told["at"]["15"]["interval"] is None
    assert told["at"]["30"]["interval"]["mean"] == pytest.approx(1.55)
    assert told["time_to"]["seeds"] == pytest.approx((32, 36))
    assert told["data_to"]["seeds"] == (0.25, 0.25)
    assert set(told["at_share"]) == {"0.25", "1"}
    assert json.loads(json.dumps(finite(told), allow_nan=False))["adapter"] == "eam"


def test_a_seed_that_lacks_a_share_gets_no_number_and_no_area() -> None:
    records = [record(seed=0, share=0.5), record(seed=0, share=1.0), record(seed=1, share=1.0)]
    (told,) = summary(curves_of(records, "m_lmd"), "m_lmd")
    assert told["at_share"]["0.5"]["interval"] is None
    assert "area_over_share" not in told


def test_curves_are_grouped_by_adapter_and_share() -> None:
    found = curves_of([record(seed=1), record("edn"), record(seed=0), record(share=0.5)], "m_lmd")
    assert {name: [c.seed for c in group] for name, group in by_adapter(found, 1.0).items()} == {
        "eam": [0, 1],
        "edn": [0],
    }


# ---------------------------------------------------------------------------------------------------- fronts


@given(st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 3), max_size=12))
def test_nobody_on_the_front_is_dominated_and_everyone_off_it_is_by_one_on_it(
    costs: list[tuple[float, float, float]],
) -> None:
    on_front = pareto_front(costs)
    front = [cost for cost, best in zip(costs, on_front, strict=True) if best]
    assert bool(front) == bool(costs)
    for cost, best in zip(costs, on_front, strict=True):
        assert any(dominates(other, cost) for other in front) != best


def test_a_point_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="without a number"):
        pareto_front([(1.0, math.nan)])


def test_standings_know_who_is_beaten_and_time_may_count() -> None:
    large = {"budget": {"total": 99, "percent": 5.0}}
    records = [record("good"), record("large", **large)]
    found = curves_of(records, "m_lmd")
    found[1] = replace(found[1], seconds=(0, 10, 15))
    assert [s.on_front for s in standings(found, "lower")] == [True, False]
    assert [s.on_front for s in standings(found, "lower", count_minutes=True)] == [True, True]
    assert standings(found, "lower")[0].minutes.mean == pytest.approx(40 / 60)
    with pytest.raises(UserError, match=r"share of 0\.5"):
        standings(found, "lower", share=0.5)


def test_the_front_by_size_is_a_stair() -> None:
    found = [
        replace(curve(), adapter=str(n), parameters=n, final=final)
        for n, final in enumerate((0.1, 0.4, 0.3, 0.8, 0.8))
    ]
    front = [s for s in standings(found, "higher") if s.on_front]
    assert [s.parameters for s in front] == [0, 1, 3]
    assert all(a.quality.mean < b.quality.mean for a, b in pairwise(front))
