"""The pyramid of the perceptual loss, with features that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from eatlab.objectives.perceptual_pyramid import FACTORS, PerceptualPyramid, pyramid


def pictures(seed: int) -> Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def brightness(image: Tensor) -> list[Tensor]:
    """Two taps: the pixels in 0..1, and three times their mean."""
    unit = (image + 1) / 2
    return [unit, 3 * unit.mean((2, 3))]


def test_sizes_are_blurred_and_thinned_with_black_around():
    image = pictures(0)
    unit = (image[0].double().numpy() + 1) / 2
    for factor, level in zip(FACTORS, pyramid(image), strict=True):
        sigma = (factor - 1) / 2
        blurred = [
            gaussian_filter(each, sigma, mode="constant", radius=round(4 * sigma)) if factor > 1 else each
            for each in unit
        ]
        thinned = np.stack(blurred)[:, ::factor, ::factor]
        np.testing.assert_allclose((level[0].numpy() + 1) / 2, thinned, atol=1e-6)


def test_differences_are_those_of_each_tap_at_each_size():
    image, truth = pictures(0), pictures(1)
    distances = PerceptualPyramid(brightness).distances(image, truth)
    assert distances.shape == (4, 2)
    for row, mine, target in zip(distances, pyramid(image), pyramid(truth), strict=True):
        off = (mine - target) / 2
        expected = torch.stack([off.abs().mean(), 3 * off.mean((2, 3)).abs().mean()])
        torch.testing.assert_close(row, expected)


def test_the_loss_is_the_sum_and_nothing_for_equal_pictures():
    loss, image, truth = PerceptualPyramid(brightness), pictures(0), pictures(1)
    assert loss(image, truth).item() == pytest.approx(loss.distances(image, truth).sum().item())
    assert loss(image, image.clone()).item() == 0


def test_gradients_go_to_the_image_and_not_to_the_truth():
    image, truth = pictures(0).requires_grad_(), pictures(1).requires_grad_()
    PerceptualPyramid(brightness)(image, truth).backward()
    assert image.grad.abs().sum() > 0
    assert truth.grad is None
