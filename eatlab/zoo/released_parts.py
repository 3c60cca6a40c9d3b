"""What the networks of a released file become here: which map, which file of ours, and whether they fit.

Names and keys are facts of the release (eat-networks.md, "Checkpoint layout").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.emotion import EmotionMapper
from eatlab.backbone import official
from eatlab.backbone.key_map import KeyMap, MisfitError, pieces
from eatlab.backbone.published.blur import blur_kernel
from eatlab.backbone.published.head_pose import WIDTHS, PublishedEstimator
from eatlab.backbone.published.keypoints import PublishedDetector
from eatlab.backbone.sizes import BackboneConfig, paper
from eatlab.backbone.talking_head import TalkingHead
from eatlab.backbone.transformer import positions
from eatlab.errors import UserError
from eatlab.experts.syncnet import SyncNet
from eatlab.zoo.released_file import Where, alone, damaged

SPEC = "deep_prompt+edn+eam"
"""The released adapter; its places in an AdapterSet's state dict stand in PARTS."""

BACKBONE, ADAPTER, ESTIMATOR = "backbone", "adapter", "estimator"
EDIT_MAPPER, SYNC_EXPERT = "edit_mapper", "sync_expert"
"""Files that an import writes, without .safetensors."""


class Part(NamedTuple):
    """What a released network fills: a file of ours, there the keys that begin with prefix + within."""

    network: str
    key_map: KeyMap
    file: str
    prefix: str = ""
    within: str = ""

    @property
    def adapts(self) -> bool:
        """Whether it is the EAMs that stand inside a network."""
        return self.key_map is official.EAM

    def takes(self, key: str) -> bool:
        """Whether a key of its network is this part's to use or to leave."""
        return official.belongs_to_eam(key) == self.adapts


PARTS = (
    Part("kp_detector", official.DETECTOR, BACKBONE, "keypoints."),
    Part("audio2kptransformer", official.A2ET, BACKBONE, "a2et."),
    Part("generator", official.GENERATOR, BACKBONE, "renderer."),
    Part("emotionprompt", official.MAPPER, ADAPTER, "mapper."),
    Part("sidetuning", official.EDN, ADAPTER, "adapters.1."),
    Part("audio2kptransformer", official.EAM, ADAPTER, "adapters.2.", "heads.a2et/"),
    Part("generator", official.EAM, ADAPTER, "adapters.2.", "heads.renderer/"),
    Part("he_estimator", official.HEAD_POSE, ESTIMATOR),
    Part("mapper", official.MAPPER, EDIT_MAPPER),
    Part("state_dict", official.SYNCNET, SYNC_EXPERT),
)
NETWORKS = tuple(dict.fromkeys(part.network for part in PARTS))

UNUSED_ENTRIES = (
    (r"epoch|global_epoch|global_step", "how far its training was"),
    (r"optimizer(_\w+)?", "the state of its optimisers; eatlab begins with its own"),
    (r"discriminator", "of the keypoints' pretraining; EAT's stages weigh it 0"),
)
"""Entries of a file that are no network of eatlab's: pattern, why they are only kept."""

NO_EMOTION = "without effect before the adaptation: this file has no emotion"
COMPUTED = r".*pos_table|down\.weight"
STATISTICS = r".*(running_mean|running_var|num_batches_tracked)"
NEAR = 1e-5
"""Rounding of a constant: the release computes its positions in fp64, eatlab in fp32 (7e-7 apart)."""


@dataclass(frozen=True)
class Form:
    """Sizes of the networks that are read into; the defaults are the release's, tests have smaller ones.

    estimator: widths of the head pose estimator.  sync: width of the sync expert.
    """

    backbone: BackboneConfig = field(default_factory=paper)
    estimator: tuple[int, ...] = WIDTHS
    sync: int = 32

    def modules(self) -> dict[str, nn.Module]:
        """Our networks by file, without values (on the meta device); made once, and only looked at."""
        return imagined(self)


@cache
def imagined(form: Form) -> dict[str, nn.Module]:
    """See `Form.modules`."""
    with torch.device("meta"):
        head = TalkingHead(form.backbone)
        return {
            BACKBONE: head,
            ADAPTER: AdapterSet(SPEC, head),
            ESTIMATOR: PublishedEstimator(form.estimator),
            EDIT_MAPPER: edit_mapper(form.backbone),
            SYNC_EXPERT: SyncNet(form.sync),
        }


