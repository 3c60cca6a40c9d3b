"""The pitch network's feature path (after JDC, as in StarGANv2-VC): mel window → map."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.sites import BatchNorm2d, Context, Conv2d

SLOPE = 0.01


def bare_conv(cin: int, cout: int, kernel: int = 3) -> Conv2d:
    """A convolution without bias that keeps height and width."""
    return Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False)


class ConvNormConv(nn.Module):
    """Convolution, batch norm, LReLU, convolution; neither has a bias."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.first, self.norm, self.second = bare_conv(cin, cout), BatchNorm2d(cout), bare_conv(cout, cout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(b, cin, h, w) → (b, cout, h, w)."""
        return self.second(F.leaky_relu(self.norm(self.first(x, context), context), SLOPE), context)


class PitchBlock(nn.Module):
    """Norm, LReLU, half as many mel bands, then ConvNormConv beside a 1 × 1 convolution."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.norm, self.main = BatchNorm2d(cin), ConvNormConv(cin, cout)
        self.shortcut = bare_conv(cin, cout, 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(b, cin, time, mel) → (b, cout, time, mel / 2)."""
        x = F.max_pool2d(F.leaky_relu(self.norm(x, context), SLOPE), (1, 2))
        return self.main(x, context) + self.shortcut(x, context)


class PitchNet(nn.Module):
    """Mel (b, 1, mel, time) → (b, channels, mel / 8, time) (eat-networks.md 10).

    Differs: the paper cites an audio encoder; the release takes this network's feature path and tunes it with
    A2ET.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = ConvNormConv(1, widths[0])
        self.blocks = nn.ModuleList(PitchBlock(a, b) for a, b in pairwise(widths))
        self.norm = BatchNorm2d(widths[-1])

    def forward(self, mel: Tensor, context: Context) -> Tensor:
        """Works on time × mel, and gives mel × time back."""
        x = self.stem(mel.mT, context)
        for block in self.blocks:
            x = block(x, context)
        return F.leaky_relu(self.norm(x, context), SLOPE).mT
