"""The numbers of a backbone: `small` (96 × 96, trains on a CPU) and `paper` (256 × 256, the EAT release).

A config names its parts: `part` is "module:class", imported when a backbone is built. Two parts of one
place have one interface (docs/sizes.md), so nothing else asks which size it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar


def build_part(config: Any, *given: Any) -> Any:
    """The part that a config names, made from `given`."""
    module, _, name = config.part.partition(":")
    return getattr(importlib.import_module(module), name)(*given)


@dataclass(frozen=True)
class SpeechBandsConfig:
    """Log-mel bands of a frame in place of a speech recogniser's features."""

    part: ClassVar[str] = "eatlab.backbone.audio:SpeechBands"

    bands: int = 64

    @property
    def statistics(self) -> tuple[int, ...]:
        """Shape of a frame's features."""
        return (self.bands,)


@dataclass(frozen=True)
class RecogniserConfig:
    """A speech recogniser's logits and a picture of the pose, for each frame (eat-networks.md 1).

    steps, characters: logits of a frame.  bands: widths of its 1-d convolutions, which halve the steps.
    picture: widths of the residual-down blocks of the pose picture; side: its pixels.
    """

    part: ClassVar[str] = "eatlab.backbone.published.speech:Recogniser"

    steps: int = 16
    characters: int = 29
    bands: tuple[int, ...] = (32, 32, 64, 64)
    picture: tuple[int, ...] = (32, 64, 128, 128, 128)
    side: int = 64

    @property
    def statistics(self) -> tuple[int, ...]:
        """Shape of a frame's features."""
        return (self.steps, self.characters)


@dataclass(frozen=True)
class AcousticConfig:
    """Widths of a stack of 3 × 3 convolutions that makes a token a frame."""

    part: ClassVar[str] = "eatlab.backbone.audio:AcousticEncoder"

    channels: tuple[int, ...] = (24, 24)


@dataclass(frozen=True)
class PublishedAcousticConfig:
    """Residual encoder with a pitch path; makes a map a frame (eat-networks.md 1, 9, 10).

    encode: widths along the encoder; its first `halvings` blocks halve the mel axis.
    pitch: widths along the pitch network.  pitch_out: what joins the encoder's last width.
    decode: widths of the adaptive blocks; the last `halvings` of them double the mel axis.
    hidden_maps, maps: channels on the way to a frame's map, and of it.
    """

    part: ClassVar[str] = "eatlab.backbone.published.acoustic:PublishedAcoustic"

    encode: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    pitch: tuple[int, ...] = (64, 128, 192, 256)
    pitch_out: int = 128
    decode: tuple[int, ...] = (640, 640, 512, 256, 128, 64)
    halvings: int = 3
    hidden_maps: int = 8
    maps: int = 32


@dataclass(frozen=True)
class A2ETConfig:
    """Audio-to-Expression Transformer (EAT, Sec. 3.1.2).

    mel: bands of a frame.  speech, acoustic: the two front ends.  coefficients: of the PCA of E.
    face_map: channels that A2ET reads; face_channels: that it keeps.
    face: channels along the face-token blocks; the last is the width.
    standardises: inputs are centred and scaled by statistics of the training data (not in the release).
    pose: convention of head poses (pose.py).  dropout: in training.
    checkpointing: saves memory, costs a second forward.
    """

    width: int = 64
    heads: int = 4
    layers: int = 3
    hidden: int = 192
    face_map: int = 30
    face_channels: int = 16
    face: tuple[int, ...] = (16, 24, 40, 64)
    acoustic: AcousticConfig | PublishedAcousticConfig = field(default_factory=AcousticConfig)
    speech: SpeechBandsConfig | RecogniserConfig = field(default_factory=SpeechBandsConfig)
    mel: int = 80
    coefficients: int = 32
    keypoints: int = 15
    mapper_hidden: int = 96
    standardises: bool = True
    pose: str = "puppets"
    dropout: float = 0.0
    checkpointing: bool = False


@dataclass(frozen=True)
class DetectorConfig:
    """Widths of the U-net that finds canonical keypoints."""

    part: ClassVar[str] = "eatlab.backbone.keypoints:KeypointDetector"

    widths: tuple[int, int, int, int] = (32, 48, 64, 64)


