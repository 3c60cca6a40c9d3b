"""Offsets: closed forms, signs of SyncNet's convention, what lies outside the clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from eatlab.metrics.sync import (
    best_offset,
    chance,
    in_sync,
    likeness,
    picture_windows,
    sound_windows,
)

SOUND = torch.nn.functional.normalize(torch.randn(60, 48, generator=torch.Generator().manual_seed(0)), dim=-1)


def golden_features(count: int, width: int, phase: float = 0.0) -> Tensor:
    """Unit rows of the metrics reference's feats(n, d, s): sin(.7 i √j + s) + .5 cos(.3 i j + s), from 1."""
    i, j = np.arange(1, count + 1)[:, None], np.arange(1, width + 1)
    rows = np.sin(0.7 * i * np.sqrt(j) + phase) + 0.5 * np.cos(0.3 * i * j + phase)
    return torch.nn.functional.normalize(torch.from_numpy(rows), dim=-1)


@pytest.mark.parametrize(("roll", "offset"), [(-3, 3), (2, -2), (0, 0), (-5, 5), (4, -4)])
def test_a_rolled_sound_is_found_with_the_sign_of_the_golden_cases(roll: int, offset: int) -> None:
    video = golden_features(60, 16)
    sound = video.roll(roll, 0)
    assert best_offset(likeness(video, torch.arange(60), sound)).item() == offset


def test_the_likeness_of_an_offset_is_the_mean_over_its_windows() -> None:
    starts = torch.tensor([20, 21, 22])
    found = likeness(SOUND[starts], starts, SOUND)
    expected = [(SOUND[starts] * SOUND[starts + o]).sum(-1).mean() for o in range(-15, 16)]
    assert torch.allclose(found, torch.stack(expected), atol=1e-6)
    assert found[15].item() == pytest.approx(1, abs=1e-6)


def test_windows_outside_the_clip_are_left_out_not_counted_as_zeros() -> None:
    starts = torch.tensor([0, 1])
    found = likeness(SOUND[starts], starts, SOUND)
    assert found[14].item() == pytest.approx(
        (SOUND[1] * SOUND[0]).sum().item(), abs=1e-6
    )  # one frame earlier: only window 1
    assert torch.isneginf(found[:14]).all()
    assert found[14:].isfinite().all()


def test_chance_is_three_of_the_offsets_to_choose_from() -> None:
    whole = likeness(SOUND[20:22], torch.tensor([20, 21]), SOUND)
    start = likeness(SOUND[:2], torch.tensor([0, 1]), SOUND)
    assert chance(torch.stack([whole, start])).tolist() == pytest.approx([3 / 31, 3 / 17])


def test_random_pictures_are_in_sync_as_often_as_chance() -> None:
    generator = torch.Generator().manual_seed(2)
    starts = torch.arange(25, 31)
    pictures = torch.nn.functional.normalize(torch.randn(2000, 6, 48, generator=generator), dim=-1)
    offsets = torch.stack([best_offset(likeness(p, starts, SOUND)) for p in pictures])
    share = in_sync(offsets, torch.full((2000,), 64)).mean().item()
    assert share == pytest.approx(3 / 31, abs=0.02)  # 3 standard errors of 2000 draws


def test_in_sync_means_within_one_frame_and_short_clips_cannot_tell() -> None:
    offsets = torch.tensor([-2, -1, 0, 1, 2, 0])
    found = in_sync(offsets, torch.tensor([40, 40, 40, 31, 40, 30]))
    assert found[:5].tolist() == [0, 1, 1, 1, 0]
    assert found[5].isnan()


def test_sound_windows_start_at_the_columns_of_the_definition() -> None:
    mel = np.arange(160, dtype=np.float32)[:, None] * np.ones((1, 80), np.float32)
    windows = sound_windows(mel, 50)
    assert windows.shape == (46, 16, 80)
    assert windows[:, 0, 0].tolist() == [int(80.0 * f / 25) for f in range(46)]
    assert windows[-1, -1, 0].item() == 159  # the last frame's sound is the clip's end


def test_picture_windows_are_five_neighbours() -> None:
    crops = torch.arange(20.0).view(2, 10, 1, 1).expand(2, 10, 3, 4)
    windows = picture_windows(crops)
    assert windows.shape == (2, 6, 5, 3, 4)
    assert windows[1, 2, :, 0, 0].tolist() == [12, 13, 14, 15, 16]
