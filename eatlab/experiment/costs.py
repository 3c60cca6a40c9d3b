"""What an adapter costs, counted on the meta device: no weights, no data, seconds for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eatlab.backbone.talking_head import TalkingHead

FRAMES = 25
"""Of the clip that is counted, one second: what happens once a clip is shared by them."""


@dataclass(frozen=True)
class Cost:
    """Of one set.

    parameters: its own, the emotion mapper's included.  bytes: of its file.
    gflop: more for a frame in A2ET, products and their sums, convolutions and matrices alone.
    activations: MiB that autograd keeps of a frame in a tuning step with the latent loss, by the meta
    device's kernels; a CPU's keep within 6 % of it at `small`.
    """

    spec: str
    parameters: int
    bytes: int
    gflop: float
    activations: float


def imagined(size: str) -> TalkingHead:
    """The backbone of a size on the meta device, frozen. Raises UserError for an unknown size."""
    import torch

    from eatlab.backbone.sizes import SIZES
    from eatlab.backbone.talking_head import TalkingHead
    from eatlab.errors import refuse_unknown

    refuse_unknown("size", size, SIZES)
    with torch.device("meta"):
        return TalkingHead(SIZES[size]()).requires_grad_(False).eval()


def imagined_batch(head: TalkingHead) -> dict[str, Any]:
    """What A2ET is given for one clip of FRAMES frames; shapes alone."""
    import torch

    c, side = head.config.a2et, head.config.side
    shapes = {
        "mel": (FRAMES, 11, c.mel),
        "speech": (FRAMES, 11, *c.speech.statistics),
        "pose": (FRAMES, 7),
        "face_map": (c.face_map, side, side),
    }
    if picture := getattr(c.speech, "side", 0):
        shapes["pictures"] = (FRAMES, 11, picture, picture)
    return {name: torch.empty(1, *shape, device="meta") for name, shape in shapes.items()}


def costs_of(specs: Iterable[str], size: str) -> list[Cost]:
    """Of each spec. Raises UserError for an unknown size, and for a spec that does not fit it."""
    import torch

    from eatlab.backbone.sites import FROZEN

    head = imagined(size)
    batch = imagined_batch(head)
    with torch.no_grad():
        frozen = products(head, batch, FROZEN)
    return [cost_of(spec, head, batch, frozen) for spec in specs]


def cost_of(spec: str, head: TalkingHead, batch: dict[str, Any], frozen: int) -> Cost:
    """Of one; frozen: the products of the frozen A2ET."""
    import torch

    from eatlab.adapters.adapter_set import AdapterSet

    with torch.device("meta"):
        adapters = AdapterSet(spec, head)
        with torch.no_grad():
            more = products(head, batch, adapters.context(torch.zeros(1, dtype=torch.long))) - frozen
    budget = adapters.budget(head)
    return Cost(
        spec=adapters.label,
        parameters=budget["total"],
        bytes=budget["bytes"],
        gflop=more / FRAMES / 1e9,
        activations=kept(head, batch, adapters) / FRAMES / 2**20,
    )


def products(head: TalkingHead, batch: dict[str, Any], context: Any) -> int:
    """Products and sums of A2ET for the batch; the mapper's are in the context already."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        head.a2et(batch, context)
    return counter.get_total_flops()


def kept(head: TalkingHead, batch: dict[str, Any], adapters: Any) -> int:
    """Bytes that autograd keeps for the backward pass, parameters and buffers not counted."""
    import torch
    from torch import Tensor

    held: dict[int, Tensor] = {}  # of a storage one tensor: alive, so that no other takes its place

    def keep(x: Tensor) -> Tensor:
        held.setdefault(x.untyped_storage()._cdata, x)
        return x

    adapters.train_at("a2et")
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        context = adapters.context(torch.zeros(1, dtype=torch.long))
        result = head.a2et(batch, context)
    own = (*head.parameters(), *head.buffers(), *adapters.parameters(), *batch.values())
    known = {x.untyped_storage()._cdata for x in own}
    del result
    return sum(x.untyped_storage().nbytes() for key, x in held.items() if key not in known)
