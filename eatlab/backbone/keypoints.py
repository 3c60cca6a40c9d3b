"""Unsupervised 3D keypoints: a portrait's canonical keypoints, and K = s R Kc + t + E (EAT, Eq. 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.pose import CONVENTIONS
from eatlab.backbone.sites import BatchNorm2d
from eatlab.backbone.sizes import BackboneConfig, DetectorConfig

FACIAL_PLACES = (
    *((-0.18, -0.42), (0.18, -0.42), (-0.5, -0.42), (0.5, -0.42)),
    *((-0.37, -0.2), (0.37, -0.2), (-0.37, -0.02), (0.37, -0.02)),
    *((0.0, 0.22), (-0.28, 0.6), (0.28, 0.6), (0.0, 0.53), (0.0, 0.68), (0.0, 0.95), (0.0, -0.75)),
)
"""Where 15 canonical keypoints start, x and y in head units: brows, lids, nose, mouth, chin, forehead."""
TEMPERATURE = 0.1


def pixel_centres(count: int) -> Tensor:
    """(count,) places of pixel centres in -1..1, for grid_sample with align_corners=False."""
    return (2 * torch.arange(count) + 1) / count - 1


def volume_grid(depth: int, side: int) -> Tensor:
    """(depth, side, side, 3) pixel centres as x, y, z.

    Differs: the release builds corner grids and samples them as centres; 2 deep, that halves every value.
    """
    return grid_of(pixel_centres(depth), pixel_centres(side))


def corner_grid(depth: int, side: int) -> Tensor:
    """(depth, side, side, 3) as x, y, z: 2 i / (count - 1) - 1.

    Differs: corner grids, sampled as centres (align_corners=False); the mismatch is in the released weights.
    """
    return grid_of(torch.linspace(-1, 1, depth), torch.linspace(-1, 1, side))


def grid_of(down: Tensor, along: Tensor) -> Tensor:
    """Depths (d,) and places (n,) of a side → (d, n, n, 3) as x, y, z."""
    z, y, x = torch.meshgrid(down, along, along, indexing="ij")
    return torch.stack([x, y, z], -1)


def conv_block(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), BatchNorm2d(cout), nn.ReLU())


class KeypointDetector(nn.Module):
    """Portrait (b, 3, size, size) → canonical keypoints (b, 15, 3) and logits, the face map that A2ET reads.

    A U-net from a quarter of the size to a 32nd and back; softmax of logits / 0.1, expectation of the grid.
    """

    where: Tensor
    grid: Tensor

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        assert isinstance(config.detector, DetectorConfig)
        a, b, c, d = config.detector.widths
        self.count, self.depth, side = config.keypoints, config.renderer.depth, config.side
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), conv_block(48, a))
        self.down = nn.ModuleList([conv_block(a, b), conv_block(b, c), conv_block(c, d)])
        self.up = nn.ModuleList([conv_block(d, c), conv_block(c + c, b), conv_block(b + b, a)])
        self.logits = nn.Conv2d(2 * a, self.count * self.depth, 3, 1, 1)
        nn.init.normal_(self.logits.weight, 0, 1e-3)
        grid = volume_grid(self.depth, side)
        self.register_buffer("grid", grid.flatten(0, 2), persistent=False)
        places = torch.tensor(FACIAL_PLACES)[:, None, None, None]
        bump = -((grid[None, ..., :2] - places) ** 2).sum(-1) / (2 * 0.13**2)
        self.where = nn.Parameter(TEMPERATURE * (bump + torch.where(grid[..., 2] < 0, 0.125, -0.125)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """→ keypoints (b, 15, 3) in -1..1; logits (b, 15, depth, side, side)."""
        x, kept = self.stem(image), []
        for down in self.down:
            kept.append(x)
            x = down(F.avg_pool2d(x, 2))
        for i, up in enumerate(self.up):
            x = torch.cat([up(F.interpolate(x, scale_factor=2)), kept[-1 - i]], 1)
        logits = self.logits(x).float().unflatten(1, (self.count, self.depth)) + self.where
        share = torch.softmax(logits.flatten(2) / TEMPERATURE, -1)
        # Elementwise, not a matrix product: autocast would round the expectation to bf16 (0.2 px).
        return torch.stack([(share * self.grid[:, i]).sum(-1) for i in range(3)], -1), logits


def compose(canonical: Tensor, pose: Tensor, expression: Tensor, *, convention: str = "puppets") -> Tensor:
    """K = s R Kc + t + E (Eq. 1): canonical, expression (b, 15, 3), pose (b, 7) → (b, 15, 3).

    convention: how the pose is read (pose.py). Differs: the scale s; in EAT the crop fixes it and s is 1.
    """
    rotation = CONVENTIONS[convention].rotation(pose)
    turned = (canonical[:, :, None].float() * rotation[:, None]).sum(-1)
    return pose[:, 6, None, None] * turned + pose[:, None, 3:6] + expression  # Eq. 1
