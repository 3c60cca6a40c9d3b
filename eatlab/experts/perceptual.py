"""Feature networks for the perceptual objective: a teacher that reads faces, or VGG-19 from a user's file.

VGG-19's weights cannot be shipped; the teacher learned action units, articulators and landmarks of puppets.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eatlab.experts.user_file import load_frozen

NUM_AUS, NUM_ARTIC, NUM_MARKS = 34, 5, 136
WIDTHS = (24, 48, 72, 96)
VGG_TAPS = (1, 6, 11, 20, 29)
"""Layers relu1_1, 2_1, 3_1, 4_1, 5_1 of VGG-19's features, as published (eat-networks.md 13)."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reading(NamedTuple):
    """What the teacher reads.

    taps: features at 48, 24, 12, 6 pixels; aus (b, 34); artic (b, 5); landmarks (b, 136), pixels / 48 - 1.
    """

    taps: list[Tensor]
    aus: Tensor
    artic: Tensor
    landmarks: Tensor


def stage(cin: int, cout: int) -> nn.Sequential:
    """A strided 3×3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())


class FaceTeacher(nn.Module):
    """Images (b, 3, 96, 96) in -1..1 → Reading.

    Its stages have the shapes of the expression estimator's trunk, which starts from them.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stage(a, b) for a, b in zip((3, *widths), widths, strict=False))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * 36, 128),
            nn.ReLU(),
            nn.Linear(128, NUM_AUS + NUM_ARTIC + NUM_MARKS),
        )

    def forward(self, image: Tensor) -> Reading:
        """All that it reads."""
        taps, x = [], image.contiguous(memory_format=torch.channels_last)
        for each in self.stages:
            x = each(x)
            taps.append(x)
        return Reading(taps, *self.head(x).float().split((NUM_AUS, NUM_ARTIC, NUM_MARKS), -1))


class Vgg19(nn.Module):
    """VGG-19 features at five depths of images (b, 3, h, w) in -1..1; weights in torchvision's layout."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.vgg import cfgs, make_layers

        self.features = make_layers(cfgs["E"])  # without the classifier, 124 M weights that nobody needs
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The taps, finest first."""
        x, taps = ((image + 1) / 2 - self.mean) / self.std, []
        for index, layer in enumerate(self.features[: VGG_TAPS[-1] + 1]):
            x = layer(x)
            if index in VGG_TAPS:
                taps.append(x)
        return taps


def load_vgg19(path: str | Path) -> Vgg19:
    """From a user's .safetensors, or a .pth of tensors only.

    Raises UserError: 3 for a file that needs code to run or is no VGG-19, 2 if there is none.
    """
    give = "the path of torchvision's vgg19 weights"
    return load_frozen(Vgg19(), path, what="VGG-19", give=give, only="features.")
