"""K = s R Kc + t + E written out; keypoints as expectations over the grid."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from eatlab.backbone.keypoints import (
    FACIAL_PLACES,
    TEMPERATURE,
    KeypointDetector,
    compose,
    pixel_centres,
    volume_grid,
)
from tests.training.toys import TINY


def detector() -> KeypointDetector:
    torch.manual_seed(0)
    return KeypointDetector(TINY).eval()


def test_keypoints_are_scaled_turned_moved_and_deformed():
    random = np.random.default_rng(0)
    canonical, expression = random.normal(size=(2, 4, 15, 3))[:, :3]
    pose = np.concatenate(
        [random.uniform(-40, 40, (3, 3)), random.normal(size=(3, 3)), [[0.8], [1], [1.3]]], 1
    )
    expected = np.empty((3, 15, 3))
    for b in range(3):
        yaw, pitch, roll, *t, s = pose[b]
        R = Rotation.from_euler("ZXY", [roll, -pitch, -yaw], degrees=True).as_matrix()
        for k in range(15):
            expected[b, k] = s * (R @ canonical[b, k]) + t + expression[b, k]
    composed = compose(*(torch.from_numpy(x).float() for x in (canonical, pose, expression)))
    np.testing.assert_allclose(composed, expected, atol=1e-5)


def test_pixel_centres_are_those_of_grid_sample():
    assert pixel_centres(4).tolist() == [-0.75, -0.25, 0.25, 0.75]
    volume = torch.randn(1, 3, 2, 5, 5)
    grid = volume_grid(2, 5)
    torch.testing.assert_close(F.grid_sample(volume, grid[None], align_corners=False), volume)
    torch.testing.assert_close(grid[1, 2, 3], torch.tensor([0.4, 0.0, 0.5]))


def test_a_keypoint_is_the_expectation_of_its_softmax():
    points, logits = detector()(torch.randn(2, 3, TINY.size, TINY.size))
    assert logits.shape == (2, 15, TINY.renderer.depth, TINY.side, TINY.side)
    grid = volume_grid(TINY.renderer.depth, TINY.side).reshape(-1, 3).double().numpy()
    for b, k in ((0, 0), (1, 14)):
        share = np.exp(logits[b, k].flatten().double().detach().numpy() / TEMPERATURE)
        np.testing.assert_allclose(points[b, k].detach(), share @ grid / share.sum(), atol=1e-5)


def test_keypoints_start_near_their_facial_places():
    points, _ = detector()(torch.zeros(1, 3, TINY.size, TINY.size))
    far = (points[0, :, :2] - torch.tensor(FACIAL_PLACES)).abs()
    assert far.max() < 0.15
