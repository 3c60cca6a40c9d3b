"""Checkpoints: whole or not there, the last two kept, a damaged one named and the one before it taken."""

import errno
from pathlib import Path

import pytest
import torch

from eatlab import atomic
from eatlab.errors import ExitCode, UserError
from eatlab.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, saved, sum_of


def of_step(step: int) -> Checkpoint:
    return Checkpoint(
        {"w": torch.full((3,), float(step)), "count": torch.tensor(step)}, {"clock": 0.1 + step}, step
    )


def load(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    warnings: list[str] = []
    return load_checkpoint(folder, warnings.append), warnings


def test_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, of_step(7))
    found, warnings = load(tmp_path)
    assert found is not None
    assert not warnings
    assert found.step == 7
    assert found.meta["clock"] == 7.1
    assert torch.equal(found.tensors["w"], of_step(7).tensors["w"])
    assert found.tensors["count"].shape == ()


def test_there_is_none_in_an_empty_folder(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere") == (None, [])


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save_checkpoint(tmp_path, of_step(step))
    assert [path.name for path in saved(tmp_path)] == [
        "step-00000003.safetensors",
        "step-00000010.safetensors",
    ]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["flipped bit", "cut off", "no sum", "empty"])
def test_a_damaged_one_is_named_and_the_one_before_it_is_taken(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, of_step(1))
    path = save_checkpoint(tmp_path, of_step(2))
    content = bytearray(path.read_bytes())
    if damage == "flipped bit":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "cut off":
        path.write_bytes(content[:-3])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        sum_of(path).unlink()
    found, warnings = load(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(warnings) == 1
    assert path.name in warnings[0]
    assert "damaged" in warnings[0]


def test_when_all_are_damaged_each_is_named_and_there_is_none(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, of_step(step)).write_bytes(b"x")
    found, warnings = load(tmp_path)
    assert found is None
    assert len(warnings) == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    save_checkpoint(tmp_path, of_step(1))

    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr(atomic, "flush", fail)
    with pytest.raises(UserError, match="disk is full") as told:
        save_checkpoint(tmp_path, of_step(2))
    assert told.value.code == ExitCode.INTERRUPTED
    assert "\n" not in str(told.value)
    monkeypatch.undo()
    found, warnings = load(tmp_path)
    assert found is not None
    assert (found.step, warnings) == (1, [])
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_another_error_is_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(atomic, "flush", fail)
    with pytest.raises(PermissionError):
        atomic.write_text(tmp_path / "a", "b")
