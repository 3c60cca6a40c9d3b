"""Shallow and deep emotional prompts: guidance tokens join the transformer (EAT, Sec. 3.2, Supp. A)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from torch import Tensor

from eatlab.adapters.attachments import Adapter, Tokens
from eatlab.adapters.plan import streams_of
from eatlab.backbone.sites import Backbone, Context
from eatlab.errors import UserError


@dataclass(frozen=True)
class PromptConfig:
    """Which transformer stacks are prompted; both prompts have this one option."""

    streams: tuple[str, ...] = ("encoder", "decoder")


class ShallowPrompt(Adapter):
    """e0 joins the first layer's input, gets a position row, and flows through to the stream's end."""

    guidance_tokens = 1
    starts_exact = False  # any token takes part in the softmax, even zeros
    source = "EAT, Sec. 3.2; Jia et al. 2022, VPT"
    formula = "0: the emotion mapper of 1 token"

    def __init__(self, backbone: Backbone, config: PromptConfig) -> None:
        super().__init__()
        self.streams = prompted_streams(backbone, config.streams)

    def attachments(self) -> list[Tokens]:
        return [Tokens(sites[0], partial(guidance_token, 0)) for sites in self.streams]


class DeepPrompt(Adapter):
    """e(i+1) joins the input of layer i of each stream and gives way to e(i+2) before the next layer.

    The first gets a position row, the others none; the last stays in the memory that the decoder reads.
    Differs: the paper leaves it open; as in the release, encoder and decoder share the tokens, and only the
    first gets a position row.
    """

    starts_exact = False
    source = "EAT, Sec. 3.2 and Supp. A"
    formula = "0: the emotion mapper of 1 + layers tokens"

    def __init__(self, backbone: Backbone, config: PromptConfig) -> None:
        super().__init__()
        self.streams = prompted_streams(backbone, config.streams)
        self.guidance_tokens = 1 + max(len(sites) for sites in self.streams)

    def attachments(self) -> list[Tokens]:
        return [
            Tokens(site, partial(guidance_token, 1 + layer), until)
            for sites in self.streams
            for layer, (site, until) in enumerate(pairwise((*sites, None)))
            if site is not None
        ]


def guidance_token(index: int, context: Context) -> Tensor:
    """(clips, 1, width): the one guidance token `index`, e0 being 0."""
    assert context.guidance is not None
    return context.guidance[:, index : index + 1]


def prompted_streams(backbone: Backbone, names: tuple[str, ...]) -> list[list[str]]:
    """Token sites, in order, of each stream with one of `names` in its dotted path; all must be there."""
    streams = streams_of(backbone)
    for name in names:
        if not any(name in stream.split(".") for stream in streams):
            raise UserError(
                f'a prompt for the stream "{name}"', f"the backbone's streams: {', '.join(streams)}"
            )
    return [sites for stream, sites in streams.items() if set(names) & set(stream.split("."))]
