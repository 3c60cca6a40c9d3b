"""Rotations against scipy and the puppets' own; the layout of the pose vector."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from eatlab.backbone.pose import POSE_VECTOR, pose_vector, rotation, turns
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
    pose = torch.randn(2, 3, 7)
    assert rotation(pose).shape == (2, 3, 3, 3)
    assert torch.equal(pose_vector(pose)[1, 2], pose_vector(pose[1, 2]))
