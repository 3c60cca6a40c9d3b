"""Safetensors files, whole or not there: written beside their place, then renamed; read with plain errors."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from eatlab.errors import ExitCode, UserError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that, whenever the machine stops, the old file or the new one is there, whole.

    An OSError (a full disk, say) goes on to the caller; the half-written file is removed, the old one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with half.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def safetensors_bytes(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> bytes:
    """A safetensors file with `header` as its metadata; the same content gives the same bytes.

    The library writes the metadata in an order that changes from call to call, so it is put in order here.
    """
    content = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, dict(header))
    start = 8 + int.from_bytes(content[:8], "little")
    described = json.loads(content[8:start])
    described["__metadata__"] = dict(header)
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file; UserError if it is not there or (DATA_DAMAGED) cannot be read."""
    if not path.is_file():
        raise UserError(f"{path} is not there", do="give the path of a .safetensors file")
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(
            f"{path} is damaged or no safetensors file",
            str(error),
            "fetch or make it again",
            code=ExitCode.DATA_DAMAGED,
        ) from error
