"""The released renderer: once a portrait, adapted before motion is compressed, steps in their order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.published.blocks import VolumeConv3d
from eatlab.backbone.published.renderer import PublishedRenderer, Residual3d, Volume
from eatlab.backbone.sites import FROZEN, Context
from tests.backbone.toys import SIDE, TINY_PUBLISHED, lively_head

SIZE, R = TINY_PUBLISHED.size, TINY_PUBLISHED.renderer
FRAMES = 3


def renderer() -> PublishedRenderer:
    return lively_head().renderer


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(n: int) -> Tensor:
    return noise(n, 3, SIZE, SIZE).tanh()


POINTS = tuple(0.4 * noise(2, FRAMES, 15, 3, seed=1))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_portrait_is_encoded_once_and_equals_that_for_each_frame():
    net = renderer()
    once = Volume(*(x.expand(FRAMES, -1, -1, -1, -1) for x in net.encode(pictures(1), FROZEN)))
    each = net.encode(pictures(1).expand(FRAMES, -1, -1, -1), FROZEN)
    assert once.volume.shape == (FRAMES, R.volume, R.depth, SIDE, SIDE)
    assert once.compressed.shape == (FRAMES, R.compressed, R.depth, SIDE, SIDE)
    drawn = [net(found, POINTS, POINTS, FROZEN).image for found in (once, each)]
    assert drawn[0].shape == (FRAMES, 3, SIZE, SIZE)
    assert drawn[0].abs().max() <= 1
    close(*drawn)


def test_a_batch_of_frames_is_its_frames_one_by_one():
    net, images = renderer(), pictures(FRAMES)
    together = net(net.encode(images, FROZEN), POINTS, POINTS, FROZEN).image
    for i in range(FRAMES):
        row = slice(i, i + 1)
        points = tuple(x[row] for x in POINTS)
        close(net(net.encode(images[row], FROZEN), points, points, FROZEN).image, together[row])


def test_the_volume_is_adapted_before_it_is_compressed_for_motion():
    net = renderer()
    plain = net.encode(pictures(2), FROZEN)
    adapted = net.encode(pictures(2), Context(plan={"renderer.volume": (lambda x, c: 2 * x + 1,)}))
    assert torch.equal(adapted.volume, 2 * plain.volume + 1)
    assert torch.equal(adapted.compressed, net.motion.compress(2 * plain.volume + 1, FROZEN))
    assert not torch.equal(adapted.compressed, plain.compressed)


def test_a_frame_is_the_warped_volume_flattened_shaded_and_decoded():
    net = renderer()
    found = net.encode(pictures(FRAMES), FROZEN)
    moved = net.motion(found.compressed, *POINTS, FROZEN)
    warped = F.grid_sample(found.volume, moved.flow, align_corners=False)
    x = net.flat.conv(warped.reshape(FRAMES, R.volume * R.depth, SIDE, SIDE))
    x = net.mix(F.leaky_relu(net.flat.norm(x), 0.01)) * moved.open
    close((net(found, POINTS, POINTS, FROZEN).image + 1) / 2, net.decoder(x, FROZEN))


def test_a_residual_of_the_volume_is_its_layers_written_out():
    torch.manual_seed(0)
    block, x = Residual3d(4).eval(), noise(2, 4, 3, 5, 5)
    y = x
    for norm, conv in zip(block.norms, block.convs, strict=True):
        norm.running_mean.normal_()
        y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        y = F.conv3d(F.relu(y), conv.weight, conv.bias, padding=1)
    close(block(x, FROZEN), x + y)


def test_volume_convolutions_are_torchs_with_gradients_and_without():
    torch.manual_seed(0)
    conv, x = VolumeConv3d(2, 3, 3, padding=1), noise(2, 2, 4, 5, 5)
    expected = nn.Conv3d.forward(conv, x)
    close(conv(x), expected)
    with torch.no_grad():
        close(conv(x), expected)
