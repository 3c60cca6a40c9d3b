"""Shrinking without aliases: a Gaussian, then every k-th pixel (eat-networks.md 6, 7, 13)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def blur_kernel(factor: int) -> Tensor:
    """(size, size) Gaussian of sigma (factor - 1) / 2 that sums to 1; size = 2 round(4 sigma) + 1."""
    sigma = (factor - 1) / 2
    reach = round(4 * sigma)
    along = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * sigma**2))
    kernel = along[:, None] * along
    return (kernel / kernel.sum()).float()


def shrink(image: Tensor, factor: int) -> Tensor:
    """(b, c, h, w) → (b, c, h / factor, w / factor), zeros outside; factor 1 changes nothing."""
    if factor == 1:
        return image
    kernel = blur_kernel(factor).to(image)
    channels = image.shape[1]
    weight = kernel.expand(channels, 1, *kernel.shape)
    # Every factor-th pixel of the blurred picture is all that is kept, so only those are computed.
    return F.conv2d(image, weight, None, factor, kernel.shape[-1] // 2, groups=channels)
