"""Adapters on rows of the transformer against their formulas written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.rows import (
    Bottleneck,
    BottleneckConfig,
    FilmInput,
    FilmInputConfig,
    Prefix,
    PrefixConfig,
)
from eatlab.backbone.sites import FROZEN, Context
from tests.adapters.toys import TINY, random_batch, stirred

WIDTH, LAYERS = TINY.a2et.width, TINY.a2et.layers
SHARES = torch.rand(2, 8, generator=torch.Generator().manual_seed(0)).softmax(-1)
each_or_not = pytest.mark.parametrize("each", [True, False])


def moved(adapter: torch.nn.Module) -> None:
    for parameter in adapter.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)


@each_or_not
def test_film_input_adds_one_row_to_every_token(each, backbone):
    adapter, x = FilmInput(backbone, FilmInputConfig(each)), torch.randn(6, 5, WIDTH)
    moved(adapter)
    place = adapter.places[0]
    rows = SHARES @ adapter.shifts.of(place) if each else adapter.shifts.of(place).expand(2, -1)
    wanted = x + rows.repeat_interleave(3, 0)[:, None]
    torch.testing.assert_close(adapter.changed(place, x, Context(SHARES)), wanted)
    assert adapter.places == ["a2et.encoder.before.0", "a2et.decoder.before.0"]


@each_or_not
def test_a_bottleneck_is_a_small_network_beside_the_identity(each, backbone):
    adapter, x = Bottleneck(backbone, BottleneckConfig(3, each)), torch.randn(6, 5, WIDTH)
    moved(adapter)
    place = adapter.places[-1]
    banks = [bank.of(place) for bank in (adapter.down, adapter.offset, adapter.up)]
    for window in range(6):
        shares = SHARES[window // 3] if each else torch.ones(1)
        down, offset, up = (torch.tensordot(shares, bank, 1) for bank in banks)
        wanted = x[window] + F.relu(x[window] @ down.T + offset) @ up.T
        torch.testing.assert_close(adapter.changed(place, x, Context(SHARES))[window], wanted)
    assert len(adapter.places) == (2 + 3) * LAYERS


@each_or_not
def test_a_prefix_is_read_by_attention_and_asks_nothing(each, backbone):
    adapter, attention = Prefix(backbone, PrefixConfig(2, each)), backbone.a2et.encoder.layers[0].self_attn
    moved(adapter)
    x, plan = torch.randn(4, 5, WIDTH), {x.place: (x.fn,) for x in adapter.attachments()}
    context = Context(SHARES, plan=plan)
    y = attention(x, x, context)
    rows = [adapter.rows.of(f"a2et.encoder.layers.0.self_attn.{name}") for name in ("keys", "values")]
    for window in range(4):
        shares = SHARES[window // 2] if each else torch.ones(1)
        keys, values = (torch.tensordot(shares, each_row, 1) for each_row in rows)
        q, k, v = (op(x[window], FROZEN) for op in (attention.q, attention.k, attention.v))
        k, v = torch.cat([keys, k]), torch.cat([values, v])
        heads = [t.unflatten(-1, (attention.heads, -1)).transpose(0, 1) for t in (q, k, v)]
        scores = heads[0] @ heads[1].mT / (WIDTH / attention.heads) ** 0.5
        attended = (scores.softmax(-1) @ heads[2]).transpose(0, 1).flatten(1)
        torch.testing.assert_close(y[window], attention.out(attended, FROZEN))
    assert len(adapter.places) == 2 * (1 + 2) * LAYERS


def test_a_shift_of_the_input_reaches_prompts_that_joined_there(backbone):
    batch, emotion, shift = random_batch(1), torch.tensor([1]), "film_input"
    first = stirred(f"{shift}+shallow_prompt", backbone)
    second = stirred(f"shallow_prompt+{shift}", backbone)
    state = {key.replace("adapters.0.", "adapters.1."): value for key, value in first.state_dict().items()}
    second.load_state_dict(state)
    y, z = (backbone.a2et(batch, adapters.context(emotion)) for adapters in (first, second))
    torch.testing.assert_close(y, z)


def test_they_may_be_shared_by_all_emotions(backbone):
    spec = "film_input(each=false)+bottleneck(each=false)+prefix(each=false)"
    assert not AdapterSet(spec, backbone).sees_emotion
