"""Which frames meet which, and which of them count.

Definitions: evaluation.md 2, 2.3, 3, 5, 12. Each quirk of `eat` is the first setting of a switch,
`standard`'s the second.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from eatlab.errors import UserError

LONGEST_DIFFERENCE = 2
"""Frames by which the two sides may differ under `standard`; more is an error of that clip."""
FID_FRAMES_PER_CLIP = 5

Lengths = Literal["stretch", "cut"]
Undetected = Literal["drop", "fail"]


def frame_index(num_frames: int, num_wanted: int) -> Tensor:
    """floor(i·N / L) for i = 0…L - 1: which of N frames stand for L wanted ones (evaluation.md 2).

    → (L,) long, not falling, from 0. Whole numbers: no rounding moves a frame. Raises ValueError where there
    is no frame to choose from.
    """
    if num_wanted and num_frames < 1:
        raise ValueError(f"{num_wanted} frames are wanted of {num_frames}")
    return torch.arange(num_wanted) * num_frames // max(num_wanted, 1)


def frame_pairs(num_frames: int, num_truth: int, *, lengths: Lengths) -> tuple[Tensor, Tensor]:
    """Which generated frame meets which true one: two (L,) long, L the shorter length (evaluation.md 2, 2.3).

    lengths: "stretch" (`eat`) spreads the longer side evenly; "cut" (`standard`) cuts it at its end, and
    raises UserError where they differ by more than 2 frames.
    """
    shorter = min(num_frames, num_truth)
    if lengths == "stretch":
        return frame_index(num_frames, shorter), frame_index(num_truth, shorter)
    if abs(num_frames - num_truth) > LONGEST_DIFFERENCE:
        raise UserError(
            f"a clip of {num_frames} frames cannot be measured against a truth of {num_truth}",
            f"protocol standard allows a difference of {LONGEST_DIFFERENCE} frames",
            "generate as many frames as the truth has",
        )
    return torch.arange(shorter), torch.arange(shorter)


def fid_frames(num_pairs: int, *, per_clip: int | None = FID_FRAMES_PER_CLIP) -> Tensor:
    """Positions among a clip's pairs that FID looks at, the same on both sides (evaluation.md 5).

    per_clip: 5 (`eat`; fewer where the clip is shorter), or None for every frame (`standard`). → (n,) long.
    """
    return frame_index(num_pairs, num_pairs if per_clip is None else min(num_pairs, per_clip))


class Kept(NamedTuple):
    """The frames of one side that go on to pairing, and what is said of the others.

    frames: (n,) long; dropped: how many are missing without a trace; detect_rate: share of frames with a
    face.
    """

    frames: Tensor
    dropped: int
    detect_rate: float


def kept_frames(found: Tensor, *, undetected: Undetected) -> Kept:
    """What becomes of frames in which no face was found (evaluation.md 2, 6).

    found: (frames,) bool. undetected: "drop" (`eat`) leaves them out, so that every later frame moves up;
    "fail" (`standard`) keeps each at its place, a failure that `detect_rate` counts.
    """
    rate = found.double().mean().item()
    if undetected == "drop":
        return Kept(found.nonzero()[:, 0], int((~found).sum()), rate)
    return Kept(torch.arange(len(found)), 0, rate)
