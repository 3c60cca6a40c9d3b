"""Released dense motion: candidates, how they are warped and stacked, and that no motion is none."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.backbone.dense_motion import REACH
from eatlab.backbone.keypoints import corner_grid
from eatlab.backbone.published.dense_motion import PublishedDenseMotion
from eatlab.backbone.sites import FROZEN
from tests.backbone.toys import SIDE, TINY_PUBLISHED, lively_head

DEPTH = TINY_PUBLISHED.renderer.depth
GRID = corner_grid(DEPTH, SIDE)


def motion() -> PublishedDenseMotion:
    return lively_head().renderer.motion


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


SOURCE, DRIVING = 0.4 * noise(2, 2, 15, 3)
COMPRESSED = noise(2, TINY_PUBLISHED.renderer.compressed, DEPTH, SIDE, SIDE, seed=1)


def test_candidates_are_the_identity_and_one_shift_a_keypoint():
    flows, heat = motion().candidates(SOURCE, DRIVING)
    assert flows.shape == (2, 16, DEPTH, SIDE, SIDE, 3)
    assert torch.equal(flows[:, 0], GRID.expand_as(flows[:, 0]))
    assert (heat[:, 0] == 0).all()
    for b, k in ((0, 0), (1, 14)):
        torch.testing.assert_close(flows[b, k + 1], GRID - DRIVING[b, k] + SOURCE[b, k])
        there, here = ((GRID - points[b, k]).square().sum(-1) for points in (DRIVING, SOURCE))
        difference = torch.exp(-0.5 * there / 0.01) - torch.exp(-0.5 * here / 0.01)
        torch.testing.assert_close(heat[b, k + 1], difference, atol=1e-6, rtol=1e-4)


def test_keypoints_that_stay_move_nothing():
    flows, heat = motion().candidates(SOURCE, SOURCE)
    assert torch.equal(flows, GRID.expand_as(flows))
    assert (heat == 0).all()
    moved = motion()(COMPRESSED, SOURCE, SOURCE, FROZEN)
    torch.testing.assert_close(moved.flow, GRID.expand_as(moved.flow), atol=1e-5, rtol=0)


def test_each_candidate_is_warped_as_it_would_be_alone():
    flows, _ = motion().candidates(SOURCE, DRIVING)
    warped = motion().warped(COMPRESSED, flows)
    for k in (0, 7, 15):
        alone = F.grid_sample(COMPRESSED, flows[:, k], align_corners=False)
        torch.testing.assert_close(warped[:, k], alone, atol=1e-6, rtol=0)


def test_the_hourglass_sees_each_candidates_heat_before_its_features():
    net, seen = motion(), []
    net.hourglass.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    net(COMPRESSED, SOURCE, DRIVING, FROZEN)
    flows, heat = net.candidates(SOURCE, DRIVING)
    each = seen[0].unflatten(1, (16, -1))
    assert torch.equal(each[:, :, 0], heat)
    assert torch.equal(each[:, :, 1:], net.warped(COMPRESSED, flows))


def test_the_hourglass_puts_what_goes_up_before_what_went_down():
    net, seen = motion().hourglass, []
    net.out.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    x = noise(1, 80, DEPTH, SIDE, SIDE)
    assert net(x, FROZEN).shape == (1, TINY_PUBLISHED.renderer.motion_out[-1] + 80, DEPTH, SIDE, SIDE)
    assert torch.equal(seen[0][:, -80:], x)


def test_a_batch_is_its_rows_one_by_one():
    net = motion()
    together = net(COMPRESSED, SOURCE, DRIVING, FROZEN)
    assert together.open.shape == (2, 1, SIDE, SIDE)
    assert together.open.min() >= 0
    assert together.open.max() <= 1
    for i in (0, 1):
        row = slice(i, i + 1)
        alone = net(COMPRESSED[row], SOURCE[row], DRIVING[row], FROZEN)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a, b[row], atol=1e-5, rtol=1e-4)


def test_flows_stay_within_reach_whatever_the_keypoints():
    assert motion()(COMPRESSED, SOURCE, SOURCE + 1e4, FROZEN).flow.abs().max() <= REACH
