"""A batch of clips as the release's training takes it, and the latents drawn for it (eat-networks.md 15)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eatlab.adapters.emotion import LATENT_SIZE
from eatlab.backbone.a2et import Batch
from eatlab.training.learner import seed_of


class Clips(NamedTuple):
    """b clips of n neighbouring frames, each with a portrait of the same person; emotions may differ.

    portrait (b, 3, size, size) in -1..1, portrait_pose (b, 7), portrait_expression (b, 15, 3): the
    estimator's, as `expression` (b, n, 15, 3) is of the driving frames and `pose` (b, n, 7).
    mel (b, n, 11, 80), speech (b, n, 11, …): windows around each frame, zeros outside the clip; pictures
    (b, n, 11, 64, 64) in 0..255 where poses are seen as pictures.
    emotion (b,): indices into EMOTIONS, NEUTRAL where none is known; latent (b, 16), see `fresh_latents`.
    Where a stage draws: frames (b, n, 3, size, size) in -1..1, boxes (b, n, 4): x0, y0, x1, y1 of faces in
    pixels, sync_mel (b, 1, 80, 16) from the first frame on; the sync expert wants n = 5.
    """

    portrait: Tensor
    portrait_pose: Tensor
    portrait_expression: Tensor
    mel: Tensor
    speech: Tensor
    pose: Tensor
    expression: Tensor
    emotion: Tensor
    latent: Tensor
    pictures: Tensor | None = None
    frames: Tensor | None = None
    boxes: Tensor | None = None
    sync_mel: Tensor | None = None

    def heard(self) -> Batch:
        """What A2ET takes of them, without the face map."""
        windows = {"mel": self.mel, "speech": self.speech, "pose": self.pose}
        return windows if self.pictures is None else windows | {"pictures": self.pictures}

    def rows(self, index: Tensor) -> Clips:
        """Some of the clips: index (k,)."""
        return Clips(*(None if x is None else x[index] for x in self))  # type: ignore[arg-type]


def fresh_latents(num_clips: int, *, seed: int, step: int, process: int = 0) -> Tensor:
    """(num_clips, 16) standard normal, anew for each clip of each step; the same arguments, the same bits."""
    random = torch.Generator().manual_seed(seed_of(seed, f"latents of process {process}", step))
    return torch.randn(num_clips, LATENT_SIZE, generator=random)
