"""Rotations against scipy, the puppets' own and the released ones written out; the layout of pose vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from eatlab.backbone.pose import (
    POSE_VECTOR,
    bins_of,
    degrees_of,
    expected_bins,
    pose_vector,
    released_pose,
    released_rotation,
    released_turns,
    released_vector,
    rotation,
    turns,
)
from eatlab.data.puppets.head import rotation as puppets_rotation

angles = st.tuples(*[st.floats(-80, 80)] * 3)


def row(yaw: float, pitch: float, roll: float) -> torch.Tensor:
    return torch.tensor([[yaw, pitch, roll, 0.1, -0.2, 0.3, 1.5]])


@given(angles)
@settings(deadline=None)
def test_a_rotation_is_roll_after_pitch_after_yaw(turned):
    yaw, pitch, roll = turned
    oracle = Rotation.from_euler("ZXY", [roll, -pitch, -yaw], degrees=True).as_matrix()
    np.testing.assert_allclose(rotation(row(*turned))[0], oracle, atol=1e-6)


@given(angles)
@settings(deadline=None, max_examples=20)
def test_the_backbone_turns_heads_as_puppets_turn_theirs(turned):
    oracle = puppets_rotation(*np.radians(np.array(turned))[:, None])[0]
    np.testing.assert_allclose(rotation(row(*turned))[0], oracle, atol=1e-6)


def test_the_pose_vector_is_angles_matrices_their_product_and_the_place():
    pose = row(30, -60, 90)
    vector = pose_vector(pose)[0]
    assert vector.shape == (POSE_VECTOR,)
    torch.testing.assert_close(vector[:3], torch.tensor([0.5, -1.0, 1.5]))
    torch.testing.assert_close(vector[3:6], torch.tensor([0.5, -1.0, 1.5]) * torch.pi / 3)
    for i, matrix in enumerate(turns(pose)):
        assert torch.equal(vector[6 + 9 * i : 15 + 9 * i], matrix[0].flatten())
    assert torch.equal(vector[33:42], rotation(pose)[0].flatten())
    assert torch.equal(vector[42:], pose[0, 3:6])


def test_any_leading_shape_will_do():
    pose = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    assert rotation(pose).shape == (2, 3, 3, 3)
    # Many sines at once may be of another last bit than one alone.
    torch.testing.assert_close(pose_vector(pose)[1, 2], pose_vector(pose[1, 2]), rtol=1e-6, atol=1e-7)


def released_by_hand(degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The release's yaw, pitch and roll matrices; its pi is 3.14."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(degrees / 180 * 3.14), np.sin(degrees / 180 * 3.14)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return yaw, pitch, roll


@given(angles)
def test_a_released_rotation_is_pitch_times_yaw_times_roll(turned):
    yaw, pitch, roll = released_by_hand(np.array(turned))
    for ours, theirs in zip(released_turns(row(*turned)), (yaw, pitch, roll), strict=True):
        np.testing.assert_allclose(ours[0], theirs, atol=1e-6)
    np.testing.assert_allclose(released_rotation(row(*turned))[0], pitch @ yaw @ roll, atol=1e-6)


@given(angles)
def test_the_released_vector_takes_bins_for_degrees(turned):
    bins = (np.array(turned) + 99) / 3
    yaw, pitch, roll = released_by_hand(bins)
    parts = (bins, bins * 3.14 / 180, yaw, pitch, roll, pitch @ yaw @ roll, [0.1, -0.2, 0.3])
    vector = released_vector(row(*turned))[0]
    assert vector.shape == (POSE_VECTOR,)
    np.testing.assert_allclose(vector, np.concatenate([np.ravel(part) for part in parts]), atol=1e-4)


@given(st.floats(0, 65))
def test_bins_of_degrees_of_bins_are_the_bins(bins):
    assert bins_of(degrees_of(torch.tensor(bins))).item() == pytest.approx(bins, abs=1e-4)


@pytest.mark.parametrize(("bin_", "degrees"), [(0, -99), (33, 0), (65, 96)])
def test_a_bin_above_all_others_is_its_own_expectation(bin_, degrees):
    logits = torch.zeros(66)
    logits[bin_] = 100
    assert expected_bins(logits).item() == pytest.approx(bin_)
    assert degrees_of(expected_bins(logits)).item() == pytest.approx(degrees)


def test_a_released_pose_is_yaw_pitch_roll_and_the_place_at_scale_1():
    logits = torch.randn(3, 2, 66)
    pose = released_pose(*logits, torch.tensor([[1.0, 2, 3]] * 2))
    share = np.exp(logits.double().numpy())
    expected = (share @ np.arange(66) / share.sum(-1)) * 3 - 99
    np.testing.assert_allclose(pose[:, :3], expected.T, atol=1e-4)
    assert pose[:, 3:].tolist() == [[1, 2, 3, 1]] * 2
