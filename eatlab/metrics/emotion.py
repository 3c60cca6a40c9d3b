"""Emotion accuracy of clips: what the judge says of a clip, and the confusion of that with its label."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from eatlab.emotions import EMOTIONS

NUM_EMOTIONS = len(EMOTIONS)
CHANCE = 1 / NUM_EMOTIONS


def clip_log_probability(frames: Tensor) -> Tensor:
    """Mean log-probability of a clip's frames, so each frame has an equal say.

    frames: (clips, frames, 8) → (clips, 8).
    """
    return frames.double().mean(1)


def said(log_probability: np.ndarray) -> np.ndarray:
    """The emotion the judge says of each clip: argmax, the first of equals.

    log_probability: (clips, 8) → (clips,).
    """
    return log_probability.argmax(1)


def hits(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 where a clip is judged as its label, 0 where not, NaN where it has none (-1). → (clips,) float64."""
    return np.where(labels >= 0, (said == labels).astype(np.float64), np.nan)


def confusion(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(8, 8) counts: row = label, column = what the judge says; clips without either (-1) are left out."""
    counted = (labels >= 0) & (said >= 0)
    cells = NUM_EMOTIONS * labels[counted] + said[counted]
    return np.bincount(cells, minlength=NUM_EMOTIONS**2).reshape(NUM_EMOTIONS, NUM_EMOTIONS)


def largest_class_share(labels: np.ndarray) -> float:
    """What a judge that always says the most frequent label would reach; NaN without labels."""
    counts = np.bincount(labels[labels >= 0], minlength=NUM_EMOTIONS)
    return float(counts.max() / counts.sum()) if counts.sum() else float("nan")
