"""One LoRA, DoRA or (IA)³, blind to emotion, as the contents of a folder of the peft library, and back.

`adapter_model.safetensors` has tensors called `base_model.model.<layer>.<key>` (keys: `peft_tensors`),
`adapter_config.json` the options (`peft_config`). LoRA's numbers stay as they are. peft keeps m = (1 + g) ‖W‖
and l = 1 + s, and g and s near 0 have more digits than those have in fp32: they come back from there to one
rounding of 1. What comes from peft goes back to the bit, but for m and l of less than half their first value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.banks import WeightAdapter
from eatlab.adapters.ia3 import IA3, IA3Config
from eatlab.adapters.lora import DoRA, DoRAConfig, LoRA, LoRAConfig
from eatlab.adapters.peft_config import CONFIG, Options, chosen_layers, config_of, options_of, shown
from eatlab.adapters.peft_tensors import SLOTS, Shape, Slot
from eatlab.adapters.specs import Part, parse
from eatlab.backbone.sites import Backbone, Conv1d, Conv2d, Conv3d, Linear, Operator, SpectralConv2d
from eatlab.errors import ExitCode, UserError

PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"
KINDS: dict[type, tuple[str, type[WeightAdapter]]] = {
    LoRAConfig: ("lora", LoRA),
    DoRAConfig: ("dora", DoRA),
    IA3Config: ("ia3", IA3),
}
NUMBERS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)
LAYERS = {"lora": (Linear, *CONVOLUTIONS), "dora": (Linear, *CONVOLUTIONS), "ia3": (Linear, Conv2d, Conv3d)}
"""What peft adapts; both kinds of layers are called alike there and here."""


def exported(adapters: AdapterSet, backbone: Backbone) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What peft's two files hold: tensors by key (fp32) and the config.

    Raises UserError for what that layout cannot say: several adapters, other kinds, a delta for each emotion,
    layers that peft adapts otherwise or not at all.
    """
    adapter, part = only_adapter(adapters)
    layers = adapted_layers(adapter.shapes, backbone, part.name)
    refuse_ambiguous(layers, backbone)
    rank = getattr(part.config, "rank", 1)
    tensors = {}
    for name, layer in layers.items():
        weight = layer.weight.detach()
        for slot in SLOTS[part.name]:
            values = slot.there(parameter(adapter, slot, name).detach()[0], weight).float()
            tensors[f"{PREFIX}{name}.{slot.key}"] = values.reshape(slot.shape(weight.shape, rank)).clone()
    return tensors, config_of(part.config, layers)


def imported(tensors: Mapping[str, Tensor], config: Mapping[str, Any], backbone: Backbone) -> AdapterSet:
    """The set of one adapter that does to this backbone what peft would do with the two files; in eval mode.

    Which layers it adapts, the tensors say; target_modules must agree.
    Raises UserError: 2 for what has no counterpart here or does not fit the backbone, 4 for damaged content.
    """
    options = options_of(config)
    kind, _ = KINDS[type(options)]
    names = layers_of(tensors, [slot.key for slot in SLOTS[kind]], chosen_layers(config))
    targets = targets_of(names, backbone, kind)
    layers = adapted_layers(targets, backbone, kind)
    for name, layer in layers.items():
        for slot in SLOTS[kind]:
            wanted = slot.shape(layer.weight.shape, getattr(options, "rank", 1))
            check_tensor(f"{PREFIX}{name}.{slot.key}", tensors[f"{PREFIX}{name}.{slot.key}"], wanted)
    adapters = AdapterSet(spelled(options, targets, backbone), backbone)
    adapter, _ = only_adapter(adapters)
    for name, layer in layers.items():
        for slot in SLOTS[kind]:
            ours = parameter(adapter, slot, name)
            values = slot.back(tensors[f"{PREFIX}{name}.{slot.key}"].flatten(), layer.weight.detach())
            ours.data.copy_(values.reshape(ours.shape))
    return adapters.eval()


def only_adapter(adapters: AdapterSet) -> tuple[WeightAdapter, Part]:
    """The one adapter of a set that peft's layout can say. Raises UserError for all others."""
    asked, parts = f'"{adapters.spec}" in the layout of peft', parse(adapters.spec_in_full)
    if len(parts) > 1 or parts[0].name not in SLOTS:
        raise UserError(asked, f"it holds one adapter: {', '.join(SLOTS)}", "tune one of them by itself")
    adapter = adapters.adapters[0]
    assert isinstance(adapter, WeightAdapter)
    if adapter.each:
        there = "it holds one delta for all emotions, this has one for each"
        raise UserError(asked, there, "tune it with each=false")
    return adapter, parts[0]


