"""What an adapter set costs: parameters by part, in percent, in bytes (EAT, Fig. 6); works on meta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from torch import nn


class Budget(TypedDict):
    """Counts of one adapter set.

    parts: parameters by adapter and of the emotion mapper.  total: all of them.
    backbone: parameters of the frozen model.  percent: total in percent of the frozen backbone.
    percent_of_whole: in percent of backbone and adapters together, the base of the paper's Fig. 6.
    bytes: of the weights in the adapter file, without its header (about 1 kB).
    """

    parts: dict[str, int]
    total: int
    backbone: int
    percent: float
    percent_of_whole: float
    bytes: int


def budget_of(parts: Mapping[str, nn.Module], backbone: nn.Module) -> Budget:
    """Counts without reading a value, so parts and backbone may live on the meta device."""
    counts = {name: num_parameters(part) for name, part in parts.items()}
    total, frozen = sum(counts.values()), num_parameters(backbone)
    return Budget(
        parts=counts,
        total=total,
        backbone=frozen,
        percent=100 * total / frozen,
        percent_of_whole=100 * total / (total + frozen),
        bytes=sum(
            t.numel() * t.element_size() for part in parts.values() for t in part.state_dict().values()
        ),
    )


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
