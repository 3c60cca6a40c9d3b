"""Expression deformations E, read from a frame; their principal components (EAT, Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eatlab.backbone.keypoints import conv_block
from eatlab.backbone.sizes import BackboneConfig

POSE_UNITS = (180 / torch.pi,) * 3 + (1.0, 1.0, 1.0)


class ExpressionEstimator(nn.Module):
    """Frame (b, 3, size, size) → expression deformation E (b, 15, 3) and pose (b, 7)."""

    units: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        assert config.estimator is not None
        widths, cells = config.estimator.widths, (config.size // 16) ** 2
        stages = [conv_block(a, b, 2) for a, b in zip((3, *widths), widths, strict=False)]
        self.trunk = nn.Sequential(*stages, nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * cells, 192), nn.ReLU())
        self.expression, self.pose = nn.Linear(192, 3 * config.keypoints), nn.Linear(192, 6)
        nn.init.normal_(self.expression.weight, 0, 0.003)
        nn.init.zeros_(self.expression.bias)
        self.register_buffer("units", torch.tensor(POSE_UNITS), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """→ E (b, 15, 3) in keypoint units, pose (b, 7); depth translation is not seen and given as 0."""
        x = self.hidden(self.trunk(image)).float()
        angles, place, scale = (self.pose(x).float() * self.units).split((3, 2, 1), -1)
        pose = torch.cat([angles, place, torch.zeros_like(scale), scale], -1)
        return self.expression(x).float().unflatten(-1, (-1, 3)), pose


class ExpressionPCA(nn.Module):
    """E = M + (coefficients · deviations) Uᵀ (Eq. 8): `count` of 3·keypoints components (Supp. A: 32)."""

    mean: Tensor
    basis: Tensor
    deviation: Tensor

    def __init__(self, count: int, keypoints: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * keypoints))
        self.register_buffer("basis", torch.eye(count, 3 * keypoints))
        self.register_buffer("deviation", torch.ones(count))

    @torch.no_grad()
    def fit(self, expression: Tensor) -> float:
        """From (n, 15, 3); returns the share of the variance that the kept components hold."""
        e = expression.flatten(1).double()
        mean = e.mean(0)
        _, s, v = torch.linalg.svd(e - mean, full_matrices=False)
        # The sign of a component is arbitrary; its largest entry is made positive so that a refit repeats.
        v = v * v.gather(1, v.abs().argmax(1, keepdim=True)).sign()
        count = len(self.deviation)
        self.mean.copy_(mean)
        self.basis.copy_(v[:count])
        self.deviation.copy_(s[:count] / len(e) ** 0.5)
        return float(s[:count].square().sum() / s.square().sum())

    def forward(self, coefficients: Tensor) -> Tensor:
        """(..., count) in deviations → E (..., 3·keypoints)."""
        return self.mean + (coefficients * self.deviation) @ self.basis  # Eq. 8

    def encode(self, offsets: Tensor) -> Tensor:
        """(..., 3·keypoints) differences of E → (..., count), not divided by the deviations."""
        return offsets @ self.basis.T
