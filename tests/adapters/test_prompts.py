"""Prompts follow the released rule (design: adapters.md 3), written out here without plans."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sites import Context
from eatlab.backbone.transformer import positions
from eatlab.errors import UserError
from tests.adapters.toys import TINY, random_batch, stirred

EMOTION = torch.tensor([1, 6])
NUM_WINDOWS, NUM_TOKENS = 4, 12


def released_rule(
    stack: torch.nn.Module, x: Tensor, e: Tensor, kept: list[Tensor], memory: Tensor | None
) -> Tensor:
    """e1 joins before positions are added; each layer's last token gives way to the next."""
    plain = Context()
    rows = torch.cat([x, *kept, e[:, 1:2]], 1)
    rows = stack.layers[0](rows + positions(rows), plain, memory)
    for index, layer in enumerate(stack.layers[1:], 2):
        rows = layer(torch.cat([rows[:, :-1], e[:, index : index + 1]], 1), plain, memory)
    return rows if stack.norm is None else stack.norm(rows, plain)


@pytest.mark.parametrize("spec", ["deep_prompt", "shallow_prompt+deep_prompt", "deep_prompt+shallow_prompt"])
@pytest.mark.parametrize("stream", ["encoder", "decoder"])
def test_deep_prompts_follow_the_released_rule_bit_for_bit(spec, stream, backbone):
    x = torch.randn(NUM_WINDOWS, NUM_TOKENS, TINY.a2et.width)
    memory = torch.randn(NUM_WINDOWS, NUM_TOKENS + 1, TINY.a2et.width) if stream == "decoder" else None
    context = stirred(spec, backbone).context(EMOTION)
    assert context.guidance.shape == (2, 1 + TINY.a2et.layers, TINY.a2et.width)
    e = context.guidance.repeat_interleave(2, 0)
    stack, shallow = getattr(backbone.a2et, stream), [e[:, :1]] * ("shallow" in spec)
    ours = stack(x, context, memory)
    assert ours.shape[1] == NUM_TOKENS + 1 + len(shallow)
    assert torch.equal(ours, released_rule(stack, x, e, shallow, memory))


def test_a_shallow_prompt_flows_through_all_layers(backbone):
    x, context = (
        torch.randn(2, NUM_TOKENS, TINY.a2et.width),
        stirred("shallow_prompt", backbone).context(EMOTION),
    )
    rows = torch.cat([x, context.guidance], 1)
    assert torch.equal(backbone.a2et.encoder(x, context), backbone.a2et.encoder(rows, Context()))


def test_even_a_prompt_of_zeros_changes_the_output(backbone):
    batch, adapters = random_batch(2), AdapterSet("shallow_prompt", backbone)
    for parameter in adapters.parameters():
        parameter.data.zero_()
    context = adapters.context(EMOTION)
    assert not context.guidance.any()
    assert not torch.equal(backbone.a2et(batch, context), backbone.a2et(batch))


@pytest.mark.parametrize("stream", ["encoder", "decoder"])
def test_a_prompt_may_be_kept_to_one_stream(stream, backbone):
    adapters = AdapterSet(f"deep_prompt(streams={stream})", backbone)
    assert list(adapters.plan) == [f"a2et.{stream}.before.{i}" for i in range(TINY.a2et.layers)]


def test_a_stream_that_is_not_there_is_refused_with_those_that_are(backbone):
    with pytest.raises(
        UserError, match=r'stream "middle"; the backbone.s streams: a2et.encoder.before, a2et.dec'
    ):
        AdapterSet("deep_prompt(streams=encoder,middle)", backbone)
