"""Head pose: yaw, pitch, roll (degrees), translation, scale; rotations; the vector that A2ET reads."""

from __future__ import annotations

import torch
from torch import Tensor

POSE = 7
"""Numbers of a pose row: yaw, pitch, roll (degrees), t x, y, z, s."""
POSE_VECTOR = 45


def turns(pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """pose (..., 7) → yaw, pitch and roll matrices (..., 3, 3).

    In puppets' sense: yaw > 0 turns to the image right, pitch > 0 looks up, roll > 0 tilts clockwise.
    """
    angle = torch.deg2rad(pose[..., :3].float())
    (cy, cp, cr), (sy, sp, sr) = angle.cos().unbind(-1), angle.sin().unbind(-1)
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).unflatten(-1, (3, 3))

    yaw = matrix(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    pitch = matrix(one, zero, zero, zero, cp, sp, zero, -sp, cp)
    roll = matrix(cr, -sr, zero, sr, cr, zero, zero, zero, one)
    return yaw, pitch, roll


def rotation(pose: Tensor) -> Tensor:
    """R (..., 3, 3) = Rz(roll) Rx(pitch) Ry(yaw) of pose rows (..., 7)."""
    yaw, pitch, roll = turns(pose)
    # In bf16, as under autocast, the products would move keypoints by 0.2 pixels.
    with torch.autocast(pose.device.type, enabled=False):
        return roll @ pitch @ yaw


def pose_vector(pose: Tensor) -> Tensor:
    """pose (..., 7) → (..., 45): angles / 60°, angles in radians, the three matrices, their product, t.

    In the order of the release. Differs: the release puts bin expectations where degrees are meant.
    """
    yaw, pitch, roll = turns(pose)
    product = rotation(pose)
    matrices = [m.flatten(-2) for m in (yaw, pitch, roll, product)]
    return torch.cat([pose[..., :3] / 60, torch.deg2rad(pose[..., :3]), *matrices, pose[..., 3:6]], -1)
