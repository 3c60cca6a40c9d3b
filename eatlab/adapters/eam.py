"""Emotional Adaptation Module: channel gains and biases from guidance (EAT, Sec. 3.2, Eqs. 3-4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.adapters.attachments import Adapter, Features
from eatlab.adapters.places import escaped, feature_sites, unescaped
from eatlab.backbone.sites import Backbone, Context, spread
from eatlab.errors import refuse_unknown

REDUCTION = 16
"""The hidden layer has 2 C / 16 units (eat-networks.md 5)."""


@dataclass(frozen=True)
class EAMConfig:
    """sites: words of the paths of feature sites: the acoustic norms, the face map, the feature volume.

    normalised: those of them that are instance-normalised first; the backbone does it for the acoustic ones.
    start: "zero" or "random".

    Differs: the paper names three networks; the release has 12 places in the audio encoder, one on the face
    map, one in the volume. It starts at random; zero starts as the frozen model.
    """

    sites: tuple[str, ...] = ("acoustic", "face", "volume")
    normalised: tuple[str, ...] = ("none",)
    start: str = "zero"

    def __post_init__(self) -> None:
        refuse_unknown("start of eam", self.start, ("zero", "random"))
        for word in self.normalised:
            refuse_unknown("normalised site of eam", word, ("none", *self.sites))


class EAM(Adapter):
    """Scales and shifts the features of each site by functions of e0.

    Starts as the identity: the last layer is zero, so gain and bias are tanh(0) = 0.
    """

    guidance_tokens = 1
    source = "EAT, Sec. 3.2, Eqs. 3-4"
    knob, knob_words = "sites", ("acoustic", "face", "volume")
    formula = "(width + 1) · C/8 + (C/8 + 1) · 2 C a site of C channels, and the emotion mapper of 1 token"

    def __init__(self, backbone: Backbone, config: EAMConfig) -> None:
        super().__init__()
        self.config = config
        self.starts_exact = config.start == "zero"
        sites = feature_sites(backbone, config.sites)
        width: int = backbone.config.a2et.width  # type: ignore[union-attr, assignment]
        self.heads = nn.ModuleDict(
            {escaped(name): head(width, site.channels) for name, site in sites.items()}
        )
        if config.start == "zero":
            for layers in self.heads.values():
                nn.init.zeros_(layers[-1].weight)  # type: ignore[index]
                nn.init.zeros_(layers[-1].bias)  # type: ignore[index]

    def attachments(self) -> list[Features]:
        return [Features(unescaped(key), partial(self.modulate, key)) for key in self.heads]

    def parameters_at(self, place: str) -> Iterable[nn.Parameter]:
        return self.heads[escaped(place)].parameters()

    def modulate(self, key: str, x: Tensor, context: Context) -> Tensor:
        """x (batch, channels, …) → the same shape."""
        assert context.guidance is not None
        if set(self.config.normalised) & set(unescaped(key).split(".")):
            x = F.instance_norm(x)
        both = spread(self.heads[key](context.guidance[:, 0]).tanh(), len(x))  # Eq. 3
        gain, bias = both.reshape(*both.shape, *[1] * (x.dim() - 2)).chunk(2, 1)
        return (1 + gain) * x + bias  # Eq. 4


def head(width: int, channels: int) -> nn.Sequential:
    """e0 (clips, width) → gains and biases before tanh (clips, 2 · channels)."""
    hidden = max(1, 2 * channels // REDUCTION)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2 * channels))
