"""Sites and operators: frozen by default, and W' = W + d whatever form the delta has."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from eatlab.backbone import sites
from eatlab.backbone.sites import (
    FROZEN,
    Backbone,
    Context,
    LowRank,
    OfClip,
    Operator,
    Site,
    fingerprint,
    learning_statistics,
    sha256_of,
    spread,
)

NUM_CLIPS, NUM_WINDOWS = 2, 6

LAYERS = {
    "linear": (lambda: sites.Linear(3, 5), (4, 3)),
    "conv1d": (lambda: sites.Conv1d(3, 5, 3, stride=2, padding=1), (3, 6)),
    "conv1d_sparse": (lambda: sites.Conv1d(4, 6, 3, padding=2, dilation=2, groups=2), (4, 6)),
    "conv2d": (lambda: sites.Conv2d(3, 5, 3, stride=2, padding=1), (3, 6, 6)),
    "conv2d_sparse": (lambda: sites.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), (4, 6, 6)),
    "conv3d": (lambda: sites.Conv3d(3, 5, 3, padding=1), (3, 3, 4, 4)),
    "conv3d_flat": (lambda: sites.Conv3d(3, 5, (1, 3, 3), padding=(0, 1, 1)), (3, 3, 4, 4)),
    "spectral_conv2d": (lambda: sites.SpectralConv2d(3, 5, 3, stride=2, padding=1), (3, 6, 6)),
    "layer_norm": (lambda: sites.LayerNorm(3), (4, 3)),
    "group_norm": (lambda: sites.GroupNorm(2, 4), (4, 3, 5)),
    "batch_norm2d": (lambda: sites.BatchNorm2d(3), (3, 4, 4)),
    "batch_norm3d": (lambda: sites.BatchNorm3d(3), (3, 2, 4, 4)),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def layer_and_input(kind: str) -> tuple[Operator, Tensor]:
    """A layer with stirred parameters and statistics, named "layer", and its input for six windows."""
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    layer = make().requires_grad_(False)
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.2 * torch.rand_like(tensor)
    layer.name = "layer"
    return layer, torch.randn(NUM_WINDOWS, *shape)


def planned(**deltas: Tensor | LowRank) -> Context:
    """A context whose plan adds these deltas to the parameters of the layer "layer"."""
    return Context(plan={f"layer.{key}": (lambda w, c, d=delta: d,) for key, delta in deltas.items()})


def moved(layer: Operator, **deltas: Tensor) -> Operator:
    """A copy of the layer whose parameters really are W + d; it divides by the frozen spectral norm."""
    twin = copy.deepcopy(layer)
    if isinstance(layer, sites.SpectralConv2d):
        twin.norm = layer.norm
    for key, delta in deltas.items():
        getattr(twin, key).add_(delta)
    return twin


@every_layer
def test_an_operator_without_a_plan_is_the_plain_torch_layer(kind):
    layer, x = layer_and_input(kind)
    plain = next(base for base in type(layer).__mro__ if base.__module__.startswith("torch.nn"))
    layer.eval()
    expected = copied(layer)(x) if kind == "spectral_conv2d" else plain.forward(layer, x)
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)


def copied(layer: sites.SpectralConv2d) -> nn.Module:
    """The same with torch's spectral norm, which keeps u and v in .eval()."""
    twin = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
    twin = nn.utils.spectral_norm(twin).eval()
    names = {"weight": "weight_orig"}
    twin.load_state_dict({names.get(key, key): value for key, value in layer.state_dict().items()})
    return twin


def test_a_new_spectral_norm_is_near_the_largest_singular_value():
    torch.manual_seed(0)
    conv = sites.SpectralConv2d(3, 5, 3)
    largest = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
    torch.testing.assert_close(conv.norm(), largest, atol=0, rtol=0.05)


@pytest.mark.parametrize("kind", ["conv2d", "spectral_conv2d", "group_norm"])
def test_an_operator_knows_whether_a_plan_touches_its_parameters(kind):
    layer, _ = layer_and_input(kind)
    assert layer.is_touched(planned(weight=torch.zeros(())))
    assert layer.is_touched(planned(bias=torch.zeros(())))
    assert not layer.is_touched(FROZEN)
    assert not layer.is_touched(Context(plan={"layer": (abs,), "other.layer.weight": (abs,)}))


