"""A convolution of an enlarged map against exactly that: F.interpolate, then F.conv2d."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from eatlab.backbone.published.enlarged import EnlargedConv2d
from eatlab.backbone.sites import Context

NUM_CLIPS = 2
every_factor = pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])


def conv_and_map(factor: int, *shape: int) -> tuple[EnlargedConv2d, Tensor]:
    """A float64 layer named "layer" and a map of two channels for it; shape: (batch, height, width)."""
    torch.manual_seed(0)
    conv = EnlargedConv2d(2, 3, factor).double()
    conv.name = "layer"
    batch, height, width = shape or (4, 3, 5)
    return conv, torch.randn(batch, 2, height, width, dtype=torch.float64, requires_grad=True)


def naive(x: Tensor, factor: int, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=factor), weight, bias, padding=1)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
def test_it_is_the_convolution_of_the_enlarged_map_up_to_its_borders(factor, batch, height, width):
    conv, x = conv_and_map(factor, batch, height, width)
    close(conv(x), naive(x, factor, conv.weight, conv.bias))
    close(conv.operate(x, conv.weight), naive(x, factor, conv.weight, None))


@every_factor
def test_its_gradients_are_those_of_the_convolution_of_the_enlarged_map(factor):
    conv, x = conv_and_map(factor)
    wanted = [x, conv.weight, conv.bias]
    expected = naive(x, factor, conv.weight, conv.bias)
    seen = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad((y * seen).sum(), wanted) for y in (conv(x), expected))
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@every_factor
def test_a_shared_delta_is_a_changed_parameter(factor):
    conv, x = conv_and_map(factor)
    dw, db = torch.randn_like(conv.weight), torch.randn_like(conv.bias)
    plan = {"layer.weight": (lambda w, c: dw,), "layer.bias": (lambda b, c: db,)}
    close(conv(x, Context(plan=plan)), naive(x, factor, conv.weight + dw, conv.bias + db))


@every_factor
def test_a_delta_for_each_clip_changes_the_parameter_for_that_clip(factor):
    conv, x = conv_and_map(factor)
    dw, db = (torch.randn(NUM_CLIPS, *p.shape, dtype=p.dtype) for p in (conv.weight, conv.bias))
    plan = {"layer.weight": (lambda w, c: dw,), "layer.bias": (lambda b, c: db,)}
    together = conv(x, Context(plan=plan)).chunk(NUM_CLIPS)
    for clip, windows in enumerate(x.chunk(NUM_CLIPS)):
        close(together[clip], naive(windows, factor, conv.weight + dw[clip], conv.bias + db[clip]))


def test_its_parameters_are_those_of_a_convolution():
    ours, plain = EnlargedConv2d(2, 3, 4).state_dict(), nn.Conv2d(2, 3, 3).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in plain.items()}


@pytest.mark.parametrize(("factor", "products"), [(2, 4), (3, 25 / 9), (4, 25 / 16)])
def test_a_pixel_takes_fewer_products_than_nine(factor, products, monkeypatch):
    conv, x = conv_and_map(factor)
    real, taken = F.conv2d, []

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = real(x, weight, bias)
        taken.append(weight[0, 0].numel() * y[0, 0].numel())
        return y

    monkeypatch.setattr(F, "conv2d", counted)
    num_pixels = conv(x)[0, 0].numel()
    assert sum(taken) == pytest.approx(products * num_pixels)
