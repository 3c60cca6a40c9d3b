"""Head pose: yaw, pitch, roll (degrees), translation, scale; rotations; the vector that A2ET reads.

Two conventions stand side by side: that of the puppets, and that of the EAT release, whose angles are
expectations over 66 bins and whose constant is 3.14.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from eatlab.backbone.precision import exactly

POSE = 7
"""Numbers of a pose row: yaw, pitch, roll (degrees), t x, y, z, s."""
POSE_VECTOR = 45
BIN_DEGREES = 3
FIRST_BIN_DEGREES = -99
RELEASED_PI = 3.14
"""Differs: the release's constant, in the trained weights."""


class PoseConvention(NamedTuple):
    """How pose rows (..., 7) are read.

    turns: → yaw, pitch and roll matrices (..., 3, 3).  rotation: → R (..., 3, 3).  vector: → (..., 45).
    """

    turns: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    rotation: Callable[[Tensor], Tensor]
    vector: Callable[[Tensor], Tensor]


def matrices(angles: Tensor, sense: int) -> tuple[Tensor, Tensor, Tensor]:
    """Yaw, pitch, roll in radians (..., 3) → their matrices; `sense` is the sign of the yaw's sine."""
    (cy, cp, cr), (sy, sp, sr) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).unflatten(-1, (3, 3))

    yaw = matrix(cy, zero, sense * sy, zero, one, zero, -sense * sy, zero, cy)
    pitch = matrix(one, zero, zero, zero, cp, -sense * sp, zero, sense * sp, cp)
    roll = matrix(cr, -sr, zero, sr, cr, zero, zero, zero, one)
    return yaw, pitch, roll


def turns(pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """pose (..., 7) → yaw, pitch and roll matrices (..., 3, 3).

    In puppets' sense: yaw > 0 turns to the image right, pitch > 0 looks up, roll > 0 tilts clockwise.
    """
    return matrices(torch.deg2rad(pose[..., :3].float()), -1)


def rotation(pose: Tensor) -> Tensor:
    """R (..., 3, 3) = Rz(roll) Rx(pitch) Ry(yaw) of pose rows (..., 7)."""
    yaw, pitch, roll = turns(pose)
    # In bf16, as under autocast, the products would move keypoints by 0.2 pixels.
    with exactly(pose.device):
        return roll @ pitch @ yaw


def pose_vector(pose: Tensor) -> Tensor:
    """pose (..., 7) → (..., 45): angles / 60°, angles in radians, the three matrices, their product, t.

    In the order of the release. Differs: the release puts bin expectations where degrees are meant.
    """
    degrees = pose[..., :3]
    turned = [m.flatten(-2) for m in (*turns(pose), rotation(pose))]
    return torch.cat([degrees / 60, torch.deg2rad(degrees), *turned, pose[..., 3:6]], -1)


def expected_bins(logits: Tensor) -> Tensor:
    """(..., 66) logits of an angle → the expected bin, 0..65 (eat-networks.md 7)."""
    share = logits.float().softmax(-1)
    return (share * torch.arange(logits.shape[-1], device=logits.device)).sum(-1)


def degrees_of(bins: Tensor) -> Tensor:
    """Expected bins → degrees, -99..96."""
    return bins * BIN_DEGREES + FIRST_BIN_DEGREES


def bins_of(degrees: Tensor) -> Tensor:
    """Degrees → expected bins."""
    return (degrees - FIRST_BIN_DEGREES) / BIN_DEGREES


def released_pose(yaw: Tensor, pitch: Tensor, roll: Tensor, t: Tensor) -> Tensor:
    """The released estimator's logits (..., 66) of three angles and t (..., 3) → rows (..., 7)."""
    degrees = degrees_of(torch.stack([expected_bins(x) for x in (yaw, pitch, roll)], -1))
    return torch.cat([degrees, t.float(), torch.ones_like(degrees[..., :1])], -1)


def released_matrices(degrees: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Yaw, pitch, roll (..., 3) → the release's matrices; its radians are degrees / 180 · 3.14."""
    return matrices(degrees.float() / 180 * RELEASED_PI, 1)


def released_turns(pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """pose (..., 7) → yaw, pitch and roll matrices (..., 3, 3) as the release turns."""
    return released_matrices(pose[..., :3])


def released_rotation(pose: Tensor) -> Tensor:
    """R (..., 3, 3) = X(pitch) Y(yaw) Z(roll) (eat-networks.md 7)."""
    return product_of(*released_turns(pose))


def product_of(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """X(pitch) Y(yaw) Z(roll), in fp32 under autocast too."""
    with exactly(yaw.device):
        return pitch @ yaw @ roll


def released_vector(pose: Tensor) -> Tensor:
    """pose (..., 7) → (..., 45): bins, bins · 3.14 / 180, the matrices made of bins, their product, t.

    Differs: Sec. 3.1.2 has the 6DoF; the release takes the expected bins, 0..65, as if they were degrees.
    """
    bins = bins_of(pose[..., :3].float())
    turned = released_matrices(bins)
    flat = [m.flatten(-2) for m in (*turned, product_of(*turned))]
    return torch.cat([bins, bins * (RELEASED_PI / 180), *flat, pose[..., 3:6].float()], -1)


CONVENTIONS = {
    "puppets": PoseConvention(turns, rotation, pose_vector),
    "released": PoseConvention(released_turns, released_rotation, released_vector),
}
