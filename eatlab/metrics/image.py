"""Picture quality of the `standard` chain: PSNR and SSIM of uint8 frames (evaluation.md 3, 4)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

PEAK = 255.0
SSIM_RADIUS, SSIM_SIGMA = 5, 1.5
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


def ssim(frames: Tensor, truth: Tensor) -> Tensor:
    """SSIM of each frame, float64: 11×11 Gaussian window, mirrored border, whole map, mean over channels.

    frames, truth: (n, 3, height, width) uint8, sides of 6 pixels or more. Equal to torchmetrics' (fed
    float64, data_range=255) to rounding, and a hundred times as fast on a CPU: there float64 convolutions are
    slow.
    """
    if torch.equal(frames, truth):
        return torch.ones(len(frames), dtype=torch.float64)
    chunks = zip(frames.split(FRAMES_AT_ONCE), truth.split(FRAMES_AT_ONCE), strict=True)
    return torch.cat([_ssim(a.double(), b.double()) for a, b in chunks])


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    rows, columns = (_gaussian_matrix(side) for side in a.shape[-2:])
    fields = torch.cat([a, b, a * a + b * b, a * b])
    mean_a, mean_b, squares, product = (rows @ (fields @ columns.T)).chunk(4)
    means, mean_squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    likeness = (2 * means + SSIM_C1) * (2 * (product - means) + SSIM_C2)
    return (likeness / ((mean_squares + SSIM_C1) * (squares - mean_squares + SSIM_C2))).mean((1, 2, 3))


@lru_cache(maxsize=8)
def _gaussian_matrix(side: int) -> Tensor:
    """(side, side) float64: blurs one axis as a matrix product; the border mirrors, its edge not repeated."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = torch.exp(-0.5 * (offsets.double() / SSIM_SIGMA) ** 2)
    reads = (torch.arange(side)[:, None] + offsets).abs()
    reads = torch.where(reads >= side, 2 * (side - 1) - reads, reads)
    blur = torch.zeros(side, side, dtype=torch.float64)
    return blur.scatter_add_(1, reads, (weights / weights.sum()).expand(side, -1))
