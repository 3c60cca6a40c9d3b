"""The record of a grid: which points it has, and where their records and readings lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eatlab.atomic import sha256_of_file
from eatlab.experiment.grids.units import ClipsUnit, GridUnit, PointUnit, ReferenceUnit
from eatlab.experiment.grids.worker import Failure
from eatlab.experiment.outcome import point_summary, told_file
from eatlab.experiment.record import environment


def record_of(file: str, folder: Path, units: Sequence[GridUnit]) -> dict[str, Any]:
    """Everything a report needs: every path is told from the grid's `folder`, with its sha256.

    points: one a tuning or pretraining that is done, in the order of the file. references: identity of the
    clips → row → reading.
    """
    points = [unit for unit in units if isinstance(unit, PointUnit)]
    references: dict[str, dict[str, Any]] = {}
    for unit in units:
        if isinstance(unit, ReferenceUnit) and unit.is_done():
            found = unit.file
            assert found is not None
            references.setdefault(unit.needs.folder.name, {})[unit.row] = told_file(found.path, folder)
    return {
        "kind": "grid",
        "identity": folder.name,
        "file": {"name": Path(file).name, "sha256": sha256_of_file(Path(file))},
        "points": [told_point(unit, folder) for unit in points if unit.is_done()],
        "references": references,
        "clips": {u.folder.name: {"fingerprint": u.measured} for u in units if isinstance(u, ClipsUnit)},
        "failed": [
            {
                "name": unit.name,
                "identity": named_folder(unit).name,
                "point": isinstance(unit, PointUnit),
                "reason": failure.reason,
            }
            for unit in units
            if not unit.is_done() and (failure := Failure.of(unit.folder))
        ],
        "environment": environment(),
    }


def named_folder(unit: GridUnit) -> Path:
    """The run folder that a unit works for: of a row or faces, that of what it needs."""
    return unit.folder if isinstance(unit, PointUnit | ClipsUnit) else unit.needs.folder


def told_point(unit: PointUnit, folder: Path) -> dict[str, Any]:
    """What tells a point from others, what its own record says in short, and where both files lie."""
    record, file = unit.record, unit.file
    assert record is not None
    assert file is not None
    return {
        **point_summary(record),
        "adapter": unit.said.adapter,
        "share": unit.said.share,
        "also": dict(unit.said.also),
        "clips": unit.needs.folder.name,
        "record": os.path.relpath(unit.folder / "record.json", folder),
        "reading": told_file(file.path, folder),
    }
