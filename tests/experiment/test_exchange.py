"""`eatlab export --format peft` and `eatlab import FOLDER`, with the shipped backbone."""

from __future__ import annotations

import json
import pickle
import random

import pytest
import torch
from safetensors import safe_open

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.files import read_adapter_file, safetensors_bytes
from eatlab.adapters.peft_config import CONFIG
from eatlab.adapters.peft_layout import WEIGHTS
from eatlab.cli import main
from eatlab.errors import ExitCode
from eatlab.experiment import adapter_files
from eatlab.zoo.networks import load_backbone
from tests.adapters.toys import stirred, talking_head


@pytest.fixture(scope="module")
def backbone():
    return load_backbone()


@pytest.fixture
def tiny(monkeypatch):
    """Stands for the shipped backbone where a test does not need that one."""
    backbone = talking_head()
    monkeypatch.setattr(adapter_files, "backbone_in", lambda _: backbone)
    return backbone


def saved(spec, backbone, tmp_path):
    """An adapter file as after training."""
    stirred(spec, backbone).save(tmp_path / "adapter.safetensors", backbone)
    return str(tmp_path / "adapter.safetensors")


@pytest.fixture
def folder(tiny, tmp_path):
    """A folder as peft's, of the tiny backbone."""
    file, folder = saved("lora(each=false)", tiny, tmp_path), tmp_path / "peft"
    assert main(["export", file, "--format", "peft", "--out", str(folder)]) == ExitCode.DONE
    return folder


def one_line(capsys) -> str:
    error = capsys.readouterr().err
    assert error.startswith("eatlab: ")
    assert error.count("\n") == 1
    assert "a mistake of eatlab's" not in error
    return error


def bring(folder, out, *words) -> int:
    return main(["import", str(folder), *words, "--out", str(out)])


def test_an_adapter_goes_to_peft_s_folder_and_comes_back(backbone, capsys, tmp_path):
    file = saved("lora(each=false,rank=2)", backbone, tmp_path)
    folder, back = tmp_path / "new" / "peft", tmp_path / "back" / "again.safetensors"
    assert main(["export", file, "--format", "peft", "--out", str(folder)]) == ExitCode.DONE
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]
    with safe_open(folder / WEIGHTS, "pt") as opened:
        assert opened.metadata()["format"] == "pt"
    assert bring(folder, back) == ExitCode.DONE
    assert "lora(each=false,rank=2)" in capsys.readouterr().out
    ours, again = (AdapterSet.load(path, backbone) for path in (file, back))
    assert again.spec == ours.spec
    assert all(torch.equal(x, y) for x, y in zip(ours.parameters(), again.parameters(), strict=True))
    header, _ = read_adapter_file(back)
    assert header["source"] == "a folder of peft's, peft"


def test_nothing_is_overwritten(folder, capsys, tmp_path):
    file = str(tmp_path / "adapter.safetensors")
    assert main(["export", file, "--format", "peft", "--out", str(folder)]) == ExitCode.BAD_INPUT
    assert "is there already" in one_line(capsys)
    assert bring(folder, file) == ExitCode.BAD_INPUT
    assert "is there already" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "for an adapter file write --format peft"),
        (["--format", "released", "backbone=x"], "backbone=x says nothing beside --format released"),
        (["--format", "peft", "adapter=x"], "adapter=x says nothing beside --format peft"),
        (["--format", "peft", "source=x"], "source=x says nothing beside --format peft"),
        (["--format", "peft"], "tune it with each=false"),
    ],
)
def test_an_export_that_cannot_be_is_one_line_and_leaves_nothing(words, message, tiny, capsys, tmp_path):
    file, out = saved("lora", tiny, tmp_path), tmp_path / "out"
    assert main(["export", file, *words, "--out", str(out)]) == ExitCode.BAD_INPUT
    assert message in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.safetensors"]


