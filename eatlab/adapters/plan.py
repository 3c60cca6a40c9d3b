"""From attachments to a plan: which functions a backbone calls at which place, made once a set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from eatlab.adapters.attachments import Attachment, Features, Rows, Tokens, Weight
from eatlab.backbone.sites import Backbone, Context, spread
from eatlab.errors import UserError

Plan = dict[str, tuple[Callable, ...]]


def make_plan(attachments: Sequence[Attachment], backbone: Backbone) -> Plan:
    """Functions by place, at each place in the order of the attachments.

    Raises UserError if a place does not exist in the backbone, or is of another kind than the attachment.
    """
    check_places(attachments, backbone)
    plan: defaultdict[str, list[Callable]] = defaultdict(list)
    tokens = [x for x in attachments if isinstance(x, Tokens)]
    for sites in streams_of(backbone).values():
        plan_stream([x for x in tokens if x.place in sites], sites, plan)
    for x in attachments:
        if not isinstance(x, Tokens):
            plan[x.place].append(x.fn)
    return {place: tuple(functions) for place, functions in plan.items()}


def streams_of(backbone: Backbone) -> dict[str, list[str]]:
    """Token sites by stream, in execution order: {"a2et.encoder.before": ["a2et.encoder.before.0", …], …}."""
    streams: dict[str, list[str]] = {}
    for name, site in backbone.sites().items():
        if site.kind == "tokens":
            streams.setdefault(name.rpartition(".")[0], []).append(name)
    return streams


def plan_stream(tokens: list[Tokens], sites: list[str], plan: defaultdict[str, list[Callable]]) -> None:
    """Plans one stream's tokens; those that leave sooner stand nearer the end, so leaving is one slice."""
    ends = {x: sites.index(x.until) if x.until else len(sites) for x in tokens}
    alive: list[Tokens] = []
    for index, site in enumerate(sites):
        if num_leaving := sum(x.num_tokens for x in alive if ends[x] == index):
            plan[site].append(partial(drop, num_leaving))
            alive = [x for x in alive if ends[x] != index]
        for x in (x for x in tokens if x.place == site):
            num_behind = sum(other.num_tokens for other in alive if ends[other] < ends[x])
            plan[site].append(partial(insert, num_behind, x.num_tokens, x.fn))
            alive.append(x)


def insert(
    num_behind: int, num_tokens: int, fn: Callable[[Context], Tensor], x: Tensor, context: Context
) -> Tensor:
    """x: (batch, length, width) → (batch, length + num_tokens, width); `num_behind` rows stay behind."""
    rows = spread(fn(context), len(x))
    if rows.shape[1] != num_tokens:
        raise ValueError(f"an attachment promised {num_tokens} tokens and made {rows.shape[1]}")
    at = x.shape[1] - num_behind
    return torch.cat([x[:, :at], rows, x[:, at:]], 1)


def drop(num_tokens: int, x: Tensor, context: Context) -> Tensor:
    """x: (batch, length, width) → (batch, length − num_tokens, width): the last rows leave."""
    return x[:, :-num_tokens]


def check_places(attachments: Sequence[Attachment], backbone: Backbone) -> None:
    """Raises UserError for the first attachment at a place that the backbone does not have."""
    kinds = {name: site.kind for name, site in backbone.sites().items()}
    there: dict[type, list[str]] = {
        Tokens: [name for name, kind in kinds.items() if kind == "tokens"],
        Features: [name for name, kind in kinds.items() if kind == "features"],
        Rows: [name for name, kind in kinds.items() if kind != "features"],
        Weight: list(backbone.reachable()) if any(isinstance(x, Weight) for x in attachments) else [],
    }
    for x in attachments:
        places = there[type(x)]
        if x.place not in places:
            raise UserError(
                f'{type(x).__name__} at "{x.place}"', f"this backbone has: {', '.join(places) or 'none'}"
            )
        if isinstance(x, Tokens) and x.until is not None:
            stream = [name for name in places if name.rpartition(".")[0] == x.place.rpartition(".")[0]]
            if x.until not in stream[stream.index(x.place) + 1 :]:
                raise UserError(
                    f'Tokens at "{x.place}" until "{x.until}"', "that is no later site of the same stream"
                )
