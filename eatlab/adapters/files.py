"""The bytes of an adapter file (safetensors with a header), and what is read back, with plain errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from eatlab.backbone.sites import sha256_of_tensors
from eatlab.errors import ExitCode, UserError

HEADER = ("spec", "spec_in_full", "backbone", "weights", "emotions", "eatlab")
"""What every adapter file says of itself."""


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


def read_adapter_file(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """As `read_safetensors`; UserError (DATA_DAMAGED) also if the header is no adapter file's."""
    header, tensors = read_safetensors(path)
    if missing := [key for key in HEADER if key not in header]:
        there = f"its header has no {', '.join(missing)}"
        raise UserError(f"{path} is no adapter file of eatlab", there, code=ExitCode.DATA_DAMAGED)
    return header, tensors


def check_weights(path: Path | str, tensors: Mapping[str, Tensor], weights: str) -> None:
    """UserError (DATA_DAMAGED) unless the tensors have the fingerprint `weights` that the header names."""
    if (have := sha256_of_tensors(tensors)[:16]) != weights:
        there = f"its weights are {have}, not the {weights} that were saved"
        raise UserError(f"{path} is damaged", there, code=ExitCode.DATA_DAMAGED)
