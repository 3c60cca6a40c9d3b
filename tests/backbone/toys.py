"""A talking head of the published parts, as thin as they can be, for tests that need no published size."""

from __future__ import annotations

import torch

from eatlab.backbone.random_head import keep_signals
from eatlab.backbone.sizes import (
    A2ETConfig,
    BackboneConfig,
    PublishedAcousticConfig,
    PublishedDetectorConfig,
    PublishedRendererConfig,
    RecogniserConfig,
)
from eatlab.backbone.talking_head import TalkingHead

SIDE = 8
"""Of all maps. The acoustic maps have as many rows as `decode` ends with; 8 are needed by its group norms."""
TINY_PUBLISHED = BackboneConfig(
    name="tiny published",
    size=4 * SIDE,
    pose="released",
    scales_by_hull=True,
    detector=PublishedDetectorConfig(down=(8, 8), up=(8, 8)),
    estimator=None,
    renderer=PublishedRendererConfig(
        volume=4,
        depth=4,
        widths=(8, 8, 8),
        residuals=1,
        motion=(8, 8),
        motion_out=(8, 8),
        width=16,
        middle=1,
        style=8,
        up=(8, 8),
    ),
    a2et=A2ETConfig(
        width=16,
        heads=2,
        layers=2,
        hidden=32,
        face_map=15 * 4,
        face_channels=8,
        face=(16, 8, 16),
        acoustic=PublishedAcousticConfig(
            encode=(8, 8, 8, 8),
            pitch=(8, 8, 8, 8),
            pitch_out=8,
            decode=(8, 8, SIDE),
            hidden_maps=4,
            maps=8,
        ),
        speech=RecogniserConfig(bands=(8, 8, 8, 8), picture=(4, 8)),
        mapper_hidden=16,
        standardises=False,
        pose="released",
        dropout=0.1,
    ),
)


def lively_head(config: BackboneConfig = TINY_PUBLISHED, seed: int = 0) -> TalkingHead:
    """Random weights that keep signals at their size and keypoints apart; frozen, in .eval()."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = TalkingHead(config)
        keep_signals(head, seed)
        basis = torch.linalg.qr(torch.randn(3 * config.keypoints, 3 * config.keypoints))[0]
        head.a2et.pca.basis.copy_(basis[: config.a2et.coefficients])
        head.a2et.pca.mean.copy_(0.3 * torch.randn(3 * config.keypoints))
    return head.requires_grad_(False).eval()
