"""Motion and drawing: no motion leaves the portrait where it is; switches do what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eatlab.backbone.dense_motion import REACH, DenseMotion
from eatlab.backbone.keypoints import pixel_centres, volume_grid
from eatlab.backbone.renderer import Appearance, Renderer, warp
from eatlab.backbone.sites import FROZEN
from tests.training.toys import TINY

DEPTH, SIDE, SIZE = TINY.renderer.depth, TINY.side, TINY.size


def renderer(**changes: object) -> Renderer:
    torch.manual_seed(0)
    return Renderer(replace(TINY, renderer=replace(TINY.renderer, **changes))).eval()


def smooth_picture() -> torch.Tensor:
    y, x = torch.meshgrid(pixel_centres(SIZE), pixel_centres(SIZE), indexing="ij")
    return torch.stack([(2 * x).sin(), (2 * y).cos(), x * y])[None].repeat(2, 1, 1, 1)


def drawn(net: Renderer, source: torch.Tensor, driving: torch.Tensor, expressions=None):
    found = net.encode(smooth_picture(), FROZEN)
    return net(found, (source, driving), expressions or (torch.zeros(2, 15, 3),) * 2, FROZEN)


def test_keypoints_that_stay_move_nothing():
    points = torch.randn(2, 15, 3) * 0.4
    motion = DenseMotion(TINY).eval()
    moved = motion(torch.randn(2, TINY.renderer.volume, DEPTH, SIDE, SIDE), points, points, FROZEN)
    identity = volume_grid(DEPTH, SIDE)
    torch.testing.assert_close(moved.flow, identity.expand(2, -1, -1, -1, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.plane, identity[0, ..., :2].expand(2, -1, -1, -1), atol=1e-5, rtol=0)


def test_the_portrait_warped_by_no_motion_is_the_portrait():
    points = torch.randn(2, 15, 3) * 0.4
    inside = (..., slice(2, -2), slice(2, -2))  # the outer half cell of the flow repeats its edge
    warped = drawn(renderer(), points, points).warped
    torch.testing.assert_close(warped[inside], smooth_picture()[inside], atol=1e-4, rtol=0)


def test_a_plane_moved_by_a_pixel_moves_the_picture_by_a_pixel():
    plane = volume_grid(DEPTH, SIDE)[0, ..., :2].expand(2, -1, -1, -1) + torch.tensor([2 / SIZE, 0])
    moved, picture = warp(smooth_picture(), plane, "border"), smooth_picture()
    torch.testing.assert_close(moved[..., 3:-3, 3:-3], picture[..., 3:-3, 4:-2], atol=1e-4, rtol=0)


def test_candidates_are_the_identity_and_one_shift_a_keypoint():
    source, driving = torch.randn(2, 2, 15, 3)
    flows, heat = DenseMotion(TINY).candidates(source, driving)
    assert flows.shape == (2, 16, DEPTH, SIDE, SIDE, 3)
    grid = volume_grid(DEPTH, SIDE)
    assert torch.equal(flows[1, 0], grid)
    torch.testing.assert_close(
        flows[1, 5] - grid, (source - driving)[1, 4].expand_as(grid), atol=1e-6, rtol=0
    )
    assert (heat[:, 0] == 0).all()


def test_flows_stay_within_reach_whatever_the_keypoints():
    points = torch.zeros(2, 15, 3)
    volume = torch.randn(2, TINY.renderer.volume, DEPTH, SIDE, SIDE)
    moved = DenseMotion(TINY).eval()(volume, points, points + 1e4, FROZEN)
    assert moved.flow.abs().max() <= REACH


@pytest.mark.parametrize(("film", "listens"), [("expression", True), ("none", False)])
def test_the_decoder_listens_to_expressions_only_if_told_to(film, listens):
    points, calm, net = torch.zeros(2, 15, 3), torch.zeros(2, 15, 3), renderer(film=film)
    same = drawn(net, points, points, (calm, calm)).image
    other = drawn(net, points, points, (calm, calm + 0.3)).image
    assert torch.equal(same, other) is not listens


def test_blending_is_a_switch():
    points = torch.zeros(2, 15, 3)
    blended, plain = (drawn(renderer(blends_source=on), points, points) for on in (True, False))
    assert torch.equal(blended.warped, plain.warped)
    far = [(x.image - x.warped).abs().mean() for x in (blended, plain)]
    assert far[0] < far[1]


def test_appearance_has_a_volume_and_a_skip():
    found = renderer().encode(smooth_picture(), FROZEN)
    assert isinstance(found, Appearance)
    assert found.volume.shape == (2, TINY.renderer.volume, DEPTH, SIDE, SIDE)
    assert found.skip.shape == (2, TINY.renderer.skip, 2 * SIDE, 2 * SIDE)
