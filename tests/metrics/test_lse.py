"""LSE-D, LSE-C and offset: laws, torch's distance as oracle, padding, clips that are too short."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from eatlab.errors import UserError
from eatlab.metrics.lse import (
    TOO_SHORT,
    clip_score,
    distances,
    num_windows,
    picture_windows,
    score,
    sound_windows,
)


def features(count: int, width: int = 6, *, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(offset=st.integers(-12, 12))
def test_sound_that_comes_earlier_has_a_positive_offset(offset: int) -> None:
    video = features(60)
    audio = torch.roll(video, -offset, 0)
    for padding in ("zeros", "valid"):
        assert score(distances(video, audio, padding=padding)).offset == offset


@pytest.mark.parametrize("width", [1, 16, 1024])
def test_identical_features_are_a_millionth_apart_in_every_component(width: int) -> None:
    video = features(40, width)
    found = score(distances(video, video, padding="zeros"))
    assert found.offset == 0
    assert found.lse_d == pytest.approx(1e-6 * math.sqrt(width), rel=1e-9)


def test_zeros_count_under_eat_and_only_pairs_in_the_clip_under_standard() -> None:
    video, audio = features(20), features(20, seed=1)
    padded = torch.nn.functional.pad(audio, (0, 0, 15, 15))
    zeros = [nn.functional.pairwise_distance(video, padded[j : j + 20]).mean() for j in range(31)]
    assert torch.allclose(distances(video, audio, padding="zeros"), torch.stack(zeros), atol=1e-12)
    valid = [
        torch.stack(
            [nn.functional.pairwise_distance(video[i], audio[i + s]) for i in range(20) if 0 <= i + s < 20]
        ).mean()
        for s in range(-15, 16)
    ]
    assert torch.allclose(distances(video, audio, padding="valid"), torch.stack(valid), atol=1e-12)


def test_the_two_paddings_agree_only_where_nothing_is_shifted() -> None:
    video, audio = features(40), features(40, seed=1)
    zeros, valid = (distances(video, audio, padding=padding) for padding in ("zeros", "valid"))
    assert torch.equal(zeros.eq(valid), torch.arange(-15, 16) == 0)


def test_lse_c_is_the_middle_distance_less_the_least() -> None:
    each = torch.arange(31.0)[torch.randperm(31, generator=torch.Generator().manual_seed(0))] + 2
    found = score(each)
    assert (found.lse_d, found.lse_c, found.offset) == (2, 15, 15 - int(each.argmin()))


def test_standard_needs_a_pair_at_every_shift() -> None:
    assert distances(features(16), features(16), padding="valid").isfinite().all()
    with pytest.raises(UserError, match="15 windows"):
        distances(features(15), features(15), padding="valid")
    assert distances(features(1), features(1), padding="zeros").isfinite().all()


def test_windows_are_one_fewer_than_fit_and_need_6_frames_of_both() -> None:
    assert num_windows(12, 640 * 12) == 7
    assert num_windows(12, 640 * 9 + 639) == num_windows(9, 640 * 12) == 4
    assert num_windows(6, 640 * 6) == 1
    with pytest.raises(UserError, match="5 frames"):
        num_windows(5, 640 * 9)


def test_a_window_has_five_frames_in_bgr_and_twenty_columns() -> None:
    frames = torch.arange(8 * 3, dtype=torch.uint8).view(8, 3, 1, 1)
    windows = picture_windows(frames, 3)
    assert windows.shape == (3, 3, 5, 1, 1)
    assert windows[1, :, 2, 0, 0].tolist() == frames[3].flatten().tolist()[::-1]
    sound = np.random.default_rng(0).integers(-900, 900, 640 * 8).astype(np.int16)
    heard = sound_windows(sound, 3)
    assert heard.shape == (3, 1, 13, 20)
    assert torch.equal(heard[1, 0, :, :16], heard[0, 0, :, 4:])


class Toy(nn.Module):
    """Both towers give the picture's and the sound's loudness."""

    def video(self, windows: Tensor) -> Tensor:
        return windows.float().mean((1, 3, 4))[:, :4] / 50

    def audio(self, windows: Tensor) -> Tensor:
        return windows[:, 0, :4, 0]


@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_a_clip_under_31_frames_is_too_short_in_either_protocol(padding) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (31, 3, 4, 4), generator=generator).to(torch.uint8)
    sound = np.random.default_rng(0).integers(-900, 900, 640 * 31).astype(np.int16)
    assert clip_score(Toy(), frames, sound, padding=padding).is_scored
    assert clip_score(Toy(), frames[:30], sound, padding=padding) is TOO_SHORT
    assert clip_score(Toy(), frames, sound[: 640 * 31 - 1], padding=padding) is TOO_SHORT
    assert not TOO_SHORT.is_scored
