"""What a stage of pretraining is made from, kept beside its checkpoints: it never goes on from another's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eatlab.atomic import write_json
from eatlab.errors import ExitCode, UserError

NAME = "origin.json"


def settle_origin(folder: Path, origin: dict[str, Any]) -> None:
    """Writes `origin` into the folder of a stage that begins; in one that has begun it must be the same.

    Raises UserError (2) that names the first thing that differs, or (4) if what is written is no JSON.
    """
    path, remedy = folder / NAME, f"give another host.folder, or remove {folder}"
    if not path.exists():
        if (folder / "checkpoints").exists():
            raise UserError(f"{folder} has checkpoints but no {NAME}, so nobody knows of what", do=remedy)
        write_json(path, origin)
        return
    there, here = (dict(flat(each)) for each in (read_origin(folder), as_written(origin)))
    for name in sorted(there.keys() | here.keys()):
        if (old := there.get(name)) != (new := here.get(name)):
            differs = f"{name} is {old} there and {new} here"
            raise UserError(f"{folder} was begun otherwise", differs, remedy)


def read_origin(folder: Path) -> dict[str, Any]:
    """What a stage was made from. Raises UserError (4) if it is no JSON."""
    path = folder / NAME
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        why, remedy = str(error), f"remove {folder} and run the same command again"
        raise UserError(f"{path} is damaged", why, remedy, code=ExitCode.DATA_DAMAGED) from error


def as_written(origin: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(origin))


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts by dotted name."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from flat(inner, f"{name}.{key}" if name else key)
