"""FID's networks: torchvision's Inception for `eat`, the FID-Inception of the literature for `standard`.

Each takes uint8 RGB frames and does its protocol's preprocessing (evaluation.md 5). Weights come from the
user's file; no other network stands in where there is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.inception import Inception3, InceptionA, InceptionC, InceptionE

from eatlab.errors import UserError
from eatlab.experts.perceptual import IMAGENET_MEAN, IMAGENET_STD
from eatlab.experts.user_file import load_frozen

SIDE = 299
NUM_FEATURES = 2_048
FILES = {
    "eat": "torchvision's inception_v3 weights IMAGENET1K_V1",
    "standard": "the FID-Inception weights (torch-fidelity's, of 2015-12-05)",
}
Channels = Literal["BGR", "RGB"]
Normalisation = Literal["both", "centred", "imagenet"]


class ImageNetInception(nn.Module):
    """2,048 features of `eat`: Mixed_7c of torchvision's inception_v3, averaged over space.

    channels: "BGR" as the release feeds it, which reads RGB frames as if they were BGR. normalisation: "both"
    as in the release, "centred" x·2 - 1 alone, "imagenet" torchvision's own input transform alone.
    """

    num_features = NUM_FEATURES

    def __init__(self, *, channels: Channels = "BGR", normalisation: Normalisation = "both") -> None:
        super().__init__()
        self.channels, self.normalisation = channels, normalisation
        self.network = Inception3(init_weights=False, aux_logits=True)

    def resized(self, frames: Tensor) -> Tensor:
        """(n, 3, h, w) uint8 RGB → (n, 3, 299, 299) in 0..1, in `channels` order; no antialiasing."""
        ordered = frames.flip(1) if self.channels == "BGR" else frames
        return F.interpolate(
            ordered.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=False
        )

    def normalised(self, resized: Tensor) -> Tensor:
        """What the first convolution sees of `resized` frames."""
        x = resized if self.normalisation == "imagenet" else resized * 2 - 1
        if self.normalisation == "centred":
            return x
        # ImageNet's means are those of R, G, B: here they meet the channels in whichever order these come.
        mean, deviation = (x.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        return x * deviation / 0.5 + (mean - 0.5) / 0.5

    def forward(self, frames: Tensor) -> Tensor:
        """(n, 3, h, w) uint8 RGB → (n, 2048) float32."""
        return _features(self.network, self.normalised(self.resized(frames)))


class FidInception(nn.Module):
    """2,048 features of `standard`: Inception as it was ported from TensorFlow for FID.

    Differs from torchvision's: 1,008 classes; averages leave the padding out of their count; the last block
    pools the maximum.
    """

    num_features = NUM_FEATURES

    def __init__(self) -> None:
        super().__init__()
        net = Inception3(num_classes=1_008, init_weights=False, aux_logits=False)
        net.Mixed_5b, net.Mixed_5c, net.Mixed_5d = MeanA(192, 32), MeanA(256, 64), MeanA(288, 64)
        net.Mixed_6b, net.Mixed_6e = MeanC(768, 128), MeanC(768, 192)
        net.Mixed_6c, net.Mixed_6d = MeanC(768, 160), MeanC(768, 160)
        net.Mixed_7b, net.Mixed_7c = MeanE(1_280), MaxE(2_048)
        self.network = net

    def resized(self, frames: Tensor) -> Tensor:
        """(n, 3, h, w) uint8 → (n, 3, 299, 299) in 0..255, bilinear at index·size / 299 as TensorFlow 1."""
        rows, columns = (_tf1_matrix(size, frames.device) for size in frames.shape[-2:])
        return rows @ (frames.float() @ columns.T)

    def normalised(self, resized: Tensor) -> Tensor:
        """What the first convolution sees of `resized` frames."""
        return (resized - 128) / 128

    def forward(self, frames: Tensor) -> Tensor:
        """(n, 3, h, w) uint8 RGB → (n, 2048) float32."""
        return _features(self.network, self.normalised(self.resized(frames)))


class PoolsWithoutPadding:
    """An Inception block whose pooled branch, its last, counts only what lies inside."""

    branch_pool: nn.Module

    def _forward(self, x: Tensor) -> list[Tensor]:
        *others, _ = super()._forward(x)  # type: ignore[misc]
        return [*others, self.branch_pool(self.pool(x))]

    def pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class MeanA(PoolsWithoutPadding, InceptionA): ...


class MeanC(PoolsWithoutPadding, InceptionC): ...


class MeanE(PoolsWithoutPadding, InceptionE): ...


class MaxE(PoolsWithoutPadding, InceptionE):
    """The last block."""

    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


def _features(network: Inception3, x: Tensor) -> Tensor:
    for name, block in network.named_children():
        if name != "AuxLogits":  # stands among the blocks, but hangs beside them
            x = block(x)
        if name == "Mixed_7c":
            break
    return x.mean((2, 3))


def _tf1_matrix(size: int, device: torch.device) -> Tensor:
    """(299, size): reads one axis at index·size / 299, the last sample repeated beyond the end."""
    places = torch.arange(SIDE, device=device, dtype=torch.float64) * size / SIDE
    low = places.long().clamp(max=size - 1)
    share = places - low
    matrix = torch.zeros(SIDE, size, device=device, dtype=torch.float64)
    matrix.scatter_add_(1, low[:, None], 1 - share[:, None])
    return matrix.scatter_add_(1, (low + 1).clamp(max=size - 1)[:, None], share[:, None]).float()


def load_inception(
    protocol: Literal["eat", "standard"], path: str | Path | None
) -> ImageNetInception | FidInception:
    """The network of a protocol with the weights of a user's file, frozen.

    Raises UserError: 2 without a file, which is the reason why FID is not measured; 3 for a file that needs
    code to run or is another network's.
    """
    if not path:
        raise UserError(
            f"FID of protocol {protocol} is not measured",
            "no file of weights was given, and no other network may stand in",
            f"give the path of {FILES[protocol]}",
        )
    net = ImageNetInception() if protocol == "eat" else FidInception()
    load_frozen(net.network, path, what=f"Inception of protocol {protocol}", give=FILES[protocol])
    return net.eval()
