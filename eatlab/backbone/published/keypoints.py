"""The keypoint detector as released: 2-d down, lifted, 3-d up, an expectation (eat-networks.md 6)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.keypoints import TEMPERATURE
from eatlab.backbone.published.blocks import PlaneBlock, VolumeBlock
from eatlab.backbone.published.blur import shrink
from eatlab.backbone.sites import FROZEN
from eatlab.backbone.sizes import BackboneConfig, PublishedDetectorConfig


class PublishedDetector(nn.Module):
    """Portrait (b, 3, size, size) in -1..1 → canonical keypoints, logits, as `KeypointDetector`."""

    SHRINKS = 4

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        c = config.detector
        assert isinstance(c, PublishedDetectorConfig)
        self.depth = config.renderer.depth
        self.down = nn.ModuleList(PlaneBlock(a, b) for a, b in pairwise((3, *c.down)))
        self.lift = nn.Conv2d(c.down[-1], c.down[-1] * self.depth, 1)
        self.up = nn.ModuleList(VolumeBlock(a, b) for a, b in pairwise((c.down[-1], *c.up)))
        self.logits = nn.Conv3d(c.up[-1], config.keypoints, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """→ keypoints (b, 15, 3) in -1..1; logits (b, 15, depth, side, side)."""
        x = shrink((image + 1) / 2, self.SHRINKS)
        for block in self.down:
            x = F.avg_pool2d(block(x, FROZEN), 2)
        x = self.lift(x).unflatten(1, (-1, self.depth))
        for block in self.up:
            x = block(F.interpolate(x, scale_factor=(1, 2, 2)), FROZEN)
        logits = self.logits(x)
        return expectation(logits), logits


def expectation(logits: Tensor) -> Tensor:
    """(b, k, depth, h, w) → (b, k, 3), x, y, z: softmax of logits / 0.1 over all voxels of the corner grid.

    Marginals first, so that no sum runs over 65,536 products: a plain fp32 one is off by 2.5e-5.
    """
    share = (logits.float() / TEMPERATURE).flatten(2).softmax(-1).view(logits.shape)
    marginals = (share.sum((2, 3)), share.sum((2, 4)), share.sum((3, 4)))
    places = [(m * torch.linspace(-1, 1, m.shape[-1], device=m.device)).sum(-1) for m in marginals]
    return torch.stack(places, -1)
