"""Convolution, batch norm, ReLU as released, in the plane and in the volume."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.published.winograd import Wide, WideConv2d, convolved
from eatlab.backbone.sites import BatchNorm2d, BatchNorm3d, Context, Conv3d


class VolumeConv3d(Wide, Conv3d):
    """`Conv3d` that keeps to the precision that autocast asks for where no gradients are taken."""

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """3-d convolution, stride 1."""
        if torch.is_grad_enabled():
            return super().operate(x, weight, bias)
        return convolved(x, weight, bias)


class PlaneBlock(nn.Module):
    """(b, cin, h, w) → (b, cout, h, w)."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv, self.norm = WideConv2d(cin, cout), BatchNorm2d(cout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Convolved, normalised, rectified."""
        return F.relu(self.norm(self.conv(x, context), context), inplace=True)


class VolumeBlock(nn.Module):
    """(b, cin, d, h, w) → (b, cout, d, h, w)."""

    def __init__(self, cin: int, cout: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv, self.norm = VolumeConv3d(cin, cout, kernel, padding=kernel // 2), BatchNorm3d(cout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Convolved, normalised, rectified."""
        return F.relu(self.norm(self.conv(x, context), context), inplace=True)
