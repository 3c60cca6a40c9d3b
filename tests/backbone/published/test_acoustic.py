"""The released acoustic encoder: its blocks written out, its sites, and what a window sees."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.published.acoustic import AdaptiveBlock, PublishedAcoustic, ResidualBlock
from eatlab.backbone.sites import FROZEN, Conv2d, Site
from eatlab.backbone.sizes import paper
from tests.backbone.toys import SIDE, TINY_PUBLISHED, lively_head

WINDOWS = 3
every = pytest.mark.parametrize


def mel() -> Tensor:
    return torch.randn(WINDOWS, 11, 80, generator=torch.Generator().manual_seed(0))


def conv(op: Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, op.weight, op.bias, padding=op.weight.shape[-1] // 2)


@every("resized", [False, True])
@every("cout", [8, 16])
def test_a_residual_block_is_its_layers_written_out(cout, resized):
    torch.manual_seed(0)
    block, x = ResidualBlock(8, cout, halves=resized), torch.randn(2, 8, 6, 11)
    for norm in block.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)

    def smaller(y: Tensor) -> Tensor:
        return (y[:, :, ::2] + y[:, :, 1::2]) / 2 if resized else y

    (n1, n2), (c1, c2) = block.norms, block.convs
    y = smaller(conv(c1, F.leaky_relu(F.group_norm(x, 8, n1.weight, n1.bias), 0.2)))
    y = conv(c2, F.leaky_relu(F.group_norm(y, 8, n2.weight, n2.bias), 0.2))
    shortcut = smaller(conv(block.shortcut[0], x) if cout != 8 else x)
    torch.testing.assert_close(block(x, FROZEN), (shortcut + y) / 2**0.5, atol=1e-5, rtol=1e-4)


@every("resized", [False, True])
@every("cout", [8, 16])
def test_an_adaptive_block_is_its_layers_written_out(cout, resized):
    torch.manual_seed(0)
    block, x = AdaptiveBlock(8, cout, doubles=resized), torch.randn(2, 8, 6, 11)

    def larger(y: Tensor) -> Tensor:
        return F.interpolate(y, scale_factor=(2, 1)) if resized else y

    c1, c2 = block.convs
    y = conv(c1, larger(F.leaky_relu(F.instance_norm(x), 0.2)))
    y = conv(c2, F.leaky_relu(F.instance_norm(y), 0.2))
    shortcut = conv(block.shortcut[0], larger(x)) if cout != 8 else larger(x)
    torch.testing.assert_close(block(x, FROZEN), (y + shortcut) / 2**0.5, atol=1e-5, rtol=1e-4)
    assert all(bias is None for bias in (op.bias for op in block.shortcut))


def test_windows_do_not_know_of_each_other_but_a_frame_knows_its_whole_window():
    acoustic = lively_head().a2et.acoustic
    heard = acoustic(mel(), FROZEN)
    assert heard.shape == (WINDOWS, 11, TINY_PUBLISHED.a2et.acoustic.maps, SIDE, SIDE)
    alone = torch.cat([acoustic(window, FROZEN) for window in mel().split(1)])
    torch.testing.assert_close(alone, heard, atol=1e-4, rtol=1e-4)
    other = mel()
    other[0, 10] += 1
    moved = (acoustic(other, FROZEN) - heard).abs().amax((2, 3, 4))
    assert (moved[0] > 0).all()
    assert (moved[1:] == 0).all()


def test_a_frames_map_has_channels_as_rows_and_mel_bands_as_columns():
    acoustic = lively_head().a2et.acoustic
    seen: list[Tensor] = []
    acoustic.map_in.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    heard: list[Tensor] = []
    acoustic.decode[-1].register_forward_hook(lambda m, x, y: heard.append(y))
    acoustic(mel(), FROZEN)
    assert heard[0].shape == (WINDOWS, SIDE, 80, 11)
    for window, frame in ((0, 0), (2, 7)):
        assert torch.equal(seen[0][11 * window + frame, 0], heard[0][window, :, :, frame])


def test_a_frames_map_and_its_clips_face_become_one_token_before_that_of_the_pose():
    given: list[Tensor] = []

    def token(x: Tensor, context: object) -> Tensor:
        given.append(x)
        return x.mean((2, 3))

    heard, pose, face = torch.randn(4, 11, 2, 3, 3), torch.randn(4, 1, 5), torch.randn(2, 3, 3, 3)
    tokens = PublishedAcoustic.join(heard, pose, face, token, FROZEN)
    assert torch.equal(tokens[:, 11:], pose)
    for window, frame in ((0, 4), (3, 10)):
        both = torch.cat([heard[window, frame], face[window // 2]])
        assert torch.equal(given[0][11 * window + frame], both)
        assert torch.equal(tokens[window, frame], both.mean((1, 2)))


def test_the_published_encoder_has_twelve_norms_where_features_may_be_changed():
    with torch.device("meta"):
        acoustic = PublishedAcoustic(paper().a2et)
    sites = [(m.kind, m.channels) for m in acoustic.modules() if isinstance(m, Site)]
    widths = (640, 640, 640, 640, 640, 512, 512, 256, 256, 128, 128, 64)
    assert sites == [("features", width) for width in widths]
