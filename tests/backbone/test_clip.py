"""A clip's frames and windows against each window put together by hand and encoded whole."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eatlab.backbone import clip
from eatlab.backbone.a2et import A2ET
from eatlab.backbone.clip import Driving, Frames, Padding, Speech, silence, zeros
from eatlab.backbone.sites import FROZEN
from eatlab.errors import UserError
from tests.backbone.toys import lively_head

FRAMES = 13


@cache
def a2et() -> A2ET:
    return lively_head().a2et


def said(n: int) -> Speech:
    g = torch.Generator().manual_seed(0)
    return Speech(torch.randn(n, 80, generator=g), torch.randn(n, 16, 29, generator=g))


def driven(n: int, pictures: int | None = None) -> Driving:
    """n poses that can be told apart, and pictures."""
    pose = torch.arange(n)[:, None] + torch.arange(7) / 10
    g = torch.Generator().manual_seed(1)
    return Driving(pose, 255 * torch.rand(n if pictures is None else pictures, 64, 64, generator=g))


def frames_of(speech: Speech, driving: Driving, padding: Padding | None = None) -> Frames:
    return Frames.of(a2et(), speech, driving, padding or silence(), FROZEN)


def by_hand(frame: int, known: int, speech: Speech, pictures: Tensor, padding: Padding) -> list[Tensor]:
    """mel (11, 80), features (11, 16, 29), pictures (11, 64, 64) of the window around a frame."""
    mel, features, seen = [], [], []
    for at in range(frame - 5, frame + 6):
        inside = 0 <= at < known
        mel.append(speech.mel[at] if inside else padding.mel)
        features.append(speech.features[at] if inside else padding.features)
        seen.append(pictures[min(max(at, 0), known - 1)])
    return [torch.stack(rows) for rows in (mel, features, seen)]


@settings(max_examples=25)
@given(st.integers(1, FRAMES), st.integers(-1, 2), st.integers(0, 2), st.booleans())
def test_windows_are_those_put_together_by_hand_and_encoded_whole(known, longer, unheard, silent):
    speech, num_poses = said(known), max(1, known + longer)
    driving = driven(num_poses, known + unheard)
    padding = silence() if silent else zeros(speech)
    frames = frames_of(speech, driving, padding)
    windows = frames.windows(torch.arange(num_poses))
    assert torch.equal(windows["pose"][0], driving.pose)
    for frame in {0, num_poses // 2, num_poses - 1}:
        mel, features, pictures = by_hand(frame, known, speech, driving.pictures, padding)
        assert torch.equal(windows["mel"][0, frame], mel)
        whole = a2et().frame_tokens(features[None], pictures[None])[0]
        torch.testing.assert_close(windows["tokens"][0, frame], whole, atol=1e-4, rtol=1e-4)


def test_padding_is_of_zeros_or_of_silence():
    assert not any(pad.any() for pad in zeros(said(3)))
    assert [tuple(pad.shape) for pad in silence()] == [(80,), (16, 29)]
    assert all(pad.any() for pad in silence())


@pytest.mark.parametrize(("poses", "drawn"), [(5, 5), (6, 6), (7, 7), (8, 8), (9, 6), (30, 6)])
def test_a_driving_video_is_padded_for_two_frames_and_a_longer_one_is_cut(poses, drawn):
    assert len(frames_of(said(6), driven(poses, 6)).pose) == drawn


def test_the_shortest_of_mel_features_and_pictures_counts():
    mel, features = said(7)
    for speech, driving in (
        (Speech(mel[:4], features), driven(7)),
        (Speech(mel, features[:4]), driven(7)),
        (Speech(mel, features), driven(7, pictures=4)),
    ):
        frames = frames_of(speech, driving)
        assert len(frames.mel) == len(frames.tokens) == 4 + 2
        assert torch.equal(frames.pose, driving.pose[:4])


def test_every_frame_is_encoded_once_some_at_a_time(monkeypatch):
    sizes, encode = [], a2et().speech.encode
    monkeypatch.setattr(clip, "ENCODED_AT_ONCE", 4)
    monkeypatch.setattr(a2et().speech, "encode", lambda *x: sizes.append(x[0].shape[1]) or encode(*x))
    few = frames_of(said(FRAMES), driven(FRAMES)).tokens
    assert sizes == [4, 4, 4, 3]  # 13 frames, one of padding before, one behind
    monkeypatch.setattr(clip, "ENCODED_AT_ONCE", 64)
    torch.testing.assert_close(frames_of(said(FRAMES), driven(FRAMES)).tokens, few, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("heard", "poses"), [(0, 3), (3, 0)])
def test_a_clip_without_a_frame_is_refused_in_one_line(heard, poses):
    message = f"^a clip of {heard} mel columns, {heard} speech features, .*{poses} poses; none of them may"
    with pytest.raises(UserError, match=message):
        frames_of(said(heard), driven(poses))


def test_an_empty_clip_padded_with_zeros_is_refused_in_one_line_too():
    with pytest.raises(UserError, match="none of them may be empty"):
        frames_of(said(0), driven(3), zeros(said(0)))


@pytest.mark.parametrize("pictures", [None, torch.zeros(0, 64, 64)], ids=["none", "empty"])
def test_a_clip_without_pose_pictures_is_told_so_where_they_are_read(pictures):
    with pytest.raises(UserError, match="pictures"):
        frames_of(said(3), Driving(driven(3).pose, pictures))
