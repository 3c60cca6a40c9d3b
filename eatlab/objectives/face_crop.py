"""Differentiable face crops by boxes, and their stacking for SyncNet (eat-networks.md 11)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 96


def face_crops(images: Tensor, boxes: Tensor, *, side: int = SIDE) -> Tensor:
    """Faces (b, 3, side, side) in 0..1 of images (b, 3, s, s) in -1..1; black outside the image.

    boxes (b, 4): x0, y0, x1, y1 in pixels. The first and last sample of a row lie on the box's edges, which
    are read as 2 x / s - 1 (as released: half a pixel is not minded).
    """
    corners = boxes.to(images) * 2 / images.shape[-1] - 1
    along = torch.linspace(0, 1, side, device=images.device, dtype=corners.dtype)
    x, y = (corners[:, i, None] + (corners[:, i + 2] - corners[:, i])[:, None] * along for i in (0, 1))
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    return F.grid_sample((images + 1) / 2, grid, align_corners=False)


def lower_halves(crops: Tensor, num_frames: int) -> Tensor:
    """Crops (clips · num_frames, 3, side, side) → (clips, 3 · num_frames, side / 2, side), frame by frame."""
    return crops[:, :, crops.shape[2] // 2 :].unflatten(0, (-1, num_frames)).flatten(1, 2)
