"""RePos-Net: a portrait's features, moved by keypoints, drawn as a frame (EAT, Sec. 3.1)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.dense_motion import Block, DenseMotion
from eatlab.backbone.sites import BatchNorm2d, Context, Conv2d, Conv3d, Linear, Site
from eatlab.backbone.sizes import BackboneConfig, RendererConfig

STYLE = 96


class Appearance(NamedTuple):
    """What depends on the portrait alone.

    image (b, 3, size, size), volume (b, c, depth, side, side), skip (b, c, 2 side, 2 side).
    """

    image: Tensor
    volume: Tensor
    skip: Tensor


class Drawn(NamedTuple):
    """A frame (b, 3, size, size) in -1..1, and the warped portrait blended into it, if any."""

    image: Tensor
    warped: Tensor | None


class AppearanceEncoder(nn.Module):
    """Portrait → Appearance; the volume is a feature site (EAM, Sec. 3.2)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        r = config.renderer
        assert isinstance(r, RendererConfig)
        self.depth = r.depth
        self.stem = nn.ModuleList([Block(48, r.width), Block(r.width, r.width)])
        self.lift = Conv2d(r.width, r.volume * r.depth, 1)
        self.residual = nn.ModuleList(
            [Block(r.volume, r.volume, dim=3), Conv3d(r.volume, r.volume, 3, padding=1)]
        )
        self.skip = Block(12, r.skip)

    def forward(self, image: Tensor, context: Context) -> Appearance:
        """image (b, 3, size, size) in -1..1."""
        x = F.pixel_unshuffle(image, 4)
        for block in self.stem:
            x = block(x, context)
        volume = self.lift(x, context).unflatten(1, (-1, self.depth))
        y = volume
        for op in self.residual:
            y = op(y, context)
        return Appearance(image, volume + y, self.skip(F.pixel_unshuffle(image, 2), context))


class DecoderBlock(nn.Module):
    """Residual block whose second norm may be scaled and shifted by a style (b, STYLE)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.conv = Block(width, width), Conv2d(width, width, 3, padding=1, bias=False)
        self.norm, self.film = BatchNorm2d(width), Linear(STYLE, 2 * width)
        nn.init.normal_(self.film.weight, 0, 0.02)
        nn.init.zeros_(self.film.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, style: Tensor | None, context: Context) -> Tensor:
        """(b, width, h, w) → the same."""
        y = self.norm(self.conv(self.first(x, context), context), context)
        if style is not None:
            gain, bias = self.film(style, context)[..., None, None].chunk(2, 1)
            y = (1 + gain) * y + bias
        return F.relu(x + y)


class Renderer(nn.Module):
    """Appearance, keypoints and expressions → frame. In EAT: a SPADE decoder of the warped volume alone.

    Differs at `small`: gains and biases from E in the decoder (`film`), a warped skip, and the frame
    blended with the warped portrait.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        r = config.renderer
        assert isinstance(r, RendererConfig)
        self.blends_source, self.film = r.blends_source, r.film
        self.appearance, self.motion = AppearanceEncoder(config), DenseMotion(config)
        self.volume = Site("features", r.volume)
        sizes = (6 * config.keypoints, STYLE, STYLE) if r.film == "expression" else ()
        self.style = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))
        self.enter = Block(r.volume * r.depth + self.motion.channels, r.width)
        self.blocks = nn.ModuleList([DecoderBlock(r.width), DecoderBlock(r.width)])
        self.enlarge = Conv2d(r.width, 96, 1)
        self.fine = Block(24 + r.skip, 32)
        self.out = Conv2d(32, 16, 3, padding=1)

    def encode(self, image: Tensor, context: Context) -> Appearance:
        """Once a portrait, never once a frame."""
        found = self.appearance(image, context)
        return found._replace(volume=self.volume(found.volume, context))

    def style_of(self, source: Tensor, driving: Tensor, context: Context) -> Tensor | None:
        """Expressions (b, 15, 3) → (b, STYLE), or None if the decoder sees only the warp."""
        if not self.style:
            return None
        x = torch.cat([source, driving - source], 1).flatten(1) * 5
        for layer in self.style:
            x = F.relu(layer(x, context))
        return x

    def forward(
        self,
        found: Appearance,
        keypoints: tuple[Tensor, Tensor],
        expressions: tuple[Tensor, Tensor],
        context: Context,
    ) -> Drawn:
        """keypoints, expressions: of the source and of the driving frame, (b, 15, 3) each."""
        moved = self.motion(found.volume, *keypoints, context)
        x = F.grid_sample(found.volume.float(), moved.flow, align_corners=False).flatten(1, 2) * moved.open
        style = self.style_of(*expressions, context)
        x = self.enter(torch.cat([x, moved.seen], 1), context)
        for block in self.blocks:
            x = block(x, style, context)
        side = found.skip.shape[-1]
        open_ = enlarged(moved.open, side)
        skip = warp(found.skip.float(), moved.plane, "zeros") * open_
        x = F.pixel_shuffle(self.enlarge(x, context), 2)
        x = F.pixel_shuffle(self.out(self.fine(torch.cat([x, skip], 1), context), context), 2).float()
        drawn, warped = torch.tanh(x[:, :3]), warp(found.image.float(), moved.plane, "border")
        if not self.blends_source:
            return Drawn(drawn, warped)
        keep = torch.sigmoid(x[:, 3:] + 1)
        return Drawn(keep * warped + (1 - keep) * drawn, warped)


def enlarged(x: Tensor, side: int) -> Tensor:
    """(b, c, h, w) → (b, c, side, side), bilinear."""
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def warp(image: Tensor, plane: Tensor, outside: str) -> Tensor:
    """image (b, c, h, w) sampled where `plane` (b, side, side, 2), enlarged to h × w, points.

    outside: "zeros" or "border".
    """
    grid = enlarged(plane.permute(0, 3, 1, 2), image.shape[-1]).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, padding_mode=outside, align_corners=False)
