"""Wide convolutions by Winograd's minimal filtering: 4 × 4 outputs at once from a quarter of the products.

A tile is Y = Aᵀ [Σ (G w Gᵀ) ⊙ (Bᵀ d B)] A, summed over channels, and over depth where there is one
(Lavin & Gray 2016, Eq. 8 and 12): 36 products in place of 144 for 3 × 3, 100 in place of 784 for 7 × 7.
Equal up to rounding, which the points below keep small.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.backbone.sites import Conv2d, LowRank, Operator, SpectralConv2d

TILE = 4
POINTS = {3: (2 / 3, 3 / 2), 7: (0.4, 0.8, 1.25, 2.5)}
"""By kernel: polynomials are multiplied at ± these, 0 and infinity. Pairs of reciprocals round least."""
TILES_AT_ONCE, NUMBERS_AT_ONCE = 128, 2**14
"""Of products, and of transforms for each point: what is in flight stays in the caches."""
WIDE, LARGE, HEAVY = 64, 16, 1024
"""Fewer input channels, pixels along a side, or weights of one, and transforms cost what products save."""

_direct: ContextVar[bool] = ContextVar("direct", default=False)


@contextmanager
def directly() -> Iterator[None]:
    """Within, every convolution is the direct sum."""
    token = _direct.set(True)
    try:
        yield
    finally:
        _direct.reset(token)


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether `winograd` takes these and is faster: on a CPU, in fp32, without gradients, wide and large.

    Shapes as `winograd`'s. Tracing compilers are given the direct sum, which they know how to schedule.
    """
    height, width = x.shape[-2:]
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not (_direct.get() or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
        and not torch.compiler.is_compiling()
        and weight.shape[-1] == weight.shape[-2]
        and weight.shape[-1] in POINTS
        and weight.shape[1] >= WIDE
        and weight[:, 0].numel() >= HEAVY
        and min(height, width) >= LARGE
        and height % TILE == width % TILE == 0
    )


class Transforms(NamedTuple):
    """For a kernel k, n = k + 3: output Aᵀ (4, n), input Bᵀ (n, n); kernel G ⊗ G (n², k²)."""

    output: Tensor
    input: Tensor
    kernel: Tensor


