"""How sure a mean is: bootstrap over seeds and clips, over persons, and of differences (evaluation.md 11).

All rows of a table share one draw of clips, so differences of rows are paired by construction.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % percentile interval; ends that are NaN: one number of a set, which has none."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """Seeded resamples of the clips of one test set, and of its persons.

    Two levels: training seeds are drawn with replacement, then clips. Differs: all seeds drawn share one draw
    of clips, as all were measured on the same clips; a draw for each seed would divide the spread of clips by
    the number of seeds.
    """

    def __init__(self, persons: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.seed = seed
        self.resamples = resamples
        self.num_clips = len(persons)
        self.clips = _counts(np.random.default_rng(seed), self.num_clips, resamples)
        names, person = np.unique(np.asarray(persons), return_inverse=True)
        self.num_persons = len(names)
        self.persons = _counts(np.random.default_rng([seed, 1]), len(names), resamples)[:, person]

    def means(
        self, values: np.ndarray, *, by_person: bool = False, weights: np.ndarray | float = 1.0
    ) -> np.ndarray:
        """Mean of each resample. values: (k, clips), NaN where a clip takes no part → (k, resamples).

        weights: (k, clips), how much each counts: its frames, where a mean is over frames.
        """
        drawn = self.persons if by_person else self.clips
        parts = ~np.isnan(values) * weights
        total = (np.where(parts, values, 0) * parts) @ drawn.T
        with np.errstate(invalid="ignore"):  # a resample may hold no clip that takes part
            return total / (parts @ drawn.T)

    def over_seeds(self, means: np.ndarray, name: str) -> np.ndarray:
        """Draw seeds with replacement in each resample. means: (seeds, resamples) → (resamples,).

        name: whose seeds they are (a row); rows draw apart from each other, and in any order the same.
        """
        generator = np.random.default_rng([self.seed, 2, zlib.crc32(name.encode())])
        drawn = generator.integers(0, len(means), (len(means), self.resamples))
        return np.take_along_axis(means, drawn, 0).mean(0)


def _counts(generator: np.random.Generator, size: int, resamples: int) -> np.ndarray:
    """(resamples, size): how often each of `size` things is drawn in `size` draws with replacement."""
    drawn = generator.integers(0, size, (resamples, size)) + size * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size).astype(np.float64)


def mean_of(values: np.ndarray, weights: np.ndarray | float = 1.0) -> float:
    """Mean over seeds of each seed's mean over its clips.

    values: (seeds, clips), NaN where a clip takes no part; weights: as in `Bootstrap.means`.
    """
    parts = ~np.isnan(values) * weights
    return float((np.nansum(values * parts, axis=1) / parts.sum(1)).mean())


def interval(mean: float, draws: np.ndarray) -> Interval:
    """The percentile interval of bootstrap draws about a mean."""
    low, high = np.nanpercentile(draws, PERCENTILES)
    return Interval(mean, float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """One row against another in a metric: difference of means (first - second), word, p of paired test."""

    metric: str
    first: str
    second: str
    difference: Interval
    word: str
    p: float


def word_of(difference: Interval, p: float, better: str) -> str:
    """ "better", "worse" or "no difference shown": the interval must leave out 0 and p be under .05."""
    leaves_out_zero = difference.low > 0 or difference.high < 0  # false for NaN
    if not (leaves_out_zero and p < 0.05):
        return "no difference shown"
    return "better" if (difference.low > 0) == (better == "higher") else "worse"


def per_clip(values: np.ndarray) -> np.ndarray:
    """What is paired: (seeds, clips), NaN where a clip takes no part → (clips,).

    The mean over seeds; of hits (1) and misses (0) what more than half of the seeds say, for McNemar's test.
    """
    mean = values.mean(0)
    hits_and_misses = np.isin(values[~np.isnan(values)], (0, 1)).all()
    return np.where(np.isnan(mean), np.nan, mean > 0.5) if hits_and_misses else mean


def paired_p(differences: np.ndarray) -> float:
    """Two-sided p of per-clip differences: exact McNemar where all are -1, 0 or 1, else Wilcoxon signed-rank.

    differences: (clips,), NaN where a clip takes no part. All zero → 1.
    """
    from scipy import stats

    shown = differences[~np.isnan(differences) & (differences != 0)]
    if not len(shown):
        return 1.0
    if np.isin(shown, (-1, 1)).all():
        return float(stats.binomtest(int((shown > 0).sum()), len(shown)).pvalue)
    return float(stats.wilcoxon(shown).pvalue)


class PairedTests(NamedTuple):
    """Of paired differences: their mean, t and Wilcoxon statistics with two-sided p."""

    mean_diff: float
    t: float
    t_p: float
    wilcoxon: float
    wilcoxon_p: float


def paired_tests(differences: np.ndarray) -> PairedTests:
    """Student's paired t-test and Wilcoxon's signed ranks (evaluation.md 11.3).

    differences: (clips,), NaN where a clip takes no part; 2 or more that are not all equal.
    """
    from scipy import stats

    shown = differences[~np.isnan(differences)]
    student, ranks = stats.ttest_1samp(shown, 0), stats.wilcoxon(shown)
    numbers = (shown.mean(), student.statistic, student.pvalue, ranks.statistic, ranks.pvalue)
    return PairedTests(*map(float, numbers))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for several tests: the step-down adjusted p-values, in the order given."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(p) for p in adjusted]
