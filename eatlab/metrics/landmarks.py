"""Landmark distances in pixels, not centred: where the face and the mouth stand, and how they are shaped.

Differs: EAT centres each side on its own mean (evaluation.md, section 6), which makes it blind to a shifted
head or mouth. Ours leaves the shift in, so it is the stricter number, and the two must never share a column.
"""

from __future__ import annotations

import torch
from torch import Tensor

NUM_LANDMARKS = 68
MOUTH = slice(48, 68)


def face_distance(landmarks: Tensor, truth: Tensor) -> Tensor:
    """F-LMD: mean Euclidean distance over all 68 points.

    landmarks, truth: (..., 68, 2) px → (...) px, float64.
    """
    return _distance(landmarks, truth).mean(-1)


def mouth_distance(landmarks: Tensor, truth: Tensor) -> Tensor:
    """M-LMD: mean Euclidean distance over points 48…67.

    landmarks, truth: (..., 68, 2) px → (...) px, float64.
    """
    return _distance(landmarks, truth)[..., MOUTH].mean(-1)


def _distance(landmarks: Tensor, truth: Tensor) -> Tensor:
    if landmarks.shape[-2:] != (NUM_LANDMARKS, 2) or landmarks.shape != truth.shape:
        raise ValueError(
            f"landmarks have shapes {tuple(landmarks.shape)} and {tuple(truth.shape)}, not (..., 68, 2) twice"
        )
    return torch.linalg.vector_norm(landmarks.double() - truth.double(), dim=-1)
