"""What a shard holds, in memory: clips, and the tables of frames that training and measurement read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eatlab.emotions import EMOTIONS

if TYPE_CHECKING:
    from torch import (
        Tensor,
    )  # imported where tables are made: whoever only draws or reads clips starts faster

SAMPLE_RATE_HZ = 16_000
FRAME_RATE_HZ = 25
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FRAME_RATE_HZ
TRUTH = {"pose": (7,), "landmarks": (68, 2), "aus": (17, 2), "artic": (5,), "mask": None}
"""Exact truth of a frame: pose (yaw, pitch, roll in degrees; t x, y, z; s), iBUG landmarks in pixels (centres
at integers), facial action units, articulators, face mask (size, size)."""


@dataclass(frozen=True)
class Clip:
    """One sample: `frames` (n, size, size, 3) uint8 RGB are the frames `at` (n,) of `num_frames` in the clip.

    audio: (640 num_frames,) float32, 16 kHz, -1..1.  truth: rows for `at`, see TRUTH; empty for real clips.
    twin_*: frames of the neutral twin (same person, words, timing, pose), or None.
    meta: the rest of its json: role ("clip", "portrait"), domain ("puppets", "real"), crop, source, licence.
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
    truth: name → (N, ...) float32, mask bool; emotion (M,) long, -1 unknown; intensity (M,); level (M,) long,
    0 for none.
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
        return (self.clip == clip).nonzero()[:, 0]

    def middle(self) -> Tensor:
        """(clips,) the row of each clip's middle frame among those that are drawn."""
        import torch

        rows = (self.rows_of(clip) for clip in range(len(self.key)))
        return torch.stack([each[len(each) // 2] for each in rows])


def unit(image: Tensor) -> Tensor:
    """uint8 0..255 → float -1..1, any shape."""
    return image.float() / 127.5 - 1


def stack(clips: Sequence[Clip], *, twins: bool = False) -> FrameTable:
    """A table of clips (of their neutral twins if asked, which are neutral frames of the same people).

    Truth is kept that all of them have.  Raises ValueError without clips, or where a twin is missing.
    """
    import torch

    shown = [_as_shown(clip, twins) for clip in clips]
    if not shown:
        raise ValueError("a table needs at least one clip")
    counts = torch.tensor([len(frames) for frames, _ in shown])
    common = set.intersection(*[set(truth) for _, truth in shown])
    truth = {name: torch.from_numpy(np.concatenate([t[name] for _, t in shown])) for name in sorted(common)}
    images = torch.from_numpy(np.concatenate([frames for frames, _ in shown]))
    return FrameTable(
        image=images.permute(0, 3, 1, 2).contiguous(),
        clip=torch.arange(len(clips)).repeat_interleave(counts),
        at=torch.from_numpy(
            np.concatenate([c.at[: len(frames)] for c, (frames, _) in zip(clips, shown, strict=True)])
        ),
        truth={k: v if v.dtype == torch.bool else v.float() for k, v in truth.items()},
        key=[clip.key for clip in clips],
        identity=[clip.identity for clip in clips],
        emotion=torch.tensor([_label("neutral" if twins else clip.emotion) for clip in clips]),
        intensity=torch.tensor([0.0 if twins else clip.intensity for clip in clips]),
        level=torch.tensor([0 if twins else clip.level or 0 for clip in clips]),
        audio=[clip.audio for clip in clips],
    )


def _as_shown(clip: Clip, twins: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frames and truth of a clip, or of its twin."""
    if not twins:
        return clip.frames, clip.truth
    if clip.twin_frames is None:
        raise ValueError(f"clip {clip.key} has no twin")
    return clip.twin_frames, clip.twin_truth


def _label(emotion: str | None) -> int:
    """Place in EMOTIONS, -1 for none."""
    return -1 if emotion is None else EMOTIONS.index(emotion)


def join(tables: Sequence[FrameTable]) -> FrameTable:
    """Tables one after the other; truth that all of them have. Raises ValueError without tables."""
    import torch

    if not tables:
        raise ValueError("there are no tables to join")
    start = np.cumsum([0, *[len(t.key) for t in tables]])
    common = set.intersection(*[set(t.truth) for t in tables])
    return FrameTable(
        image=torch.cat([t.image for t in tables]),
        clip=torch.cat([t.clip + int(s) for t, s in zip(tables, start[:-1], strict=True)]),
        at=torch.cat([t.at for t in tables]),
        truth={k: torch.cat([t.truth[k] for t in tables]) for k in sorted(common)},
        key=[k for t in tables for k in t.key],
        identity=[i for t in tables for i in t.identity],
        emotion=torch.cat([t.emotion for t in tables]),
        intensity=torch.cat([t.intensity for t in tables]),
        level=torch.cat([t.level for t in tables]),
        audio=[a for t in tables for a in t.audio],
    )
