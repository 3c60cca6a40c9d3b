"""Our networks at the published size, filled with released keys by the maps of official.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone import official
from eatlab.backbone.clip import Driving, Speech
from eatlab.backbone.key_map import KeyMap, check_fit
from eatlab.backbone.pose import released_pose
from eatlab.backbone.published.constants import released_constants
from eatlab.backbone.sites import Context
from eatlab.backbone.sizes import paper
from eatlab.backbone.talking_head import Portrait, TalkingHead
from tests.reference.vectors import Vector

PCA = ("pca.mean", "pca.basis", "pca.deviation")


@cache
def head() -> TalkingHead:
    """One for all tests: its weights are those of the test that runs."""
    whole = TalkingHead(paper()).requires_grad_(False).eval()
    constants = released_constants()
    whole.a2et.pca.mean.copy_(constants.mean)
    whole.a2et.pca.basis.copy_(constants.components.T)
    return whole


def load(
    module: nn.Module, key_map: KeyMap, released: dict[str, Tensor], besides: Iterable[str] = ()
) -> None:
    """Fills a module, strictly: every released key, every key of ours but those in `besides`."""
    ours = key_map.ours(released)
    check_fit(ours, {k: v for k, v in module.state_dict().items() if k not in besides})
    module.load_state_dict(ours, strict=False)


def split(released: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Keys of the network itself, keys of its EAMs."""
    eam = {key: value for key, value in released.items() if official.belongs_to_eam(key)}
    return {key: value for key, value in released.items() if key not in eam}, eam


def load_a2et(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fills the head's A2ET and gives the EAMs' keys back."""
    own, eam = split(released)
    load(head().a2et, official.A2ET, own, PCA)
    return eam


def load_generator(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fills the head's renderer and gives the EAM's keys back."""
    own, eam = split(released)
    load(head().renderer, official.GENERATOR, own)
    return eam


def adapter_set(spec: str, eam: dict[str, Tensor]) -> AdapterSet:
    """The set of a spec on the head, its EAMs filled."""
    adapters = AdapterSet(spec, head()).requires_grad_(False).eval()
    part = [name.partition("(")[0] for name in adapters.names].index("eam")
    load(adapters.adapters[part], official.EAM, eam)
    return adapters


@contextmanager
def tapped(**modules: nn.Module):
    """Within, what each module gives is collected by name: the last call counts."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        return lambda module, given, output: seen.__setitem__(name, output)

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def guidance(vector: Vector) -> Tensor:
    """(B, 7, 128) of the vector's e0 and e1to6."""
    return torch.cat([vector.inputs["e0"][:, None], vector.inputs["e1to6"]], 1)


def minus_one_to_one(picture: Tensor) -> Tensor:
    """A released picture in 0..1 as ours."""
    return 2 * picture - 1


def pipeline_clip(whole: TalkingHead, vector: Vector, context: Context) -> tuple[Portrait, Speech, Driving]:
    """What the `pipeline` vector hands to a head: its portrait, speech and driving poses."""
    given, angles = vector.inputs, ("yaw", "pitch", "roll", "t")
    portrait = whole.portrait(
        minus_one_to_one(given["source"]),
        released_pose(*(given[f"source pose.{key}"] for key in angles)),
        context,
        expression=given["source pose.exp"].unflatten(-1, (-1, 3)),
    )
    pose = released_pose(*(given[f"driving pose.{key}"] for key in angles))
    driving = Driving(pose, given["clip pose pictures"][:, 0])
    return portrait, Speech(given["clip mel"].T, given["clip speech"]), driving
