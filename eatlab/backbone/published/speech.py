"""Encoder tokens of A2ET as released: a recogniser's logits and a picture of the pose, frame by frame."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.picture import refuse_size
from eatlab.backbone.residual_down import FaceToken
from eatlab.backbone.sites import Context, Conv1d, Linear
from eatlab.backbone.sizes import A2ETConfig, RecogniserConfig


class Recogniser(nn.Module):
    """Logits (…, 16, 29) and pose pictures (…, 64, 64) of frames → tokens (…, width) (eat-networks.md 1)."""

    reads_pictures = True

    def __init__(self, config: A2ETConfig) -> None:
        super().__init__()
        c = config.speech
        assert isinstance(c, RecogniserConfig)
        self.bands = nn.ModuleList(
            Conv1d(a, b, 3, stride=2, padding=1) for a, b in pairwise((c.characters, *c.bands))
        )
        self.side = c.side
        self.picture = FaceToken((1, *c.picture))
        self.mlp = nn.ModuleList(
            [Linear(c.picture[-1] + c.bands[-1], config.width), Linear(config.width, config.width)]
        )

    def encode(self, speech: Tensor, pictures: Tensor | None, context: Context) -> Tensor:
        """speech (n, frames, 16, 29), pictures (n, frames, 64, 64) in 0..255 → (n, frames, width)."""
        assert pictures is not None
        refuse_size(pictures, self.side, "the pose-picture encoder")
        said = self.said(speech.flatten(0, 1), context)
        turned = self.picture(pictures.flatten(0, 1)[:, None], context)
        first, second = self.mlp
        x = F.leaky_relu(first(torch.cat([turned, said], -1), context), 0.02)
        return second(x, context).unflatten(0, speech.shape[:2])

    def said(self, speech: Tensor, context: Context) -> Tensor:
        """(n, 16, 29) → (n, channels): the characters are channels, the steps are halved to one."""
        x = speech.mT
        for conv in self.bands:
            x = F.leaky_relu(conv(x, context), 0.02)
        return x.mean(-1)