def edit_mapper(config: BackboneConfig) -> EmotionMapper:
    """The mapper of an editing run: one domain (EAT, Sec. 3.2)."""
    a2et = config.a2et
    return EmotionMapper(1 + a2et.layers, a2et.width, a2et.mapper_hidden, domains=1)


def why_unused_entry(name: str) -> str:
    """Why a file's entry is only kept, "" if it is a network or unknown."""
    return next((why for pattern, why in UNUSED_ENTRIES if re.fullmatch(pattern, name)), "")


def carries_adapter(content: Mapping[str, Any]) -> bool:
    """Whether a file is of the adaptation or later: the EAMs of earlier ones never learned."""
    inside = (key for name in ("audio2kptransformer", "generator") for key in content.get(name, ()))
    return bool({"emotionprompt", "sidetuning"} & set(content)) or any(
        key.startswith(("fea.", "ea3d.")) for key in inside
    )


def check_entries(path: Path, content: Mapping[str, Any]) -> None:
    """Raises UserError (4) unless all entries are known, one is a network, networks are tensors by name."""
    networks = [name for name in content if name in NETWORKS]
    if unknown := [name for name in content if name not in NETWORKS and not why_unused_entry(name)]:
        there = f"eatlab knows: {', '.join(NETWORKS)}, epoch, optimizer_*, discriminator"
        raise damaged(f'{path} has the unknown entry "{unknown[0]}"', there)
    if not networks:
        raise damaged(f"{path} holds no network", f"there are: {', '.join(content) or 'no entries'}")
    for name in networks:
        if not isinstance(content[name], dict):
            raise damaged(
                f"{name} of {path} is of type {type(content[name]).__name__}", "it should be tensors by name"
            )
        for key, value in content[name].items():
            if not (isinstance(key, str) and isinstance(value, Tensor)):
                raise damaged(
                    f"{key} in {name} of {path} is of type {type(value).__name__}", "it should be a tensor"
                )


def check_keys(path: Path, content: Mapping[str, Any]) -> None:
    """Raises UserError (4) for a key that is no part's of its network, and for the shallow ablation's."""
    for name in (name for name in content if name in NETWORKS):
        parts = [part for part in PARTS if part.network == name]
        for key in content[name]:
            if key.startswith("fadain."):
                there = "it is of the shallow ablation, whose face EAM normalises; eatlab's does not"
                raise damaged(f"{name} of {path} has {key}", there, "give a file of the full model")
            if sum(part.takes(key) for part in parts) != 1:
                raise too_many(name, path, key)


def too_many(network: str, path: Path, key: str) -> UserError:
    """The mistake of a key that the released network does not have."""
    there = f"the released network has no such tensor, or has {key} by another name"
    return damaged(f"{network} of {path} has {key} too many", there)


def parts_of(
    path: Path, content: Mapping[str, Any], modules: Mapping[str, nn.Module]
) -> dict[Part, dict[str, Tensor]]:
    """What a file fills, by part: our names (without the part's prefix) → tensors.

    Raises UserError (4) for an unknown entry and for a network that lacks a tensor, has one too many, or one
    of another shape, type or constant value.
    """
    check_entries(path, content)
    check_keys(path, content)
    adapts = carries_adapter(content)
    found: dict[Part, dict[str, Tensor]] = {}
    for part in PARTS:
        if part.network not in content:
            continue
        fit = Fit(path, part, modules[part.file].state_dict())
        keys = {key: value for key, value in content[part.network].items() if part.takes(key)}
        if adapts or not part.adapts:
            found[part] = fit.all_of(keys)
        else:  # kept without use; what comes back must have been the release's all the same
            fit.some_of(keys)
    return found


