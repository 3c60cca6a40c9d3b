"""RePos-Net as released: a feature volume, warped by keypoints, drawn by SPADE (eat-networks.md 8)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.precision import exactly
from eatlab.backbone.published.blocks import PlaneBlock, VolumeConv3d
from eatlab.backbone.published.dense_motion import PublishedDenseMotion
from eatlab.backbone.published.spade import SpadeDecoder
from eatlab.backbone.renderer import Drawn
from eatlab.backbone.sites import BatchNorm3d, Context, Conv2d, Site
from eatlab.backbone.sizes import BackboneConfig, PublishedRendererConfig


class Volume(NamedTuple):
    """What depends on the portrait alone.

    volume (b, c, depth, side, side), already adapted; compressed (b, 4, depth, side, side) of it.
    """

    volume: Tensor
    compressed: Tensor


class Residual3d(nn.Module):
    """Batch norm, ReLU, 3-d convolution, twice, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([BatchNorm3d(width), BatchNorm3d(width)])
        self.convs = nn.ModuleList(VolumeConv3d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Same shape."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.relu(norm(y, context)), context)
        return x + y


class PublishedRenderer(nn.Module):
    """Portrait, keypoints → frame; the interface of `renderer.Renderer`."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        c = config.renderer
        assert isinstance(c, PublishedRendererConfig)
        self.depth = c.depth
        self.stem = PlaneBlock(3, c.widths[0])
        self.down = nn.ModuleList(PlaneBlock(a, b) for a, b in pairwise(c.widths))
        self.lift = Conv2d(c.widths[-1], c.volume * c.depth, 1)
        self.residual = nn.ModuleList(Residual3d(c.volume) for _ in range(c.residuals))
        self.volume = Site("features", c.volume)
        self.motion = PublishedDenseMotion(config)
        self.flat = PlaneBlock(c.volume * c.depth, c.widths[-1])
        self.mix = Conv2d(c.widths[-1], c.widths[-1], 1)
        self.decoder = SpadeDecoder(c.widths[-1], c)

    def encode(self, image: Tensor, context: Context) -> Volume:
        """image (b, 3, size, size) in -1..1. Once a portrait; the release does it once a frame."""
        x = self.stem((image + 1) / 2, context)
        for block in self.down:
            x = F.avg_pool2d(block(x, context), 2)
        volume = self.lift(x, context).unflatten(1, (-1, self.depth))
        for block in self.residual:
            volume = block(volume, context)
        volume = self.volume(volume, context)
        return Volume(volume, self.motion.compress(volume, context))

    def forward(
        self,
        found: Volume,
        keypoints: tuple[Tensor, Tensor],
        expressions: tuple[Tensor, Tensor],
        context: Context,
    ) -> Drawn:
        """keypoints: of source and driving frame, (b, 15, 3) each; expressions are in them."""
        moved = self.motion(found.compressed, *keypoints, context)
        warped = F.grid_sample(found.volume.float(), moved.flow, align_corners=False)
        features = self.flattened(warped.flatten(1, 2), context) * moved.open
        return Drawn(2 * self.decoder(features, context) - 1, None)

    def flattened(self, warped: Tensor, context: Context) -> Tensor:
        """(b, c · depth, side, side) → (b, c', side, side); here the block's activation leaks.

        In fp32: every norm of the decoder enlarges what is rounded here (docs/performance.md).
        """
        with exactly(warped.device):
            x = self.flat.norm(self.flat.conv(warped, context), context)
            return self.mix(F.leaky_relu(x, 0.01), context)
