"""What a grid measured, from its records alone: tables of rows that may be compared, and what is not there.

No network is loaded: a record says where the records of tunings and the readings of rows lie. Rows of one
fingerprint are a block; blocks are never ranked together (evaluation.md 11.5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from eatlab.atomic import sha256_of_file
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.grids.grid_file import ALIKE
from eatlab.experiment.row_costs import UNADAPTED, cost_of
from eatlab.experiment.sweeps.curves import TuningCurve, curves_of, setting_of
from eatlab.experiment.sweeps.subjects import SUBJECTS, TUNINGS, Subject, reading_of
from eatlab.metrics.row import RowReading, load_reading
from eatlab.metrics.table import Table, build_table


@dataclass(frozen=True)
class SweepPoint:
    """A tuning or pretraining that is done. told: its entry in the grid's record. record: its own.

    reading: on the test clips; sha256: of that file.
    """

    told: Mapping[str, Any]
    record: Mapping[str, Any]
    reading: RowReading
    sha256: str

    @property
    def identity(self) -> str:
        return str(self.told["identity"])

    @property
    def seed(self) -> int:
        return int(self.told["seed"])

    @property
    def share(self) -> float:
        return float(self.told["share"])

    @property
    def name(self) -> str:
        """As its grid's file names it (`GridPoint.name`)."""
        also = [f"{key}={value}" for key, value in self.told["also"].items()]
        return " ".join([str(self.told["adapter"]), f"seed {self.seed}", *also])

    @property
    def subject(self) -> Subject:
        return SUBJECTS[self.record["kind"]]

    @property
    def row(self) -> str:
        """Its row's name: the spec, and what else the grid varies."""
        also = [f"{key}={value}" for key, value in self.told["also"].items() if key not in ALIKE]
        return " ".join([str(self.told["adapter"]), *also])


@dataclass(frozen=True)
class Reference:
    """A row without an adapter. clips: identity of the clips that it belongs to."""

    row: str
    clips: str
    reading: RowReading
    file: str
    sha256: str


@dataclass(frozen=True)
class Sweep:
    """All that is there of a grid.

    record: the grid's, as `grid_record.record_of` makes it. missing: names of points that are not done and
    did not fail. folder: of the record, from which its paths are told.
    """

    record: Mapping[str, Any]
    folder: Path
    points: tuple[SweepPoint, ...]
    references: tuple[Reference, ...]
    missing: tuple[str, ...] = ()

    @property
    def subject(self) -> Subject:
        """What its points are; of a grid's first point, as all are alike."""
        return self.points[0].subject if self.points else TUNINGS

    @property
    def failed(self) -> list[Mapping[str, str]]:
        """name, identity, reason of each."""
        return list(self.record["failed"])

    @property
    def num_asked(self) -> int:
        """Points that the grid has: done, failed, or missing."""
        failed = [told for told in self.failed if told.get("point", True)]
        return len(self.points) + len(failed) + len(self.missing)

    def blocks(self) -> list[Block]:
        """One a set of clips as one backbone prepared them, in the order of the points: what shares reference
        rows. Of two backbones the fingerprint is the same, but the frozen row is not.
        """
        groups: dict[str, list[SweepPoint]] = {}
        for point in self.points:
            groups.setdefault(point.told["clips"], []).append(point)
        return [
            Block(tuple(points), tuple(r for r in self.references if r.clips == clips))
            for clips, points in groups.items()
        ]


@dataclass(frozen=True)
class Block:
    """Points and reference rows of one fingerprint and backbone: what may stand in one table."""

    points: tuple[SweepPoint, ...]
    references: tuple[Reference, ...]
    _tables: dict[float, Table] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def shares(self) -> list[float]:
        """Of the training clips, the largest first."""
        return sorted({point.share for point in self.points}, reverse=True)

    @property
    def share(self) -> float:
        """The share that the block's main table is of."""
        return self.shares[0]

    @property
    def subject(self) -> Subject:
        return self.points[0].subject

    @property
    def base(self) -> str:
        """The row that the others are held against."""
        return self.subject.base or self.points[0].row

    def reading(self) -> list[str]:
        """What must be known to read its rows beside what is so of every table."""
        if self.subject.adapts:
            return []
        return reading_of([point.record["config"]["render"] for point in self.points])

    @property
    def table(self) -> Table:
        return self.table_at(self.share)

    def table_at(self, share: float) -> Table:
        """Rows tuned with a share of the training clips, between the reference rows."""
        if share not in self._tables:
            rows = {name: [r.reading] for name, r in self.named_references().items()}
            rows |= {row: [p.reading for p in points] for row, points in self.rows(share).items()}
            costs = {row: cost_of([p.record for p in points]) for row, points in self.rows(share).items()}
            self._tables[share] = build_table(rows, costs=costs | (UNADAPTED if self.subject.adapts else {}))
        return self._tables[share]

    def rows(self, share: float) -> dict[str, list[SweepPoint]]:
        """Row → its points by seed, at a share."""
        found: dict[str, list[SweepPoint]] = {}
        for point in sorted(self.points, key=lambda p: p.seed):
            if point.share == share:
                found.setdefault(point.row, []).append(point)
        return {row: found[row] for row in dict.fromkeys(p.row for p in self.points) if row in found}

    def named_references(self) -> dict[str, Reference]:
        """Row's name → reference."""
        return {reference.row: reference for reference in self.references}

    def settings(self) -> list[Comparable]:
        """Groups of points that curves may compare: those that differ in adapter, seed and share alone."""
        groups: dict[str, list[SweepPoint]] = {}
        for point in self.points:
            alike = json.dumps(setting_of(point.record), sort_keys=True)
            groups.setdefault(alike, []).append(point)
        return [Comparable(tuple(points)) for points in groups.values()]


