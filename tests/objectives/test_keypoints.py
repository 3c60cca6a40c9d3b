"""Terms of keypoints, each against its formula written out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from eatlab.objectives.keypoints import (
    NEAR,
    ExpressionProbe,
    deformation_prior,
    equivariance,
    pose_error,
    spread_penalty,
)


def test_points_repel_each_other_only_when_near():
    far = torch.arange(15.0)[None, :, None].expand(1, 15, 3).clone()
    assert spread_penalty(far) == 0
    far[0, 1] = far[0, 0]
    assert spread_penalty(far) == pytest.approx(2 * NEAR)
    far[0, 1, 0] += 0.1
    assert spread_penalty(far) == pytest.approx(2 * (NEAR - 0.01))


def test_the_deformation_prior_is_the_mean_length_of_the_keypoints_ways_by_their_axes():
    still = torch.zeros(2, 15, 3)
    assert deformation_prior(still) == 0
    still[1, 4] = torch.tensor([0.3, -0.4, 0.5])  # of 30 keypoints one moves by 1.2
    assert deformation_prior(still) == pytest.approx(1.2 / 30)
    assert deformation_prior(-3 * still) == pytest.approx(3 * 1.2 / 30)


def test_the_error_of_a_pose_is_in_radians_and_does_not_ask_for_depth():
    truth = torch.tensor([[10.0, -5, 3, 0.1, 0.2, 0.3, 1.0]])
    assert pose_error(truth, truth) == 0
    guess = truth + torch.tensor([[180 / torch.pi, 0, 0, 0.5, 0, 9.0, -0.25]])
    assert pose_error(guess, truth) == pytest.approx((1 + 0.5 + 0.25) / 6)


def test_a_probe_that_reads_the_truth_exactly_loses_nothing():
    probe, e = ExpressionProbe(15), torch.randn(4, 15, 3)
    truth = probe.read(e.flatten(1) * 10).detach()
    assert probe(e, truth) == 0
    probe.deviation.fill_(2.0)
    assert probe(e, truth + 1).item() == pytest.approx(0.25, rel=1e-4)


def stub_head(canonical: torch.Tensor, expression: torch.Tensor, seen: list) -> SimpleNamespace:
    def keypoints(image):
        seen.append(image)
        return canonical, None

    return SimpleNamespace(keypoints=keypoints, estimator=lambda image: (expression, None))


def test_keypoints_that_follow_a_shift_lose_nothing_and_others_what_they_miss():
    g = torch.Generator().manual_seed(0)
    canonical, expression = torch.randn(2, 2, 15, 3, generator=g)
    pose = torch.tensor([[20.0, 5, -10, 0.1, 0, 0, 1.0]]).repeat(2, 1)
    frame, seen = torch.rand(2, 3, 8, 8), []
    same = equivariance(stub_head(canonical, expression, seen), canonical, expression, pose, frame, 3)
    assert same == 0
    assert torch.equal(seen[0], frame.roll((3, 3), (2, 3)))
    missed = stub_head(canonical, expression + 0.2, [])
    assert equivariance(missed, canonical, expression, pose, frame, 3) == pytest.approx(0.2, abs=1e-6)
