"""The EAM: (1 + gain) x + bias written out, where it acts, how it starts, what of it is trained."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.eam import EAM
from eatlab.adapters.places import escaped
from eatlab.errors import UserError
from tests.adapters.toys import random_batch, stirred
from tests.backbone.toys import lively_head

EMOTION = torch.tensor([1, 6])
ACOUSTIC, FACE, VOLUME = "a2et.acoustic.norms.0", "a2et.face", "renderer.volume"
every = pytest.mark.parametrize


def eam_of(adapters: AdapterSet) -> EAM:
    return adapters.adapters[0]


@every("shape", [(6, 4), (6, 4, 3, 3), (6, 4, 2, 3, 3)], ids=["vectors", "maps", "volumes"])
def test_features_are_scaled_and_shifted_by_functions_of_e0(shape, backbone):
    adapters, x = stirred("eam(start=random)+deep_prompt", backbone), torch.randn(shape)
    context = adapters.context(EMOTION, latent=torch.randn(2, 16))
    y = eam_of(adapters).modulate(escaped(FACE), x, context)
    first, _, last = eam_of(adapters).heads[escaped(FACE)]
    for row in range(6):
        e0 = context.guidance[row // 3, 0]
        hidden = F.relu(first.weight @ e0 + first.bias)
        both = torch.tanh(last.weight @ hidden + last.bias)
        for channel in range(4):
            expected = (1 + both[channel]) * x[row, channel] + both[4 + channel]
            torch.testing.assert_close(y[row, channel], expected, atol=1e-5, rtol=1e-4)


@every("make", [lambda backbone: backbone, lambda _: lively_head()], ids=["small", "published"])
@every(("start", "same"), [("zero", True), ("random", False)])
def test_started_at_zero_it_is_the_frozen_model_bit_for_bit(start, same, make, backbone):
    head = make(backbone)
    context = AdapterSet(f"eam(start={start})", head).context(EMOTION)
    assert {place.split(".")[0] for place in context.plan} == {"a2et", "renderer"}
    for place, site in head.sites().items():
        if place in context.plan:
            x = torch.randn(4, site.channels, 3, 3)
            assert torch.equal(site(x, context), x) is same


def test_the_hidden_layer_is_a_sixteenth_of_gains_and_biases_but_at_least_one(backbone):
    heads = eam_of(AdapterSet("eam", lively_head())).heads
    assert heads["a2et/face"][0].out_features == 2 * 8 // 16
    assert eam_of(AdapterSet("eam", backbone)).heads[escaped(FACE)][0].out_features == 1


@every(
    ("sites", "places"),
    [
        ("acoustic", [ACOUSTIC]),
        ("face", [FACE]),
        ("volume", [VOLUME]),
        ("volume,face", [FACE, VOLUME]),
        ("acoustic,face,volume", [ACOUSTIC, FACE, VOLUME]),
    ],
)
def test_a_word_chooses_the_sites_with_it_in_their_path(sites, places, backbone):
    assert list(AdapterSet(f"eam(sites={sites})", backbone).plan) == places


def test_the_released_places_are_every_acoustic_norm_the_face_map_and_the_volume():
    places = list(AdapterSet("eam", lively_head()).plan)
    norms = [f"a2et.acoustic.decode.{block}.norms.{norm}" for block in range(3) for norm in (0, 1)]
    assert places == [*norms, FACE, VOLUME]


@every("spec", ["eam(sites=nose)", "eam(sites=face,nose)", "eam(sites=encoder)"])
def test_a_word_that_is_in_no_path_is_refused_with_what_there_is(spec, backbone):
    there = f"this backbone has: {ACOUSTIC}, {FACE}, a2et.expression, {VOLUME}"
    with pytest.raises(UserError, match=rf'^features at "(nose|encoder)"; {there}'):
        AdapterSet(spec, backbone)


def test_features_may_be_normalised_first(backbone):
    adapters, plain = stirred("eam(normalised=face)", backbone), AdapterSet("eam", backbone)
    plain.load_state_dict(adapters.state_dict())
    context = adapters.context(EMOTION)
    x = 3 + 2 * torch.randn(4, 4, 5, 5)
    normal = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    for place, given in ((FACE, normal), (VOLUME, x)):
        ours = eam_of(adapters).modulate(escaped(place), x, context)
        expected = eam_of(plain).modulate(escaped(place), given, context)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_what_acts_at_a_place_is_its_own_head(backbone):
    eam = eam_of(AdapterSet("eam", backbone))
    own = {place: {id(p) for p in eam.parameters_at(place)} for place in (ACOUSTIC, FACE, VOLUME)}
    assert all(len(ids) == 4 for ids in own.values())
    assert set.union(*own.values()) == {id(p) for p in eam.parameters()}
    assert sum(map(len, own.values())) == 12


@every(
    ("networks", "trained"), [(("a2et",), "a2et"), (("renderer",), "renderer"), (("a2et", "renderer"), "")]
)
def test_only_the_heads_of_the_networks_that_a_phase_runs_are_trained(networks, trained, backbone):
    adapters = AdapterSet("eam", backbone).train_at(*networks)
    for key, head in eam_of(adapters).heads.items():
        assert {p.requires_grad for p in head.parameters()} == {key.startswith(trained)}
    assert all(p.requires_grad for p in adapters.mapper.parameters())


def test_the_frozen_head_learns_where_it_is_told_to_and_keeps_every_other_gradient_none(backbone):
    adapters = AdapterSet("eam", backbone).train_at("a2et")
    backbone.a2et(random_batch(2), adapters.context(EMOTION)).square().sum().backward()
    for key, head in eam_of(adapters).heads.items():
        assert all((p.grad is not None) is key.startswith("a2et") for p in head.parameters())


@every(
    ("option", "message"),
    [
        ("start=zeros", 'start of eam "zeros" is unknown; there are: zero, random; did you mean zero'),
        ("normalised=nose", 'normalised site of eam "nose" is unknown; there are: none, acoustic, face'),
    ],
)
def test_an_option_that_means_nothing_is_refused(option, message, backbone):
    with pytest.raises(UserError, match=message):
        AdapterSet(f"eam({option})", backbone)


def test_a_misspelled_word_is_answered_with_the_one_that_is_meant(backbone):
    with pytest.raises(UserError, match="did you mean volume"):
        AdapterSet("eam(sites=volum)", backbone)
