"""Which frames meet, and how they are averaged: properties, and both settings of every switch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eatlab.errors import UserError
from eatlab.metrics.pairing import fid_frames, frame_index, frame_pairs, kept_frames

counts = st.integers(1, 300)


@given(num_frames=counts, num_wanted=counts)
def test_the_index_is_floor_and_never_falls_or_leaves_the_clip(num_frames: int, num_wanted: int) -> None:
    index = frame_index(num_frames, num_wanted).tolist()
    assert index == [i * num_frames // num_wanted for i in range(num_wanted)]
    assert index == sorted(index)
    assert index[0] == 0
    assert index[-1] < num_frames


@given(num_frames=counts, num_truth=counts)
def test_stretching_pairs_as_many_frames_as_the_shorter_side_has_each_once(
    num_frames: int, num_truth: int
) -> None:
    first, second = frame_pairs(num_frames, num_truth, lengths="stretch")
    shorter = min(num_frames, num_truth)
    assert len(first) == len(second) == shorter
    assert len(first.unique()) == len(second.unique()) == shorter
    mirrored = frame_pairs(num_truth, num_frames, lengths="stretch")
    assert torch.equal(mirrored[0], second)
    assert torch.equal(mirrored[1], first)


@given(num_frames=counts)
def test_equal_lengths_pair_frame_by_frame_in_either_way(num_frames: int) -> None:
    for lengths in ("stretch", "cut"):
        for side in frame_pairs(num_frames, num_frames, lengths=lengths):
            assert torch.equal(side, torch.arange(num_frames))


def test_eat_stretches_time_and_standard_cuts_at_the_end() -> None:
    assert [side.tolist() for side in frame_pairs(6, 4, lengths="stretch")] == [[0, 1, 3, 4], [0, 1, 2, 3]]
    assert [side.tolist() for side in frame_pairs(6, 4, lengths="cut")] == [[0, 1, 2, 3]] * 2


def test_standard_refuses_lengths_that_differ_by_more_than_2_frames() -> None:
    frame_pairs(10, 12, lengths="cut")
    for lengths in ((10, 13), (13, 10)):
        with pytest.raises(UserError, match=r"of 1[03] frames"):
            frame_pairs(*lengths, lengths="cut")
        frame_pairs(*lengths, lengths="stretch")


def test_fid_looks_at_five_frames_of_a_clip_under_eat_and_at_all_under_standard() -> None:
    assert fid_frames(12).tolist() == [0, 2, 4, 7, 9]
    assert fid_frames(3).tolist() == [0, 1, 2]
    assert fid_frames(12, per_clip=None).tolist() == list(range(12))


def test_a_frame_without_a_face_is_dropped_by_eat_and_counted_by_standard() -> None:
    found = torch.tensor([True, False, True, True])
    dropped = kept_frames(found, undetected="drop")
    assert (dropped.frames.tolist(), dropped.dropped, dropped.detect_rate) == ([0, 2, 3], 1, 0.75)
    counted = kept_frames(found, undetected="fail")
    assert (counted.frames.tolist(), counted.dropped, counted.detect_rate) == ([0, 1, 2, 3], 0, 0.75)


def test_one_dropped_frame_moves_every_later_pair() -> None:
    found = torch.ones(8, dtype=torch.bool)
    found[2] = False
    kept = kept_frames(found, undetected="drop").frames
    generated, truth = frame_pairs(len(kept), 8, lengths="stretch")
    assert (kept[generated] - truth).tolist() == [0, 0, 1, 1, 1, 1, 1]
