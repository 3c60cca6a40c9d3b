"""Pose pictures against golden ones, and their corners against OpenCV's own projection."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from eatlab.backbone.published.pose_picture import CENTRE, FOCAL, FRUSTUM, draw, pose_pictures, project

GOLDEN = np.load(Path(__file__).parents[2] / "reference" / "poseimg_golden.npz")
CASES = [name.removeprefix("in_") for name in GOLDEN.files if name.startswith("in_")]
FAR = [[33.0, 33, 33, 0.1, 0.2, 400], [40.0, 20, 36, -5, 9, 300]]
"""Far enough away to lie in the picture as a whole."""


@pytest.mark.parametrize("case", CASES)
def test_equals_the_golden_picture(case):
    picture = pose_pictures(torch.from_numpy(GOLDEN[f"in_{case}"])[None])
    assert picture.shape == (1, 64, 64)
    assert picture.dtype == torch.float32
    # The golden pictures were drawn once by OpenCV 5; other versions may draw lines a little differently.
    off = np.abs(picture[0].numpy() - GOLDEN[f"pose_{case}"])
    assert (off <= 2).mean() >= 0.99


def turned(bins: list[float]) -> np.ndarray:
    """scipy's rotation about x (pitch), then y (yaw), then z (roll), each intrinsic."""
    yaw, pitch, roll = np.array(bins) / 180 * 3.14
    return Rotation.from_euler("XYZ", [pitch, yaw, roll]).as_matrix()


angle, shift = st.floats(0, 65), st.floats(-0.5, 0.5)


@given(st.lists(angle, min_size=3, max_size=3), st.lists(shift, min_size=3, max_size=3))
def test_corners_lie_where_opencv_projects_them(bins, place):
    turn = turned(bins)
    depth = (FRUSTUM @ turn.T + place)[:, 2]
    away = np.abs(depth) > 1  # nearer ones fly off: rounding decides where to
    off = project(turn, np.array(place)) - by_opencv(turn, np.array(place))
    assert np.abs(off[away]).max() <= 1.001  # truncated


def by_opencv(turn: np.ndarray, place: np.ndarray) -> np.ndarray:
    camera = np.array([[FOCAL, 0, CENTRE], [0, FOCAL, CENTRE], [0, 0, 1]])
    return cv2.projectPoints(FRUSTUM, cv2.Rodrigues(turn)[0], place, camera, None)[0][:, 0]


def test_points_in_the_cameras_plane_lie_where_opencv_puts_them():
    turn, place = np.eye(3), np.zeros(3)
    assert np.array_equal(project(turn, place), by_opencv(turn, place).astype(int))


@pytest.mark.parametrize("pose", FAR)
def test_lines_join_the_corners(pose):
    corners = project(turned(pose[:3]), np.array(pose[3:]))
    canvas = draw(corners)
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (5, 6), (6, 7), (7, 8), (8, 5), (1, 6), (2, 7), (3, 8), (0, 5)]
    middles = np.array([(corners[a] + corners[b]) // 2 for a, b in edges])
    near = [canvas[y - 1 : y + 2, x - 1 : x + 2].max() for x, y in middles]
    assert set(np.unique(canvas)) == {0, 255}
    assert near[:11] == [255] * 11
    assert canvas[corners[0, 1], corners[0, 0]] == 255


@pytest.mark.parametrize("pose", FAR)
def test_pictures_are_blurred_and_thinned_drawings(pose):
    canvas = draw(project(turned(pose[:3]), np.array(pose[3:]))).astype(float)
    expected = gaussian_filter(canvas, 1.5, mode="constant", radius=6)[::4, ::4]
    np.testing.assert_allclose(pose_pictures(torch.tensor([pose]))[0].numpy(), expected, atol=1e-3)


def test_rows_are_drawn_one_by_one():
    poses = torch.tensor(FAR)
    together = pose_pictures(poses)
    assert all(torch.equal(together[i], pose_pictures(poses[i : i + 1])[0]) for i in range(2))
    assert pose_pictures(poses[:0]).shape == (0, 64, 64)


def test_what_lies_beyond_every_int_is_drawn_without_complaint():
    wild = torch.tensor([[65.0, 0, 65, 1e9, 0, 1e-30], [33, 33, 33, 1e12, -1e12, 1]])
    assert pose_pictures(wild).isfinite().all()
