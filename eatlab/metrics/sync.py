"""Lip sync of short windows: does the picture match the sound best where it stands, among 31 offsets?

SyncNet's test (Chung & Zisserman 2016): a judge embeds 5 frames of mouth crops and 0.2 s of mel into one
space. For each offset the likeness is averaged over the clip's windows; windows outside the clip are left
out, not counted as zeros (evaluation.md 7, `standard`). In sync: the best offset lies within one frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from eatlab.data.audio_features import SYNC_COLUMNS, sync_start

NUM_FRAMES = 5  # of a picture window; its sound window is as long
MAX_OFFSET = 15
TOLERANCE = 1
SHORTEST_CLIP = 31  # frames; a shorter clip has too few offsets to choose from


def sound_windows(mel: np.ndarray, num_frames: int) -> Tensor:
    """The mel window of each start frame 0…num_frames - 5.

    mel: (columns, 80) of the clip → (num_frames - 4, 16, 80).
    """
    columns = sync_start(np.arange(num_frames - NUM_FRAMES + 1))[:, None] + np.arange(SYNC_COLUMNS)
    return torch.from_numpy(mel[columns]).float()


def picture_windows(crops: Tensor) -> Tensor:
    """Five neighbouring crops each.

    crops: (clips, frames, height, width) → (clips, frames - 4, 5, height, width).
    """
    return crops.unfold(1, NUM_FRAMES, 1).movedim(-1, 2)


def likeness(pictures: Tensor, starts: Tensor, sound: Tensor) -> Tensor:
    """Mean likeness at each offset of the sound against the picture; -inf where an offset has no window.

    pictures: (windows, d) unit; starts: (windows,) first frames; sound: (start frames of the clip, d) unit.
    → (31,) for sound taken 15 frames earlier … 15 frames later than the picture.
    """
    wanted = starts[:, None] + torch.arange(-MAX_OFFSET, MAX_OFFSET + 1)
    inside = (wanted >= 0) & (wanted < len(sound))
    scores = (pictures[:, None] * sound[wanted.clamp(0, len(sound) - 1)]).sum(-1)
    mean = torch.where(inside, scores, 0).sum(0) / inside.sum(0).clamp(min=1)
    return torch.where(inside.any(0), mean, -torch.inf)


def best_offset(likenesses: Tensor) -> Tensor:
    """Offset of the best likeness; positive: the matching sound is earlier than the picture (SyncNet's sign).

    likenesses: (..., 31) → (...) long.
    """
    return MAX_OFFSET - likenesses.argmax(-1)


def chance(likenesses: Tensor) -> Tensor:
    """Share of the offsets to choose from that count as in sync: 3/31 where all lie in the clip.

    (..., 31) → (...).
    """
    choices = likenesses.isfinite()
    near = choices[..., MAX_OFFSET - TOLERANCE : MAX_OFFSET + TOLERANCE + 1]
    return near.sum(-1) / choices.sum(-1).clamp(min=1)


def in_sync(offsets: Tensor, num_frames: Tensor) -> Tensor:
    """1 where a clip is in sync, 0 where not, NaN where it is too short to tell.

    offsets, num_frames: (clips,) → float64.
    """
    hit = (offsets.abs() <= TOLERANCE).double()
    return torch.where(num_frames >= SHORTEST_CLIP, hit, torch.nan)


def embed(network: Callable[[Tensor], Tensor], windows: Tensor, *, batch: int = 512) -> Tensor:
    """One tower of the judge over many windows, in batches. windows: (n, ...) → (n, d)."""
    return torch.cat([network(part) for part in windows.split(batch)])
