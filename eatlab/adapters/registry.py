"""Adapters by name. To add one: one class, and one line in BUILTIN.

Other packages add theirs by entry points of the group `eatlab.adapters`; a built-in name wins over a foreign
one. An adapter is a class or function `(backbone)` or `(backbone, config)`; the type of `config` is a frozen
dataclass: its fields, all with defaults, are the options that a spec may give (`specs.py`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from eatlab.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eatlab.adapters.attachments import Adapter

BUILTIN = {
    "none": "eatlab.adapters.none:NoAdapter",
    "shallow_prompt": "eatlab.adapters.prompts:ShallowPrompt",
    "deep_prompt": "eatlab.adapters.prompts:DeepPrompt",
    "edn": "eatlab.adapters.edn:EDN",
    "eam": "eatlab.adapters.eam:EAM",
    "lora": "eatlab.adapters.lora:LoRA",
    "dora": "eatlab.adapters.lora:DoRA",
    "ia3": "eatlab.adapters.ia3:IA3",
    "bitfit": "eatlab.adapters.shift:BitFit",
    "norm": "eatlab.adapters.shift:Norm",
    "head": "eatlab.adapters.shift:Head",
    "last_k": "eatlab.adapters.shift:LastK",
    "full": "eatlab.adapters.shift:Full",
    "bottleneck": "eatlab.adapters.rows:Bottleneck",
    "prefix": "eatlab.adapters.rows:Prefix",
    "film_input": "eatlab.adapters.rows:FilmInput",
}
SUMS = {"eat": ("deep_prompt", "edn", "eam")}
"""Names of whole specs: all that EAT adds (Sec. 3.2)."""
GROUP = "eatlab.adapters"


def names() -> list[str]:
    """Every adapter's name: ours, then those of other packages."""
    return list(dict.fromkeys([*BUILTIN, *sorted(point.name for point in entry_points(group=GROUP))]))


def find(name: str) -> Callable[..., Adapter]:
    """What makes the adapter `name`; imported now, not before."""
    place = BUILTIN.get(name) or {point.name: point.value for point in entry_points(group=GROUP)}.get(name)
    if place is None:
        there = names()
        raise UserError(
            f'adapter "{name}" is unknown', f"there are: {', '.join(there)}", did_you_mean(name, there)
        )
    module, _, attribute = place.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f'adapter "{name}" cannot be imported from {place}', str(error)) from error
