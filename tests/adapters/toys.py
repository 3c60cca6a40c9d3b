"""A talking head small enough for tests, and test-only adapters: one for each kind of option."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.attachments import Adapter, Features, Weight
from eatlab.adapters.registry import names
from eatlab.backbone.sites import Backbone, Context, LowRank, spread
from eatlab.backbone.sizes import (
    A2ETConfig,
    AcousticConfig,
    BackboneConfig,
    DetectorConfig,
    EstimatorConfig,
    RendererConfig,
)
from eatlab.backbone.talking_head import TalkingHead
from eatlab.emotions import EMOTIONS

TINY = BackboneConfig(
    name="tiny",
    size=32,
    detector=DetectorConfig((4, 4, 4, 4)),
    estimator=EstimatorConfig((4, 4, 4, 4)),
    renderer=RendererConfig(volume=4, width=8, motion=(4, 4, 4), skip=4),
    a2et=A2ETConfig(
        width=16,
        heads=2,
        hidden=24,
        face_channels=4,
        face=(4, 16),
        acoustic=AcousticConfig((4,)),
        mapper_hidden=16,
    ),
)
BATCH_SHAPES = {"mel": (11, 80), "speech": (11, 64), "pose": (7,)}


def talking_head(seed: int = 0, layers: int = TINY.a2et.layers) -> TalkingHead:
    """Random weights, frozen, in eval mode; the same seed gives the same bits in every process."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = replace(TINY, a2et=replace(TINY.a2et, layers=layers))
        return TalkingHead(config).requires_grad_(False).eval()


def random_batch(clips: int, frames: int = 2) -> dict[str, Tensor]:
    """What A2ET takes: windows of speech, poses, face maps."""
    batch = {name: torch.randn(clips, frames, *shape) for name, shape in BATCH_SHAPES.items()}
    return batch | {"face_map": torch.randn(clips, 30, TINY.side, TINY.side)}


def stirred(spec: str, backbone: Backbone, seed: int = 1) -> AdapterSet:
    """A set as after training: every parameter away from its first value."""
    adapters = AdapterSet(spec, backbone)
    random = torch.Generator().manual_seed(seed)
    for parameter in adapters.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=random)
    return adapters


@dataclass(frozen=True)
class FilmConfig:
    scale: float = 1.0
    site: str = "a2et.face"


class Film(Adapter):
    """Gains on a feature site from e0; the identity at first."""

    guidance_tokens = 1

    def __init__(self, backbone: Backbone, config: FilmConfig) -> None:
        super().__init__()
        self.config = config
        width = backbone.config.a2et.width
        self.head = (
            nn.Linear(width, backbone.sites()[config.site].channels)
            if config.site in backbone.sites()
            else None
        )
        for parameter in self.head.parameters() if self.head else ():
            nn.init.zeros_(parameter)

    def attachments(self) -> list[Features]:
        return [Features(self.config.site, self.modulate)]

    def modulate(self, x: Tensor, context: Context) -> Tensor:
        gain = spread(self.config.scale * self.head(context.guidance[:, 0]), len(x))
        return (1 + gain.reshape(*gain.shape, *[1] * (x.dim() - 2))) * x


@dataclass(frozen=True)
class ShiftConfig:
    layer: str = "a2et.coefficients"
    each: bool = True


class Shift(Adapter):
    """Deltas on a layer's weight and bias, for each emotion or shared; zero at first."""

    def __init__(self, backbone: Backbone, config: ShiftConfig) -> None:
        super().__init__()
        self.config = config
        found = {key: backbone.reachable()[f"{config.layer}.{key}"] for key in ("weight", "bias")}
        rows = [len(EMOTIONS)] if config.each else []
        self.deltas = nn.ParameterDict({key: torch.zeros(*rows, *p.shape) for key, p in found.items()})

    def attachments(self) -> list[Weight]:
        return [Weight(f"{self.config.layer}.{key}", partial(self.delta, key)) for key in self.deltas]

    def delta(self, key: str, weight: Tensor, context: Context) -> Tensor:
        delta = self.deltas[key]
        return torch.tensordot(context.mix, delta, 1) if self.config.each else delta


@dataclass(frozen=True)
class FactorsConfig:
    rank: int = 2
    stream: str = "encoder"


class Factors(Adapter):
    """Low-rank factors on the first layer's queries, for each emotion; zero at first."""

    def __init__(self, backbone: Backbone, config: FactorsConfig) -> None:
        super().__init__()
        self.place = f"a2et.{config.stream}.layers.0.self_attn.q.weight"
        width = backbone.config.a2et.width
        self.up = nn.Parameter(torch.zeros(len(EMOTIONS), width, config.rank))
        self.down = nn.Parameter(torch.randn(len(EMOTIONS), config.rank, width))

    def attachments(self) -> list[Weight]:
        return [Weight(self.place, self.delta)]

    def delta(self, weight: Tensor, context: Context) -> LowRank:
        return LowRank(self.up, self.down, context.mix)


def shared_shift(backbone: Backbone) -> Shift:
    """A function can make an adapter too."""
    return Shift(backbone, ShiftConfig(layer="a2et.speech", each=False))


TOYS = {
    "toy_film": f"{__name__}:Film",
    "toy_shift": f"{__name__}:Shift",
    "toy_factors": f"{__name__}:Factors",
    "toy_shared": f"{__name__}:shared_shift",
}
NAMES = names()
"""Every registered adapter, those of installed packages too: a new one is tested by being registered."""
TRAINED = [name for name in NAMES if name != "none"]
BLIND = ["none", "last_k", "full"]
EMOTIONAL = [name for name in NAMES if name not in BLIND]
"""The adapters that see the emotion."""
SHIFTS = ("bitfit", "head", "last_k", "full")
TOGETHER = "+".join(name for name in TRAINED if name not in SHIFTS)
"""All in one set, but of those that are `norm` on other parameters `norm` alone."""
