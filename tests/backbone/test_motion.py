"""The rules that lay driving keypoints over a portrait's: means, causality, and a cube by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eatlab.backbone.motion import MOTIONS, Motion, clip_shift, relative_to_first, streaming_shift

FRAMES = 9
every_motion = pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
cuts = st.lists(st.integers(1, FRAMES - 1), unique=True).map(sorted)


def clip() -> tuple[Tensor, Tensor]:
    """Driving keypoints (9, 15, 3), the source's (15, 3)."""
    g = torch.Generator().manual_seed(0)
    return 2 + torch.randn(FRAMES, 15, 3, generator=g), torch.randn(15, 3, generator=g)


def moved(motion: Motion, driving: Tensor, source: Tensor, cut: Sequence[int] = ()) -> Tensor:
    """The clip in one piece, given to `motion` in chunks that end at `cut`."""
    return torch.cat(list(motion(iter(driving.tensor_split(list(cut))), source)))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@every_motion
@given(cut=cuts)
def test_chunks_do_not_change_results(motion, cut):
    driving, source = clip()
    close(moved(motion, driving, source, cut), moved(motion, driving, source))


@every_motion
def test_chunks_come_out_as_they_went_in(motion):
    driving, source = clip()
    chunks = list(motion(iter(driving.split((2, 3, 4))), source))
    assert [len(chunk) for chunk in chunks] == [2, 3, 4]


def test_a_clips_shift_moves_its_mean_to_the_sources():
    driving, source = clip()
    shifted = moved(clip_shift, driving, source)
    close(shifted.mean((0, 1)), source.mean(0))
    shift = shifted - driving
    close(shift, shift[0, 0].expand_as(shift))


@pytest.mark.parametrize("motion", [streaming_shift, relative_to_first])
def test_a_causal_motion_draws_a_frame_before_it_hears_the_next(motion):
    driving, source = clip()
    whole = moved(motion, driving, source)
    for heard in range(1, FRAMES):
        close(moved(motion, driving[:heard], source), whole[:heard])

    def only_one():
        yield driving[:1]
        raise AssertionError("it asked for more")

    close(next(motion(only_one(), source)), whole[:1])


def test_a_streaming_shift_is_each_time_that_of_the_clip_so_far():
    driving, source = clip()
    streamed = moved(streaming_shift, driving, source, [4])
    for heard in (1, 3, 6, FRAMES):
        close(streamed[heard - 1], moved(clip_shift, driving[:heard], source)[-1])


def cube(side: float) -> Tensor:
    """(15, 3): its corners, and seven times its centre."""
    corners = torch.tensor(list(itertools.product((0.0, side), repeat=3)))
    return torch.cat([corners, torch.full((7, 3), side / 2)])


def test_motion_relative_to_the_first_frame_is_scaled_by_the_root_of_the_hulls_ratio():
    step = torch.tensor([0.5, 0.0, -1.0])
    driving, source = torch.stack([cube(1), cube(1) + step]), cube(2)
    drawn = moved(relative_to_first, driving, source)
    close(drawn[0], source)
    close(drawn[1], source + 8**0.5 * step)  # volumes 8 and 1


def test_motion_relative_to_the_first_frame_forgets_where_the_driving_head_is():
    driving, source = clip()
    there = torch.tensor([1.0, -2.0, 3.0])
    close(moved(relative_to_first, driving + there, source), moved(relative_to_first, driving, source))
