"""Checkpoints that survive a crash, a full disk and a flipped bit: safetensors only, the last two kept.

A file is written under another name in the same folder, flushed to the disk, renamed, and its sha256 put beside it. So
a name that can be read is a whole file; a file that is not what was written is named, and the one before it is taken.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eatlab.errors import ExitCode, UserError

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what else must come back: plain JSON values."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    step: int


def sha256_of_file(path: Path) -> str:
    """64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file in the folder of `path`, then puts it in place; all or nothing.

    A full disk is a UserError with exit code 75: what was there before is untouched, and a second call goes on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        flush(part)
        os.replace(part, path)
        flush(path.parent)
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        raise disk_full(path) from error
    finally:
        part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """fsync of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_full(error: BaseException) -> bool:
    """Whether the disk (or the quota) is the reason; safetensors gives the system's error only as text."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in full or any(f"os error {code}" in str(error) for code in full)


def disk_full(path: Path) -> UserError:
    return UserError(
        f"cannot save {path.name} in {path.parent}: the disk is full",
        "what was saved before is untouched",
        "free some space and run the same command again to go on",
        code=ExitCode.INTERRUPTED,
    )


def write_text(path: Path, text: str) -> None:
    """A whole text file or none."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """A whole JSON file or none; keys keep their order, NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes step-<n>.safetensors and its sha256, then drops all but the last two."""
    path = folder / f"step-{checkpoint.step:08d}.safetensors"
    note = {"meta": json.dumps(checkpoint.meta | {"step": checkpoint.step})}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_atomically(path, lambda part: save_file(whole, part, note))
    write_text(sum_of(path), sha256_of_file(path) + "\n")
    for old in saved(folder)[:-KEPT]:
        sum_of(old).unlink(missing_ok=True)
        old.unlink()
    return path


def load_checkpoint(folder: Path, warn: Callable[[str], object]) -> Checkpoint | None:
    """The newest whole checkpoint; each damaged one on the way is told to `warn`. None if there is none."""
    for path in reversed(saved(folder)):
        try:
            return read(path)
        except (ValueError, OSError, SafetensorError) as error:
            warn(f"{path.name} is damaged ({error}); taking the one before it")
    return None


def read(path: Path) -> Checkpoint:
    """Raises ValueError if the file is not what was written."""
    if not sum_of(path).exists():
        raise ValueError("its sha256 is missing")
    if sha256_of_file(path) != sum_of(path).read_text().strip():
        raise ValueError("its sha256 differs")
    with safe_open(path, "pt") as file:
        meta = json.loads(file.metadata()["meta"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    return Checkpoint(tensors, meta, meta["step"])


def saved(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def sum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")