@dataclass(frozen=True)
class PublishedDetectorConfig:
    """Widths along the 2-d way down and the 3-d way up (eat-networks.md 6)."""

    part: ClassVar[str] = "eatlab.backbone.published.keypoints:PublishedDetector"

    down: tuple[int, ...] = (64, 128, 256, 512, 1024)
    up: tuple[int, ...] = (512, 256, 128, 64, 32)


@dataclass(frozen=True)
class EstimatorConfig:
    """Widths of the strided convolutions that read E and pose from a frame."""

    part: ClassVar[str] = "eatlab.backbone.expression:ExpressionEstimator"

    widths: tuple[int, int, int, int] = (24, 48, 72, 96)


@dataclass(frozen=True)
class RendererConfig:
    """RePos-Net as it trains on a CPU.

    volume, depth: channels and slices of the feature volume.  width: of the decoder.
    motion: widths of the hourglass.  skip: channels at half size.
    film: what else drives the decoder: "none" (as published) or "expression" (gains and biases from E).
    blends_source: the picture is blended with the warped portrait (not in the release).
    """

    part: ClassVar[str] = "eatlab.backbone.renderer:Renderer"

    volume: int = 16
    depth: int = 2
    width: int = 48
    motion: tuple[int, int, int] = (24, 40, 64)
    skip: int = 16
    film: str = "expression"
    blends_source: bool = True


@dataclass(frozen=True)
class PublishedRendererConfig:
    """RePos-Net as released (eat-networks.md 8).

    volume, depth: channels and slices of the feature volume.  widths: of the portrait's 2-d features, halved
    between them.  residuals: 3-d blocks.  compressed: channels that the motion network warps.
    motion, motion_out: widths down and up the hourglass.  width, style: of the SPADE blocks and of their
    modulation.  up: widths after each enlargement.
    """

    part: ClassVar[str] = "eatlab.backbone.published.renderer:PublishedRenderer"

    volume: int = 32
    depth: int = 16
    widths: tuple[int, ...] = (64, 128, 256)
    residuals: int = 6
    compressed: int = 4
    motion: tuple[int, ...] = (64, 128, 256, 512, 1024)
    motion_out: tuple[int, ...] = (512, 256, 128, 64, 32)
    width: int = 512
    middle: int = 6
    style: int = 128
    up: tuple[int, ...] = (256, 64)


@dataclass(frozen=True)
class BackboneConfig:
    """A whole talking head.

    size: pixels.  pose: convention of head poses (pose.py).
    estimator: None where E and pose of frames are read before, by a network that is no part of the head.
    scales_by_hull: E from speech is multiplied by the hull volume of the canonical keypoints.
    """

    name: str = "small"
    size: int = 96
    keypoints: int = 15
    pose: str = "puppets"
    scales_by_hull: bool = False
    detector: DetectorConfig | PublishedDetectorConfig = field(default_factory=DetectorConfig)
    estimator: EstimatorConfig | None = field(default_factory=EstimatorConfig)
    renderer: RendererConfig | PublishedRendererConfig = field(default_factory=RendererConfig)
    a2et: A2ETConfig = field(default_factory=A2ETConfig)

    @property
    def side(self) -> int:
        """Side of the maps that keypoints and motion live on: a quarter of the picture's."""
        return self.size // 4


def small() -> BackboneConfig:
    """The backbone of the zoo: about 1.8 M parameters."""
    return BackboneConfig()


def paper() -> BackboneConfig:
    """The networks of the EAT release; its weights come by `eatlab import`.

    186,235,023 parameters. The release's own count is 189,565,330: 3,330,307 more, in keys without effect.
    """
    a2et = A2ETConfig(
        width=128,
        heads=8,
        layers=6,
        hidden=1024,
        face_map=240,
        face_channels=32,
        face=(64, 32, 48, 64, 96, 128),
        acoustic=PublishedAcousticConfig(),
        speech=RecogniserConfig(),
        mapper_hidden=512,
        standardises=False,
        pose="released",
        dropout=0.1,
    )
    return BackboneConfig(
        name="paper",
        size=256,
        pose="released",
        scales_by_hull=True,
        detector=PublishedDetectorConfig(),
        estimator=None,
        renderer=PublishedRendererConfig(),
        a2et=a2et,
    )


SIZES: dict[str, Callable[[], BackboneConfig]] = {"small": small, "paper": paper}
