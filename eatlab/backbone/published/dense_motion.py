"""Dense motion as released: 16 candidate flows, weighed by a 3-d hourglass (eat-networks.md 8)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.dense_motion import REACH
from eatlab.backbone.keypoints import corner_grid
from eatlab.backbone.published.blocks import VolumeBlock, VolumeConv3d
from eatlab.backbone.sites import Context, Conv2d
from eatlab.backbone.sizes import BackboneConfig, PublishedRendererConfig

VARIANCE = 0.01


class Flow(NamedTuple):
    """Where voxels come from: flow (b, depth, side, side, 3); how open it is: (b, 1, side, side) in 0..1."""

    flow: Tensor
    open: Tensor


class Hourglass(nn.Module):
    """3-d U-net that halves height and width only: (b, c, d, h, w) → (b, last up width + c, d, h, w)."""

    def __init__(self, channels: int, down: tuple[int, ...], up: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(VolumeBlock(a, b) for a, b in pairwise((channels, *down)))
        skips = (0, *reversed(down[:-1]))
        entering = [a + skip for a, skip in zip((down[-1], *up[:-1]), skips, strict=True)]
        self.up = nn.ModuleList(VolumeBlock(a, b) for a, b in zip(entering, up, strict=True))
        self.out = VolumeBlock(up[-1] + channels, up[-1] + channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """What went down comes back beside what goes up: up first, then skip."""
        kept = [x]
        for block in self.down:
            kept.append(F.avg_pool3d(block(kept[-1], context), (1, 2, 2)))
        x = kept.pop()
        for block in self.up:
            x = torch.cat([block(F.interpolate(x, scale_factor=(1, 2, 2)), context), kept.pop()], 1)
        return self.out(x, context)


class PublishedDenseMotion(nn.Module):
    """Compressed volume and keypoints → Flow."""

    grid: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        c = config.renderer
        assert isinstance(c, PublishedRendererConfig)
        count = config.keypoints + 1
        channels = count * (1 + c.compressed)
        self.compress = VolumeBlock(c.volume, c.compressed, 1)
        self.hourglass = Hourglass(channels, c.motion, c.motion_out)
        width = c.motion_out[-1] + channels
        self.mask = VolumeConv3d(width, count, 7, padding=3)
        self.occlusion = Conv2d(width * c.depth, 1, 7, padding=3)
        self.register_buffer("grid", corner_grid(c.depth, config.side), persistent=False)

    def candidates(self, source: Tensor, driving: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints (b, 15, 3) → flows (b, 16, depth, side, side, 3), heat maps (b, 16, depth, side, side).

        The first flow is the identity; its heat map is 0.
        """
        flows = self.grid + F.pad(source - driving, (0, 0, 1, 0))[:, :, None, None, None]

        def heat(keypoints: Tensor) -> Tensor:
            far = self.grid - keypoints[:, :, None, None, None]
            return torch.exp(-0.5 / VARIANCE * far.square().sum(-1))

        return flows, F.pad(heat(driving) - heat(source), (0, 0, 0, 0, 0, 0, 1, 0))

    @staticmethod
    def warped(compressed: Tensor, flows: Tensor) -> Tensor:
        """(b, c, depth, side, side) moved by 16 flows → (b, 16, c, depth, side, side).

        Differs: corner grids, sampled as centres; the mismatch is in the released weights.
        """
        count = flows.shape[1]
        repeated = compressed[:, None].expand(-1, count, -1, -1, -1, -1).flatten(0, 1)
        moved = F.grid_sample(repeated.float(), flows.flatten(0, 1), align_corners=False)
        return moved.unflatten(0, (-1, count))

    def forward(self, compressed: Tensor, source: Tensor, driving: Tensor, context: Context) -> Flow:
        """compressed (b, c, depth, side, side), once a portrait; source, driving: keypoints (b, 15, 3)."""
        flows, heat = self.candidates(source, driving)
        seen = torch.cat([heat[:, :, None], self.warped(compressed, flows)], 2)
        x = self.hourglass(seen.flatten(1, 2), context)
        mask = self.mask(x, context).float().softmax(1)
        flow = (mask[..., None] * flows).sum(1).clamp(-REACH, REACH)
        return Flow(flow, self.occlusion(x.flatten(1, 2), context).float().sigmoid())
