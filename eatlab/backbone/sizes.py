"""The numbers of a backbone: `small` (96 × 96, trains on a CPU); paper size is another set of the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class A2ETConfig:
    """Audio-to-Expression Transformer (EAT, Sec. 3.1.2).

    mel, speech: bands of a frame.  coefficients: of the PCA of E.
    checkpointing: saves memory, costs a second forward.
    face_map: channels that A2ET reads.  face: channels along the face-token blocks; the last is the width.
    """

    width: int = 64
    heads: int = 4
    layers: int = 3
    hidden: int = 192
    face_map: int = 30
    face: tuple[int, ...] = (16, 24, 40, 64)
    acoustic: tuple[int, ...] = (24, 24)
    mel: int = 80
    speech: int = 64
    coefficients: int = 32
    keypoints: int = 15
    mapper_hidden: int = 96
    checkpointing: bool = False


@dataclass(frozen=True)
class RendererConfig:
    """RePos-Net.

    volume, depth: channels and slices of the feature volume.  width: of the decoder.
    motion: widths of the hourglass.  skip: channels at half size.
    film: what else drives the decoder: "none" (as published) or "expression" (gains and biases from E).
    blends_source: the picture is blended with the warped portrait (not in the release).
    """

    volume: int = 16
    depth: int = 2
    width: int = 48
    motion: tuple[int, int, int] = (24, 40, 64)
    skip: int = 16
    film: str = "expression"
    blends_source: bool = True


@dataclass(frozen=True)
class BackboneConfig:
    """A whole talking head. size: pixels.  detector, estimator: widths along their stages."""

    name: str = "small"
    size: int = 96
    keypoints: int = 15
    detector: tuple[int, int, int, int] = (32, 48, 64, 64)
    estimator: tuple[int, int, int, int] = (24, 48, 72, 96)
    renderer: RendererConfig = field(default_factory=RendererConfig)
    a2et: A2ETConfig = field(default_factory=A2ETConfig)

    @property
    def side(self) -> int:
        """Side of the maps that keypoints and motion live on: a quarter of the picture's."""
        return self.size // 4


def small() -> BackboneConfig:
    """The backbone of the zoo: about 1.8 M parameters."""
    return BackboneConfig()


SIZES: dict[str, Callable[[], BackboneConfig]] = {"small": small}
