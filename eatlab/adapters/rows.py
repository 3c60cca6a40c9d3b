"""Adapters on rows of the transformer: a shift of its tokens, bottlenecks, prefixes of attention."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.adapters.attachments import Adapter, Rows
from eatlab.adapters.banks import Bank
from eatlab.adapters.plan import streams_of
from eatlab.backbone.sites import Backbone, Context, spread
from eatlab.errors import UserError


@dataclass(frozen=True)
class FilmInputConfig:
    """each: a shift for each emotion, or one for all."""

    each: bool = True


@dataclass(frozen=True)
class BottleneckConfig:
    """hidden: width of the bottleneck.  each: one for each emotion, or one for all."""

    hidden: int = 4
    each: bool = True


@dataclass(frozen=True)
class PrefixConfig:
    """length: rows before the keys and values of every attention.  each: as BottleneckConfig's."""

    length: int = 4
    each: bool = True


class RowAdapter(Adapter):
    """Changes rows (batch, length, width) at some sites; `places` names them."""

    def __init__(self, places: list[str], *, each: bool) -> None:
        super().__init__()
        self.places, self.sees_emotion = places, each

    def attachments(self) -> list[Rows]:
        return [Rows(place, partial(self.changed, place)) for place in self.places]

    def changed(self, place: str, x: Tensor, context: Context) -> Tensor:
        """x (batch, length, width) at the place → what goes on."""
        raise TypeError(f"{type(self).__name__} must say what it changes")

    def parameters_at(self, place: str) -> list[nn.Parameter]:
        return [bank.of(place) for bank in self.children() if isinstance(bank, Bank)]


class FilmInput(RowAdapter):
    """Adds Σ_k mix_k b_k to every token that enters encoder and decoder: the cheapest honest baseline."""

    source = "Perez et al. 2018, FiLM, its shift alone"
    formula = "width a stack, × 8 with each"

    def __init__(self, backbone: Backbone, config: FilmInputConfig) -> None:
        super().__init__([sites[0] for sites in streams_of(backbone).values()], each=config.each)
        self.shifts = Bank({place: (width_of(backbone),) for place in self.places}, each=config.each)

    def changed(self, place: str, x: Tensor, context: Context) -> Tensor:
        return x + by_row(self.shifts.blend(place, context), x, 1)[..., None, :]


class Bottleneck(RowAdapter):
    """x + U relu(D x + d) after every attention and feed-forward; the shares blend U, D and d.

    U begins at zero.
    Differs: published without emotions, with layer norms tuned beside; `norm` adds those.
    """

    source = "Houlsby et al. 2019"
    formula = "(2 · width + 1) · hidden a place, × 8 with each"
    knob = "hidden"

    def __init__(self, backbone: Backbone, config: BottleneckConfig) -> None:
        super().__init__(sites_named(backbone, "result", "fed"), each=config.each)
        width, hidden = width_of(backbone), at_least_one("hidden", config.hidden)
        self.down = Bank(dict.fromkeys(self.places, (hidden, width)), each=config.each, std=width**-0.5)
        self.offset = Bank(dict.fromkeys(self.places, (hidden,)), each=config.each)
        self.up = Bank(dict.fromkeys(self.places, (width, hidden)), each=config.each)

    def changed(self, place: str, x: Tensor, context: Context) -> Tensor:
        down, up = (by_row(bank.blend(place, context), x, 2) for bank in (self.down, self.up))
        offset = by_row(self.offset.blend(place, context), x, 1)[..., None, :]
        return x + F.relu(x @ down.mT + offset) @ up.mT


class Prefix(RowAdapter):
    """Rows Σ_k mix_k P_k before the keys and values of every attention; queries stay.

    Differs: published with one prefix for a task, made by a small network while it is trained; here each
    emotion has one, and it is trained as it is.
    """

    source = "Li & Liang 2021, prefix tuning"
    formula = "2 · length · width an attention, × 8 with each"
    knob = "length"
    starts_exact = False

    def __init__(self, backbone: Backbone, config: PrefixConfig) -> None:
        super().__init__(sites_named(backbone, "keys", "values"), each=config.each)
        width, length = width_of(backbone), at_least_one("length", config.length)
        shapes = dict.fromkeys(self.places, (length, width))
        self.rows = Bank(shapes, each=config.each, std=width**-0.5)

    def changed(self, place: str, x: Tensor, context: Context) -> Tensor:
        rows = self.rows.blend(place, context)
        return torch.cat([by_row(rows, x, 2).expand(len(x), -1, -1), x], 1)


def by_row(value: Tensor, x: Tensor, axes: int) -> Tensor:
    """(clips, …) → (batch, …), each window its clip's; a value of `axes` axes is for all and stays."""
    return value if value.dim() == axes else spread(value, len(x))


def width_of(backbone: Backbone) -> int:
    """Of the transformer's rows."""
    return int(backbone.config.a2et.width)  # type: ignore[union-attr, arg-type]


def sites_named(backbone: Backbone, *words: str) -> list[str]:
    """Sites of rows whose own name is one of `words`, in execution order."""
    rows = {name for name, site in backbone.sites().items() if site.kind == "rows"}
    return [name for name in backbone.sites() if name in rows and name.rpartition(".")[2] in words]


def at_least_one(name: str, value: int) -> int:
    """The value. Raises UserError below 1."""
    if value < 1:
        raise UserError(f"{name}={value}", "it is at least 1")
    return value
