"""What peft's `adapter_config.json` says, as options of ours, and back (source: peft's reference of configs).

A field that changes what an adapter computes is taken over or refused by its name. peft adds fields from
version to version, so one that is unknown here is refused too, unless it is off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from eatlab.adapters.ia3 import IA3Config
from eatlab.adapters.lora import DoRAConfig, LoRAConfig
from eatlab.errors import ExitCode, UserError

CONFIG = "adapter_config.json"
Options = LoRAConfig | DoRAConfig | IA3Config

READ = {"peft_type", "target_modules", "r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora"}
ORIGIN = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "revision",
    "task_type",
}
"""Where a folder comes from and what it was for."""
IDLE = {"eva_config", "megatron_core", "qalora_group_size"}
"""Settings of what another field turns on, or of how A and B began."""
PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),  # the others change the backbone too
    "init_ia3_weights": (True, False),
}
"""Values, besides those that are off, that leave a field without effect on what is computed."""


def config_of(options: Options, layers: Iterable[str]) -> dict[str, Any]:
    """What peft reads beside the tensors of these layers; dotted names of layers, as peft matches them."""
    config: dict[str, Any] = {
        "base_model_name_or_path": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "modules_to_save": None,
        "task_type": None,
        "target_modules": list(layers),
    }
    if isinstance(options, IA3Config):
        # A feedforward module's l scales what enters it; ours scale what leaves a layer, wherever it stands.
        return {"peft_type": "IA3", "feedforward_modules": []} | config
    alpha = options.alpha
    return {
        "peft_type": "LORA",
        "r": options.rank,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": options.dropout if isinstance(options, LoRAConfig) else 0.0,
        "bias": "none",
        "use_dora": isinstance(options, DoRAConfig),
        "use_rslora": False,
    } | config


def options_of(config: Mapping[str, Any]) -> Options:
    """The options that a config of peft's stands for, blind to emotion; which layers, `chosen_layers` tells.

    Raises UserError: 2 for a field, by name, that has no counterpart here; 4 for values that cannot be.
    """
    kind = config.get("peft_type")
    if kind not in ("LORA", "IA3"):
        raise UserError(f"peft_type={shown(kind)} in {CONFIG}", "eatlab takes LORA (DoRA is one) and IA3")
    for field, value in config.items():
        if (
            field not in READ | ORIGIN | IDLE
            and value
            and not any(value is x or value == x for x in plain(field))
        ):
            raise unsayable(field, value)
    if kind == "IA3":
        return IA3Config(each=False)
    rank, dora = whole(config, "r"), switch(config, "use_dora")
    alpha, dropout = number(config, "lora_alpha", 8), number(config, "lora_dropout", 0)
    if switch(config, "use_rslora"):
        alpha *= math.sqrt(rank)  # there alpha / √r, here alpha / r (Kalajdzievski 2023)
    if dora and dropout:
        raise unsayable("lora_dropout", dropout, "dora here has none, and none acts after training: write 0")
    return DoRAConfig(rank, alpha, each=False) if dora else LoRAConfig(rank, alpha, dropout, each=False)


def chosen_layers(config: Mapping[str, Any]) -> list[str]:
    """The names, whole or the ends of them, of the layers that peft would adapt.

    Raises UserError: 2 for a pattern, 4 for what is no list of names.
    """
    names = config.get("target_modules")
    if isinstance(names, str):
        raise unsayable("target_modules", names, "it is a pattern: write the names of its layers as a list")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise wrong("target_modules", names, "a list of names")
    return names


def plain(field: str) -> tuple[Any, ...]:
    """The values of a field that say nothing more."""
    return PLAIN.get(field, ())


def unsayable(field: str, value: Any, do: str = "") -> UserError:
    """The mistake of a field that would be lost."""
    return UserError(
        f"{shown(field)[1:-1]}={shown(value)} in {CONFIG}", "eatlab's adapters have no such thing", do
    )


def wrong(field: str, value: Any, wanted: str) -> UserError:
    """The mistake of a value that no peft writes."""
    return UserError(
        f"{CONFIG} is damaged", f"{field}={shown(value)} is not {wanted}", code=ExitCode.DATA_DAMAGED
    )


def shown(value: Any) -> str:
    """A value of a file in one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def whole(config: Mapping[str, Any], field: str) -> int:
    """A count; peft's r is 8 where it is not written."""
    value = config.get(field, 8)
    if type(value) is not int or value < 1:
        raise wrong(field, value, "a whole number from 1 on")
    return value


def number(config: Mapping[str, Any], field: str, default: float) -> float:
    """A finite number, or what peft takes where it is not written."""
    value = config.get(field, default)
    if type(value) not in (int, float) or not abs(value) < 1e30:
        raise wrong(field, value, "a number")
    return float(value)


def switch(config: Mapping[str, Any], field: str) -> bool:
    """Whether a field is on."""
    value = config.get(field, False)
    if type(value) is not bool:
        raise wrong(field, value, "true or false")
    return value