class Fit:
    """One released network of a file, held against ours."""

    def __init__(self, path: Path, part: Part, state: Mapping[str, Tensor]) -> None:
        begin = part.prefix + part.within
        self.path, self.part = path, part
        self.wanted = {
            key.removeprefix(part.prefix): value
            for key, value in state.items()
            if key.startswith(begin) and not key.startswith("a2et.pca.")
        }

    def all_of(self, released: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our names → tensors, all of them. Raises UserError (4)."""
        ours = self.some_of(released)
        if missing := [name for name in self.wanted if name not in ours]:
            self.refuse_missing(missing)
        return ours

    def some_of(self, released: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our names → tensors, of those that are there. Raises UserError (4)."""
        ours: dict[str, Tensor] = {}
        for key, value in released.items():
            if self.part.key_map.why_unused(key):
                self.check_constant(key, value)
                continue
            names = self.names(key, ours)
            self.check_shape(key, value, names)
            parts = pieces(value.detach(), len(names))
            ours |= {name: alone(each) for name, each in zip(names, parts, strict=True)}
        return ours

    def names(self, key: str, before: Mapping[str, Tensor]) -> list[str]:
        """Our names that a released key fills, which none before it filled and the release spells so."""
        try:
            names = self.part.key_map.names(key)
        except MisfitError:
            names = []
        new = bool(names) and all(name in self.wanted and name not in before for name in names)
        if not new or self.spelled(names[0]) != key:
            raise too_many(self.part.network, self.path, key)
        return names

    def spelled(self, name: str) -> str:
        """The released key of a name of ours; only a layer with a spectral norm has `weight_orig`."""
        spectral = name.endswith(".weight") and f"{name}_u" in self.wanted
        return self.part.key_map.back(name) + ("_orig" if spectral else "")

    def check_shape(self, key: str, value: Tensor, names: list[str]) -> None:
        """One tensor of ours has its shape; three have each a third of it."""
        first = self.wanted[names[0]]
        shape = tuple(first.shape) if len(names) == 1 else (len(names) * first.shape[0], *first.shape[1:])
        if (tuple(value.shape), value.dtype) != (shape, first.dtype):
            there = f"{tuple(value.shape)}, {value.dtype}; it should be {shape}, {first.dtype}"
            raise damaged(f"{key} in {self.part.network} of {self.path} is {there}")

    def check_constant(self, key: str, value: Tensor) -> None:
        """What eatlab computes must be what the release stored."""
        if not re.fullmatch(COMPUTED, key):
            return
        right = self.computed(key, value)
        if value.shape != right.shape or not torch.allclose(value.float(), right, rtol=0, atol=NEAR):
            there = "the file was made with other constants, so its networks would not give what they gave"
            raise damaged(
                f"{key} in {self.part.network} of {self.path} is not the constant that eatlab computes", there
            )

    def computed(self, key: str, value: Tensor) -> Tensor:
        """The constant of a key; positions have as many rows as the released table."""
        if key == "down.weight":
            return blur_kernel(PublishedDetector.SHRINKS).expand(3, 1, -1, -1)
        width = next(x.shape[0] for name, x in self.wanted.items() if name.endswith("linear2.bias"))
        return positions(torch.zeros(1, value.shape[1] if value.dim() == 3 else 0, width))[None]

    def refuse_missing(self, missing: list[str]) -> None:
        """Names the first of them as the release does."""
        first = missing[0]
        count = f"{len(missing)} of {len(self.wanted)} tensors are missing"
        raise damaged(
            f"{self.part.network} of {self.path} lacks {self.spelled(first)}",
            f"it should be {tuple(self.wanted[first].shape)}; {count}",
        )


class Source(NamedTuple):
    """A released file: its content, and what it fills. taken: the parts of it that our files have."""

    path: Path
    sha256: str
    content: dict[str, Any]
    parts: dict[Part, dict[str, Tensor]]
    taken: set[Part]

    def used(self) -> dict[Where, str]:
        """Where the tensors stand that our files have, and in which."""
        adapts = carries_adapter(self.content)
        return {
            (part.network, key): part.file
            for part in self.taken
            for key in self.content[part.network]
            if part.takes(key) and not why_kept(part.network, key, adapts=adapts)
        }


def why_kept(network: str, key: str, *, adapts: bool) -> str:
    """Why a key of a released network is only kept, "" for one that is used.

    adapts: whether its file carries an adapter.
    """
    if official.belongs_to_eam(key):
        return "" if adapts else NO_EMOTION
    return next(part.key_map.why_unused(key) for part in PARTS if part.network == network and not part.adapts)


def released_names(network: str, key: str) -> tuple[Part, list[str]]:
    """The part that uses a key of a released network, and the keys of the part's file that it fills."""
    part = next(part for part in PARTS if part.network == network and part.takes(key))
    return part, [part.prefix + name for name in part.key_map.names(key)]
