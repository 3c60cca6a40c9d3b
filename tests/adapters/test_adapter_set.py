"""Properties of every registered adapter; a new one is tested by being registered."""

from __future__ import annotations

import copy
import pickle
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from eatlab.adapters.adapter_set import Adapted, AdapterSet
from eatlab.adapters.plan import make_plan
from eatlab.adapters.registry import BUILTIN
from eatlab.backbone.sites import FROZEN, Backbone, SpectralConv2d, fingerprint
from eatlab.emotions import NEUTRAL
from eatlab.errors import UserError
from tests.adapters.toys import (
    BLIND,
    EMOTIONAL,
    NAMES,
    TINY,
    TRAINED,
    random_batch,
    stirred,
    talking_head,
)

EMOTION = torch.tensor([1, 6])
every = pytest.mark.parametrize


@every("name", NAMES)
def test_at_first_the_model_is_the_frozen_one_bit_for_bit_where_promised(name, backbone):
    batch, adapters = random_batch(2), AdapterSet(name, backbone)
    same = torch.equal(backbone.a2et(batch, adapters.context(EMOTION)), backbone.a2et(batch))
    assert same == adapters.starts_exact
    assert name not in BUILTIN or adapters.starts_exact == (name not in INEXACT)


@every("name", NAMES)
def test_a_set_says_whether_it_sees_the_emotion(name, backbone):
    batch, adapters = random_batch(1), stirred(name, backbone)
    angry, sad = (backbone.a2et(batch, adapters.context(torch.tensor([e]))) for e in (0, 6))
    assert torch.equal(angry, sad) == (not adapters.sees_emotion)
    assert ("blind to emotion" in adapters.label) == (name != "none" and not adapters.sees_emotion)
    assert name not in BUILTIN or adapters.sees_emotion == (name not in BLIND)


def test_a_set_sees_the_emotion_if_one_of_its_adapters_does(backbone):
    assert AdapterSet("full+shallow_prompt", backbone).sees_emotion
    assert not AdapterSet("full+lora(each=false)", backbone).sees_emotion


INEXACT = ["shallow_prompt", "deep_prompt", "prefix"]
MERGING = ["lora", "dora", "ia3", "bitfit", "norm", "head", "last_k", "full"]
LOW_RANK_KERNELS = "lora(targets=a2et.acoustic.*.weight,a2et.*.q.weight)"


@every("spec", [*MERGING, "lora+full+ia3", "lora(each=false)", "dora(each=false)", LOW_RANK_KERNELS])
def test_a_merged_backbone_speaks_its_one_emotion(spec, backbone):
    adapters, shares = stirred(spec, backbone), torch.rand(1, 8).softmax(-1)
    plain = talking_head()
    plain.load_state_dict(adapters.merged(backbone, adapters.context(shares, 0.7)))
    for clips in (1, 3):
        batch, context = random_batch(clips), adapters.context(shares.expand(clips, -1), 0.7)
        torch.testing.assert_close(plain.a2et(batch), backbone.a2et(batch, context), atol=1e-6, rtol=1e-5)


@every("name", NAMES)
def test_what_acts_beside_the_weights_does_not_merge(name, backbone):
    adapters = stirred(name, backbone)
    context = adapters.context(torch.tensor([1]))
    assert name not in BUILTIN or adapters.merges == (name in MERGING)
    if adapters.merges:
        plain = talking_head()
        plain.load_state_dict(adapters.merged(backbone, context))
        batch = random_batch(1)
        torch.testing.assert_close(plain.a2et(batch), backbone.a2et(batch, context), atol=1e-6, rtol=1e-5)
    else:
        with pytest.raises(UserError, match=f'"{name}" does not merge'):
            adapters.merged(backbone, context)


