"""(IA)³: keys, values and the feed-forward's first layer, scaled row by row, for each emotion."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from eatlab.adapters.banks import Bank, WeightAdapter
from eatlab.backbone.sites import Backbone, Context


@dataclass(frozen=True)
class IA3Config:
    """targets: globs of weights and biases.  each: scales for each emotion, or one for all."""

    targets: tuple[str, ...] = ("a2et.*.k.*", "a2et.*.v.*", "a2et.*.linear1.*")
    each: bool = True


class IA3(WeightAdapter):
    """Outputs of layers times 1 + Σ_k mix_k s_k: weight and bias by rows; s begins at zero."""

    source = "Liu et al. 2022, (IA)³"
    formula = "outputs of the targets, × 8 with each"

    def __init__(self, backbone: Backbone, config: IA3Config) -> None:
        super().__init__(backbone, config.targets, each=config.each)
        layers = {layer_of(name): shape[:1] for name, shape in self.shapes.items()}
        self.scales = Bank(layers, each=config.each)

    def delta(self, name: str, weight: Tensor, context: Context) -> Tensor:
        scale = self.scales.blend(layer_of(name), context)
        return scale.reshape(*scale.shape, *[1] * (weight.dim() - 1)) * weight

    def parameters_at(self, place: str) -> list[nn.Parameter]:
        return [self.scales.of(layer_of(place))]


def layer_of(name: str) -> str:
    """The layer of a parameter: its weight and bias share their scales."""
    return name.rpartition(".")[0]
