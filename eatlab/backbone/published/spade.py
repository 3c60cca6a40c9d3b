"""The SPADE decoder as released: features modulate every block (eat-networks.md 8; Park et al. 2019)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.sites import Context, Conv2d, SpectralConv2d
from eatlab.backbone.sizes import PublishedRendererConfig

SLOPE = 0.2


class SpadeNorm(nn.Module):
    """Instance norm, then gains and biases from a map of another size: (1 + γ(m)) IN(x) + β(m)."""

    def __init__(self, channels: int, modulation: int, hidden: int) -> None:
        super().__init__()
        self.shared = Conv2d(modulation, hidden, 3, padding=1)
        self.gain = Conv2d(hidden, channels, 3, padding=1)
        self.bias = Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, modulation: Tensor, context: Context) -> Tensor:
        """x (b, c, h, w), modulation (b, m, h / k, w / k) → (b, c, h, w)."""
        enlarged = F.interpolate(modulation, size=x.shape[-2:])
        hidden = F.relu(self.shared(enlarged, context))
        return (1 + self.gain(hidden, context)) * F.instance_norm(x) + self.bias(hidden, context)


class SpadeBlock(nn.Module):
    """Norm, LReLU, convolution, twice, beside a shortcut that is learned where the width changes."""

    def __init__(self, cin: int, cout: int, modulation: int, hidden: int) -> None:
        super().__init__()
        middle = min(cin, cout)
        sizes = ((cin, middle), (middle, cout))
        self.norms = nn.ModuleList(SpadeNorm(a, modulation, hidden) for a, _ in sizes)
        self.convs = nn.ModuleList(SpectralConv2d(a, b, 3, padding=1) for a, b in sizes)
        learned = cin != cout
        self.norm_shortcut = SpadeNorm(cin, modulation, hidden) if learned else None
        self.conv_shortcut = SpectralConv2d(cin, cout, 1, bias=False) if learned else None

    def forward(self, x: Tensor, modulation: Tensor, context: Context) -> Tensor:
        """x (b, cin, h, w) → (b, cout, h, w)."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.leaky_relu(norm(y, modulation, context), SLOPE), context)
        if self.norm_shortcut is not None and self.conv_shortcut is not None:
            x = self.conv_shortcut(self.norm_shortcut(x, modulation, context), context)
        return x + y


class SpadeDecoder(nn.Module):
    """Features (b, c, side, side) → picture (b, 3, 4 side, 4 side) in 0..1."""

    def __init__(self, features: int, config: PublishedRendererConfig) -> None:
        super().__init__()
        c = config
        self.enter = Conv2d(features, c.width, 3, padding=1)
        self.middle = nn.ModuleList(SpadeBlock(c.width, c.width, features, c.style) for _ in range(c.middle))
        self.up = nn.ModuleList(SpadeBlock(a, b, features, c.style) for a, b in pairwise((c.width, *c.up)))
        self.out = Conv2d(c.up[-1], 3, 3, padding=1)

    def forward(self, features: Tensor, context: Context) -> Tensor:
        """Each block is modulated by the features that came in; each `up` doubles the size first."""
        x = self.enter(features, context)
        for block in self.middle:
            x = block(x, features, context)
        for block in self.up:
            x = block(F.interpolate(x, scale_factor=2), features, context)
        return torch.sigmoid(self.out(F.leaky_relu(x, SLOPE), context).float())
