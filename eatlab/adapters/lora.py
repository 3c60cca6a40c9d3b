"""Low-rank deltas of weights, for each emotion: LoRA, and DoRA, which learns direction and length apart."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from eatlab.adapters.banks import Bank, WeightAdapter
from eatlab.backbone.sites import Backbone, Context, LowRank
from eatlab.errors import UserError

QUERIES_AND_VALUES = ("a2et.*.q.weight", "a2et.*.v.weight")


@dataclass(frozen=True)
class LoRAConfig:
    """rank: of a delta.  alpha: deltas are scaled by alpha / rank.  dropout: of what enters A, in training.

    targets: globs of weights.  each: factors for each emotion, or one pair for all.
    """

    rank: int = 4
    alpha: float = 8.0
    dropout: float = 0.0
    targets: tuple[str, ...] = QUERIES_AND_VALUES
    each: bool = True


@dataclass(frozen=True)
class DoRAConfig:
    """As LoRAConfig."""

    rank: int = 4
    alpha: float = 8.0
    targets: tuple[str, ...] = QUERIES_AND_VALUES
    each: bool = True


class LoRA(WeightAdapter):
    """W' = W + (alpha / rank) Σ_k mix_k B_k A_k; B begins at zero.

    The factors of all emotions act on the activations, gated by the shares: no weight is built for a clip.
    A kernel of a convolution is a row of all its numbers; its delta is built.
    """

    source = "Hu et al. 2022, LoRA"
    formula = "rank · (in + out) a target, × 8 with each"
    knob = "rank"

    def __init__(self, backbone: Backbone, config: LoRAConfig) -> None:
        super().__init__(backbone, config.targets, each=config.each)
        refuse_impossible(config.rank, config.dropout, self.shapes)
        self.scale, self.dropout = config.alpha / config.rank, config.dropout
        ins = {name: prod(shape[1:]) for name, shape in self.shapes.items()}
        self.down = Bank({name: (config.rank, ins[name]) for name in self.shapes}, each=config.each, std=1.0)
        self.up = Bank({name: (s[0], config.rank) for name, s in self.shapes.items()}, each=config.each)
        for name, count in ins.items():
            self.down.of(name).data *= count**-0.5  # A x is as large as x

    def delta(self, name: str, weight: Tensor, context: Context) -> Tensor | LowRank:
        mix = context.mix if self.each else None
        dropout = self.dropout if self.training else 0.0
        return LowRank(self.scale * self.up.of(name), self.down.of(name), mix, dropout)

    def parameters_at(self, place: str) -> list[nn.Parameter]:
        return [self.down.of(place), self.up.of(place)]


class DoRA(LoRA):
    """W' = (1 + Σ_k mix_k g_k) (‖W‖ / ‖V‖) V by rows, V = W + (alpha / rank) Σ_k mix_k B_k A_k.

    As a ratio of norms, so that W' is W to the bit at first; ‖V‖ is a constant in the gradient, as published.
    """

    source = "Liu et al. 2024, DoRA"
    formula = "rank · (in + out) + out a target, × 8 with each"

    def __init__(self, backbone: Backbone, config: DoRAConfig) -> None:
        super().__init__(backbone, LoRAConfig(config.rank, config.alpha, 0.0, config.targets, config.each))
        self.gain = Bank({name: shape[:1] for name, shape in self.shapes.items()}, each=config.each)

    def delta(self, name: str, weight: Tensor, context: Context) -> Tensor:
        factors = super().delta(name, weight, context)
        assert isinstance(factors, LowRank)
        flat, low = weight.flatten(1), factors.built() if self.each else factors.built()[0]
        length = torch.linalg.vector_norm(flat + low, dim=-1).detach()
        gain = 1 + self.gain.blend(name, context)
        ratio = (torch.linalg.vector_norm(flat, dim=-1) / length * gain)[..., None]
        return ((ratio - 1) * flat + ratio * low).unflatten(-1, weight.shape[1:])

    def parameters_at(self, place: str) -> list[nn.Parameter]:
        return [*super().parameters_at(place), self.gain.of(place)]


def refuse_impossible(rank: int, dropout: float, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises UserError for ranks below 1, vectors, and dropout that is no share or not on activations."""
    if rank < 1:
        raise UserError(f"rank={rank}", "a delta has at least rank 1")
    if vectors := [name for name, shape in shapes.items() if len(shape) < 2]:
        raise UserError(f'low rank for "{vectors[0]}"', "it is a vector", "target weights: *.weight")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout={dropout}", "it is a share from 0 to below 1")
    if dropout and (kernels := [name for name, shape in shapes.items() if len(shape) > 2]):
        raise UserError(f'dropout for "{kernels[0]}"', "the delta of a kernel is built", "leave dropout out")
