"""The landmark judge: 68 iBUG points of a frame. (The landmark teacher is a head of FaceTeacher.)"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eatlab.experts.emotion import stage

PIXELS = 4.0
"""The network answers in units of this many pixels around the mean face."""


class LandmarkJudge(nn.Module):
    """Images (b, 3, 96, 96) in -1..1 → (b, 68, 2) pixels, pixel centres at integers."""

    mean: Tensor

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.stages = nn.Sequential(*[stage(a, b) for a, b in zip((3, *widths), widths, strict=False)])
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1] * 36, 192), nn.ReLU(), nn.Linear(192, 136)
        )
        self.register_buffer("mean", torch.zeros(68, 2))

    def forward(self, image: Tensor) -> Tensor:
        """x right, y down."""
        return self.head(self.stages(image)).float().unflatten(-1, (68, 2)) * PIXELS + self.mean
