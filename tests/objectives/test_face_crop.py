"""Face crops against scipy's interpolation, and the order in which SyncNet sees frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from torch import Tensor

from eatlab.objectives.face_crop import face_crops, lower_halves

SIZE = 32
corner = st.floats(-10, SIZE + 10)


def pictures(num: int = 1) -> Tensor:
    """(num, 3, SIZE, SIZE) in -1..1."""
    return torch.rand(num, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@given(corner, corner, corner, corner)
def test_a_crop_reads_the_picture_from_edge_to_edge_and_black_outside(x0, y0, x1, y1):
    image, side = pictures(), 7
    crop = face_crops(image, torch.tensor([[x0, y0, x1, y1]]), side=side)[0]
    # Pixel i spans i..i + 1, so the place x lies half a pixel before the index x.
    rows, columns = np.linspace(y0, y1, side) - 0.5, np.linspace(x0, x1, side) - 0.5
    places = np.meshgrid(rows, columns, indexing="ij")
    for channel in range(3):
        padded = np.pad((image[0, channel].double().numpy() + 1) / 2, 16)
        expected = map_coordinates(padded, [p + 16 for p in places], order=1)
        np.testing.assert_allclose(crop[channel].numpy(), expected, atol=2e-5)


def test_boxes_belong_to_their_pictures_and_may_be_whole_numbers():
    images, boxes = pictures(2), torch.tensor([[0, 0, 16, 16], [8, 4, 30, 32]])
    together = face_crops(images, boxes)
    assert together.shape == (2, 3, 96, 96)
    assert together.dtype == torch.float32
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], face_crops(images[i : i + 1], boxes[i : i + 1]))


def test_the_whole_of_a_plain_picture_is_plain_inside_and_fades_at_its_edges():
    crop = face_crops(torch.ones(1, 3, SIZE, SIZE), torch.tensor([[0.0, 0, SIZE, SIZE]]), side=9)[0, 0]
    torch.testing.assert_close(crop[1:-1, 1:-1], torch.ones(7, 7))
    torch.testing.assert_close(crop[0, 1:-1], torch.full((7,), 0.5))
    assert crop[0, 0] == pytest.approx(0.25)


def test_gradients_reach_the_pixels_of_the_box_only():
    images = pictures().requires_grad_()
    face_crops(images, torch.tensor([[8.0, 8, 24, 24]])).sum().backward()
    inside = images.grad[0, 0].abs() > 0
    assert inside[8:24, 8:24].all()
    assert inside.sum() == 18 * 18  # interpolation looks one pixel around


def test_lower_halves_stand_frame_by_frame_in_rgb():
    crops = torch.arange(4 * 3.0).view(4, 3, 1, 1).expand(-1, -1, 6, 6).clone()
    crops[:, :, :3] = -1  # the upper halves
    stacked = lower_halves(crops, 2)
    assert stacked.shape == (2, 6, 3, 6)
    assert stacked[:, :, 0, 0].tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
