"""Pictures come in one size: another is refused in one line, never scaled silently."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from eatlab.errors import UserError


def refuse_size(image: Tensor, size: int, who: str) -> None:
    """Raises UserError for pictures (..., h, w) of another size: they are never scaled silently."""
    height, width = image.shape[-2:]
    if (height, width) != (size, size):
        there = f"{who} takes {size} x {size}"
        raise UserError(f"pictures of {width} x {height} pixels", there, "crop and scale them before")


def as_many_pixels(count: int, size: int) -> int:
    """How many pictures of `size` hold as many pixels as `count` of 96 px; at least 1.

    Portions of work are counted at `small`; memory grows with the pixels.
    """
    return max(1, count * 96**2 // size**2)


def resized(image: Tensor, size: int) -> Tensor:
    """Square float pictures (n, c, h, w) at another size: bilinear, with its filter widened to shrink.

    For whoever asks for it and says so; pictures of that size come back as they are.
    """
    if image.shape[-1] == size:
        return image
    return F.interpolate(image, (size, size), mode="bilinear", antialias=True)