def test_a_merged_spectral_layer_is_divided_by_the_frozen_norm():
    class Network(Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.conv = SpectralConv2d(4, 4, 3, padding=1)
            self.config = TINY
            self.name_places()

        def forward(self, x, context=FROZEN):
            return self.conv(x, context)

    network, x = Network().requires_grad_(False), torch.randn(1, 4, 8, 8)
    adapters = stirred("full(targets=conv.weight)+lora(targets=conv.weight,rank=2)", network)
    context = adapters.context(torch.tensor([1]))
    plain = copy.deepcopy(network)
    plain.load_state_dict(adapters.merged(network, context))
    assert not torch.allclose(network(x, context), network(x), atol=1e-3)
    torch.testing.assert_close(plain(x), network(x, context), atol=1e-6, rtol=1e-5)


@every("name", TRAINED)
def test_under_bf16_it_computes_and_keeps_its_deltas_in_fp32(name, backbone):
    batch, adapters = random_batch(2), stirred(name, backbone)
    exact = backbone.a2et(batch, adapters.context(EMOTION))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = backbone.a2et(batch, adapters.context(EMOTION))
    assert (rounded - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_merge_is_for_one_emotion(backbone):
    adapters = AdapterSet("lora", backbone)
    with pytest.raises(UserError, match="several emotions"):
        adapters.merged(backbone, adapters.context(EMOTION))


def test_none_is_the_frozen_model_with_no_parameters(backbone):
    adapters = AdapterSet("none", backbone)
    context = adapters.context(EMOTION, 0.5)
    assert not context.plan
    assert context.guidance is None
    assert not list(adapters.parameters())


def test_none_in_company_is_refused_in_one_line(backbone):
    with pytest.raises(
        UserError, match='"none" in "none\\+deep_prompt" attaches nothing, so it stands alone'
    ):
        AdapterSet("none+deep_prompt", backbone)


@every("name", TRAINED)
def test_training_reaches_every_adapter_parameter_and_no_bit_of_the_backbone(name, backbone):
    before, model = fingerprint(backbone), Adapted(backbone.a2et, AdapterSet(name, backbone).train_at("a2et"))
    model.train()
    trained = {key: p for key, p in model.adapters.named_parameters() if p.requires_grad}
    start = fingerprint(model.adapters)
    optimizer, reached = torch.optim.Adam(trained.values(), 1e-3), set()
    for _ in range(3):
        optimizer.zero_grad()
        model(random_batch(8), torch.arange(8), torch.rand(8), torch.randn(8, 16)).square().mean().backward()
        optimizer.step()
        reached |= {key for key, p in trained.items() if p.grad.any()}
    assert reached == set(trained)
    assert fingerprint(model.adapters) != start
    assert all(p.grad is None for p in backbone.parameters())
    assert fingerprint(backbone) == before


def test_the_frozen_backbone_stays_in_eval_mode_when_the_model_trains(backbone):
    model = Adapted(backbone.train().requires_grad_(True), AdapterSet("deep_prompt", backbone))
    assert model.train().adapters.training
    assert not any(module.training for module in backbone.modules())
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"adapters"}


@every("name", TRAINED)
def test_without_the_context_the_backbone_answers_as_before(name, backbone):
    batch, adapters = random_batch(2), stirred(name, backbone)
    before = backbone.a2et(batch)
    assert not torch.equal(backbone.a2et(batch, adapters.context(EMOTION)), before)
    assert torch.equal(backbone.a2et(batch), before)


@every("pair", list(permutations(TRAINED, 2)), ids="+".join)
def test_any_two_compose_and_each_still_acts(pair, same_backbone):
    batch, both = random_batch(2), stirred("+".join(pair), same_backbone)
    y = same_backbone.a2et(batch, both.context(EMOTION))
    for kept in both.adapters:
        one = copy.copy(both)
        one.plan = make_plan(kept.attachments(), same_backbone)
        assert not torch.equal(same_backbone.a2et(batch, one.context(EMOTION)), y)


@every("name", EMOTIONAL)
def test_each_clip_gets_its_own_mix_and_intensity(name, backbone):
    batch, adapters = random_batch(4, frames=3), stirred(name, backbone)
    emotion, strength = torch.rand(4, 8).softmax(-1), torch.tensor([0.0, 0.3, 0.7, 1.0])
    latent = torch.randn(4, 16)
    together = backbone.a2et(batch, adapters.context(emotion, strength, latent))
    for i in range(4):
        row = slice(i, i + 1)
        context = adapters.context(emotion[row], strength[row], latent[row])
        alone = backbone.a2et({key: value[row] for key, value in batch.items()}, context)
        torch.testing.assert_close(together[row], alone, atol=2e-5, rtol=1e-4)


@every("name", EMOTIONAL)
def test_intensity_0_is_the_neutral_emotion_bit_for_bit(name, backbone):
    batch, adapters = random_batch(4), stirred(name, backbone)
    emotion, neutral = torch.rand(4, 8).softmax(-1), adapters.context(torch.full((4,), NEUTRAL))
    weak, full = (backbone.a2et(batch, adapters.context(emotion, strength)) for strength in (0.0, 1.0))
    assert torch.equal(weak, backbone.a2et(batch, neutral))
    assert not torch.equal(full, weak)


@every("name", NAMES)
def test_an_index_is_its_one_hot_row(name, backbone):
    batch, adapters, shares = random_batch(2), stirred(name, backbone), F.one_hot(EMOTION, 8).float()
    by_index, by_shares = (backbone.a2et(batch, adapters.context(e)) for e in (EMOTION, shares))
    assert torch.equal(by_index, by_shares)


@every("name", ["shallow_prompt", "deep_prompt", "edn", "eam"])
def test_the_latent_is_an_argument_with_a_default_and_nothing_is_drawn(name, backbone):
    batch, adapters = random_batch(2), stirred(name, backbone)
    again = [backbone.a2et(batch, adapters.context(EMOTION)) for _ in range(2)]
    zeros, drawn = (adapters.context(EMOTION, latent=z) for z in (torch.zeros(2, 16), torch.randn(2, 16)))
    assert torch.equal(*again)
    assert torch.equal(again[0], backbone.a2et(batch, zeros))
    assert not torch.equal(again[0], backbone.a2et(batch, drawn))


@every("name", TRAINED)
def test_checkpointing_recomputes_with_its_own_emotion_and_set(name, backbone):
    batch, adapters, other, grads = random_batch(2), stirred(name, backbone), stirred(name, backbone, 2), []
    adapters.train_at("a2et")
    for checkpointing in (False, True):
        backbone.a2et.encoder.checkpointing = backbone.a2et.decoder.checkpointing = checkpointing
        adapters.zero_grad()
        loss = backbone.a2et(batch, adapters.context(EMOTION)).square().sum()
        backbone.a2et(batch, other.context(EMOTION.flip(0)))  # in between: another set, other emotions
        loss.backward()
        grads.append([p.grad for p in adapters.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_several_sets_share_one_prefix(backbone):
    a2et, batch = backbone.a2et, random_batch(2)
    prefix = a2et.prefix(batch)
    for spec in ("none", "shallow_prompt", "deep_prompt", "toy_film+toy_factors"):
        adapters = stirred(spec, backbone)
        context = adapters.context(EMOTION)
        assert not adapters.touches(a2et.PREFIX)
        assert torch.equal(a2et.suffix(prefix, context), a2et(batch, context))


@every(
    "spec", ["toy_shared", "toy_film(site=a2et.acoustic.norms.0)", "deep_prompt+toy_shift(layer=a2et.pose)"]
)
def test_a_set_that_reaches_into_the_prefix_says_so(spec, backbone):
    adapters = AdapterSet(spec, backbone)
    assert adapters.touches(backbone.a2et.PREFIX)
    assert adapters.touches(tuple(f"a2et.{name}" for name in backbone.a2et.PREFIX))
    assert not adapters.touches(("renderer",))


@every("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@every("name", TRAINED)
def test_copies_are_independent(name, copied, backbone):
    batch, adapters = random_batch(2), stirred(name, backbone)
    twin, before = copied(adapters), backbone.a2et(batch, adapters.context(EMOTION))
    for parameter in adapters.parameters():
        parameter.data.zero_()
    assert torch.equal(backbone.a2et(batch, twin.context(EMOTION)), before)
    assert not torch.equal(backbone.a2et(batch, adapters.context(EMOTION)), before)


@every("name", NAMES)
def test_building_a_set_reads_the_backbone_and_writes_nothing(name, backbone):
    before, tree = fingerprint(backbone), [(n, type(m)) for n, m in backbone.named_modules()]
    attributes = {n: set(vars(m)) for n, m in backbone.named_modules()}
    stirred(name, backbone).context(EMOTION)
    assert fingerprint(backbone) == before
    assert [(n, type(m)) for n, m in backbone.named_modules()] == tree
    assert {n: set(vars(m)) for n, m in backbone.named_modules()} == attributes
