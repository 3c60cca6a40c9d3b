"""The sync loss is low for the sound that belongs to the mouths (Eq. 7)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from eatlab.experts.sync import FRAMES
from eatlab.objectives.sync import SyncLoss


class ToyTeacher:
    """Bright mouths belong to loud sound: both are an angle on a circle."""

    @staticmethod
    def direction(angle: Tensor) -> Tensor:
        return torch.stack([angle.cos(), angle.sin()], -1)

    def video(self, crops: Tensor) -> Tensor:
        assert crops.shape[1:] == (FRAMES, 40, 40)
        return self.direction(crops.mean((1, 2, 3)) * torch.pi)

    def audio(self, mel: Tensor) -> Tensor:
        return self.direction(mel.mean((1, 2)) * torch.pi)


def scene(brightness: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Frames (clips·5, 3, 96, 96) of one brightness a clip, landmarks."""
    each = torch.tensor(brightness).repeat_interleave(FRAMES)
    marks = torch.zeros(68, 2)
    marks[36:42], marks[42:48] = torch.tensor([38.0, 40.0]), torch.tensor([58.0, 40.0])
    marks[27], marks[33] = torch.tensor([48.0, 40.0]), torch.tensor([48.0, 54.0])
    return each[:, None, None, None].expand(-1, 3, 96, 96), marks.expand(len(each), -1, -1)


def sound(loudness: tuple[float, ...]) -> Tensor:
    return torch.tensor(loudness)[:, None, None].expand(-1, 16, 80)


def test_the_right_sound_costs_nothing_and_the_opposite_most():
    loss, (frames, marks) = SyncLoss(ToyTeacher()), scene((0.0, 0.5))
    right, swapped, opposite = (
        loss(frames, marks, sound(heard)) for heard in ((0.0, 0.5), (0.5, 0.0), (1.0, -0.5))
    )
    assert right == pytest.approx(0, abs=1e-5)
    assert swapped == pytest.approx(math.log(2), abs=1e-4)
    assert opposite == pytest.approx(-math.log(1e-4), rel=1e-3)


def test_gradients_draw_the_mouths_towards_the_sound():
    frames, marks = scene((0.3,))
    frames = frames.clone().requires_grad_()
    SyncLoss(ToyTeacher())(frames, marks, sound((0.5,))).backward()
    assert frames.grad.sum() < 0  # brighter is better
