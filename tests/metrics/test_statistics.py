"""Intervals and tests: closed forms, scipy, and the golden case `paired` of evaluation.md 11.3."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from eatlab.metrics.statistics import (
    Bootstrap,
    Interval,
    holm,
    interval,
    mean_of,
    paired_p,
    paired_tests,
    per_clip,
    word_of,
)


def clips(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def width(found: Interval) -> float:
    return found.high - found.low


def test_the_golden_paired_case() -> None:
    i = np.arange(40)
    x = 20 + 2 * np.sin(i)
    y = x + 0.3 + 0.5 * np.cos(1.7 * i)
    boot = Bootstrap(clips(40))
    found = interval((y - x).mean(), boot.means((y - x)[None])[0])
    assert found.mean == pytest.approx(0.2985690466117764, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((0.18993919737382306, 0.40967592331101577), abs=1e-9)
    alone = interval(x.mean(), boot.means(x[None])[0])
    assert (alone.low, alone.high) == pytest.approx((19.613259867386628, 20.495746401499247), abs=1e-9)
    assert paired_p(y - x) == pytest.approx(3.813006878772285e-05, abs=1e-9)


def test_the_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).exponential(size=150)
    ours = interval(values.mean(), Bootstrap(clips(150), seed=3).means(values[None])[0])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=7
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width(ours))
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width(ours))


def test_a_constant_has_an_interval_of_no_width() -> None:
    boot = Bootstrap(clips(30), resamples=200)
    assert interval(2.0, boot.means(np.full((1, 30), 2.0))[0]) == Interval(2.0, 2.0, 2.0)


def test_shift_and_scale_move_the_interval_alike() -> None:
    boot = Bootstrap(clips(50), resamples=500)
    values = np.random.default_rng(0).normal(size=(1, 50))
    plain, moved = (interval(0, boot.means(v)[0]) for v in (values, 3 * values + 7))
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low + 7, 3 * plain.high + 7))


def test_clips_that_take_no_part_are_left_out() -> None:
    values = np.random.default_rng(0).normal(size=60)
    part = np.where(np.arange(60) < 20, values, np.nan)
    found = Bootstrap(clips(60)).means(part[None])[0]
    assert mean_of(part[None]) == pytest.approx(values[:20].mean())
    assert found.mean() == pytest.approx(values[:20].mean(), abs=0.02)
    assert found.std() == pytest.approx(values[:20].std() / np.sqrt(20), rel=0.1)  # of 20 clips, not of 60


def test_the_same_draw_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(size=(1, 30))
    first, again, other = (Bootstrap(clips(30), resamples=300, seed=s).means(values) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_equal_seeds_add_no_certainty_about_clips() -> None:
    values = np.random.default_rng(0).normal(size=40)
    boot = Bootstrap(clips(40), resamples=1000)
    one = boot.means(values[None])
    three = boot.means(np.repeat(values[None], 3, 0))
    assert np.allclose(boot.over_seeds(three, "row"), one[0])


def test_without_spread_of_clips_the_interval_is_that_of_seeds() -> None:
    seeds = np.array([1.0, 2.0, 6.0])
    boot = Bootstrap(clips(20))
    draws = boot.over_seeds(boot.means(np.repeat(seeds[:, None], 20, 1)), "row")
    values, counts = np.unique(draws.round(9), return_counts=True)
    assert len(values) == 10  # multisets of 3 out of 3
    assert counts[0] / 10_000 == pytest.approx(1 / 27, abs=0.01)  # (1, 1, 1)
    assert draws.std() == pytest.approx(seeds.std() / np.sqrt(3), rel=0.05)


def test_two_levels_hold_both_spreads() -> None:
    generator = np.random.default_rng(1)
    clip, seed = generator.normal(size=100), generator.normal(size=8)
    boot = Bootstrap(clips(100))
    draws = boot.over_seeds(boot.means(clip + seed[:, None]), "row")
    assert draws.var() == pytest.approx(clip.var() / 100 + seed.var() / 8, rel=0.1)


def test_rows_draw_their_seeds_apart_and_in_any_order_the_same() -> None:
    boot = Bootstrap(clips(10), resamples=500)
    means = boot.means(np.random.default_rng(0).normal(size=(3, 10)))
    first = boot.over_seeds(means, "deep_prompt")
    assert not np.array_equal(first, boot.over_seeds(means, "shallow_prompt"))
    assert np.array_equal(first, boot.over_seeds(means, "deep_prompt"))


def test_persons_whose_clips_are_alike_count_once() -> None:
    of_person = np.random.default_rng(0).normal(size=12)
    values = np.repeat(of_person, 20)[None]
    boot = Bootstrap([f"P{i // 20}" for i in range(240)])
    by_clip, by_person = boot.means(values)[0], boot.means(values, by_person=True)[0]
    assert boot.num_persons == 12
    assert by_person.std() / by_clip.std() == pytest.approx(np.sqrt(20), rel=0.05)


def test_the_interval_holds_the_true_mean_nineteen_times_of_twenty() -> None:
    generator = np.random.default_rng(0)
    boot = Bootstrap(clips(60), resamples=1000)
    samples = generator.exponential(size=(300, 60))
    found = [interval(0, draws) for draws in boot.means(samples)]
    covered = np.mean([one.low <= 1 <= one.high for one in found])
    assert 0.89 <= covered <= 0.98  # 0.95 less the small-sample bias, 3 standard errors


def test_right_and_wrong_are_compared_by_exact_mcnemar() -> None:
    differences = np.array([1.0] * 9 + [-1.0] + [0.0] * 30 + [np.nan])
    assert paired_p(differences) == pytest.approx(22 / 1024)  # 2 (1 + 10) / 2^10


def test_of_several_seeds_the_majority_is_compared_by_mcnemar() -> None:
    hits = np.array([[1, 0, 1, np.nan], [1, 0, 0, np.nan], [0, 0, 1, np.nan]])
    np.testing.assert_array_equal(per_clip(hits), [1, 0, 1, np.nan])
    np.testing.assert_array_equal(per_clip(np.array([[1.0, 0], [0, 0]])), [0, 0])  # half is no majority
    np.testing.assert_allclose(per_clip(np.array([[0.5, 1.0], [1.5, 2.0]])), [1.0, 1.5])


def test_numbers_are_compared_by_wilcoxon() -> None:
    differences = np.random.default_rng(0).normal(0.3, size=50)
    assert paired_p(differences) == stats.wilcoxon(differences).pvalue
    assert paired_p(np.zeros(5)) == 1


def test_holm_has_its_closed_form() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("low", "high", "p", "better", "word"),
    [
        (0.1, 0.2, 0.001, "higher", "better"),
        (0.1, 0.2, 0.001, "lower", "worse"),
        (-0.2, -0.1, 0.001, "lower", "better"),
        (-0.2, -0.1, 0.001, "higher", "worse"),
        (-0.1, 0.2, 0.001, "higher", "no difference shown"),
        (0.1, 0.2, 0.2, "higher", "no difference shown"),
        (0.1, 0.2, float("nan"), "higher", "no difference shown"),
        (float("nan"), float("nan"), 0.001, "higher", "no difference shown"),
    ],
)
def test_words(low: float, high: float, p: float, better: str, word: str) -> None:
    assert word_of(Interval((low + high) / 2, low, high), p, better) == word


def test_the_paired_tests_leave_out_clips_that_take_no_part() -> None:
    first, second = np.random.default_rng(2).normal(size=(2, 20))
    student, ranks = stats.ttest_rel(first, second), stats.wilcoxon(first, second)
    found = paired_tests(np.append(first - second, np.nan))
    assert found == pytest.approx(
        ((first - second).mean(), student.statistic, student.pvalue, ranks.statistic, ranks.pvalue), abs=1e-12
    )


def test_of_weighted_clips_long_ones_weigh_more_and_those_without_a_value_nothing() -> None:
    values, frames = np.array([[1.0, 5.0, np.nan]]), np.array([3.0, 1.0, 9.0])
    assert mean_of(values) == 3
    assert mean_of(values, frames) == 2
    draws = Bootstrap(clips(3), resamples=200).means(values, weights=frames[None])
    assert np.nanmin(draws) == 1
    assert np.nanmax(draws) == 5


def test_weights_that_are_alike_change_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(2, 12))
    assert mean_of(values, np.full(12, 7.0)) == pytest.approx(mean_of(values), abs=1e-12)