def test_a_damaged_adapter_file_is_no_export(tiny, capsys, tmp_path):
    file = tmp_path / "adapter.safetensors"
    saved("lora(each=false)", tiny, tmp_path)
    file.write_bytes(file.read_bytes()[:-8])
    code = main(["export", str(file), "--format", "peft", "--out", str(tmp_path / "out")])
    assert code == ExitCode.DATA_DAMAGED
    assert "is damaged" in one_line(capsys)


def test_pickled_weights_are_refused_and_not_read(folder, capsys, tmp_path):
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))
    assert bring(folder, tmp_path / "out") == ExitCode.UNSAFE_FILE
    assert "nothing of it was run" in one_line(capsys)


@pytest.mark.parametrize("absent", [CONFIG, WEIGHTS])
def test_a_folder_without_one_of_the_files_is_none_of_peft_s(absent, folder, capsys, tmp_path):
    (folder / absent).unlink()
    assert bring(folder, tmp_path / "out") == ExitCode.BAD_INPUT
    assert f"it has no {absent}" in one_line(capsys)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"r": ' + b"9" * 5000 + b"}"]
)
def test_a_config_that_is_no_table_is_damage(content, folder, capsys, tmp_path):
    (folder / CONFIG).write_bytes(content)
    assert bring(folder, tmp_path / "out") == ExitCode.DATA_DAMAGED
    assert f"{CONFIG} is damaged" in one_line(capsys)


def test_no_broken_byte_of_the_weights_ends_otherwise_than_in_one_line(folder, capsys, tmp_path):
    whole, chance = (folder / WEIGHTS).read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    cut = [whole[: chance.randrange(len(whole))] for _ in range(10)]
    flipped = [bytearray(whole) for _ in range(40)]
    for content in flipped:
        content[chance.randrange(header)] ^= 1 << chance.randrange(8)
    for number, content in enumerate([*cut, *flipped]):
        (folder / WEIGHTS).write_bytes(content)
        out = tmp_path / f"out{number}"
        code = bring(folder, out)
        assert code in (ExitCode.DONE, ExitCode.BAD_INPUT, ExitCode.DATA_DAMAGED)
        if code != ExitCode.DONE:  # a flip in the metadata changes nothing that is read
            one_line(capsys)
            assert not out.exists()


def test_a_folder_that_was_made_for_another_backbone_is_refused(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(adapter_files, "backbone_in", lambda _: talking_head(seed=1))
    assert bring(folder, tmp_path / "out") == ExitCode.BAD_INPUT
    assert "was made for backbone" in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_does_not_say_its_backbone_is_taken_if_it_fits(folder, monkeypatch, tmp_path):
    with safe_open(folder / WEIGHTS, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    (folder / WEIGHTS).write_bytes(safetensors_bytes(tensors, {"format": "pt"}))
    other = talking_head(seed=1)
    monkeypatch.setattr(adapter_files, "backbone_in", lambda _: other)
    assert bring(folder, tmp_path / "out") == ExitCode.DONE
    assert AdapterSet.load(tmp_path / "out", other).spec == "lora(each=false)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["first_wins=true"], "first_wins=True says nothing beside a folder of peft's"),
        (["more.pth.tar"], "give one folder of peft's alone"),
    ],
)
def test_an_import_that_cannot_be_is_one_line(words, message, folder, capsys, tmp_path):
    assert bring(folder, tmp_path / "out", *words) == ExitCode.BAD_INPUT
    assert message in one_line(capsys)


def test_a_backbone_beside_released_files_is_refused(capsys, tmp_path):
    assert bring("released.pth.tar", tmp_path / "out", "backbone=x") == ExitCode.BAD_INPUT
    assert "backbone=x says nothing beside released files" in one_line(capsys)


def test_a_field_that_would_be_lost_ends_the_command(folder, capsys, tmp_path):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"bias": "lora_only"}))
    assert bring(folder, tmp_path / "out") == ExitCode.BAD_INPUT
    assert 'bias="lora_only" in adapter_config.json' in one_line(capsys)
