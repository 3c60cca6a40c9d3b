"""Dense motion: where each voxel of a portrait's feature volume comes from (after face-vid2vid)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.keypoints import volume_grid
from eatlab.backbone.sites import BatchNorm2d, BatchNorm3d, Context, Conv2d, Conv3d
from eatlab.backbone.sizes import BackboneConfig, RendererConfig

FLAT = (1, 3, 3)
REACH = 3.0
"""Flows stay within this: a NaN or a huge number in grid_sample's grid ends the process on a CPU."""


class Block(nn.Module):
    """Convolution, batch norm, ReLU; 2-d, or 3-d with a flat (1, 3, 3) or a full kernel."""

    def __init__(self, cin: int, cout: int, kernel: int | tuple[int, int, int] = 3, *, dim: int = 2) -> None:
        super().__init__()
        padding = kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
        conv, norm = (Conv2d, BatchNorm2d) if dim == 2 else (Conv3d, BatchNorm3d)
        self.conv = conv(cin, cout, kernel, padding=padding, bias=False)  # type: ignore[arg-type]
        self.norm = norm(cout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Same height and width."""
        return F.relu(self.norm(self.conv(x, context), context))


class Motion(NamedTuple):
    """How a volume moves.

    flow (b, depth, side, side, 3) of the volume; plane (b, side, side, 2) of the picture;
    open (b, 1, side, side) occlusion in 0..1; seen (b, channels, side, side) features.
    """

    flow: Tensor
    plane: Tensor
    open: Tensor
    seen: Tensor


class DenseMotion(nn.Module):
    """Volume and keypoints → Motion: 16 candidate shifts, weighed by an hourglass at (depth, side, side)."""

    grid: Tensor
    shallow: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        r, count = config.renderer, config.keypoints + 1
        assert isinstance(r, RendererConfig)
        a, b, c = r.motion
        self.compress = Conv3d(r.volume, 1, 1)
        down = (Block(2 * count, a, FLAT, dim=3), Block(a, b, FLAT, dim=3), Block(b, c, dim=3))
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList([Block(c, b, FLAT, dim=3), Block(b + b, a, FLAT, dim=3)])
        self.mask = Conv3d(2 * a, count, FLAT, padding=(0, 1, 1))
        self.occlusion = Conv2d(2 * a * r.depth, 1 + r.depth, 3, padding=1)
        self.register_buffer("grid", volume_grid(r.depth, config.side), persistent=False)
        # Depth counts a quarter in heat maps: on 2 depths they would vanish.
        self.register_buffer("shallow", torch.tensor([1.0, 1.0, 0.25]), persistent=False)
        self.channels = 2 * a * r.depth

    def candidates(self, source: Tensor, driving: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints (b, 15, 3) → flows (b, 16, depth, side, side, 3), heat maps (b, 16, depth, side, side).

        The first flow is the identity; its heat map is 0.
        """
        shift = F.pad(source - driving, (0, 0, 1, 0))
        flows = self.grid + shift[:, :, None, None, None]

        def heat(keypoints: Tensor) -> Tensor:
            far = (self.grid - keypoints[:, :, None, None, None]) * self.shallow
            return torch.exp(-50 * far.square().sum(-1))

        return flows, F.pad(heat(driving) - heat(source), (0, 0, 0, 0, 0, 0, 1, 0))

    def hourglass(self, x: Tensor, context: Context) -> Tensor:
        """(b, channels, depth, side, side) → (b, 2a, depth, side, side)."""
        kept: list[Tensor] = []
        for i, down in enumerate(self.down):
            x = down(x if i == 0 else F.avg_pool3d(x, (1, 2, 2)), context)
            kept.append(x)
        for i, up in enumerate(self.up):
            x = torch.cat([up(F.interpolate(x, scale_factor=(1, 2, 2)), context), kept[-2 - i]], 1)
        return x

    def forward(self, volume: Tensor, source: Tensor, driving: Tensor, context: Context) -> Motion:
        """volume (b, channels, depth, side, side); source, driving: keypoints (b, 15, 3)."""
        flows, heat = self.candidates(source, driving)
        count = flows.shape[1]
        thin = self.compress(volume, context)[:, None].expand(-1, count, -1, -1, -1, -1).flatten(0, 1)
        warped = F.grid_sample(thin.float(), flows.flatten(0, 1), align_corners=False)[:, 0]
        x = self.hourglass(torch.cat([heat, warped.unflatten(0, (-1, count))], 1), context)
        mask = self.mask(x, context).float().softmax(1)
        flow = (mask[..., None] * flows).sum(1).clamp(-REACH, REACH)
        seen = x.flatten(1, 2)
        gates = self.occlusion(seen, context).float()
        plane = (gates[:, 1:].softmax(1)[..., None] * flow[..., :2]).sum(1)
        return Motion(flow, plane, gates[:, :1].sigmoid(), seen)
