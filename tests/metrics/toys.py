"""A tiny world whose frames say plainly what a judge should see in them, and judges that read exactly that.

The first pixel of a frame holds 20 times the emotion, 10 times the face's shift, 4 times its number.
A toy sound is constant over each frame and holds the frame's number / 100.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eatlab.data.samples import Clip, FrameTable, stack
from eatlab.emotions import EMOTIONS, NEUTRAL
from eatlab.metrics import truth as truth_module
from eatlab.metrics.protocols import PUPPETS, Protocol
from eatlab.metrics.truth import TruthReading, read_truth

NUM_FRAMES, FIRST, LENGTH = 44, 16, 10
FIGURE = {"emotion": "accuracy", "landmarks": "error_px", "sync": "hit"}
_generator = torch.Generator().manual_seed(0)
MEAN_FACE = torch.rand(68, 2, generator=_generator) * 60 + 18
CODES = torch.nn.functional.normalize(torch.randn(64, 64, generator=_generator), dim=-1)
"""A direction for each frame number; picture and sound of the same frame share it."""


class ToyJudges:
    """Read the first pixel."""

    def __init__(self) -> None:
        self.sync = SimpleNamespace(video=self.video, audio=self.audio)
        self.cards: dict[str, dict[str, Any]] = {
            name: {"sha256": name * 2, "held_out": {figure: 0.9}, "gate": {figure: [">=", 0.5]}}
            for name, figure in FIGURE.items()
        }

    @staticmethod
    def pixel(images: Tensor) -> Tensor:
        return ((images[:, :, 0, 0] + 1) * 127.5).round()

    def emotion(self, images: Tensor) -> Tensor:
        said = (self.pixel(images)[:, 0] / 20).long().clamp(max=7)
        return (8 * torch.nn.functional.one_hot(said, 8).float()).log_softmax(1)

    def landmarks(self, images: Tensor) -> Tensor:
        return MEAN_FACE + torch.stack([self.pixel(images)[:, 1] / 10, torch.zeros(len(images))], -1)[:, None]

    def mouth_crops(self, images: Tensor, landmarks: Tensor) -> Tensor:
        return (self.pixel(images)[:, 2] / 4).view(-1, 1, 1).expand(-1, 40, 40)

    def video(self, crops: Tensor) -> Tensor:
        return CODES[crops[:, 0, 0, 0].long()]

    def audio(self, windows: Tensor) -> Tensor:
        return CODES[
            (100 * windows[:, -1, 0]).round().long() - 4
        ]  # the last column lies in the window's fifth frame


def toy_sound(num_frames: int = NUM_FRAMES, *, later: int = 0) -> np.ndarray:
    """(640·frames,) each frame's number / 100, the sound delayed by `later` frames."""
    return np.repeat(np.roll(np.arange(num_frames), later), 640).astype(np.float32) / 100


def toy_mel(audio: np.ndarray) -> np.ndarray:
    """(columns, 80), 80 columns a second: what sounds at the column."""
    return np.repeat(audio[::200, None], 80, 1)


def toy_clip(key: str, person: str, emotion: str, level: int, *, exact: bool = True, later: int = 0) -> Clip:
    generator = np.random.default_rng(list(key.encode()))
    frames = generator.integers(0, 256, (LENGTH, 96, 96, 3), dtype=np.uint8)
    at = np.arange(FIRST, FIRST + LENGTH)
    frames[:, 0, 0] = np.stack([np.full(LENGTH, 20 * EMOTIONS.index(emotion)), np.zeros(LENGTH), 4 * at], -1)
    marks = np.repeat(MEAN_FACE.numpy()[None], LENGTH, 0)
    truth = {"landmarks": marks} if exact else {}
    return Clip(
        key, person, "test", emotion, level, level / 3, NUM_FRAMES, at, frames, toy_sound(later=later), truth
    )


def toy_clips(**changes: Any) -> list[Clip]:
    """Two persons × (neutral, and happy and sad at three levels): 14 clips."""
    acted = [("neutral", 1), *[(emotion, level) for emotion in ("happy", "sad") for level in (1, 2, 3)]]
    return [toy_clip(f"{p}_{e}_{level}", p, e, level, **changes) for p in ("P1", "P2") for e, level in acted]


def toy_truth(
    clips: list[Clip] | None = None, judges: ToyJudges | None = None, protocol: Protocol = PUPPETS
) -> tuple[TruthReading, ToyJudges, FrameTable]:
    """The truth of toy clips, read by toy judges (with toy mel, see `use_toy_mel`)."""
    table, judges = stack(toy_clips() if clips is None else clips), judges or ToyJudges()
    return read_truth(table, judges, protocol, data="toy data"), judges, table  # type: ignore[arg-type]


def use_toy_mel(monkeypatch: Any) -> None:
    """The mel of toy sounds in place of the real one."""
    monkeypatch.setattr(truth_module, "sync_mel", toy_mel)


def painted(
    table: FrameTable, *, emotion: Tensor | None = None, shift_px: float = 0, frame: int | None = None
) -> Tensor:
    """The truth's frames with other facts in the first pixel. emotion: (M,) what each clip shows."""
    frames = table.image.clone()
    if emotion is not None:
        frames[:, 0, 0, 0] = (20 * emotion).repeat_interleave(LENGTH).to(torch.uint8)
    frames[:, 1, 0, 0] = round(10 * shift_px)
    if frame is not None:
        frames[:, 2, 0, 0] = 4 * frame
    return frames


def is_neutral(table: FrameTable) -> Tensor:
    """(M,) bool."""
    return table.emotion == NEUTRAL
