"""Hull volumes of bodies whose volume is known."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eatlab.backbone.published.hull import hull_volume
from eatlab.errors import ExitCode, UserError


def box(a: float, b: float, c: float) -> Tensor:
    """(15, 3): the corners of a box and seven points inside."""
    corners = torch.tensor(list(itertools.product((0.0, a), (0.0, b), (0.0, c))))
    inside = torch.rand(7, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([a, b, c])
    return torch.cat([corners, inside])


side = st.floats(0.1, 3)


@given(side, side, side)
def test_a_box_has_the_volume_of_its_sides(a, b, c):
    assert hull_volume(box(a, b, c)[None]).item() == pytest.approx(a * b * c, rel=1e-5)


def test_each_row_has_its_own_volume_and_the_keypoints_type():
    tetrahedron = torch.cat([torch.zeros(12, 3), torch.eye(3)])
    volumes = hull_volume(torch.stack([box(1, 2, 3), tetrahedron]))
    torch.testing.assert_close(volumes, torch.tensor([6.0, 1 / 6]))
    assert hull_volume(box(1, 1, 1)[None].requires_grad_()).requires_grad is False


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (torch.tensor([1.0, 1, 0]), "lie in one plane"),
        (torch.tensor([0.0, 0, 0]), "lie in one plane"),
        (torch.tensor([1.0, 1, torch.nan]), "are not all finite"),
    ],
)
def test_a_hull_without_volume_is_one_line(broken, why):
    with pytest.raises(UserError, match=why) as caught:
        hull_volume((box(1, 1, 1) * broken)[None])
    assert "\n" not in str(caught.value)
    assert caught.value.code == ExitCode.BAD_INPUT
