"""The adapter file: it holds the set, whole or not at all, and nothing else is taken for one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import eatlab
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.files import HEADER, read_safetensors
from eatlab.backbone.sites import fingerprint
from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError
from tests.adapters.toys import NAMES, random_batch, stirred, talking_head

EMOTION = torch.tensor([1, 6])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "adapter.safetensors"


@pytest.fixture
def saved(backbone, path) -> Path:
    stirred("deep_prompt", backbone).save(path, backbone, record="0123abcd")
    return path


def speak(backbone, adapters: AdapterSet) -> torch.Tensor:
    torch.manual_seed(3)
    return backbone.a2et(random_batch(2), adapters.context(EMOTION, 0.7))


@pytest.mark.parametrize("spec", [*NAMES, "shallow_prompt+deep_prompt(streams=encoder)+toy_film"])
def test_a_file_holds_the_set_bit_for_bit(spec, backbone, path):
    adapters = stirred(spec, backbone)
    adapters.save(path, backbone)
    again = AdapterSet.load(path, backbone)
    assert again.spec == adapters.spec == spec
    assert torch.equal(speak(backbone, again), speak(backbone, adapters))


def test_loaded_in_a_new_process_it_gives_the_same_output_bit_for_bit(backbone, path, tmp_path):
    adapters = stirred("shallow_prompt+deep_prompt", backbone)
    adapters.save(path, backbone)
    code = """
import sys, torch
from eatlab.adapters.adapter_set import AdapterSet
from tests.adapters.test_adapter_file import speak
from tests.adapters.toys import talking_head
backbone = talking_head()
torch.save(speak(backbone, AdapterSet.load(sys.argv[1], backbone)), sys.argv[2])
"""
    out = tmp_path / "out.pt"
    command = [sys.executable, "-c", code, str(path), str(out)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert torch.equal(torch.load(out, weights_only=True), speak(backbone, adapters))


def test_the_header_says_what_made_it(backbone, saved):
    header, state = read_safetensors(saved)
    assert header["spec"] == "deep_prompt"
    assert header["spec_in_full"] == "deep_prompt(streams=encoder,decoder)"
    assert header["backbone"] == fingerprint(backbone)
    assert header["emotions"] == ",".join(EMOTIONS)
    assert header["eatlab"] == eatlab.__version__
    assert header["record"] == "0123abcd"
    assert set(state) == set(stirred("deep_prompt", backbone).state_dict())


def test_the_same_set_makes_the_same_bytes(backbone, path, tmp_path):
    adapters, again = stirred("deep_prompt+toy_shift", backbone), tmp_path / "again"
    for place in (path, again):
        adapters.save(place, backbone, record="0123abcd", who="Größe \x07 “x”")
    assert path.read_bytes() == again.read_bytes()
    assert read_safetensors(path)[0]["who"] == "Größe \x07 “x”"


def test_a_record_may_not_rewrite_the_header(backbone, path):
    with pytest.raises(ValueError, match=r"already has .*spec"):
        AdapterSet("none", backbone).save(path, backbone, spec="full")


def test_another_backbone_is_refused_with_both_fingerprints(backbone, saved):
    other = talking_head(seed=1)
    with pytest.raises(
        UserError, match=f"{fingerprint(backbone)}; this one is {fingerprint(other)}"
    ) as error:
        AdapterSet.load(saved, other)
    assert error.value.code == ExitCode.BAD_INPUT


def test_one_changed_bit_in_a_buffer_makes_another_backbone(backbone, saved):
    backbone.a2et.pca.mean[0] += 1e-6
    with pytest.raises(UserError, match="was trained on backbone"):
        AdapterSet.load(saved, backbone)


def test_a_file_that_is_not_there_is_bad_input(backbone, path):
    with pytest.raises(UserError, match=r"adapter\.safetensors is not there") as error:
        AdapterSet.load(path, backbone)
    assert error.value.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: b"RIFF" + content[4:],
        lambda content: content[:-7] + bytes([content[-7] ^ 1]) + content[-6:],
        lambda content: content + b"more",
    ],
    ids=[
        "a byte short",
        "half",
        "five bytes",
        "empty",
        "another format",
        "one bit flipped",
        "more at the end",
    ],
)
def test_a_damaged_file_is_named(damage, backbone, saved):
    saved.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(UserError, match=r"adapter\.safetensors") as error:
        AdapterSet.load(saved, backbone)
    assert error.value.code == ExitCode.DATA_DAMAGED
    assert "\n" not in str(error.value)


def rewrite(path: Path, *, state: dict | None = None, **header: str | None) -> None:
    """The same file with other header lines (None: left out) or other tensors."""
    old_header, old_state = read_safetensors(path)
    lines = {key: line for key, line in (old_header | header).items() if line is not None}
    save_file(old_state if state is None else state, path, lines)


@pytest.mark.parametrize("key", HEADER)
def test_a_file_without_our_header_is_no_adapter_file(key, backbone, saved):
    rewrite(saved, **{key: None})
    with pytest.raises(UserError, match=f"is no adapter file of eatlab; its header has no {key}") as error:
        AdapterSet.load(saved, backbone)
    assert error.value.code == ExitCode.DATA_DAMAGED


@pytest.mark.parametrize("change", ["missing", "more", "shape", "values"])
def test_tensors_that_do_not_fit_are_named_as_damage(change, backbone, saved):
    _, state = read_safetensors(saved)
    key = next(iter(state))
    if change == "missing":
        del state[key]
    else:
        changed = {"more": {"w": state[key]}, "shape": {key: state[key][:1]}, "values": {key: state[key] + 1}}
        state |= changed[change]
    rewrite(saved, state={k: v.clone() for k, v in state.items()})
    with pytest.raises(UserError, match=r"adapter\.safetensors") as error:
        AdapterSet.load(saved, backbone)
    assert error.value.code == ExitCode.DATA_DAMAGED
    assert "\n" not in str(error.value)


def test_emotions_in_another_order_are_refused(backbone, saved):
    rewrite(saved, emotions=",".join(reversed(EMOTIONS)))
    with pytest.raises(UserError, match="in the order surprised,sad"):
        AdapterSet.load(saved, backbone)


def test_a_file_of_an_adapter_that_is_not_installed_names_file_and_adapter(backbone, saved):
    rewrite(saved, spec_in_full="theirs(rank=4)")
    with pytest.raises(UserError, match=r'adapter\.safetensors cannot be built; adapter "theirs" is unknown'):
        AdapterSet.load(saved, backbone)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_half_one(failing, backbone, saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(UserError, match="the disk is full") as error:
        stirred("deep_prompt", backbone, seed=2).save(saved, backbone)
    monkeypatch.undo()
    assert error.value.code == ExitCode.INTERRUPTED
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
