"""The SPADE decoder as released: features modulate every block (eat-networks.md 8; Park et al. 2019).

Exact savings, equal up to rounding: modulation of enlarged maps at their own size (enlarged.py); one instance
norm for two that see the same x; the shortcut's biases, which nothing bends, folded into one convolution.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.precision import exactly
from eatlab.backbone.published.enlarged import EnlargedConv2d
from eatlab.backbone.published.winograd import WideConv2d, WideSpectralConv2d, convolved
from eatlab.backbone.sites import Context, Conv2d, SpectralConv2d
from eatlab.backbone.sizes import PublishedRendererConfig

SLOPE = 0.2


def instance_norm(x: Tensor) -> Tensor:
    """(b, c, h, w) → the same, mean 0 and variance 1 of each channel of each picture.

    In fp32 at least. Each picture as a batch norm: torch's own instance norm leaves channels-last memory.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    each = [F.batch_norm(picture, None, None, training=True) for picture in x.to(wide).split(1)]
    return each[0] if len(each) == 1 else torch.cat(each)


class SpadeNorm(nn.Module):
    """Gains and biases from a `factor` times smaller map m: (1 + γ(m)) x + β(m) of a normalised x."""

    def __init__(self, channels: int, modulation: int, hidden: int, factor: int) -> None:
        super().__init__()
        self.shared = EnlargedConv2d(modulation, hidden, factor)
        self.gain = WideConv2d(hidden, channels)
        self.bias = WideConv2d(hidden, channels)

    def hidden(self, modulation: Tensor, context: Context) -> Tensor:
        """(b, m, h / factor, w / factor) → what gain and bias are convolved from, (b, hidden, h, w)."""
        return F.relu(self.shared(modulation, context), inplace=True)

    def forward(self, normalised: Tensor, modulation: Tensor, context: Context) -> Tensor:
        """normalised (b, c, h, w) → the same shape."""
        hidden = self.hidden(modulation, context)
        moved = self.bias(hidden, context).to(normalised.dtype).add_(normalised)
        return moved.addcmul_(normalised, self.gain(hidden, context).to(moved.dtype))


class Shortcut(nn.Module):
    """A modulated norm, then a 1 × 1 convolution without bias; nothing between them bends."""

    def __init__(self, cin: int, cout: int, modulation: int, hidden: int, factor: int) -> None:
        super().__init__()
        self.norm = SpadeNorm(cin, modulation, hidden, factor)
        self.conv = SpectralConv2d(cin, cout, 1, bias=False)

    def forward(self, normalised: Tensor, modulation: Tensor, context: Context) -> Tensor:
        """normalised (b, cin, h, w) → (b, cout, h, w)."""
        if self.norm.bias.is_touched(context) or self.conv.is_touched(context):
            return self.conv(self.norm(normalised, modulation, context), context)
        hidden = self.norm.hidden(modulation, context)
        gain = self.norm.gain(hidden, context).to(normalised.dtype)
        gained = torch.addcmul(normalised, normalised, gain)
        return self.conv(gained, context) + self.folded(hidden)

    def folded(self, hidden: Tensor) -> Tensor:
        """conv(β(hidden)) as one 3 × 3 convolution: cout channels in place of cin."""
        mixed = (self.conv.weight / self.conv.norm())[:, :, 0, 0]
        weight = torch.einsum("oc,chij->ohij", mixed, self.norm.bias.weight)
        bias = mixed @ self.norm.bias.bias  # type: ignore[operator]
        return convolved(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))


class SpadeBlock(nn.Module):
    """Norm, LReLU, convolution, twice, beside a shortcut that is learned where the width changes."""

    def __init__(self, cin: int, cout: int, modulation: int, hidden: int, factor: int = 1) -> None:
        super().__init__()
        middle = min(cin, cout)
        sizes = ((cin, middle), (middle, cout))
        self.norms = nn.ModuleList(SpadeNorm(a, modulation, hidden, factor) for a, _ in sizes)
        self.convs = nn.ModuleList(WideSpectralConv2d(a, b, 3) for a, b in sizes)
        self.shortcut = Shortcut(cin, cout, modulation, hidden, factor) if cin != cout else None

    def forward(self, x: Tensor, modulation: Tensor, context: Context) -> Tensor:
        """x (b, cin, h, w) → (b, cout, h, w)."""
        normalised = instance_norm(x)
        y = self.bent(0, normalised, modulation, context)
        y = self.bent(1, instance_norm(y), modulation, context)
        return y + (x if self.shortcut is None else self.shortcut(normalised, modulation, context))

    def bent(self, index: int, normalised: Tensor, modulation: Tensor, context: Context) -> Tensor:
        """The block's norm, LReLU and convolution of this index."""
        x = self.norms[index](normalised, modulation, context)
        return self.convs[index](F.leaky_relu(x, SLOPE, inplace=True), context)


class SpadeDecoder(nn.Module):
    """Features (b, c, side, side) → picture (b, 3, 4 side, 4 side) in 0..1."""

    def __init__(self, features: int, config: PublishedRendererConfig) -> None:
        super().__init__()
        c = config
        self.enter = WideConv2d(features, c.width)
        self.middle = nn.ModuleList(SpadeBlock(c.width, c.width, features, c.style) for _ in range(c.middle))
        self.up = nn.ModuleList(
            SpadeBlock(a, b, features, c.style, factor=2 ** (i + 1))
            for i, (a, b) in enumerate(pairwise((c.width, *c.up)))
        )
        self.out = Conv2d(c.up[-1], 3, 3, padding=1)

    def forward(self, features: Tensor, context: Context) -> Tensor:
        """Each block is modulated by the features that came in; each `up` doubles the size first.

        The features, and what blocks add to, stay in fp32 under autocast.
        """
        features = features.contiguous(memory_format=torch.channels_last)
        with exactly(features.device):
            x = self.enter(features, context)
        for block in self.middle:
            x = block(x, features, context)
        for block in self.up:
            x = block(F.interpolate(x, scale_factor=2), features, context)
        return torch.sigmoid(self.out(F.leaky_relu(x, SLOPE), context).float())
