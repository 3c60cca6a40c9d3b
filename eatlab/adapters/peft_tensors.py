"""How the tensors of a layer are kept by peft and by us: names, shapes, and numbers of one as the other's.

By key, of a layer y = W x + b with V = W + (alpha / r) B A:

    lora_A.weight, lora_B.weight   (r, in), (out, r): y + (alpha / r) B A x       ours to the bit
    lora_magnitude_vector          (out,): m / ‖V‖ · V x + b, by rows             m = (1 + g) ‖W‖
    ia3_l                          (out, 1): l · y, b too                         l = 1 + s

Of a convolution, A is (r, in, *kernel), B (out, r, 1, …), m and l are (1, out, 1, …).
Source: peft's checkpoint format; Hu et al. 2022 (LoRA), Liu et al. 2024 (DoRA), Liu et al. 2022 ((IA)³).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from eatlab.errors import UserError

Shape = tuple[int, ...]


class Slot(NamedTuple):
    """One tensor of a layer: peft's key, our bank of parameters, peft's shape, values of one as the other's.

    place: our parameter's name within the bank, of the layer's name.
    shape: (shape of W, rank) → shape.  there, back: (values, W) → values, in fp32 or better.
    """

    key: str
    bank: str
    place: str
    shape: Callable[[Shape, int], Shape]
    there: Callable[[Tensor, Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]


def unchanged(values: Tensor, weight: Tensor) -> Tensor:
    """The same numbers."""
    return values


def magnitude(gain: Tensor, weight: Tensor) -> Tensor:
    """g (out,) → m (out,) = (1 + g) ‖W‖, rounded once, at the end."""
    return (1 + gain.double()) * lengths(weight)


def gain(magnitude: Tensor, weight: Tensor) -> Tensor:
    """m (out,) → g (out,); 0 where W's row is 0: there m must be 0, or UserError."""
    length = lengths(weight)
    if (magnitude[length == 0] != 0).any():
        raise UserError(
            "a lora_magnitude_vector at a row of W that is 0", "dora here scales the length that it has"
        )
    return torch.where(length == 0, 0.0, magnitude.double() / length - 1)


def lengths(weight: Tensor) -> Tensor:
    """‖W‖ by rows, (out,), in fp64."""
    return torch.linalg.vector_norm(weight.flatten(1).double(), dim=-1)


def scale(share: Tensor, weight: Tensor) -> Tensor:
    """s (out,) → l = 1 + s."""
    return 1 + share.double()


def share(scale: Tensor, weight: Tensor) -> Tensor:
    """l (out,) → s."""
    return scale.double() - 1


def by_row(weight: Shape, rank: int) -> Shape:
    """Of m: (out,), or as a convolution's result has them, (1, out, 1, …)."""
    return weight[:1] if len(weight) == 2 else (1, weight[0], *ones(weight))


def by_result(weight: Shape, rank: int) -> Shape:
    """Of l: (out, 1), or as a convolution's result has them."""
    return (weight[0], 1) if len(weight) == 2 else (1, weight[0], *ones(weight))


def ones(weight: Shape) -> Shape:
    """A 1 for each axis of a kernel."""
    return (1,) * (len(weight) - 2)


FACTORS = (
    Slot("lora_A.weight", "down", "{}.weight", lambda w, rank: (rank, *w[1:]), unchanged, unchanged),
    Slot("lora_B.weight", "up", "{}.weight", lambda w, rank: (w[0], rank, *ones(w)), unchanged, unchanged),
)
SLOTS = {
    "lora": FACTORS,
    "dora": (*FACTORS, Slot("lora_magnitude_vector", "gain", "{}.weight", by_row, magnitude, gain)),
    "ia3": (Slot("ia3_l", "scales", "{}", by_result, scale, share),),
}
"""The tensors of a layer, by the name of our adapter."""
