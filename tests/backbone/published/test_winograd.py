"""Winograd's convolution against the direct sum, and where it is used."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.machine import gflop
from eatlab.backbone.published import winograd as module
from eatlab.backbone.published.blocks import VolumeConv3d
from eatlab.backbone.published.winograd import (
    WideConv2d,
    WideSpectralConv2d,
    convolved,
    directly,
    pays,
    winograd,
)
from eatlab.backbone.sites import Context

WIDE = (1, 64, 16, 16)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape)))


def exact(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The direct sum in fp64."""
    conv = F.conv2d if x.dim() == 4 else F.conv3d
    wide = None if bias is None else bias.double()
    return conv(x.double(), weight.double(), wide, padding=weight.shape[-1] // 2)


def far(a: Tensor, b: Tensor) -> float:
    """Root mean square difference in units of b's."""
    return float((a - b).detach().square().mean().sqrt() / b.detach().square().mean().sqrt())


sizes = st.integers(1, 3)
biases = st.booleans()
depths = st.none() | st.integers(1, 5)


@given(sizes, sizes, sizes, sizes, sizes, depths, st.sampled_from([3, 7]), biases)
def test_it_is_the_convolution_with_zeros_outside(batch, cin, cout, down, along, depth, kernel, has_bias):
    volume = () if depth is None else (depth,)
    x = drawn(batch, cin, *volume, 4 * down, 4 * along)
    weight = drawn(cout, cin, *(kernel for _ in volume), kernel, kernel)
    bias = drawn(cout) if has_bias else None
    assert far(winograd(x, weight, bias), exact(x, weight, bias)) < 1e-3 * (kernel == 7) + 1e-5


@pytest.mark.parametrize("tiles", [1, 9, 1000])
@pytest.mark.parametrize("numbers", [1, 30, 10000])
@pytest.mark.parametrize("shape", [(2, 3, 24, 16), (2, 3, 6, 24, 16)])
def test_how_much_is_in_flight_does_not_matter(tiles, numbers, shape, monkeypatch):
    x, weight = drawn(*shape), drawn(4, 3, *(3 for _ in shape[2:]))
    monkeypatch.setattr(module, "TILES_AT_ONCE", tiles)
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", numbers)
    assert far(winograd(x, weight), exact(x, weight, None)) < 1e-5


@pytest.mark.parametrize(("kernel", "bound"), [(3, 2e-6), (7, 1e-4)])
def test_it_rounds_little_where_channels_are_many(kernel, bound):
    x, weight = drawn(1, 256, 16, 16).relu(), drawn(64, 256, kernel, kernel)
    assert far(winograd(x, weight), exact(x, weight, None)) < bound


def test_a_result_is_not_changed_by_the_next_one():
    x, weight = drawn(*WIDE), drawn(64, 64, 3, 3)
    first = winograd(x, weight)
    kept = first.clone()
    winograd(-x, weight)
    assert torch.equal(first, kept)


def test_it_runs_in_inference_mode_and_after_it(monkeypatch):
    monkeypatch.setattr(module, "_scratch", module.Scratch())
    x, weight = drawn(*WIDE), drawn(64, 64, 3, 3)
    with torch.inference_mode():
        first = winograd(x, weight)
    assert torch.equal(winograd(x, weight), first)


@pytest.mark.parametrize(
    ("shape", "weight", "products"),
    [((1, 64, 32, 32), (64, 64, 3, 3), 36 / 144), ((1, 64, 8, 16, 16), (64, 64, 7, 7, 7), 100 / 784)],
)
def test_it_multiplies_channels_less_often(shape, weight, products, monkeypatch):
    taken, real = [], torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", lambda *a, **k: taken.append(a[1:]) or real(*a, **k))
    x, kernels = drawn(*shape), drawn(*weight)
    winograd(x, kernels)
    conv = F.conv2d if x.dim() == 4 else F.conv3d
    direct = gflop(lambda: conv(x, kernels, padding=weight[-1] // 2))
    ours = sum(2e-9 * a.numel() * b.shape[-1] for a, b in taken)
    assert ours == pytest.approx(products * direct)


def test_the_benchmarks_count_its_products():
    x, weight = drawn(*WIDE), drawn(64, 64, 3, 3)
    assert gflop(lambda: winograd(x, weight)) > 0.25 * gflop(lambda: F.conv2d(x, weight, padding=1))


@contextmanager
def compiling(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        yield


def test_it_pays_for_wide_large_maps_in_fp32_without_gradients(monkeypatch):
    x, weight = drawn(*WIDE), drawn(128, 64, 3, 3)
    assert not pays(x, weight)  # gradients are on
    with torch.no_grad():
        assert pays(x, weight)
        assert pays(drawn(1, 64, 2, 16, 16), drawn(64, 64, 3, 3, 3))
        assert pays(x, drawn(32, 64, 7, 7))
        assert not pays(x, weight[:64])
        assert not pays(x.double(), weight.double())
        assert not pays(x.to("meta"), weight)
        assert not pays(x[:, :32], weight[:, :32])
        assert not pays(x[..., :12], weight)
        assert not pays(drawn(1, 64, 18, 18), weight)
        assert not pays(x, drawn(128, 64, 1, 1))
        assert not pays(x, drawn(128, 64, 5, 5))
        with directly():
            assert not pays(x, weight)
        with torch.autocast("cpu", torch.bfloat16):
            assert not pays(x, weight)
        with compiling(monkeypatch):
            assert not pays(x, weight)
        assert pays(x, weight)


@pytest.mark.parametrize("cls", [WideConv2d, WideSpectralConv2d])
def test_a_layer_gives_the_same_either_way(cls):
    layer, x = cls(64, 128, 3), drawn(*WIDE)
    with torch.no_grad():
        ours = layer(x)
        with directly():
            plain = layer(x)
    assert not torch.equal(ours, plain), "winograd did not run"
    assert far(ours, plain) < 1e-5
    assert far(layer(x), plain) == 0  # with gradients


@torch.no_grad()
@pytest.mark.parametrize(
    ("layer", "shape"),
    [(WideConv2d(64, 128), (2, 64, 16, 16)), (VolumeConv3d(64, 64, 3, padding=1), (2, 64, 2, 16, 16))],
)
def test_a_delta_for_each_clip_changes_the_kernel_for_that_clip(layer, shape):
    x, delta = drawn(*shape), drawn(2, *layer.weight.shape)
    layer.name = "layer"
    together = layer(x, Context(plan={"layer.weight": (lambda w, c: delta,)}))
    for clip in range(2):
        alone = exact(x[clip : clip + 1], layer.weight + delta[clip], layer.bias)
        assert far(together[clip : clip + 1], alone) < 1e-5


def test_volumes_and_planes_are_convolved_as_their_direct_sums():
    for x, weight in (
        (drawn(*WIDE), drawn(128, 64, 3, 3)),
        (drawn(1, 64, 2, 16, 16), drawn(64, 64, 3, 3, 3)),
    ):
        with torch.no_grad():
            assert far(convolved(x, weight), exact(x, weight, None)) < 1e-5
        assert far(convolved(x, weight), exact(x, weight, None)) < 1e-5
