"""The patch discriminator against one put together from torch's own spectral norm."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from eatlab.backbone.published.discriminator import Discriminator, power_iteration
from eatlab.backbone.sites import SpectralConv2d

WIDTHS = (4, 6, 8)


def pictures() -> Tensor:
    return torch.rand(2, 3, 44, 44, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def net() -> Discriminator:
    torch.manual_seed(0)
    net = Discriminator(WIDTHS)
    for block in net.blocks[1:]:
        nn.init.normal_(block.norm.weight)
        nn.init.normal_(block.norm.bias)
    return net


def copied(conv: SpectralConv2d) -> nn.Module:
    """The same convolution with torch's spectral norm."""
    plain = spectral_norm(nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size))
    state = {"weight_orig" if key == "weight" else key: value for key, value in conv.state_dict().items()}
    plain.load_state_dict(state)
    return plain.train(conv.training)


def by_torch(net: Discriminator, image: Tensor) -> tuple[list[Tensor], Tensor]:
    x, maps = (image + 1) / 2, []
    for index, block in enumerate(net.blocks):
        layers = [copied(block.conv)]
        if index:
            norm = nn.InstanceNorm2d(WIDTHS[index], affine=True)
            norm.load_state_dict(block.norm.state_dict())
            layers.append(norm)
        layers.append(nn.LeakyReLU(0.2))
        if index < len(WIDTHS) - 1:
            layers.append(nn.AvgPool2d(2))
        x = nn.Sequential(*layers)(x)
        maps.append(x)
    return maps, copied(net.head)(x)


@pytest.mark.parametrize("training", [False, True])
def test_computes_what_torchs_spectral_norm_computes(net, training):
    net.train(training)
    expected_maps, expected = by_torch(net, pictures())
    maps, prediction = net(pictures())
    torch.testing.assert_close(maps, expected_maps)
    torch.testing.assert_close(prediction, expected)
    assert [tuple(each.shape[1:]) for each in maps] == [(4, 20, 20), (6, 8, 8), (8, 5, 5)]
    assert prediction.shape == (2, 1, 5, 5)


def test_stored_vectors_stay_in_eval_and_move_in_training(net):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.eval()(pictures())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    net.train()(pictures())
    moved = [key for key, value in net.state_dict().items() if not torch.equal(value, before[key])]
    assert moved
    assert all(key.endswith(("weight_u", "weight_v")) for key in moved)


def test_power_iteration_ends_at_the_largest_singular_value(net):
    conv = net.blocks[0].conv
    for _ in range(200):
        power_iteration(conv)
    largest = torch.linalg.svdvals(conv.weight.flatten(1))[0]
    torch.testing.assert_close(conv.norm(), largest, rtol=1e-4, atol=0)


def test_two_passes_before_one_backward_are_allowed(net):
    real, fake = net.train()(pictures())[1], net(-pictures())[1]
    (real.mean() - fake.mean()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_as_published_it_has_2_758_849_parameters():
    assert sum(p.numel() for p in Discriminator().parameters()) == 2_758_849
