"""The SyncNet of published scores: names and shapes of the public checkpoint, and its file."""

from __future__ import annotations

import pytest
import torch

from eatlab.errors import UserError
from eatlab.experts.lse_syncnet import LseSyncNet, load_lse_syncnet


@pytest.fixture(scope="module")
def net() -> LseSyncNet:
    return LseSyncNet().eval()


def test_names_stand_in_the_public_order(net) -> None:
    state = net.state_dict()
    assert len(state) == 102
    assert list(dict.fromkeys(name.partition(".")[0] for name in state)) == [
        "netcnnaud",
        "netfcaud",
        "netfclip",
        "netcnnlip",
    ]
    sound, picture = (
        [int(name.split(".")[1]) for name in state if name.startswith(tower) and state[name].ndim > 1]
        for tower in ("netcnnaud", "netcnnlip")
    )
    assert sound == [0, 4, 8, 11, 14, 18]
    assert picture == [0, 4, 8, 11, 14, 18]


@torch.no_grad()
def test_a_window_of_either_becomes_1024_features_that_no_length_is_taken_from(net) -> None:
    heard = net.audio(torch.randn(2, 1, 13, 20))
    seen = net.video(torch.randint(0, 256, (1, 3, 5, 224, 224)).to(torch.uint8))
    assert heard.shape == (2, 1024)
    assert seen.shape == (1, 1024)
    assert not torch.allclose(heard.norm(dim=1), torch.ones(2), atol=1e-2)


def test_a_checkpoint_of_tensors_loads_also_without_the_counters_of_old_ones(net, tmp_path) -> None:
    path = tmp_path / "syncnet_v2.model"
    torch.save({k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}, path)
    loaded = load_lse_syncnet(path)
    assert torch.equal(loaded.netcnnlip[0].weight, net.netcnnlip[0].weight)
    with pytest.raises(UserError, match="does not exist; give the path of the public"):
        load_lse_syncnet(tmp_path / "none.model")
