"""What adapters by emotion are made of: parameters with a row for each emotion, and deltas of weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from eatlab.adapters.attachments import Adapter, Weight
from eatlab.adapters.places import escaped, matching
from eatlab.backbone.precision import exactly
from eatlab.backbone.sites import Backbone, Context, LowRank
from eatlab.emotions import EMOTIONS


class Bank(nn.ParameterDict):
    """Parameters by name, each with a leading axis of the 8 emotions, or of 1 for all of them.

    std: deviation of their first, normal values; 0: they begin at zero.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], *, each: bool, std: float = 0.0) -> None:
        rows = len(EMOTIONS) if each else 1
        super().__init__(
            {escaped(name): std * torch.randn(rows, *shape) for name, shape in shapes.items()}
            if std
            else {escaped(name): torch.zeros(rows, *shape) for name, shape in shapes.items()}
        )

    def of(self, name: str) -> nn.Parameter:
        """(8 or 1, *shape)."""
        return self[escaped(name)]

    def blend(self, name: str, context: Context) -> Tensor:
        """Σ_k mix_k X_k, (clips, *shape); without the axis of clips where one row is for all."""
        rows = self.of(name)
        if len(rows) == 1:
            return rows[0]
        assert context.mix is not None
        with exactly(rows.device):  # a delta rounded to bf16 could vanish
            return torch.tensordot(context.mix, rows, 1)


class WeightAdapter(Adapter):
    """One `delta` for every parameter that matches `targets`.

    each: a delta for each emotion; else one for all, which cannot see the emotion.
    """

    def __init__(self, backbone: Backbone, targets: Iterable[str], *, each: bool) -> None:
        super().__init__()
        self.shapes = {name: tuple(shape) for name, shape in matching(backbone, targets).items()}
        self.each = self.sees_emotion = each

    def attachments(self) -> list[Weight]:
        return [Weight(name, partial(self.delta, name)) for name in self.shapes]

    @abstractmethod
    def delta(self, name: str, weight: Tensor, context: Context) -> Tensor | LowRank:
        """What is added to the frozen `weight` of this name; forms as `attachments.Weight`'s."""
