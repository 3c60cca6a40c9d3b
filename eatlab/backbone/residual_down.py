"""Residual-down blocks: a picture or feature map, halved block by block, becomes one token (Supp. A)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.sites import BatchNorm2d, Context, Conv2d


class ResidualDown(nn.Module):
    """(Norm, LReLU, conv) twice plus a shortcut, halved: (batch, cin, h, w) → (batch, cout, h/2, w/2)."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        middle = min(cin, cout)
        self.norms = nn.ModuleList([BatchNorm2d(cin), BatchNorm2d(middle)])
        self.convs = nn.ModuleList([Conv2d(cin, middle, 3, padding=1), Conv2d(middle, cout, 3, padding=1)])
        self.shortcut = nn.ModuleList([BatchNorm2d(cin), Conv2d(cin, cout, 1)] if cin != cout else [])

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """eat-networks.md 1, "Residual-down block"."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.leaky_relu(norm(y, context), 0.2), context)
        for op in self.shortcut:
            x = op(x, context)
        return F.avg_pool2d(x + y, 2)


class FaceToken(nn.ModuleList):
    """Face map (batch, channels, h, w) → one token (batch, width)."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__(ResidualDown(a, b) for a, b in pairwise(channels))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Halved by each block, then averaged."""
        for block in self:
            x = block(x, context)
        return x.mean((2, 3))