@cache
def transforms(kernel: int) -> Transforms:
    """Toom-Cook: polynomials are evaluated at n - 1 points and infinity, multiplied there, interpolated."""
    points = torch.tensor([0.0, *(sign * p for p in POINTS[kernel] for sign in (1, -1))], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    others = [torch.cat([points[:i], points[i + 1 :]]) for i in range(len(points))]
    scale = torch.stack([(p - rest).prod() for p, rest in zip(points, others, strict=True)])

    def powers(count: int) -> Tensor:
        """(n, count); infinity sees the last coefficient."""
        finite = points[:, None] ** torch.arange(count, dtype=torch.float64)
        return torch.cat([finite, F.pad(one, (count - 1, 0))[None]])

    def vanishing_at(roots: Tensor) -> Tensor:
        """Coefficients of Π (x - root), lowest first, n of them."""
        found = one
        for root in roots:
            found = F.pad(found, (1, 0)) - root * F.pad(found, (0, 1))
        return F.pad(found, (0, len(points) + 1 - len(found)))

    output = powers(TILE).T
    weights = powers(kernel) / torch.cat([scale, one])[:, None]
    inputs = torch.stack([vanishing_at(roots) for roots in (*others, points)])
    return Transforms(output.float(), inputs.float(), torch.kron(weights, weights).float())


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (b, c, [d,] h, w), square kernels of odd side → (b, o, [d,] h, w), zeros outside: the faster way."""
    if pays(x, weight):
        return winograd(x, weight, bias)
    padding = weight.shape[-1] // 2
    if x.dim() == 4:
        return F.conv2d(x, weight, bias, 1, padding)
    return F.conv3d(x.contiguous(), weight, bias, 1, padding)


class Scratch(threading.local):
    """Buffers kept from call to call, for each thread its own: fresh pages cost as much as the products.

    The released renderer's hold 0.1 GB.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """An fp32 tensor of this shape with whatever was in it; the name's last one is overwritten."""
        size = math.prod(shape)
        if name not in self.kept or len(self.kept[name]) < size:
            with torch.inference_mode(False):  # its tensors could not be written to outside of it
                self.kept[name] = torch.empty(size, dtype=torch.float32)
        return self.kept[name][:size].view(shape)


_scratch = Scratch()


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (b, c, [d,] h, w) → (b, o, [d,] h, w), zeros outside; weight (o, c, [k,] k, k).

    The result lies in channels-last memory. h and w must be multiples of 4, k one of `POINTS`.
    """
    if x.dim() == 4:
        return winograd(x.unsqueeze(2), weight.unsqueeze(2), bias)[:, :, 0]
    (o, c, taps), by = weight.shape[:3], transforms(weight.shape[-1])
    points, square = by.kernel.shape
    kernels = _scratch.take("kernels", o, points, taps, c)
    plain = weight.permute(0, 3, 4, 2, 1).reshape(o, square, taps * c)
    torch.bmm(by.kernel.expand(o, -1, -1), plain, out=kernels.flatten(2))
    y = x.new_empty(len(x), *x.shape[2:], o)
    for volume, result in zip(x, y, strict=True):
        filtered(volume.permute(1, 2, 3, 0), kernels, bias, by, result)
    return y.permute(0, 4, 1, 2, 3)


def filtered(x: Tensor, kernels: Tensor, bias: Tensor | None, by: Transforms, y: Tensor) -> None:
    """x (d, h, w, c), transformed kernels (o, n², k, c) → y (d, h, w, o).

    A line is a row of tiles at one depth: some rows of a picture, or all depths of one row, are in flight.
    """
    (d, h, w, c), (o, points, taps, _) = x.shape, kernels.shape
    down, along, side = h // TILE, w // TILE, len(by.input)
    edge, deep = (side - TILE) // 2, d + taps - 1
    rows = parts(down, TILES_AT_ONCE // along)[0].stop if deep == 1 else 1
    strip = _scratch.take("strip", deep, rows * TILE + 2 * edge, w + 2 * edge, c).zero_()
    rows_of_lines = strip.unfold(1, side, TILE).flatten(0, 1).permute(0, 3, 1, 2)
    bent = _scratch.take("bent", side, side, rows * deep, along, c)
    products = _scratch.take("products", side, side, rows * d, along, o)
    results = y.view(d, down, TILE, along, TILE, o).permute(2, 4, 0, 1, 3, 5)
    for first in range(0, down, rows):
        fill(strip[taps // 2 : taps // 2 + d, :, edge : edge + w], x, first * TILE - edge)
        for lines in parts(rows * deep, NUMBERS_AT_ONCE // (along * c)):
            bend(rows_of_lines[lines], by.input, bent[:, :, lines])
        total = products.view(points, -1, o)
        for tap in range(taps):
            part = bent[:, :, tap : tap + rows * d].flatten(0, 1).flatten(1, 2)
            torch.baddbmm(total, part, kernels[:, :, tap].permute(1, 2, 0), beta=float(tap > 0), out=total)
        result = results[:, :, :, first : first + rows].flatten(2, 3)
        for lines in parts(rows * d, NUMBERS_AT_ONCE // (along * o)):
            straighten(products[:, :, lines], by.output, bias, result[:, :, lines])


def bend(rows: Tensor, by: Tensor, bent: Tensor) -> None:
    """Bᵀ d B of each tile: rows (lines, n, 4 tiles + n - 4, c) → bent (n, n, lines, tiles, c)."""
    lines, side, width, c = rows.shape
    down = _scratch.take("down", lines, side, width * c)
    torch.bmm(by.expand(lines, -1, -1), rows.flatten(2), out=down)
    tiles = down.view(lines, side, width, c).unfold(2, side, TILE).permute(1, 4, 0, 2, 3)
    seen = _scratch.take("seen", *tiles.shape)
    seen.copy_(tiles)
    torch.bmm(by.expand(side, -1, -1), seen.flatten(2), out=bent.flatten(2))


def straighten(products: Tensor, by: Tensor, bias: Tensor | None, result: Tensor) -> None:
    """Aᵀ m A of each tile plus bias: products (n, n, lines, tiles, o) → result (4, 4, lines, tiles, o)."""
    side = len(products)
    each = products.flatten(2).transpose(0, 1)
    down = _scratch.take("down", side, TILE, each.shape[-1])
    torch.bmm(by.expand(side, -1, -1), each, out=down)
    bare = _scratch.take("bare", TILE, TILE, each.shape[-1])
    torch.bmm(by.expand(TILE, -1, -1), down.transpose(0, 1), out=bare)
    bare = bare.view(result.shape)
    result.copy_(bare if bias is None else bare.add_(bias))


def parts(count: int, most: int) -> list[slice]:
    """0 … count - 1 in equal parts of at most `most`, or of one."""
    size = max(n for n in range(1, count + 1) if count % n == 0 and n <= max(1, most))
    return [slice(first, first + size) for first in range(0, count, size)]


def fill(strip: Tensor, x: Tensor, top: int) -> None:
    """Rows of x (d, h, ...) from `top` on into strip (d, rows, ...); zeros where they lie outside."""
    inside = slice(max(0, -top), max(0, x.shape[1] - top))
    strip[:, inside].copy_(x[:, max(0, top) : top + strip.shape[1]])
    strip[:, inside.stop :].zero_()


class Wide(Operator):
    """Mixin for operators that compute by `convolved`."""

    def of_weight(self, x: Tensor, y: Tensor, delta: Tensor | LowRank) -> Tensor:
        """As Operator's, by the direct sum: vmap batches no buffers."""
        with directly():
            return super().of_weight(x, y, delta)


class WideConv2d(Wide, Conv2d):
    """`Conv2d` of stride 1 that keeps the size, by `winograd` where that pays."""

    def __init__(self, cin: int, cout: int, kernel: int = 3) -> None:
        super().__init__(cin, cout, kernel, padding=kernel // 2)

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """2-d convolution."""
        return convolved(x, weight, bias)


class WideSpectralConv2d(SpectralConv2d, WideConv2d):
    """`SpectralConv2d`, by `winograd` where that pays."""
