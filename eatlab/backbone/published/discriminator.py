"""The patch discriminator of the keypoints' pretraining; EAT itself weighs it 0 (eat-networks.md 12)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.sites import SpectralConv2d

WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """4×4 convolution without padding, instance norm, leaky ReLU, average pool."""

    def __init__(self, cin: int, cout: int, *, norm: bool, pool: bool) -> None:
        super().__init__()
        self.conv = SpectralConv2d(cin, cout, 4)
        self.norm = nn.InstanceNorm2d(cout, affine=True) if norm else nn.Identity()
        self.pool = nn.AvgPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(b, cin, h, w) → (b, cout, (h - 3) / 2, (w - 3) / 2), or not halved if it does not pool."""
        return self.pool(F.leaky_relu(self.norm(self.conv(x)), 0.2))


class Discriminator(nn.Module):
    """Pictures (b, 3, h, w) in -1..1 → feature maps of each block, and the prediction (b, 1, h', w').

    In .train() each forward pass first follows the spectral norms by one power iteration; in .eval() they
    stay as stored.
    Differs: the paper has no adversarial loss; the release saves this network, with weight 0.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        sizes = list(zip((3, *widths), widths, strict=False))
        last = len(widths) - 1
        self.blocks = nn.ModuleList(
            Block(a, b, norm=index > 0, pool=index < last) for index, (a, b) in enumerate(sizes)
        )
        self.head = SpectralConv2d(widths[-1], 1, 1)

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps, finest first, and the prediction."""
        if self.training:
            self.follow_norms()
        x, features = (image + 1) / 2, []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return features, self.head(x)

    def follow_norms(self) -> None:
        """One power iteration for every convolution."""
        for module in self.modules():
            if isinstance(module, SpectralConv2d):
                power_iteration(module)


@torch.no_grad()
def power_iteration(conv: SpectralConv2d) -> None:
    """Moves u and v of a convolution towards its weight's first singular pair.

    They are replaced, not written into: two forward passes may stand before one backward pass.
    """
    matrix = conv.weight.flatten(1)
    conv.weight_v = F.normalize(matrix.T @ conv.weight_u, dim=0, eps=1e-12)
    conv.weight_u = F.normalize(matrix @ conv.weight_v, dim=0, eps=1e-12)
