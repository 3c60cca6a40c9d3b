"""Picture quality of uint8 frames: PSNR, and the SSIM of either protocol (evaluation.md 3, 4)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

PEAK = 255.0
Window = Literal["gaussian", "uniform"]
"""The windows of SSIM: `standard` looks through the Gaussian one, `eat` through the uniform one."""
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5
UNIFORM_SIDE = 7
SSIM_C1, SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
FRAMES_AT_ONCE = 4  # what is made of 4 frames stays in a core's cache: twice as fast as 60 and more


def to_uint8(frames: Tensor) -> Tensor:
    """Round frames to the 8 bits that every metric reads.

    frames: any shape, float in -1..1, or uint8, which is returned as it is. Raises ValueError on numbers that
    are not finite.
    """
    if frames.dtype == torch.uint8:
        return frames
    if not frames.isfinite().all():
        raise ValueError("frames to measure contain NaN or infinity")
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def psnr(frames: Tensor, truth: Tensor) -> Tensor:
    """PSNR of each frame in dB, float64; identical frames give infinity.

    frames, truth: (n, 3, height, width) uint8. One squared error over pixels and channels together, in whole
    numbers.
    """
    chunks = zip(frames.split(FRAMES_AT_ONCE), truth.split(FRAMES_AT_ONCE), strict=True)
    squared = torch.cat([(a.int() - b.int()).square().flatten(1).sum(1) for a, b in chunks])
    return 10 * torch.log10(PEAK**2 * frames[0].numel() / squared.double())


def ssim(frames: Tensor, truth: Tensor, *, window: Window = "gaussian") -> Tensor:
    """SSIM of each frame, float64, the mean over the map and the channels (evaluation.md 4).

    frames, truth: (n, 3, height, width) uint8. window: "gaussian" (`standard`) is 11×11, population
    covariance, mirrored border, whole map, sides of 6 pixels or more; equal to torchmetrics' (fed float64,
    data_range=255) to rounding. "uniform" (`eat`) is 7×7, sample covariance, the border of 3 pixels cut,
    sides of 7 or more; equal to scikit-image's. As matrix products, a hundred times as fast on a CPU as
    float64 convolutions.
    """
    least = UNIFORM_SIDE if window == "uniform" else SSIM_RADIUS + 1
    if min(frames.shape[-2:]) < least:
        raise ValueError(
            f"SSIM through the {window} window needs sides of {least} pixels, not {tuple(frames.shape)}"
        )
    if torch.equal(frames, truth):
        return torch.ones(len(frames), dtype=torch.float64)
    chunks = zip(frames.split(FRAMES_AT_ONCE), truth.split(FRAMES_AT_ONCE), strict=True)
    return torch.cat([_ssim(a.double(), b.double(), window) for a, b in chunks])


def _ssim(a: Tensor, b: Tensor, window: Window) -> Tensor:
    matrix = _uniform_matrix if window == "uniform" else _gaussian_matrix
    rows, columns = (matrix(side) for side in a.shape[-2:])
    fields = torch.cat([a, b, a * a + b * b, a * b])
    mean_a, mean_b, squares, product = (rows @ (fields @ columns.T)).chunk(4)
    means, mean_squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    # Sample (co)variances are n / (n - 1) times the population's.
    size = UNIFORM_SIDE**2
    unbiased = size / (size - 1) if window == "uniform" else 1.0
    likeness = (2 * means + SSIM_C1) * (2 * unbiased * (product - means) + SSIM_C2)
    spread = unbiased * (squares - mean_squares) + SSIM_C2
    return (likeness / ((mean_squares + SSIM_C1) * spread)).mean((1, 2, 3))


@lru_cache(maxsize=8)
def _gaussian_matrix(side: int) -> Tensor:
    """(side, side) float64: blurs one axis as a matrix product; the border mirrors, its edge not repeated."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = torch.exp(-0.5 * (offsets.double() / SSIM_SIGMA) ** 2)
    reads = (torch.arange(side)[:, None] + offsets).abs()
    reads = torch.where(reads >= side, 2 * (side - 1) - reads, reads)
    blur = torch.zeros(side, side, dtype=torch.float64)
    return blur.scatter_add_(1, reads, (weights / weights.sum()).expand(side, -1))


@lru_cache(maxsize=8)
def _uniform_matrix(side: int) -> Tensor:
    """(side - 6, side) float64: means of 7 neighbours, only where all 7 lie inside."""
    reads = torch.arange(side - UNIFORM_SIDE + 1)[:, None] + torch.arange(UNIFORM_SIDE)
    mean = torch.zeros(len(reads), side, dtype=torch.float64)
    return mean.scatter_(1, reads, 1 / UNIFORM_SIDE)
