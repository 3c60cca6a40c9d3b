"""The published perceptual loss: VGG-19's features of four sizes of a picture (eat-networks.md 13)."""

from __future__ import annotations

import torch
from torch import Tensor

from eatlab.backbone.published.blur import shrink
from eatlab.objectives.reconstruction import Features

FACTORS = (1, 2, 4, 8)


def pyramid(image: Tensor) -> list[Tensor]:
    """Pictures (b, 3, h, w) in -1..1 → the same at h, h/2, h/4, h/8, shrunk as 0..1: borders darken."""
    return [2 * shrink((image + 1) / 2, factor) - 1 for factor in FACTORS]


class PerceptualPyramid:
    """Mean absolute differences of features, summed over taps and sizes.

    features: Vgg19; any network of pictures (b, 3, h, w) in -1..1 → feature maps will do.
    """

    def __init__(self, features: Features) -> None:
        self.features = features

    def __call__(self, image: Tensor, truth: Tensor) -> Tensor:
        """image, truth (b, 3, h, w) in -1..1 → a scalar; no gradient goes to the truth."""
        return self.distances(image, truth).sum()

    def distances(self, image: Tensor, truth: Tensor) -> Tensor:
        """The summands, (sizes, taps)."""
        sizes = zip(pyramid(image), pyramid(truth.detach()), strict=True)
        return torch.stack([self.at_one_size(mine, target) for mine, target in sizes])

    def at_one_size(self, image: Tensor, truth: Tensor) -> Tensor:
        """(taps,)."""
        with torch.no_grad():
            wanted = self.features(truth)
        pairs = zip(self.features(image), wanted, strict=True)
        return torch.stack([(mine.float() - target.float()).abs().mean() for mine, target in pairs])
