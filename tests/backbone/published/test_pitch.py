"""The pitch network's feature path against its layers written out (eat-networks.md 10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.backbone.published.pitch import ConvNormConv, PitchNet
from eatlab.backbone.sites import FROZEN, BatchNorm2d


def net() -> PitchNet:
    """With statistics that matter."""
    torch.manual_seed(0)
    net = PitchNet((4, 6, 8, 8)).requires_grad_(False).eval()
    for module in net.modules():
        if isinstance(module, BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return net


def mel() -> Tensor:
    return torch.randn(2, 1, 80, 11, generator=torch.Generator().manual_seed(0))


def bent(norm: BatchNorm2d, x: Tensor) -> Tensor:
    x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return F.leaky_relu(x, 0.01)


def twice_convolved(part: ConvNormConv, x: Tensor) -> Tensor:
    x = F.conv2d(x, part.first.weight, padding=1)
    return F.conv2d(bent(part.norm, x), part.second.weight, padding=1)


def test_it_is_its_layers_written_out_on_time_by_mel():
    pitch = net()
    x = twice_convolved(pitch.stem, mel().transpose(2, 3))
    for block in pitch.blocks:
        x = F.max_pool2d(bent(block.norm, x), (1, 2))
        x = twice_convolved(block.main, x) + F.conv2d(x, block.shortcut.weight)
    expected = bent(pitch.norm, x).transpose(2, 3)
    assert expected.shape == (2, 8, 10, 11)
    torch.testing.assert_close(pitch(mel(), FROZEN), expected, atol=1e-5, rtol=1e-4)


def test_no_convolution_has_a_bias():
    biases = [key for key, _ in net().named_parameters() if key.endswith("bias")]
    assert all(key.endswith("norm.bias") for key in biases)
