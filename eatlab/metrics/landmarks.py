"""Landmark distances: ours, not centred, in pixels; EAT's, centred (LMD); its velocities (LVD); and NME.

Definitions: evaluation.md 6. EAT centres each side on its own mean, which makes it blind to a shifted head or
mouth. `face_distance` and `mouth_distance` leave the shift in, so they are stricter; the two kinds must never
share a column.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

NUM_LANDMARKS = 68
FACE = slice(0, NUM_LANDMARKS)
MOUTH = slice(48, 68)
OUTER_EYES = (36, 45)

Divisor = Literal["frames", "steps"]


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


def centred_distance(landmarks: Tensor, truth: Tensor, points: slice) -> Tensor:
    """Mean distance of the points of each frame, each side moved to the mean of its own `points`.

    landmarks, truth: (..., 68, 2) px; points: FACE or MOUTH → (...) px, float64.
    """
    return _distance(_centred(landmarks, points), _centred(truth, points))[..., points].mean(-1)


def lmd(landmarks: Tensor, truth: Tensor, points: slice, *, valid: Tensor | None = None) -> float:
    """EAT's LMD of a clip: the mean over valid frames of `centred_distance`, px (evaluation.md 6).

    landmarks, truth: (frames, 68, 2) px of the aligned crop, paired; points: FACE (F-LMD), MOUTH (M-LMD);
    valid: (frames,) bool, where both sides have a face; all if not given. NaN without a valid frame.
    """
    return _mean_of(centred_distance(landmarks, truth, points), valid)


def nme(
    landmarks: Tensor, truth: Tensor, points: slice, *, centred: bool = True, valid: Tensor | None = None
) -> float:
    """The `standard` distance of a clip in percent of the true outer-eye distance |p36 - p45| of each frame.

    As `lmd` (evaluation.md 6); centred=False leaves the shift in, which centring hides. NaN without a valid
    frame.
    """
    if centred:
        distance = centred_distance(landmarks, truth, points)
    else:
        distance = _distance(landmarks, truth)[..., points].mean(-1)
    return _mean_of(100 * distance / _eye_distance(truth), valid)


def jitter(landmarks: Tensor, truth: Tensor, *, valid: Tensor | None = None) -> float:
    """How far the accelerations of the points differ, percent of the true outer-eye distance a frame².

    As `nme`, of second differences over three neighbouring valid frames: what trembles though each frame is
    near enough. NaN without three such frames.
    """
    shown = torch.ones(len(landmarks), dtype=torch.bool) if valid is None else valid
    whole = shown[2:] & shown[1:-1] & shown[:-2]
    bent, true_bent = (x.double().diff(n=2, dim=0) for x in (landmarks, truth))
    distance = _distance(bent, true_bent).mean(-1) / _eye_distance(truth)[1:-1]
    return _mean_of(100 * distance, whole)


def lvd(
    landmarks: Tensor,
    truth: Tensor,
    points: slice,
    *,
    divisor: Divisor = "frames",
    valid: Tensor | None = None,
) -> float:
    """LVD of a clip, px a frame: how far the points' steps from one valid frame to the next differ.

    As `lmd`, not centred (evaluation.md 6). divisor: the sum over steps is divided by "frames", their number
    V (`eat`), or by "steps", V - 1 (`standard`). NaN without a valid frame, or without a step to divide by.
    """
    given = slice(None) if valid is None else valid
    steps, true_steps = landmarks[given].double().diff(dim=0), truth[given].double().diff(dim=0)
    total = _distance(steps, true_steps)[..., points].mean(-1).sum()
    num_frames = len(landmarks[given])
    # A tensor divides by zero without an exception: the clip then takes no part.
    return (total / (num_frames if divisor == "frames" else max(num_frames - 1, 0))).item()


def f_lvd_published_bug(landmarks: Tensor, truth: Tensor, *, valid: Tensor | None = None) -> float:
    """What the release's files call F-LVD: the mouth's sum over the number of face points.

    It is 20/68 of M-LVD and says nothing of the face; here to be recognised, never to be a metric
    (evaluation.md 6).
    """
    return lvd(landmarks, truth, MOUTH, valid=valid) * (MOUTH.stop - MOUTH.start) / NUM_LANDMARKS


def _eye_distance(landmarks: Tensor) -> Tensor:
    left, right = OUTER_EYES
    return torch.linalg.vector_norm(
        landmarks[..., left, :].double() - landmarks[..., right, :].double(), dim=-1
    )


def _centred(landmarks: Tensor, points: slice) -> Tensor:
    return landmarks.double() - landmarks[..., points, :].double().mean(-2, keepdim=True)


def _mean_of(values: Tensor, valid: Tensor | None) -> float:
    return (values if valid is None else values[valid]).mean().item()


def _distance(landmarks: Tensor, truth: Tensor) -> Tensor:
    if landmarks.shape[-2:] != (NUM_LANDMARKS, 2) or landmarks.shape != truth.shape:
        raise ValueError(
            f"landmarks have shapes {tuple(landmarks.shape)} and {tuple(truth.shape)}, not (..., 68, 2) twice"
        )
    return torch.linalg.vector_norm(landmarks.double() - truth.double(), dim=-1)
