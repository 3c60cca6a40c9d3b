"""How strong an emotion is shown, in MEAD's levels, read off a ruler that the truth of the test clips gives.

No judge here was trained on levels. The judge of emotion is surer of a label the stronger it is shown: of
each emotion, its log-odds against neutral in the true clips, neutral ones as level 0, make a monotone ruler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import isotonic_regression

from eatlab.emotions import EMOTIONS, NEUTRAL
from eatlab.metrics.row import RowReading

METRIC = "intensity_error"
NO_RULER = "not measured: its ruler needs ground_truth, neutral clips and emotions of two levels"
SHOWN = tuple(emotion for emotion in range(len(EMOTIONS)) if emotion != NEUTRAL)


@dataclass(frozen=True)
class Ruler:
    """marks: emotion → log-odds against neutral, ascending, and the level at each, never descending."""

    marks: Mapping[int, tuple[np.ndarray, np.ndarray]]

    def levels(self, log_probability: np.ndarray, emotion: np.ndarray) -> np.ndarray:
        """Level 0…3 at which each clip shows its emotion; NaN for neutral and what has no ruler.

        log_probability (M, 8), emotion (M,) label → (M,) float64, linear between marks, held beyond them.
        """
        read = np.full(len(emotion), np.nan)
        for label, (odds, levels) in self.marks.items():
            of_label = emotion == label
            read[of_label] = np.interp(against_neutral(log_probability, label)[of_label], odds, levels)
        return read


def against_neutral(log_probability: np.ndarray, label: int) -> np.ndarray:
    """Log-odds of an emotion against neutral. (M, 8) → (M,)."""
    return log_probability[:, label] - log_probability[:, NEUTRAL]


def ruler_of(truth: RowReading) -> Ruler:
    """Fitted to the true clips by isotonic regression; an emotion needs neutral clips and two levels."""
    emotion, level = truth.clips.emotion, truth.clips.level
    known = (emotion == NEUTRAL) | (level > 0)
    marks = {}
    for label in SHOWN:
        taken = ((emotion == label) | (emotion == NEUTRAL)) & known
        if len(set(level[emotion == label]) - {0}) < 2 or not (emotion == NEUTRAL).any():
            continue
        odds = against_neutral(truth.extras["log_probability"], label)[taken]
        levels = np.where(emotion == NEUTRAL, 0, level)[taken].astype(np.float64)
        order = np.lexsort((levels, odds))
        marks[label] = odds[order], isotonic_regression(levels[order]).x
    return Ruler(marks)


def with_intensity(rows: Mapping[str, Sequence[RowReading]]) -> dict[str, Sequence[RowReading]]:
    """Rows with |level shown − level of the label| beside what was measured of them, for emotional clips.

    The ruler is fitted to the very clips of ground_truth, so its error there is the least that can be
    expected. Rows of a protocol without this metric are left as they are.
    """
    truth = next(iter(rows.get("ground_truth", ())), None)
    ruler = ruler_of(truth) if truth is not None and "log_probability" in truth.extras else Ruler({})
    return {name: [_measured(reading, ruler) for reading in readings] for name, readings in rows.items()}


def _measured(reading: RowReading, ruler: Ruler) -> RowReading:
    if METRIC not in reading.protocol.metrics:
        return reading
    if "log_probability" not in reading.extras:
        why = reading.reasons.get("acc_emo", NO_RULER)
        return replace(reading, reasons={**reading.reasons, METRIC: why})
    clips = reading.clips
    error = np.abs(ruler.levels(reading.extras["log_probability"], clips.emotion) - clips.level)
    error = np.where(clips.level > 0, error, np.nan)
    if np.isnan(error).all():
        return replace(reading, reasons={**reading.reasons, METRIC: NO_RULER})
    reasons = {name: why for name, why in reading.reasons.items() if name != METRIC}
    return replace(reading, values={**reading.values, METRIC: error}, reasons=reasons)
