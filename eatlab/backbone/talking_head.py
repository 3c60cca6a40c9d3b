"""The talking head: portrait, speech, head pose → frames; composes the backbone's networks (EAT, Fig. 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from eatlab.backbone.a2et import A2ET, Batch
from eatlab.backbone.expression import ExpressionEstimator
from eatlab.backbone.keypoints import KeypointDetector, compose
from eatlab.backbone.renderer import Appearance, Drawn, Renderer
from eatlab.backbone.sites import FROZEN, Backbone, Context
from eatlab.backbone.sizes import BackboneConfig


class Portrait(NamedTuple):
    """Everything of the source picture, b rows.

    canonical keypoints (b, 15, 3); face_map (b, 30, side, side), the detector's logits;
    expression (b, 15, 3); keypoints (b, 15, 3) in the source's pose; appearance.
    """

    canonical: Tensor
    face_map: Tensor
    expression: Tensor
    keypoints: Tensor
    appearance: Appearance

    def rows(self, index: Tensor) -> Portrait:
        """The portrait of each frame: index (n,) → n rows."""
        appearance = Appearance(*(x[index] for x in self.appearance))
        canonical, face_map, expression, keypoints = (x[index] for x in self[:4])
        return Portrait(canonical, face_map, expression, keypoints, appearance)


class TalkingHead(Backbone):
    """K = s R Kc + t + E (EAT, Eq. 1); E from speech by A2ET, or from a frame by the estimator.

    Pictures are (b, 3, size, size) in -1..1. No adapter may change what E and Kc mean, so FIXED names both.
    """

    FIXED = ("keypoints.", "estimator.")

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.keypoints, self.estimator = KeypointDetector(config), ExpressionEstimator(config)
        self.a2et, self.renderer = A2ET(config.a2et), Renderer(config)
        self.name_places()

    def portrait(self, image: Tensor, pose: Tensor, context: Context = FROZEN) -> Portrait:
        """image (b, 3, size, size), its pose (b, 7). Once a portrait, never once a frame.

        Raises ValueError for pictures of another size.
        """
        size = self.config.size
        if image.shape[-2:] != (size, size):
            raise ValueError(f"pictures are {tuple(image.shape[-2:])}; this backbone takes {size} x {size}")
        image = image.contiguous(memory_format=torch.channels_last)
        canonical, logits = self.keypoints(image)
        expression = self.estimator(image)[0]
        keypoints = compose(canonical, pose, expression)
        return Portrait(
            canonical, logits.flatten(1, 2), expression, keypoints, self.renderer.encode(image, context)
        )

    def estimate(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Frames → E (b, 15, 3), pose (b, 7)."""
        return self.estimator(image.contiguous(memory_format=torch.channels_last))

    def speak(self, batch: Batch, context: Context = FROZEN) -> Tensor:
        """Windows of speech, poses and face maps (see A2ET) → E (clips, frames, 15, 3)."""
        return self.a2et(batch, context)

    def draw(self, portrait: Portrait, expression: Tensor, pose: Tensor, context: Context = FROZEN) -> Drawn:
        """portrait: a row for each frame; expression (n, 15, 3), pose (n, 7)."""
        driving = compose(portrait.canonical, pose, expression)
        keypoints, expressions = (portrait.keypoints, driving), (portrait.expression, expression)
        return self.renderer(portrait.appearance, keypoints, expressions, context)

    def render(
        self, portrait: Portrait, expression: Tensor, pose: Tensor, context: Context = FROZEN
    ) -> Tensor:
        """The frames of `draw`: (n, 3, size, size) in -1..1."""
        return self.draw(portrait, expression, pose, context).image


def for_cpu(module: nn.Module) -> nn.Module:
    """Channels-last 2-d weights: a CPU's training step in bf16 takes half the time; values stay."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            m.to(memory_format=torch.channels_last)
    return module
