"""From finished jobs to what a user gets: the table, the report, the record, the tracked run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eatlab.atomic import sha256_of_file, write_atomically, write_csv, write_json, write_text
from eatlab.experiment.bars import verdicts_of
from eatlab.experiment.gallery import Gallery
from eatlab.experiment.page import Verdict
from eatlab.experiment.plots import Budget, CurvePoint
from eatlab.experiment.record import environment
from eatlab.experiment.report import ReportFiles, ReportInput, write_report
from eatlab.experiment.row_costs import table_of
from eatlab.experiment.run import Run, digests
from eatlab.experiment.tracking import TrackedRun, track
from eatlab.metrics.table import Table


@dataclass(frozen=True)
class Outcome:
    """All that an ablation found. readings: row → files, one a seed; points: spec → records of its tunings,
    by seed.
    """

    run: Run
    adapter: str
    domain: str
    readings: Mapping[str, Sequence[Path]]
    points: Mapping[str, Sequence[Mapping[str, Any]]]
    point_folders: Mapping[str, Sequence[Path]]
    gallery: Gallery | None
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]

    def table(self) -> Table:
        """Rows with intervals over seeds and clips, and what the adapters cost."""
        return table_of(self.readings, self.points)

    def curve(self) -> list[dict[str, Any]]:
        """Rows of the tuning curves of all points."""
        return [
            {"adapter": spec, "seed": record["seed"], **row}
            for spec, records in self.points.items()
            for record in records
            for row in curve_of(record)
        ]


def conclude(outcome: Outcome, *, report: bool, tracked: bool, spent: Mapping[str, float]) -> dict[str, Any]:
    """Writes everything into the run folder, the record last but one step, and returns the record."""
    folder, table = outcome.run.folder, outcome.table()
    plain = table.to_json()
    seeds = {spec: table.seed_means(spec, "m_lmd") for spec in outcome.points}
    random = outcome.facts["backbone"]["random"]
    verdicts = () if random else verdicts_of(outcome.adapter, plain["rows"], seeds)
    write_json(folder / "table.json", plain)
    write_text(folder / "table.txt", table.to_text(132) + "\n")
    write_text(folder / "table.md", table.to_markdown() + "\n")
    write_csv(folder / "metrics.csv", outcome.curve())
    best = outcome.point_folders[outcome.adapter][0] / "adapter.safetensors"
    write_atomically(folder / "adapter.safetensors", lambda part: shutil.copyfile(best, part))
    record = record_of(outcome, table, verdicts, spent)
    places = {"record": folder / "record.json", "adapter": folder / "adapter.safetensors"}
    media: dict[str, Path] = {}
    if report:
        files = write_report(report_input(outcome, table, verdicts, record, places), folder)
        places = {"report": files.html} | places
        media = media_of(files)
        record["files"] |= digests(folder, "report.html")
    if tracked:
        told = track(tracked_run(outcome, plain, media))
        record["wandb"] = {"place": told.place, "warning": told.warning}
    record["places"] = {name: str(path.relative_to(folder)) for name, path in places.items()}
    return record


def record_of(
    outcome: Outcome, table: Table, verdicts: Sequence[Verdict], spent: Mapping[str, float]
) -> dict[str, Any]:
    """Everything a reader needs to believe the table and to repeat it."""
    folder = outcome.run.folder
    return {
        "kind": "ablation",
        "identity": outcome.run.name,
        "adapter": outcome.adapter,
        "domain": outcome.domain,
        "table": table.to_json(),
        "details": table.details(),
        "bars": [{"says": v.says, "holds": v.holds, "detail": v.detail} for v in verdicts],
        "points": {
            spec: [point_summary(record) for record in records] for spec, records in outcome.points.items()
        },
        **outcome.facts,
        "readings": {
            row: [told_file(path, folder) for path in paths] for row, paths in outcome.readings.items()
        },
        "latent_z": "zeros, for every clip of every row",
        "data_warnings": list(outcome.warnings),
        "warnings": [*outcome.warnings, *table.warnings],
        "spent": dict(spent),
        "environment": environment(),
        "files": digests(folder, "table.json", "table.txt", "adapter.safetensors"),
    }


def told_file(path: Path, folder: Path) -> dict[str, str]:
    """Where a file lies from the run folder, and its sha256: a reading has the values of every clip."""
    return {"file": os.path.relpath(path, folder), "sha256": sha256_of_file(path)}


def point_summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the ablation's record says of a tuning; the rest is in that run's own record."""
    kept = ("identity", "seed", "budget", "sees_emotion", "wall_s", "cpu_s", "backbone_sha256", "files")
    return {name: record[name] for name in kept if name in record}


def report_input(
    outcome: Outcome,
    table: Table,
    verdicts: tuple[Verdict, ...],
    record: Mapping[str, Any],
    places: Mapping[str, Path],
) -> ReportInput:
    """What the page shows."""
    assert outcome.gallery is not None, "a report shows pictures"
    sheets = outcome.gallery.sheets
    confusion = {
        row: readings[0].confusion()
        for row, readings in table.readings.items()
        if row in (outcome.adapter, "ground_truth")
    }
    budgets = {
        spec: Budget(points[0]["budget"]["total"], points[0]["budget"]["percent"])
        for spec, points in outcome.points.items()
    }
    names = ("identity", "seeds", "backbone", "judges", "data", "schedule", "environment", "spent")
    return ReportInput(
        adapter=outcome.adapter,
        table=record["table"],
        curve=tuple(curve_point(row) for row in outcome.curve()),
        confusion={row: counts for row, counts in confusion.items() if counts is not None},
        budgets=budgets,
        verdicts=verdicts,
        contact=sheets["contact_sheet"],
        intensity=sheets["intensity"],
        mix=sheets["mix"],
        films=outcome.gallery.films,
        provenance={name: record[name] for name in names if name in record},
        comparisons=tuple(table.verdicts()),
        small_print=tuple(table.notes),
        warnings=tuple(record["warnings"]),
        domain=outcome.domain,
        places={name: path.name for name, path in places.items()},
    )


def curve_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a tuning's curve, with its clock in minutes."""
    return [{"minutes": row["train_s"] / 60, **row} for row in record["curve"]]


def curve_point(row: Mapping[str, Any]) -> CurvePoint:
    """A row of the curve as the plot wants it; the share of E explained is shown too."""
    skipped = ("adapter", "seed", "minutes", "step", "train_s", "cpu_s")
    metrics = {name: float(value) for name, value in row.items() if name not in skipped}
    return CurvePoint(row["adapter"], row["seed"], row["minutes"], metrics)


def tracked_run(outcome: Outcome, table: Mapping[str, Any], media: Mapping[str, Path]) -> TrackedRun:
    """What W&B gets to know."""
    return TrackedRun(
        identity=outcome.run.name,
        name=f"ablation {outcome.adapter} {outcome.run.name}",
        folder=outcome.run.folder,
        config=dict(outcome.facts),
        curve=tuple(outcome.curve()),
        table=table,
        media=media,
    )


def media_of(files: ReportFiles) -> dict[str, Path]:
    """Pictures and films by name; of a plot the PNG that lies beside its SVG."""
    pictures = {name: path.with_suffix(".png") for name, path in files.pictures.items()}
    return pictures | {film.path.stem: film.path for film in files.films}
