"""FID's networks: preprocessing of either protocol and its switches, pooling, and files of users."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.errors import ExitCode, UserError
from eatlab.experts.inception import FidInception, ImageNetInception, MaxE, MeanA, load_inception


@pytest.fixture(scope="module")
def eat() -> ImageNetInception:
    return ImageNetInception().eval()


@pytest.fixture(scope="module")
def standard() -> FidInception:
    return FidInception().eval()


@pytest.fixture
def frames() -> Tensor:
    return torch.randint(0, 256, (2, 3, 40, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_eat_reads_the_channels_in_reverse_and_does_not_antialias(eat, frames) -> None:
    wanted = F.interpolate(frames.flip(1) / 255, (299, 299), mode="bilinear", align_corners=False)
    assert torch.allclose(eat.resized(frames), wanted, atol=1e-6)
    straight = ImageNetInception(channels="RGB")
    assert torch.allclose(straight.resized(frames), wanted.flip(1), atol=1e-6)


def test_eat_normalises_twice_and_each_alone_is_a_switch(eat) -> None:
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def torchvisions(y: Tensor) -> Tensor:
        return y * deviation / 0.5 + (mean - 0.5) / 0.5

    assert torch.allclose(eat.normalised(x), torchvisions(2 * x - 1), atol=1e-6)
    assert torch.allclose(ImageNetInception(normalisation="centred").normalised(x), 2 * x - 1, atol=1e-6)
    assert torch.allclose(
        ImageNetInception(normalisation="imagenet").normalised(x), torchvisions(x), atol=1e-6
    )


def test_standard_resizes_as_tensorflow_1_without_half_a_pixel(standard, frames) -> None:
    resized = standard.resized(frames)[0].movedim(0, -1).numpy()
    picture = frames[0].movedim(0, -1).numpy().astype(np.float64)
    y, x = 150 * 40 / 299, 77 * 30 / 299
    row, column = int(y), int(x)
    upper, lower = (
        picture[r, column] * (1 - x + column) + picture[r, column + 1] * (x - column) for r in (row, row + 1)
    )
    np.testing.assert_allclose(resized[150, 77], upper * (1 - y + row) + lower * (y - row), atol=1e-3)
    np.testing.assert_array_equal(resized[0, 0], picture[0, 0])
    np.testing.assert_allclose(resized[298, 298], picture[-1, -1], atol=1e-3)
    assert torch.equal(standard.normalised(torch.tensor([0.0, 128, 256])), torch.tensor([-1.0, 0, 1]))


def test_averages_of_the_standard_network_leave_the_padding_out() -> None:
    ones = torch.ones(1, 1, 4, 4)
    assert torch.equal(MeanA(192, 32).pool(ones), ones)
    assert torch.equal(MaxE(1280).pool(-ones), -ones)


@pytest.mark.parametrize("name", ["eat", "standard"])
@torch.no_grad()
def test_pictures_of_any_size_become_2048_features(name, frames, request) -> None:
    net = request.getfixturevalue(name)
    assert net(frames[:1]).shape == (1, net.num_features)


def test_without_a_file_there_is_a_reason_and_no_other_network() -> None:
    for protocol in ("eat", "standard"):
        with pytest.raises(UserError, match="not measured; no file of weights") as caught:
            load_inception(protocol, None)
        assert caught.value.code == ExitCode.BAD_INPUT


def test_the_network_of_the_other_protocol_is_refused(tmp_path, eat, standard) -> None:
    torch.save(eat.network.state_dict(), tmp_path / "imagenet.pth")
    with pytest.raises(UserError, match="no Inception of protocol standard") as caught:
        load_inception("standard", tmp_path / "imagenet.pth")
    assert caught.value.code == ExitCode.UNSAFE_FILE
    loaded = load_inception("eat", tmp_path / "imagenet.pth")
    assert torch.equal(
        loaded.network.Mixed_7c.branch1x1.conv.weight, eat.network.Mixed_7c.branch1x1.conv.weight
    )
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
