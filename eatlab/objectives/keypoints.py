"""What keeps keypoints useful: equivariance, spread, deformation prior (face-vid2vid); beyond the paper,
puppets' truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from eatlab.backbone.keypoints import compose
from eatlab.backbone.talking_head import TalkingHead

NEAR = 0.02
"""Squared distance under which two canonical keypoints repel each other."""


@dataclass(frozen=True)
class KeypointsConfig:
    """Weights.

    equivariance: keypoints follow a shifted frame; spread: canonical keypoints stay apart; small: E stays so.
    prior: the deformation prior of OSFV (face-vid2vid), which EAT removes (Sec. 3.1.1; there it weighs 5).

    From puppets' truth, beyond the paper (0 switches them off): pose: the estimator's angles, place, scale;
    probe: action units and articulators are linear in E.
    """

    LATER: ClassVar = ("prior",)

    equivariance: float = 2.0
    spread: float = 1.0
    small: float = 0.02
    pose: float = 2.0
    probe: float = 0.5
    prior: float = 0.0


class ExpressionProbe(nn.Module):
    """The linear reading of action units (34) and articulators (5) from E.

    Standardised by `deviation`, else E stays blind to expression.
    """

    deviation: Tensor

    def __init__(self, keypoints: int) -> None:
        super().__init__()
        self.read = nn.Linear(3 * keypoints, 39)
        self.register_buffer("deviation", torch.ones(39))

    def forward(self, expression: Tensor, truth: Tensor) -> Tensor:
        """expression (b, 15, 3), truth (b, 39) → mean squared error in deviations."""
        return ((self.read(expression.float().flatten(1) * 10) - truth) / self.deviation).square().mean()


def spread_penalty(canonical: Tensor) -> Tensor:
    """Canonical keypoints (b, 15, 3) nearer than √NEAR to each other."""
    far = (canonical[:, :, None] - canonical[:, None]).square().sum(-1)
    far = far + torch.eye(canonical.shape[1], device=canonical.device)
    return (NEAR - far).clamp(min=0).sum((1, 2)).mean()


def deformation_prior(expression: Tensor) -> Tensor:
    """E (b, 15, 3): the mean of each keypoint's |x| + |y| + |z| (face-vid2vid, L_Δ; EAT, Sec. 3.1.1)."""
    return expression.abs().sum(-1).mean()


def pose_error(estimated: Tensor, truth: Tensor) -> Tensor:
    """Pose rows (b, 7): mean |difference|, angles in radians; depth is not seen and not asked."""
    off = (estimated - truth).abs()
    angles = torch.deg2rad(off[:, :3])
    return torch.cat([angles, off[:, 3:5], off[:, 6:]], 1).mean()


def equivariance(
    head: TalkingHead, canonical: Tensor, expression: Tensor, pose: Tensor, frame: Tensor, shift: int
) -> Tensor:
    """Keypoints of a frame moved by `shift` pixels right and down are those of the frame, moved.

    Differs: face-vid2vid moves frames by random affine maps and thin plates.
    canonical (b, 15, 3) from the portrait, expression (b, 15, 3) and pose (b, 7) of the frame (b, 3, h, w).
    """
    moved = frame.roll((shift, shift), (2, 3)).contiguous(memory_format=torch.channels_last)
    there, _ = head.keypoints(moved)
    deformed, _ = head.estimator(moved)
    # The shift itself cancels: it is added to t on one side and to K on the other.
    return (compose(there, pose, deformed) - compose(canonical, pose, expression)).abs().mean()
