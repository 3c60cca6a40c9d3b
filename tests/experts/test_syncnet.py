"""SyncNet: the published shapes, unit embeddings, units that do what the table says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eatlab.experts.syncnet import FACE, SOUND, Step, SyncNet, Unit, tower


@pytest.fixture(scope="module")
def net() -> SyncNet:
    torch.manual_seed(0)
    return SyncNet(width=2).eval().requires_grad_(False)


def windows(num: int = 3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.rand(num, 15, 48, 96, generator=g), torch.randn(num, 1, 80, 16, generator=g)


def test_embeddings_have_length_one_and_sixteen_times_the_width(net):
    faces, mel = windows()
    for embedding in (net.video(faces), net.audio(mel)):
        assert embedding.shape == (3, 32)
        assert (embedding >= 0).all()
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_the_answer_is_the_cosine_of_the_embeddings(net):
    faces, mel = windows()
    expected = torch.nn.functional.cosine_similarity(net.video(faces), net.audio(mel))
    torch.testing.assert_close(net(faces, mel), expected)


def test_both_towers_end_in_a_single_cell_by_the_published_ways(net):
    faces, mel = windows(1)
    assert net.face[:4](faces).shape[2:] == (46, 47)  # 48 x 96 after the 5 x 5 with stride (1, 2)
    assert net.sound[:6](mel).shape[2:] == (27, 16)
    assert net.face(faces).shape[2:] == net.sound(mel).shape[2:] == (1, 1)


def test_as_released_it_has_31_units_and_16_435_072_parameters():
    with torch.device("meta"):
        net = SyncNet()
    assert (len(net.face), len(net.sound)) == (17, 14)
    assert sum(p.numel() for p in net.parameters()) == 16_435_072


@pytest.mark.parametrize("residual", [False, True])
def test_a_unit_is_convolution_norm_residual_relu(residual):
    torch.manual_seed(0)
    unit = Unit(4, Step(2, 3, 1, 1, 0), 2, residual=residual).eval()
    unit.norm.running_mean.normal_()
    unit.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 4, 5, 5)
    mean, deviation = unit.norm.running_mean, (unit.norm.running_var + 1e-5).sqrt()
    y = (unit.conv(x) - mean[:, None, None]) / deviation[:, None, None] + (x if residual else 0)
    torch.testing.assert_close(unit(x), y.clamp(min=0))


@pytest.mark.parametrize("steps", [FACE, SOUND])
def test_residual_units_stand_behind_the_unit_that_changes_the_shape(steps):
    flags = [unit.residual for unit in tower(3, steps, 1)]
    assert flags == [later for step in steps for later in [False] + [True] * step.residuals]


def test_gradients_reach_the_faces(net):
    faces, mel = windows(1)
    faces.requires_grad_()
    net(faces, mel).sum().backward()
    assert faces.grad.abs().sum() > 0