@every_layer
def test_a_delta_of_0_is_exact_in_every_form(kind):
    layer, x = layer_and_input(kind)
    for lead in ((), (NUM_CLIPS,)):
        zeros = {key: torch.zeros(*lead, *p.shape) for key, p in layer.named_parameters()}
        assert torch.equal(layer(x, planned(**zeros)), layer(x))


@every_layer
def test_a_shared_delta_is_a_changed_parameter(kind):
    layer, x = layer_and_input(kind)
    deltas = {key: torch.randn_like(p) for key, p in layer.named_parameters()}
    assert torch.equal(layer(x, planned(**deltas)), moved(layer, **deltas)(x))


@every_layer
@pytest.mark.parametrize("keys", [("weight",), ("bias",), ("weight", "bias")], ids="+".join)
def test_a_delta_for_each_clip_changes_the_parameter_for_that_clip(kind, keys):
    layer, x = layer_and_input(kind)
    deltas = {key: torch.randn(NUM_CLIPS, *getattr(layer, key).shape) for key in keys}
    together = layer(x, planned(**deltas)).chunk(NUM_CLIPS)
    for clip, windows in enumerate(x.chunk(NUM_CLIPS)):
        alone = moved(layer, **{key: delta[clip] for key, delta in deltas.items()})(windows)
        torch.testing.assert_close(together[clip], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "conv1d", "conv2d", "conv3d", "spectral_conv2d"])
@pytest.mark.parametrize("mixed", [True, False])
def test_factors_are_the_weight_that_they_build(kind, mixed):
    layer, x = layer_and_input(kind)
    flat = layer.weight.flatten(1).shape
    num_factors = 8 if mixed else 1
    low = LowRank(
        torch.randn(num_factors, flat[0], 2),
        torch.randn(num_factors, 2, flat[1]),
        torch.rand(NUM_CLIPS, 8).softmax(-1) if mixed else None,
    )
    built = low.built().unflatten(-1, layer.weight.shape[1:])
    expected = layer(x, planned(weight=built if mixed else built[0]))
    torch.testing.assert_close(layer(x, planned(weight=low)), expected, atol=1e-5, rtol=1e-4)