@dataclass(frozen=True)
class Comparable:
    """Points whose curves may be compared."""

    points: tuple[SweepPoint, ...]

    @property
    def name(self) -> str:
        """What the grid varies and all of them share; empty if nothing."""
        also = [{k: v for k, v in p.told["also"].items() if k not in ALIKE} for p in self.points]
        return " ".join(f"{k}={v}" for k, v in also[0].items() if all(a.get(k) == v for a in also))

    def curves(self, metric: str, *, share: float | None = None, tested: bool = False) -> list[TuningCurve]:
        """Of a metric, one a point, named as the table's rows; tested: `final` is on the test clips.

        Points that lack the metric are left out.
        """
        points = [p for p in self.points if share in (None, p.share)]
        if tested:
            points = [p for p in points if metric in p.reading.values]
        points = (
            [p for p in points if any(metric in row for row in p.record["curve"])] if not tested else points
        )
        if not points:
            return []
        test = {p.identity: {metric: p.reading.mean(metric)} for p in points} if tested else None
        records = [{**p.record, "adapter": p.row, "curve": drawn(p.record, metric, tested)} for p in points]
        return curves_of(records, metric, test=test)


def drawn(record: Mapping[str, Any], metric: str, tested: bool) -> list[Mapping[str, Any]]:
    """The rows of a tuning's curve; where only its end on the test clips counts, a metric that was not
    measured on the way (sync is not) is no reason to leave it out.
    """
    return [row if metric in row or not tested else {**row, metric: float("nan")} for row in record["curve"]]


# ------------------------------------------------------------------------------------------------- from files


def read_sweep(record: Mapping[str, Any], folder: Path, missing: Iterable[str] = ()) -> Sweep:
    """Reads what a grid's record names. folder: that its paths are told from.

    Raises UserError (2) for a record of another kind, (4) for a file that is gone or was changed since.
    """
    if record.get("kind") != "grid":
        asked = f"{folder}: this is no record of a grid"
        raise UserError(asked, f"it is of kind {record.get('kind', 'unknown')}", "give eatlab grid's record")
    points = tuple(
        SweepPoint(told, record_at(folder / told["record"]), *reading_at(folder, told["reading"]))
        for told in record["points"]
    )
    references = tuple(
        Reference(row, clips, *reading_at(folder, told)[:1], told["file"], told["sha256"])
        for clips, rows in record["references"].items()
        for row, told in rows.items()
    )
    return Sweep(record, folder, points, references, tuple(missing))


def record_at(path: Path) -> dict[str, Any]:
    """A record. Raises UserError (4) if it is gone or is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it is a {type(found).__name__}")
    except (OSError, ValueError) as error:
        do = "run the grid again: it makes what is missing"
        code = ExitCode.DATA_DAMAGED
        raise UserError(
            f"record {path} cannot be read", " ".join(str(error).split()), do, code=code
        ) from error
    return found


def reading_at(folder: Path, told: Mapping[str, str]) -> tuple[RowReading, str]:
    """A reading and its sha256. Raises UserError (4) unless it is the file that the record tells of."""
    path = folder / told["file"]
    there = sha256_of_file(path) if path.is_file() else "nothing"
    if there != told["sha256"]:
        asked = f"reading {path} is not the one that the grid's record tells of"
        there = f"sha256 {told['sha256'][:16]} was told, there is {there[:16]}"
        raise UserError(asked, there, "run the grid again", code=ExitCode.DATA_DAMAGED)
    return load_reading(path), told["sha256"]
