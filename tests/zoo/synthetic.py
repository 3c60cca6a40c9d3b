"""Released checkpoints that never were: the release's keys and nesting, values by the fill rule.

Tiny ones take their keys from our networks by the maps read backwards; one of published size takes them from
the key lists, where those are.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from eatlab.zoo.released import bits
from eatlab.zoo.released_parts import PARTS, Form, Part
from tests.backbone.toys import TINY_PUBLISHED
from tests.reference import fill
from tests.reference.vectors import KEYS

TINY = Form(replace(TINY_PUBLISHED, name="tiny"), estimator=(4, 8, 8, 8, 8), sync=1)

STAGE_2 = ("kp_detector", "generator", "audio2kptransformer", "emotionprompt", "sidetuning")
STAGE_1 = ("kp_detector", "generator", "audio2kptransformer")
KEYPOINTS = ("kp_detector", "he_estimator", "generator")
EDITED = ("kp_detector", "generator", "audio2kptransformer", "sidetuning", "mapper")
Spec = list[tuple[str, tuple[int, ...], str]]

UNUSED: dict[str, Spec] = {
    "kp_detector": [("down.weight", (3, 1, 13, 13), "float32")],
    "sidetuning": [("pos_enc.pos_table", (1, 20, 16), "float32")],
    "audio2kptransformer": [
        ("pos_enc.pos_table", (1, 20, 16), "float32"),
        ("embedding.weight", (41, 3), "float32"),
        ("f0_model.classifier.weight", (1, 4), "float32"),
    ],
}
LISTS = {
    "kp_detector": "kp_detector",
    "generator": "generator_eam",
    "audio2kptransformer": "a2et_deep",
    "emotionprompt": "emotion_mapper",
    "sidetuning": "edn",
    "he_estimator": "head_pose",
    "discriminator": "discriminator",
}
"""Released networks and the json of KEYS that lists their keys."""


@cache
def tiny_modules() -> dict[str, nn.Module]:
    """TINY's networks, to read names and shapes from."""
    return TINY.modules()


@cache
def tiny_state_dict(network: str, salt: int) -> OrderedDict[str, Tensor]:
    """A network of TINY's size; to be copied."""
    found: dict[str, tuple[str, tuple[int, ...], str]] = {}
    for part in PARTS:
        if part.network == network:
            found |= {each[0]: each for each in part_spec(part, tiny_modules()[part.file])}
    return state_dict(UNUSED.get(network, []) + list(found.values()), salt)


def part_spec(part: Part, module: nn.Module) -> Spec:
    """Those of a part: a released attention has q, k and v in one."""
    state, found = module.state_dict(), {}
    for name, value in state.items():
        own = name.removeprefix(part.prefix)
        if not name.startswith(part.prefix + part.within) or own.startswith("pca."):
            continue
        key = part.key_map.back(own)
        thrice = "in_proj_" in key
        shape = (3 * value.shape[0], *value.shape[1:]) if thrice else tuple(value.shape)
        key += "_orig" if key.endswith("weight") and f"{name}_u" in state else ""
        found[key] = (key, shape, str(value.dtype).removeprefix("torch."))
    return list(found.values())


def state_dict(spec: Spec, salt: int = 0) -> OrderedDict[str, Tensor]:
    """As a module's: ordered, with the versions that torch notes."""
    filled = fill.fill(spec, salt)
    state = OrderedDict((key, torch.from_numpy(value)) for key, value in filled.items())
    state._metadata = OrderedDict([("", {"version": 1}), ("first", {"version": 2})])  # type: ignore[attr-defined]
    return state


def optimizer(state: dict[str, Tensor], lr: float) -> dict[str, Any]:
    """Adam's state for the parameters of a network."""
    moments = [value for value in state.values() if value.is_floating_point() and value.dim()]
    kept = {
        index: {"step": torch.tensor(7.0 + index), "exp_avg": value * 0.1, "exp_avg_sq": value.square()}
        for index, value in enumerate(moments)
    }
    group = {"lr": lr, "betas": (0.5, 0.999), "amsgrad": False, "foreach": None, "params": list(kept)}
    return {"state": kept, "param_groups": [group]}


def tiny_release(*networks: str, salt: int = 0) -> dict[str, Any]:
    """A checkpoint of these networks, an epoch, a discriminator and an optimiser's state."""
    content: dict[str, Any] = {name: deepcopy(tiny_state_dict(name, salt)) for name in networks}
    if "sidetuning" not in networks:  # before the adaptation these EAMs are not there
        for state in content.values():
            for key in [key for key in state if key.startswith(("fea.", "ea3d."))]:
                del state[key]
    content["discriminator"] = {"conv.weight": torch.ones(2, 3)}
    content["optimizer_generator"] = optimizer(content[networks[0]], lr=2e-4)
    return content | {"epoch": 313}


def published_release(*networks: str) -> dict[str, Any]:
    """A checkpoint of published size, with the states of the optimisers of A2ET, mapper and EDN."""
    specs = {name: json.loads((KEYS / f"{LISTS[name]}.json").read_text())["state_dict"] for name in networks}
    content: dict[str, Any] = {name: state_dict(spec) for name, spec in specs.items()}
    trained = ("audio2kptransformer", "emotionprompt", "sidetuning")
    states = {f"optimizer_{name}": optimizer(content[name], lr=1.5e-4) for name in trained}
    return content | states | {"epoch": 313}


def difference(a: Any, b: Any, where: str = "") -> str:
    """Where two files' contents first differ in type, order, value or bits, "" if nowhere."""
    if type(a) is not type(b):
        return f"{where}: {type(a).__name__} and {type(b).__name__}"
    if isinstance(a, Tensor):
        alike = (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
        return "" if alike and torch.equal(bits(a.detach()), bits(b.detach())) else where
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{where}: keys"
        inside = [difference(a[key], b[key], f"{where}/{key}") for key in a]
        attributes = difference(vars(a), vars(b), f"{where}.") if isinstance(a, OrderedDict) else ""
        return next((each for each in [*inside, attributes] if each), "")
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{where}: length"
        inside = [difference(x, y, f"{where}/{i}") for i, (x, y) in enumerate(zip(a, b, strict=True))]
        return next((each for each in inside if each), "")
    return "" if repr(a) == repr(b) else where
