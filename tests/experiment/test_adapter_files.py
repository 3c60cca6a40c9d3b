"""`eatlab inspect` and `eatlab merge` on files of the shipped backbone."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.files import HEADER
from eatlab.cli import main
from eatlab.emotions import EMOTIONS
from eatlab.errors import UserError
from eatlab.experiment.adapter_files import (
    InspectConfig,
    MergeConfig,
    described,
    run_inspect,
    run_merge,
)
from eatlab.zoo.networks import load_backbone


@pytest.fixture(scope="module")
def backbone():
    return load_backbone()


@pytest.fixture
def file(backbone, tmp_path):
    torch.manual_seed(0)
    adapters = AdapterSet("lora(rank=2)+head", backbone)
    for parameter in adapters.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    adapters.save(tmp_path / "adapter.safetensors", backbone, trained="for a test")
    return tmp_path / "adapter.safetensors"


def test_a_file_is_described_without_its_backbone(file, backbone, capsys, tmp_path):
    found = described(file)
    budget = AdapterSet("lora(rank=2)+head", backbone).budget(backbone)
    assert found["header"]["spec"] == "lora(rank=2)+head"
    assert list(found["header"]) == [*HEADER, "trained"]
    assert found["header"]["trained"] == "for a test"
    assert found["parameters"] == budget["parts"]
    assert run_inspect(InspectConfig(str(file), str(tmp_path / "said.json"))) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in ("lora(rank=2)", *found["header"].values()))
    assert json.loads((tmp_path / "said.json").read_text()) == found


def test_the_mapper_is_a_part_of_its_own(backbone, tmp_path):
    adapters = AdapterSet("deep_prompt", backbone)
    adapters.save(tmp_path / "a.safetensors", backbone)
    assert described(tmp_path / "a.safetensors")["parameters"] == {
        "deep_prompt": 0,
        "emotion mapper": adapters.budget(backbone)["total"],
    }


def test_a_flipped_bit_is_named(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="is damaged; its weights are"):
        described(file)


def test_what_is_no_adapter_file_is_named(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    from eatlab.zoo.folders import ZOO

    assert main(["inspect", str(ZOO / "backbone_small.safetensors")]) == 4
    assert "is no adapter file of eatlab" in capsys.readouterr().err


def test_a_merged_file_is_a_backbone_of_one_emotion(file, backbone, tmp_path):
    out = tmp_path / "happy.safetensors"
    assert run_merge(MergeConfig(str(file), str(out), "happy", 0.5)) == 0
    adapters = AdapterSet.load(file, backbone)
    context = adapters.context(torch.tensor([EMOTIONS.index("happy")]), 0.5)
    state, merged = load_file(out), adapters.merged(backbone, context)
    assert all(torch.equal(state[key], value) for key, value in merged.items())
    assert set(state) == set(backbone.state_dict())
    with safe_open(out, "pt") as opened:
        header = opened.metadata()
    assert (header["emotion"], header["intensity"]) == ("happy", "0.5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["emotion=hapy"], 'emotion "hapy" is unknown'),
        (["emotion=happy", "intensity=2"], "an emotion's intensity of 2"),
        (["emotion=happy", "backbone=nowhere"], "nowhere"),
    ],
)
def test_a_merge_that_cannot_be_is_one_line(words, message, file, tmp_path, capsys):
    out = tmp_path / "merged.safetensors"
    assert main(["merge", str(file), *words, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_nothing_is_overwritten(file, capsys):
    assert main(["merge", str(file), "emotion=sad", "--out", str(file)]) == 2
    assert "is there already" in capsys.readouterr().err