@given(st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=4), st.randoms())
@settings(max_examples=20, deadline=None)
def test_deltas_on_one_parameter_add_in_any_order_and_each_sees_the_frozen_one(scales, random):
    layer, x = layer_and_input("linear")
    functions = [lambda w, c, s=scale: s * w for scale in scales]
    sums = []
    for _ in range(2):
        random.shuffle(functions)
        sums.append(layer(x, Context(plan={"layer.weight": tuple(functions)})))
    expected = moved(layer, weight=sum(scales) * layer.weight)(x)
    torch.testing.assert_close(sums[0], sums[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sums[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["batch_norm2d", "batch_norm3d"])
def test_a_batch_norm_learns_its_statistics_only_where_it_is_told_to(kind):
    layer, x = layer_and_input(kind)
    before, answer = sha256_of(layer), layer.eval()(x)
    assert torch.equal(layer.train()(x), answer)
    assert sha256_of(layer) == before

    def interrupted() -> None:
        with learning_statistics(layer):
            y = layer(x).mean((0, *range(2, x.dim())))
            torch.testing.assert_close(y, layer.bias, atol=1e-5, rtol=1e-4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    learned = sha256_of(layer)
    assert learned != before
    assert not torch.equal(layer(x), answer)
    assert sha256_of(layer) == learned


@pytest.mark.parametrize("option", [{"stride": 2}, {"dilation": 2}, {"groups": 2}], ids=str)
def test_a_3d_convolution_refuses_what_it_does_not_compute(option):
    with pytest.raises(ValueError, match="strides, dilation or groups"):
        sites.Conv3d(4, 4, 3, **option)


@given(st.integers(1, 5), st.integers(1, 4))
@settings(deadline=None)
def test_spread_gives_each_window_its_clips_row(num_clips, num_windows):
    rows = spread(torch.arange(num_clips)[:, None], num_clips * num_windows)
    assert rows[:, 0].tolist() == [clip for clip in range(num_clips) for _ in range(num_windows)]


def test_windows_that_are_no_multiple_of_the_clips_are_an_error():
    with pytest.raises(ValueError, match="a batch of 5 is no multiple of the context's 2 clips"):
        spread(torch.zeros(2, 1), 5)


class Network(Backbone):
    """Sites before and after a layer, and a part that nobody may change."""

    FIXED = ("eyes.",)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer, self.last = Site("tokens", 3), sites.Linear(3, 3), Site("features", 3)
        self.eyes = nn.Linear(3, 3)
        self.name_places()

    def forward(self, x: Tensor, context: Context = FROZEN) -> Tensor:
        return self.last(self.layer(self.first(x, context), context), context)


def test_places_have_their_dotted_names_and_stand_in_order():
    network = Network()
    assert list(network.sites()) == ["first", "last"]
    assert list(network.reachable()) == ["layer.weight", "layer.bias"]
    outer = Backbone()
    outer.inner = network
    outer.name_places()
    assert list(network.sites()) == ["inner.first", "inner.last"]


def test_a_parameter_of_no_operator_is_reported():
    network = Network()
    network.mouth = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"parameters of no operator: \['mouth.bias', 'mouth.weight'\]"):
        network.reachable()


def test_a_site_passes_on_what_the_plan_makes_of_it_in_order():
    network, x = Network().requires_grad_(False), torch.randn(2, 3)
    changes = (lambda y, c: y + 1, lambda y, c: 2 * y)
    assert torch.equal(network(x, Context(plan={"last": changes})), 2 * (network(x) + 1))
    assert torch.equal(network(x, FROZEN), network(x))


def test_what_depends_on_the_clip_alone_is_added_to_each_of_its_windows():
    rows, x = torch.randn(NUM_CLIPS, 3), torch.randn(NUM_WINDOWS, 3)
    context = Context(mix=rows)
    added = OfClip(lambda c: 2 * c.mix)(x, context)
    assert torch.equal(added, x + 2 * rows.repeat_interleave(NUM_WINDOWS // NUM_CLIPS, 0))


def test_a_settled_context_says_the_same_and_computes_what_is_of_the_clip_no_more():
    calls, x = [], torch.randn(NUM_WINDOWS, 3)

    def row(context: Context) -> Tensor:
        calls.append(context)
        return context.mix

    functions = (lambda y, c: 2 * y, OfClip(row), lambda y, c: y + c.mix.sum())
    context = Context(mix=torch.randn(NUM_CLIPS, 3), plan={"last": functions, "first": ()})
    network = Network().requires_grad_(False)
    expected = network(x, context)
    settled = context.settled()
    assert len(calls) == 2
    assert [torch.equal(network(x, settled), expected) for _ in range(3)] == [True] * 3
    assert len(calls) == 2
    assert context.plan["last"] is functions
    assert settled.mix is context.mix


def test_a_context_cannot_be_changed():
    context = Context(mix=torch.ones(1, 8))
    with pytest.raises(FrozenInstanceError):
        context.mix = None
    other = context.with_portrait(torch.zeros(1))
    assert context.portrait is None
    assert other.mix is context.mix


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.layer.weight.data.view(-1)[4].mul_(-1),
        lambda m: m.double(),
        lambda m: setattr(m, "other", m.__dict__["_modules"].pop("layer")),
        lambda m: setattr(m.layer, "weight", nn.Parameter(m.layer.weight.reshape(1, 9))),
        lambda m: m.register_buffer("more", torch.zeros(0)),
    ],
    ids=["a value", "the dtype", "a name", "a shape", "an empty buffer"],
)
def test_a_fingerprint_sees(change):
    network = Network()
    before = fingerprint(network)
    change(network)
    assert fingerprint(network) != before


def test_a_fingerprint_does_not_depend_on_how_memory_is_laid_out():
    conv = sites.Conv2d(4, 4, 3)
    before = sha256_of(conv)
    assert len(before) == 64
    assert before.startswith(fingerprint(conv))
    assert sha256_of(conv.to(memory_format=torch.channels_last)) == before
    assert sha256_of(copy.deepcopy(conv)) == before
