"""What a shard holds, in memory: clips, and the tables of frames that training and measurement read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eatlab.emotions import EMOTIONS

SAMPLE_RATE_HZ = 16_000
FRAME_RATE_HZ = 25
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FRAME_RATE_HZ
TRUTH = {"pose": (7,), "landmarks": (68, 2), "aus": (17, 2), "artic": (5,), "mask": None}
"""Exact truth of a frame: pose (yaw, pitch, roll in degrees; t x, y, z; s), iBUG landmarks in pixels (centres at
integers), facial action units, articulators, face mask (size, size)."""


@dataclass(frozen=True)
class Clip:
    """One sample. `frames` (n, size, size, 3) uint8 RGB are the frames `at` (n,) of a clip of `num_frames` frames.

    audio: (640 num_frames,) float32, 16 kHz, -1..1.  truth: rows for `at`, see TRUTH; empty for real clips.
    twin_*: frames of the neutral twin (same person, words, timing, pose), or None.
    meta: what else its json says: role ("clip" or "portrait"), domain ("puppets" or "real"), crop, source, licence.
    """

    key: str
    identity: str
    split: str
    emotion: str | None
    level: int | None
    intensity: float
    num_frames: int
    at: np.ndarray
    frames: np.ndarray
    audio: np.ndarray
    truth: dict[str, np.ndarray] = field(default_factory=dict)
    twin_frames: np.ndarray | None = None
    twin_truth: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def is_portrait(self) -> bool:
        """Whether the clip is here only for its picture."""
        return self.meta.get("role") == "portrait"


@dataclass(frozen=True)
class FrameTable:
    """Clips stacked: N frames, M clips.

    image (N, 3, size, size) uint8; clip (N,) the row of each frame's clip; at (N,) its place in the clip;
    truth: name → (N, ...) float32, mask bool; emotion (M,) long, -1 unknown; intensity (M,); level (M,), 0 none.
    """

    image: Tensor
    clip: Tensor
    at: Tensor
    truth: dict[str, Tensor]
    key: list[str]
    identity: list[str]
    emotion: Tensor
    intensity: Tensor
    level: Tensor
    audio: list[np.ndarray]

    def rows_of(self, clip: int) -> Tensor:
        """(n,) frame rows of one clip, in time."""
        return torch.nonzero(self.clip == clip)[:, 0]


def unit(image: Tensor) -> Tensor:
    """uint8 0..255 → float -1..1, any shape."""
    return image.float() / 127.5 - 1


def stack(clips: Sequence[Clip], *, twins: bool = False) -> FrameTable:
    """A table of clips (of their neutral twins if asked, which are neutral frames of the same people)."""
    frames = [c.twin_frames if twins else c.frames for c in clips]
    truths = [c.twin_truth if twins else c.truth for c in clips]
    counts = torch.tensor([len(f) for f in frames])  # type: ignore[arg-type]
    common = set.intersection(*[set(t) for t in truths]) if truths else set()
    truth = {k: torch.from_numpy(np.concatenate([t[k] for t in truths])) for k in sorted(common)}
    label = [EMOTIONS.index("neutral" if twins else c.emotion) if c.emotion or twins else -1 for c in clips]  # type: ignore[arg-type]
    return FrameTable(
        image=torch.from_numpy(np.concatenate(frames)).permute(0, 3, 1, 2).contiguous(),  # type: ignore[arg-type]
        clip=torch.arange(len(clips)).repeat_interleave(counts),
        at=torch.from_numpy(np.concatenate([c.at[: len(f)] for c, f in zip(clips, frames, strict=True)])),  # type: ignore[arg-type]
        truth={k: v if v.dtype == torch.bool else v.float() for k, v in truth.items()},
        key=[c.key for c in clips],
        identity=[c.identity for c in clips],
        emotion=torch.tensor(label),
        intensity=torch.tensor([0.0 if twins else c.intensity for c in clips]),
        level=torch.tensor([0 if twins else c.level or 0 for c in clips]),
        audio=[c.audio for c in clips],
    )


def join(tables: Sequence[FrameTable]) -> FrameTable:
    """Tables one after the other; truth that all of them have."""
    start = np.cumsum([0, *[len(t.key) for t in tables]])
    common = set.intersection(*[set(t.truth) for t in tables])
    return FrameTable(
        image=torch.cat([t.image for t in tables]),
        clip=torch.cat([t.clip + int(s) for t, s in zip(tables, start, strict=False)]),
        at=torch.cat([t.at for t in tables]),
        truth={k: torch.cat([t.truth[k] for t in tables]) for k in sorted(common)},
        key=[k for t in tables for k in t.key],
        identity=[i for t in tables for i in t.identity],
        emotion=torch.cat([t.emotion for t in tables]),
        intensity=torch.cat([t.intensity for t in tables]),
        level=torch.cat([t.level for t in tables]),
        audio=[a for t in tables for a in t.audio],
    )
