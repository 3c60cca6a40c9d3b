"""Blurring and shrinking against scipy's Gaussian filter and plain striding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from eatlab.backbone.published.blur import blur_kernel, shrink

factors = st.integers(2, 8)


def picture() -> torch.Tensor:
    return torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))


@given(factors)
def test_a_kernel_sums_to_1_and_looks_the_same_from_all_sides(factor):
    kernel = blur_kernel(factor)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(kernel, kernel.T)
    assert torch.equal(kernel, kernel.flip(0))


def test_the_kernel_of_a_quarter_is_13_wide():
    assert blur_kernel(4).shape == (13, 13)


@given(factors)
def test_shrinking_is_scipys_gaussian_filter_and_then_every_kth_pixel(factor):
    sigma = (factor - 1) / 2
    blurred = gaussian_filter(picture().double().numpy(), (0, 0, sigma, sigma), mode="constant", truncate=4)
    np.testing.assert_allclose(shrink(picture(), factor), blurred[..., ::factor, ::factor], atol=1e-6)


def test_shrinking_to_a_quarter_is_the_released_blur_and_then_every_fourth_pixel():
    weight = blur_kernel(4).expand(3, 1, 13, 13)
    released = F.conv2d(F.pad(picture(), (6, 6, 6, 6)), weight, groups=3)[:, :, ::4, ::4]
    torch.testing.assert_close(shrink(picture(), 4), released, atol=1e-6, rtol=0)


def test_a_plain_picture_stays_plain_away_from_its_borders():
    shrunk = shrink(torch.full((1, 3, 64, 64), 0.7), 4)
    assert shrunk.shape == (1, 3, 16, 16)
    torch.testing.assert_close(shrunk[..., 2:-2, 2:-2], torch.full((1, 3, 12, 12), 0.7), atol=1e-6, rtol=0)
    assert (shrunk[..., 0, :] < 0.6).all()


def test_a_factor_of_1_changes_nothing():
    assert torch.equal(shrink(picture(), 1), picture())
