"""The front ends of A2ET at `small`: what a frame says, and a window of log-mel (EAT, Sec. 3.1.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.residual_down import FaceToken
from eatlab.backbone.sites import Context, Conv2d, Linear, Site, spread
from eatlab.backbone.sizes import A2ETConfig, AcousticConfig, SpeechBandsConfig


class SpeechBands(Linear):
    """Log-mel bands of frames → tokens, linearly; no pose pictures."""

    reads_pictures = False

    def __init__(self, config: A2ETConfig) -> None:
        assert isinstance(config.speech, SpeechBandsConfig)
        super().__init__(config.speech.bands, config.width)

    def encode(self, speech: Tensor, pictures: Tensor | None, context: Context) -> Tensor:
        """(windows, 11, bands) → (windows, 11, width)."""
        return self(speech, context)


class AcousticEncoder(nn.Module):
    """Mel windows (windows, 11, 80) → tokens (windows, 11, width); each instance norm is a feature site.

    At `small` a stack of 3×3 convolutions stands for the published residual encoder and pitch network.
    """

    def __init__(self, config: A2ETConfig) -> None:
        super().__init__()
        assert isinstance(config.acoustic, AcousticConfig)
        channels = config.acoustic.channels
        pairs = zip((1, *channels), channels, strict=False)
        self.convs = nn.ModuleList(Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(Site("features", c) for c in channels)
        self.tokens = Linear(channels[-1], config.width)

    def forward(self, mel: Tensor, context: Context) -> Tensor:
        """The norms see the whole window, so a window's tokens depend on all its frames."""
        x = mel[:, None]
        for conv, site in zip(self.convs, self.norms, strict=True):
            x = F.relu(site(F.instance_norm(conv(x, context)), context))
        return self.tokens(x.mean(3).mT, context)

    @staticmethod
    def join(heard: Tensor, pose: Tensor, face: Tensor, token: FaceToken, context: Context) -> Tensor:
        """Acoustic tokens (w, 11, width), pose token (w, 1, width), face (clips, c, h, w) → (w, 12, width).

        The face's token is added to all twelve. Differs: the release sees face and sound of a frame together.
        """
        seen = spread(token(face, context), len(heard))
        return torch.cat([heard, pose], 1) + seen[:, None]
