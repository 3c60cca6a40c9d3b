"""Released keypoints as expectations over the corner grid; the detector's shapes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from eatlab.backbone.published.keypoints import expectation
from tests.backbone.toys import SIDE, TINY_PUBLISHED, lively_head

SIZE, DEPTH = TINY_PUBLISHED.size, TINY_PUBLISHED.renderer.depth


def pictures(n: int) -> torch.Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def corner(index: int, count: int) -> float:
    """A voxel's place along an axis."""
    return 2 * index / (count - 1) - 1


@given(st.tuples(*[st.integers(2, 7)] * 3), st.tuples(*[st.floats(0, 0.99)] * 3))
def test_one_voxel_above_all_others_gives_its_place_on_the_corner_grid(shape, share):
    z, y, x = (int(part * count) for part, count in zip(share, shape, strict=True))
    logits = torch.zeros(1, 2, *shape)
    logits[0, 1, z, y, x] = 50
    places = [corner(*pair) for pair in zip((x, y, z), shape[::-1], strict=True)]
    torch.testing.assert_close(expectation(logits)[0, 1], torch.tensor(places), atol=1e-6, rtol=0)


def test_logits_that_are_all_alike_give_the_middle():
    torch.testing.assert_close(expectation(torch.ones(2, 3, 4, 5, 6)), torch.zeros(2, 3, 3))


def test_expectations_over_a_volume_of_published_size_are_accurate():
    logits = 0.3 * torch.randn(1, 2, 16, 64, 64, generator=torch.Generator().manual_seed(0))
    share = np.exp(logits.double().numpy() / 0.1)
    share /= share.sum((2, 3, 4), keepdims=True)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, count) for count in (16, 64, 64)), indexing="ij")
    direct = np.stack([(share * axis).sum((2, 3, 4)) for axis in (x, y, z)], -1)
    np.testing.assert_allclose(expectation(logits), direct, atol=1e-6)


def test_the_detector_gives_keypoints_and_the_raw_logits_that_they_come_from():
    keypoints, logits = lively_head().keypoints(pictures(2))
    assert logits.shape == (2, 15, DEPTH, SIDE, SIDE)
    assert torch.equal(keypoints, expectation(logits))
    assert keypoints.abs().max() <= 1


def test_a_batch_of_portraits_is_its_portraits_one_by_one():
    detector = lively_head().keypoints
    together = detector(pictures(2))
    alone = [torch.cat(parts) for parts in zip(*map(detector, pictures(2).split(1)), strict=True)]
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