def parameter(adapter: WeightAdapter, slot: Slot, layer: str) -> nn.Parameter:
    """Ours, (1, …), for a layer."""
    bank = getattr(adapter, slot.bank)
    return bank.of(slot.place.format(layer))


def adapted_layers(places: Iterable[str], backbone: Backbone, kind: str) -> dict[str, Operator]:
    """Layers by name, of parameters. Raises UserError for those to which peft would do something else."""
    keys: dict[str, set[str]] = {}
    for place in places:
        name, _, key = place.rpartition(".")
        keys.setdefault(name, set()).add(key)
    layers: dict[str, Operator] = {}
    for name in keys:
        layer = backbone.get_submodule(name)
        asked = f'{kind} of "{name}" in the layout of peft'
        if not isinstance(layer, LAYERS[kind]) or isinstance(layer, SpectralConv2d):
            there = f"there is none for a {type(layer).__name__}"
            raise UserError(asked, there, "leave it out of the targets")
        if kind != "ia3" and (getattr(layer, "groups", 1) > 1 or {*getattr(layer, "dilation", ())} - {1}):
            raise UserError(asked, "there, A has neither groups nor dilation", "leave it out of the targets")
        if kind == "ia3" and keys[name] != {key for key, _ in layer.named_parameters(recurse=False)}:
            raise UserError(asked, "there, weight and bias are scaled together", f"target {name}.*")
        layers[name] = layer
    return layers


def refuse_ambiguous(layers: Iterable[str], backbone: Backbone) -> None:
    """Raises UserError for a layer whose name ends that of another: peft takes names for endings too."""
    chosen, every = set(layers), [name for name, _ in backbone.named_modules()]
    for name in chosen:
        if also := [other for other in every if other.endswith(f".{name}") and other not in chosen]:
            asked = f'"{name}" in the layout of peft'
            raise UserError(asked, f'there, this name means "{also[0]}" too', "target both or neither")


def layers_of(tensors: Iterable[str], keys: list[str], chosen: list[str]) -> list[str]:
    """Names of the layers that a file's tensors are for, each with all `keys`.

    Raises UserError: 2 for tensors of another kind, 4 if some are missing or peft itself would not read them.
    """
    found: dict[str, set[str]] = {}
    for name in tensors:
        key = next((key for key in keys if name.startswith(PREFIX) and name.endswith(f".{key}")), "")
        if not key:
            there = f"a layer's are {PREFIX}….{', '.join(keys)}"
            raise UserError(f"tensor {shown(name)} of {WEIGHTS}", there, "export the adapter alone")
        found.setdefault(name.removeprefix(PREFIX).removesuffix(f".{key}"), set()).add(key)
    for layer, has in found.items():
        if missing := [key for key in keys if key not in has]:
            raise damaged(f"{shown(layer)} has no {missing[0]}")
        if layer not in chosen and not any(layer.endswith(f".{name}") for name in chosen):
            raise damaged(f"{shown(layer)} is none of the target_modules of {CONFIG}")
    if not found:
        raise damaged("it holds no tensors")
    return list(found)


def damaged(there: str) -> UserError:
    """The mistake of a file whose tensors will not do."""
    return UserError(f"{WEIGHTS} is damaged", there, "save it again", code=ExitCode.DATA_DAMAGED)


def targets_of(layers: Iterable[str], backbone: Backbone, kind: str) -> list[str]:
    """Parameters that an adapter of these layers targets. Raises UserError if the backbone has none such."""
    there = backbone.reachable()
    for layer in layers:
        if f"{layer}.weight" not in there:
            named = f"this one has {len(there)} parameters: {', '.join([*there][:2])} …"
            raise UserError(f"the layer {shown(layer)} is none of the backbone's", named, "name its backbone")
    wanted = ("weight", "bias") if kind == "ia3" else ("weight",)
    targets = {f"{layer}.{key}" for layer in layers for key in wanted}
    return [name for name in there if name in targets]


def check_tensor(name: str, tensor: Tensor, wanted: Shape) -> None:
    """Raises UserError: 2 for a shape that does not fit, 4 for content that is no finite number."""
    if tuple(tensor.shape) != wanted:
        there = f"with this backbone and the r of {CONFIG} it is {wanted}"
        raise UserError(f"{name} is {tuple(tensor.shape)}", there, "import for its own backbone")
    if tensor.dtype not in NUMBERS or not tensor.isfinite().all():
        raise damaged(f"{name} ({tensor.dtype}) holds what is no finite number")


def spelled(options: Options, targets: list[str], backbone: Backbone) -> str:
    """The spec; targets are left out where they are the default ones."""
    default = {
        name for name in backbone.reachable() if any(fnmatchcase(name, glob) for glob in options.targets)
    }
    named = options if default == set(targets) else replace(options, targets=tuple(targets))
    return Part(*KINDS[type(options)], named).spelled()
