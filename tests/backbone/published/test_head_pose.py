"""The released head pose estimator: a bottleneck written out, shapes, and which head says what."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from eatlab.backbone import official
from eatlab.backbone.pose import bins_of
from eatlab.backbone.published.head_pose import NUM_BINS, Bottleneck, PublishedEstimator

SIZE = 64


def estimator() -> PublishedEstimator:
    torch.manual_seed(0)
    return PublishedEstimator((4, 8, 8, 8, 8), size=64).requires_grad_(False).eval()


def pictures(n: int) -> torch.Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("stride", [1, 2])
def test_a_bottleneck_strides_its_3x3_convolution_and_its_skip(stride):
    torch.manual_seed(0)
    block, x = Bottleneck(8, stride).requires_grad_(False).eval(), torch.randn(2, 8, 6, 6)
    for norm in block.modules():
        if hasattr(norm, "running_mean"):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def normed(norm, y):
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    (c1, c2, c3), (n1, n2, n3) = block.convs, block.norms
    y = F.relu(normed(n1, F.conv2d(x, c1.weight, c1.bias)))
    y = F.relu(normed(n2, F.conv2d(y, c2.weight, c2.bias, stride, 1)))
    y = normed(n3, F.conv2d(y, c3.weight, c3.bias))
    if stride > 1:
        conv, norm = block.skip
        x_down = normed(norm, F.conv2d(x, conv.weight, conv.bias, stride))
    else:
        x_down = x
    torch.testing.assert_close(block(x), F.relu(x_down + y), atol=1e-5, rtol=1e-4)


def test_every_stage_but_the_first_halves_the_map():
    net, sides = estimator(), []
    for stage in net.stages:
        stage.register_forward_hook(lambda m, x, y: sides.append(y.shape[-1]))
    net(pictures(1))
    assert sides == [SIZE // 4, SIZE // 8, SIZE // 16, SIZE // 32]
    assert [len(stage.blocks) for stage in net.stages] == [3, 4, 6, 3]


def test_frames_give_an_expression_and_a_pose_and_each_alone():
    net = estimator()
    expression, pose = net(pictures(3))
    assert expression.shape == (3, 15, 3)
    assert pose.shape == (3, 7)
    assert (pose[:, 6] == 1).all()
    said = net.read(pictures(3))
    assert [tuple(x.shape) for x in said] == [(3, NUM_BINS)] * 3 + [(3, 3), (3, 45)]
    assert torch.equal(pose[:, 3:6], said.t)
    for i, picture in enumerate(pictures(3).split(1)):
        alone = net(picture)
        torch.testing.assert_close(alone[0][0], expression[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone[1][0], pose[i], atol=1e-3, rtol=1e-4)


def test_each_head_turns_its_own_angle():
    net = estimator()
    for head, chosen in ((net.yaw, 33), (net.pitch, 0), (net.roll, 65)):
        head.weight.zero_()
        head.bias.copy_(100 * F.one_hot(torch.tensor(chosen), NUM_BINS))
    _, pose = net(pictures(1))
    torch.testing.assert_close(pose[0, :3], torch.tensor([0.0, -99, 96]))
    torch.testing.assert_close(bins_of(pose[0, :3]), torch.tensor([33.0, 0, 65]))


@pytest.mark.parametrize(
    ("released", "ours"), [("fc_roll", "yaw"), ("fc_yaw", "roll"), ("fc_pitch", "pitch"), ("fc_t", "t")]
)
def test_the_released_names_of_yaw_and_roll_are_swapped(released, ours):
    assert official.HEAD_POSE.names(f"{released}.weight") == [f"{ours}.weight"]
