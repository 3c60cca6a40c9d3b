"""The acoustic encoder of A2ET: a window of log-mel → one token a frame (EAT, Sec. 3.1.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.sites import Context, Conv2d, Linear, Site


class AcousticEncoder(nn.Module):
    """Mel windows (windows, 11, 80) → tokens (windows, 11, width); each instance norm is a feature site.

    At `small` a stack of 3×3 convolutions stands for the published residual encoder and pitch network.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        pairs = zip((1, *channels), channels, strict=False)
        self.convs = nn.ModuleList(Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(Site("features", c) for c in channels)
        self.tokens = Linear(channels[-1], width)

    def forward(self, mel: Tensor, context: Context) -> Tensor:
        """The norms see the whole window, so a window's tokens depend on all its frames."""
        x = mel[:, None]
        for conv, site in zip(self.convs, self.norms, strict=True):
            x = F.relu(site(F.instance_norm(conv(x, context)), context))
        return self.tokens(x.mean(3).mT, context)
