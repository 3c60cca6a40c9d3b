"""A head of the published size that learned nothing: to see that a command runs there, and what it costs."""

from __future__ import annotations

import torch
from torch import nn

from eatlab.backbone.published.constants import released_constants
from eatlab.backbone.sites import SpectralConv2d
from eatlab.backbone.sizes import paper
from eatlab.backbone.talking_head import TalkingHead


def random_head(seed: int = 0) -> TalkingHead:
    """Weights as torch draws them, with the released PCA of E; frozen, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = TalkingHead(paper())
    constants = released_constants()
    head.a2et.pca.mean.copy_(constants.mean)
    head.a2et.pca.basis.copy_(constants.components.T)
    return head.requires_grad_(False).eval()


def keep_signals(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draws convolutions anew, so that signals keep their size and keypoints stand apart (He et al., 2015).

    As torch starts them signals die where no batch norm revives them, and every portrait is the same.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in module.modules():
            if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d) and not isinstance(part, SpectralConv2d):
                nn.init.kaiming_normal_(part.weight)
    return module
