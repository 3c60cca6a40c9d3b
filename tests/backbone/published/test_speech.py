"""Encoder tokens of recogniser's logits and pose pictures: written out, and frame by frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.backbone.published.speech import Recogniser
from eatlab.backbone.sites import FROZEN
from tests.backbone.toys import TINY_PUBLISHED, lively_head

CLIPS, FRAMES = 2, 3


def inputs() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    pictures = 255 * torch.rand(CLIPS, FRAMES, 64, 64, generator=g)
    return torch.randn(CLIPS, FRAMES, 16, 29, generator=g), pictures


def recogniser() -> Recogniser:
    return lively_head().a2et.speech


def test_a_token_is_made_of_the_picture_then_the_logits():
    net, (speech, pictures) = recogniser(), inputs()
    x = speech[1, 2].T[None]  # the 29 characters are the channels
    for conv in net.bands:
        x = F.leaky_relu(F.conv1d(x, conv.weight, conv.bias, stride=2, padding=1), 0.02)
    assert x.shape == (1, 8, 1)
    both = torch.cat([net.picture(pictures[1, 2][None, None], FROZEN), x[..., 0]], 1)
    first, second = net.mlp
    hidden = F.leaky_relu(F.linear(both, first.weight, first.bias), 0.02)
    expected = F.linear(hidden, second.weight, second.bias)[0]
    torch.testing.assert_close(net.encode(speech, pictures, FROZEN)[1, 2], expected, atol=1e-4, rtol=1e-4)


def test_a_frames_token_sees_that_frame_alone():
    net, (speech, pictures) = recogniser(), inputs()
    tokens = net.encode(speech, pictures, FROZEN)
    assert tokens.shape == (CLIPS, FRAMES, TINY_PUBLISHED.a2et.width)
    turned = net.encode(speech.flip(1), pictures.flip(1), FROZEN)
    torch.testing.assert_close(turned.flip(1), tokens, atol=1e-4, rtol=1e-4)
    for changed in ((speech + 1, pictures), (speech, 255 - pictures)):
        assert (net.encode(*changed, FROZEN) - tokens).abs().amax(-1).min() > 1e-3
