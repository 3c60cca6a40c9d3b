"""Loading of the zoo: each file is what its card says, or one line says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from eatlab.errors import ExitCode, UserError
from eatlab.zoo.build import save_network
from eatlab.zoo.folders import RECORD
from eatlab.zoo.networks import load_backbone, load_network, read_card


class Net(nn.Module):
    """A weight, and a statistic that stays fp32."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        nn.init.constant_(self.layer.weight, value)
        self.pca = nn.Module()
        self.pca.register_buffer("mean", torch.tensor([value]))
        self.register_buffer("count", torch.tensor(3))


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    save_network(Net(0.1), tmp_path, "net", {"size": "small", "held_out": {"figure": 1.0}})
    return tmp_path


def test_a_network_comes_back_frozen_rounded_to_fp16_but_for_statistics(zoo):
    net = Net(0.7)
    card = load_network(net, "net", zoo)
    assert card["held_out"] == {"figure": 1.0}
    assert card["stored_as"] == "fp16"
    assert torch.equal(net.layer.weight, torch.full((1, 2), 0.1).half().float())
    assert torch.equal(net.pca.mean, torch.tensor([0.1]))
    assert net.count == 3
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("missing", ["net.safetensors", "net.json"])
def test_a_missing_file_is_one_line_with_the_remedy(zoo, missing):
    (zoo / missing).unlink()
    says = rf"{missing} does not exist; train it anew with `make zoo`, or give another folder"
    with pytest.raises(UserError, match=says) as caught:
        load_network(Net(0.0), "net", zoo)
    assert caught.value.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda zoo: (zoo / "net.json").unlink(), ExitCode.BAD_INPUT),
        (lambda zoo: (zoo / "net.json").write_text("{"), ExitCode.DATA_DAMAGED),
        (lambda zoo: (zoo / "net.safetensors").unlink(), ExitCode.BAD_INPUT),
        (lambda zoo: (zoo / "net.safetensors").write_bytes(b"half"), ExitCode.DATA_DAMAGED),
    ],
)
def test_a_spoiled_import_is_imported_again(zoo, spoil, code):
    (zoo / RECORD).write_text("{}")
    spoil(zoo)
    with pytest.raises(UserError, match="import the released files again with `eatlab import`") as caught:
        load_network(Net(0.0), "net", zoo)
    assert caught.value.code == code


def test_a_changed_byte_is_noticed(zoo):
    path = zoo / "net.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match="is not the file its card describes") as caught:
        load_network(Net(0.0), "net", zoo)
    assert caught.value.code == ExitCode.DATA_DAMAGED


def test_a_card_that_is_no_json_is_named(zoo):
    (zoo / "net.json").write_text("{")
    with pytest.raises(UserError, match=r"net\.json is damaged") as caught:
        read_card("net", zoo)
    assert caught.value.code == ExitCode.DATA_DAMAGED


def test_a_backbone_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"backbone_small\.json does not exist"):
        load_backbone(folder=tmp_path)


def test_cards_are_sorted_json_that_ends_in_a_newline(zoo):
    text = (zoo / "net.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
