"""Sync loss: rendered mouths and the speech belong together, says a frozen sync teacher (EAT, Eq. 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from eatlab.experts.sync import FRAMES, SyncExpert, mouth_crops


class SyncLoss:
    """-log of the likeness of five rendered mouths and their 0.2 s of sound, as a share of 0…1."""

    def __init__(self, teacher: SyncExpert) -> None:
        self.teacher = teacher

    def __call__(self, frames: Tensor, landmarks: Tensor, mel: Tensor) -> Tensor:
        """frames (clips·5, 3, h, w), landmarks (clips·5, 68, 2) px of the truth, mel (clips, 16, 80) → 1.

        Differs: our teacher's cosine lies in -1..1, the published one's, after its ReLUs, in 0..1; ours is
        moved there first.
        """
        crops = mouth_crops(frames, landmarks).unflatten(0, (-1, FRAMES))
        cosine = (self.teacher.video(crops) * self.teacher.audio(mel)).sum(-1)
        return -torch.log(((1 + cosine) / 2).clamp(min=1e-4)).mean()  # Eq. 7
