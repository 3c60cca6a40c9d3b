"""Checkpoints that survive a crash, a full disk and a flipped bit: safetensors only, the last two kept.

A name that can be read is a whole file, with its sha256 beside it; a file that is not what was written is
named, and the one before it is taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eatlab.atomic import sha256_of_file, write_atomically, write_text

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what else must come back: plain JSON values."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    step: int


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
            warn(f"checkpoint {path} is damaged ({error}); taking the one before it")
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
    """Where the sha256 of a checkpoint stands."""
    return path.with_suffix(".sha256")
