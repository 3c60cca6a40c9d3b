"""A talking head too small to speak, and latents of nobody: what the tests of tuning run on."""

from __future__ import annotations

from dataclasses import replace

import torch

from eatlab.backbone.sizes import (
    A2ETConfig,
    AcousticConfig,
    BackboneConfig,
    DetectorConfig,
    EstimatorConfig,
    RendererConfig,
)
from eatlab.backbone.talking_head import TalkingHead
from eatlab.training.latents import Latents

SIDE = 8
TINY = BackboneConfig(
    name="tiny",
    size=4 * SIDE,
    detector=DetectorConfig((8, 8, 8, 8)),
    estimator=EstimatorConfig((8, 8, 8, 8)),
    renderer=RendererConfig(volume=4, width=8, motion=(8, 8, 8), skip=4),
    a2et=A2ETConfig(
        width=16,
        heads=2,
        layers=2,
        hidden=16,
        face_channels=4,
        face=(4, 8, 16),
        acoustic=AcousticConfig((4, 4)),
        mapper_hidden=8,
    ),
)


def tiny_backbone(seed: int = 0, config: BackboneConfig = TINY) -> TalkingHead:
    """Random weights, frozen, with a PCA of E that has deviations of different sizes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = TalkingHead(config)
        backbone.a2et.pca.deviation.copy_(torch.linspace(1, 0.1, config.a2et.coefficients))
    return backbone.requires_grad_(False).eval()


def tiny_latents(num_clips: int = 24, num_frames: int = 5, seed: int = 1) -> Latents:
    """Clips of noise in which E has a mean that depends on the emotion."""
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    total = num_clips * num_frames
    emotion = torch.arange(num_clips) % 8
    typical = torch.randn(8, 15, 3, generator=torch.Generator().manual_seed(9))
    clip = torch.arange(num_clips).repeat_interleave(num_frames)
    return Latents(
        expression=typical[emotion][clip] * 0.3 + 0.1 * noise(total, 15, 3),
        pose=torch.cat([10 * noise(total, 3), 0.1 * noise(total, 3), torch.ones(total, 1)], 1),
        mel=noise(total, 11, 80),
        speech=noise(total, 11, 64),
        clip=clip,
        at=torch.arange(num_frames).repeat(num_clips),
        portrait=torch.arange(num_clips) % 3,
        emotion=emotion,
        intensity=torch.ones(num_clips),
        level=torch.full((num_clips,), 3),
        face_map=noise(3, 30, SIDE, SIDE),
        portrait_image=torch.zeros(3, 3, 4 * SIDE, 4 * SIDE, dtype=torch.uint8),
        portrait_pose=torch.cat([torch.zeros(3, 6), torch.ones(3, 1)], 1),
        portrait_expression=noise(3, 15, 3),
    )


def rows_of(latents: Latents, **changes: torch.Tensor) -> Latents:
    """The same latents with some tensors replaced."""
    return replace(latents, **changes)


def published_latents(head: TalkingHead, num_clips: int = 8, num_frames: int = 5) -> Latents:
    """The same for a head of published parts: recogniser features, pose pictures, hulls of its keypoints."""
    random, plain = torch.Generator().manual_seed(2), tiny_latents(num_clips, num_frames)
    total, size = num_clips * num_frames, head.config.size

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    with torch.no_grad():
        pose, expression = plain.portrait_pose, 0.05 * plain.portrait_expression
        portraits = head.portrait(noise(3, 3, size, size).tanh(), pose, expression=expression)
    return replace(
        plain,
        speech=noise(total, 11, *head.config.a2et.speech.statistics),
        pictures=255 * torch.rand(total, 64, 64, generator=random),
        face_map=portraits.face_map,
        hull=portraits.hull,
        portrait_image=torch.zeros(3, 3, size, size, dtype=torch.uint8),
    )
