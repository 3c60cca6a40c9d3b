"""The EDN: ΔE of portrait and emotion, one row a clip; what it copies from A2ET, how it starts."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.edn import EDN
from eatlab.backbone.sites import FROZEN, BatchNorm2d, Context
from eatlab.backbone.talking_head import TalkingHead
from eatlab.backbone.transformer import positions
from eatlab.errors import UserError
from tests.adapters.toys import random_batch, stirred
from tests.backbone.toys import lively_head

EMOTION = torch.tensor([1, 6])
every = pytest.mark.parametrize


@pytest.fixture
def published() -> TalkingHead:
    """Whose face token reads two halves, with statistics that differ channel by channel."""
    head = lively_head()
    for module in head.a2et.face_token.modules():
        if isinstance(module, BatchNorm2d):
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 2)
    return head


def edn_of(adapters: AdapterSet) -> EDN:
    return adapters.adapters[0]


def seen(adapters: AdapterSet, backbone: TalkingHead) -> Context:
    """The context of two clips with portraits and latents of their own."""
    context = adapters.context(EMOTION, latent=torch.randn(2, 16))
    faces = backbone.config.a2et.face_channels
    return context.with_portrait(torch.randn(2, faces, backbone.config.side, backbone.config.side))


def replaced(context: Context, token: int) -> Context:
    guidance = context.guidance.clone()
    guidance[:, token] += 1
    return Context(context.mix, guidance, context.portrait, context.plan)


def test_deformations_are_the_mean_of_the_emotions_tokens_after_the_transformer(backbone):
    adapters = stirred("edn", backbone)
    edn, context = edn_of(adapters), seen(adapters, backbone)
    rows = torch.cat([edn.face(context.portrait, FROZEN)[:, None], context.guidance], 1)
    rows = rows + positions(rows)
    for layer in edn.encoder.layers:
        rows = layer(rows, FROZEN)
    expected = rows[:, 1:].mean(1) @ edn.head.weight.T + edn.head.bias
    deformation = edn.deformation(context)
    assert deformation.shape == (2, 45)
    torch.testing.assert_close(deformation, expected, atol=1e-5, rtol=1e-4)


def test_each_clip_has_its_own_deformation_and_it_is_the_same_in_all_frames(backbone):
    adapters, batch = stirred("edn", backbone), random_batch(2, frames=3)
    context = adapters.context(EMOTION)
    offsets = backbone.a2et(batch, context) - backbone.a2et(batch)
    known = context.with_portrait(backbone.a2et.adapted_face(batch["face_map"], context))
    rows = edn_of(adapters).deformation(known).view(2, 1, 15, 3)
    torch.testing.assert_close(offsets, rows.expand(-1, 3, -1, -1), atol=1e-5, rtol=1e-3)
    assert (rows[0] - rows[1]).abs().max() > 1e-3


def test_it_reads_the_portrait_and_every_guidance_token(backbone):
    adapters = stirred("edn", backbone)
    edn, context = edn_of(adapters), seen(adapters, backbone)
    deformation = edn.deformation(context)
    assert (edn.deformation(context.with_portrait(-context.portrait)) - deformation).abs().max() > 1e-4
    assert context.guidance.shape[1] == edn.guidance_tokens == 1 + backbone.config.a2et.layers
    for token in range(edn.guidance_tokens):
        assert (edn.deformation(replaced(context, token)) - deformation).abs().max() > 1e-4


def test_the_portrait_it_reads_is_the_adapted_one(backbone):
    batch, adapters = random_batch(2), stirred("edn+eam(sites=face)", backbone)
    portraits: list[Tensor] = []
    edn_of(adapters).face.register_forward_pre_hook(lambda m, given: portraits.append(given[0]))
    context = adapters.context(EMOTION)
    backbone.a2et(batch, context)
    assert torch.equal(portraits[0], backbone.a2et.adapted_face(batch["face_map"], context))
    assert not torch.equal(portraits[0], backbone.a2et.adapted_face(batch["face_map"]))


@every(("start", "same"), [("zero", True), ("random", False)])
def test_started_at_zero_it_is_the_frozen_model_bit_for_bit(start, same, backbone):
    batch, adapters = random_batch(2), AdapterSet(f"edn(start={start})", backbone)
    assert torch.equal(backbone.a2et(batch, adapters.context(EMOTION)), backbone.a2et(batch)) is same


def same_state(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_it_begins_with_a2ets_encoder_and_the_face_half_of_its_face_token(published):
    edn, a2et = edn_of(AdapterSet("edn", published)), published.a2et
    assert same_state(edn.encoder, a2et.encoder)
    (first, *others), (theirs, *their_others) = edn.face, a2et.face_token
    for ours, other in zip(others, their_others, strict=True):
        assert same_state(ours, other)
    faces = published.config.a2et.face_channels
    assert len(theirs.norms[0].weight) == 2 * faces
    for key in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(first.norms[0], key), getattr(theirs.norms[0], key)[faces:])
    assert torch.equal(first.convs[0].weight, theirs.convs[0].weight[:, faces:])
    assert torch.equal(first.convs[0].bias, theirs.convs[0].bias)
    assert same_state(first.norms[1], theirs.norms[1])
    assert same_state(first.convs[1], theirs.convs[1])
    assert not first.shortcut


def test_started_at_random_it_copies_nothing(published):
    edn, a2et = edn_of(AdapterSet("edn(init=random)", published)), published.a2et
    assert not torch.equal(edn.encoder.layers[0].linear1.weight, a2et.encoder.layers[0].linear1.weight)
    assert not torch.equal(edn.face[0].convs[1].weight, a2et.face_token[0].convs[1].weight)
    assert (edn.face[0].norms[0].running_mean == 0).all()


def test_what_is_copied_is_its_own(published):
    edn, before = edn_of(AdapterSet("edn", published)), copy.deepcopy(published.a2et.encoder)
    for parameter in edn.parameters():
        parameter.data.zero_()
    assert same_state(published.a2et.encoder, before)


@every(("networks", "trained"), [(("a2et",), True), (("renderer",), False)])
def test_it_is_trained_where_a2et_runs(networks, trained, backbone):
    adapters = AdapterSet("edn", backbone).train_at(*networks)
    assert {p.requires_grad for p in edn_of(adapters).parameters()} == {trained}


@every(
    ("option", "message"),
    [
        ("init=encodr", 'init of edn "encodr" is unknown; there are: encoder, random; did you mean encoder'),
        ("start=zeros", 'start of edn "zeros" is unknown; there are: zero, random; did you mean zero'),
    ],
)
def test_an_option_that_means_nothing_is_refused(option, message, backbone):
    with pytest.raises(UserError, match=message):
        AdapterSet(f"edn({option})", backbone)
