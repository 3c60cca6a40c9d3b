"""Mouth crops follow the face; towers answer with unit vectors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eatlab.experts import sync
from eatlab.experts.sync import FRAMES, SIDE, mouth_crops

SIZE = 96


def face() -> Tensor:
    """(68, 2) landmarks, only those that a crop needs."""
    marks = torch.zeros(68, 2)
    marks[36:42], marks[42:48] = torch.tensor([38.0, 40.0]), torch.tensor([58.0, 40.0])
    marks[27], marks[33] = torch.tensor([48.0, 40.0]), torch.tensor([48.0, 54.0])
    return marks


def picture(places: Tensor) -> Tensor:
    """(3, h, w) colours of a smooth scene at places (h, w, 2) in pixels."""
    x, y = places.unbind(-1)
    return torch.stack([(x / 9).sin(), (y / 7).cos(), ((x + y) / 11).sin()])


def pixels() -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return torch.stack([x, y], -1).float()


@given(st.floats(-25, 25), st.floats(0.75, 1.0), st.floats(-4, 4), st.floats(-4, 4))
@settings(deadline=None, max_examples=20)
def test_a_crop_follows_the_turn_the_size_and_the_place_of_the_face(degrees, size, right, down):
    angle, middle = math.radians(degrees), torch.tensor([48.0, 56.0])
    turn = size * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shift = torch.tensor([48 + right, 50 + down])
    moved_marks = (face() - middle) @ turn.T + shift
    moved = picture((pixels() - shift) @ torch.linalg.inv(turn).T + middle)
    crop, still = (
        mouth_crops(x[None], m[None]) for x, m in ((moved, moved_marks), (picture(pixels()), face()))
    )
    torch.testing.assert_close(crop, still, atol=0.03, rtol=0)


def test_a_crop_is_upright_and_hangs_below_the_nose():
    landmarks = face()
    rising = (pixels()[..., 1] / 48 - 1).expand(1, 3, -1, -1)
    crop = mouth_crops(rising, landmarks[None])[0]
    assert crop.shape == (SIDE, SIDE)
    assert (crop.diff(dim=0) > 0).all()
    torch.testing.assert_close(crop, crop[:, :1].expand(-1, SIDE), atol=1e-5, rtol=0)
    half = 1.25 * 14
    centre = crop[SIDE // 2 - 1 : SIDE // 2 + 1].mean() * 48 + 48
    assert centre == pytest.approx(54 + 0.92 * half, abs=0.02)


def test_opening_the_mouth_does_not_change_the_crop():
    image, open_ = torch.rand(1, 3, SIZE, SIZE), face()
    open_[48:] += 10
    assert torch.equal(mouth_crops(image, open_[None]), mouth_crops(image, face()[None]))


def test_a_face_without_a_nose_gives_a_finite_crop():
    assert mouth_crops(torch.rand(1, 3, SIZE, SIZE), torch.zeros(1, 68, 2)).isfinite().all()


@pytest.mark.parametrize("build", [sync.judge, sync.teacher])
def test_towers_answer_with_unit_vectors_of_one_length(build):
    net = build().eval()
    seen, heard = net.video(torch.rand(3, FRAMES, SIDE, SIDE)), net.audio(torch.randn(2, 16, 80))
    assert seen.shape[1] == heard.shape[1]
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(heard.norm(dim=1), torch.ones(2))
