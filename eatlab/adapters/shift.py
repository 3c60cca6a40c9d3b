"""Whole parameters shifted, W' = W + Σ_k mix_k D_k: biases, norms, the head, the last layers, or all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from eatlab.adapters.banks import Bank, WeightAdapter
from eatlab.adapters.plan import streams_of
from eatlab.backbone.sites import Backbone, Context
from eatlab.errors import UserError


@dataclass(frozen=True)
class BitFitConfig:
    """targets: globs of parameters.  each: a shift for each emotion, or one for all."""

    targets: tuple[str, ...] = ("a2et.encoder.*.bias", "a2et.decoder.*.bias")
    each: bool = True


@dataclass(frozen=True)
class NormConfig:
    """As BitFitConfig."""

    targets: tuple[str, ...] = ("a2et.encoder.*norm*", "a2et.decoder.*norm*")
    each: bool = True


@dataclass(frozen=True)
class HeadConfig:
    """As BitFitConfig."""

    targets: tuple[str, ...] = ("a2et.coefficients.*",)
    each: bool = True


@dataclass(frozen=True)
class LastConfig:
    """k: how many of the last layers of encoder and decoder.  each: as BitFitConfig's."""

    k: int = 1
    each: bool = False


@dataclass(frozen=True)
class FullConfig:
    """As BitFitConfig; targets=* is all that an adapter may reach, the renderer too."""

    targets: tuple[str, ...] = ("a2et.*",)
    each: bool = False


class Shift(WeightAdapter):
    """W' = W + Σ_k mix_k D_k; D begins at zero.

    Weight decay pulls W' to the frozen W, not to zero.
    """

    formula = "numbers in the targets, × 8 with each"

    def __init__(self, backbone: Backbone, targets: Iterable[str], *, each: bool) -> None:
        super().__init__(backbone, targets, each=each)
        self.deltas = Bank(self.shapes, each=each)

    def delta(self, name: str, weight: Tensor, context: Context) -> Tensor:
        return self.deltas.blend(name, context)

    def parameters_at(self, place: str) -> list[nn.Parameter]:
        return [self.deltas.of(place)]


class BitFit(Shift):
    """Shifts every bias of the transformer."""

    source = "Ben Zaken et al. 2022, BitFit"

    def __init__(self, backbone: Backbone, config: BitFitConfig) -> None:
        super().__init__(backbone, config.targets, each=config.each)


class Norm(Shift):
    """Shifts gain and bias of every layer norm of the transformer."""

    source = "Frankle et al. 2021; Qi et al. 2022, LN-tuning"

    def __init__(self, backbone: Backbone, config: NormConfig) -> None:
        super().__init__(backbone, config.targets, each=config.each)


class Head(Shift):
    """Shifts the PCA head alone: what speech says, spoken in other coefficients."""

    source = "linear probing"

    def __init__(self, backbone: Backbone, config: HeadConfig) -> None:
        super().__init__(backbone, config.targets, each=config.each)


class LastK(Shift):
    """Shifts the last k layers of encoder and decoder, and the PCA head."""

    source = "partial fine-tuning, Yosinski et al. 2014"
    knob = "k"

    def __init__(self, backbone: Backbone, config: LastConfig) -> None:
        super().__init__(backbone, last_layers(backbone, config.k), each=config.each)


class Full(Shift):
    """Shifts every parameter of A2ET: full fine-tuning, the same steps with Adam; by itself blind to emotion.

    A latent loss draws nothing, so the renderer is not in its targets: it would be counted and never trained.
    """

    source = "full fine-tuning, EAT Table 5"

    def __init__(self, backbone: Backbone, config: FullConfig) -> None:
        super().__init__(backbone, config.targets, each=config.each)


def last_layers(backbone: Backbone, k: int) -> list[str]:
    """Globs of the last k layers of each stack, and of the PCA head.

    Raises UserError unless 1 ≤ k ≤ layers.
    """
    stacks = {stream.rpartition(".")[0]: len(sites) for stream, sites in streams_of(backbone).items()}
    most = min(stacks.values())
    if not 1 <= k <= most:
        raise UserError(f"last_k(k={k})", f"this backbone's stacks have {most} layers", f"k from 1 to {most}")
    layers = [f"{stack}.layers.{i}.*" for stack, count in stacks.items() for i in range(count - k, count)]
    return [*layers, "a2et.coefficients.*"]
