"""One table of rows measured under one protocol: means, 95 % intervals, verdicts, as text and as JSON.

Rows are data: name → one reading a training seed. Reference rows (evaluation.md 11.1) bracket the adapters:
*source_copy* the portrait repeated, *still* its expression with the true pose, *frozen* no adapter,
*wrong_emotion* another emotion asked, *reenactment* the expression of the true frame, *ground_truth* the
truth against itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eatlab.errors import UserError
from eatlab.metrics import reference
from eatlab.metrics.intensity import with_intensity
from eatlab.metrics.notes import notes_of, warnings_of
from eatlab.metrics.protocols import METRICS, Fingerprint, Protocol
from eatlab.metrics.row import RowReading
from eatlab.metrics.statistics import (
    RESAMPLES,
    Bootstrap,
    Comparison,
    Interval,
    holm,
    interval,
    mean_of,
    paired_p,
    per_clip,
    word_of,
)

COSTS = ("params", "params_percent", "minutes")
NOT_TUNED = "not measured: nothing is tuned in this row"
INFINITE = "infinite: identical frames"


@dataclass(frozen=True)
class Cost:
    """What a row costs, by its records: added parameters, their % of the backbone's, minutes of each run.

    sees_emotion: whether what was added depends on the emotion.
    """

    params: float
    params_percent: float
    minutes: tuple[float, ...] = ()
    sees_emotion: bool = True


@dataclass(frozen=True)
class Cell:
    """One number: its interval, or why there is none.

    `seeds` are each seed's mean, `persons` the person-level interval.
    """

    interval: Interval | None
    reason: str = ""
    seeds: tuple[float, ...] = ()
    persons: Interval | None = None

    @property
    def mean(self) -> float:
        """The mean as a plain number: infinite for identical frames, NaN where it is not measured."""
        if self.interval is not None:
            return self.interval.mean
        return float("inf") if self.reason.startswith(INFINITE) else float("nan")

    @property
    def seed_deviation(self) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else None

    def to_json(self) -> dict[str, float | str | None]:
        """mean, low, high, and the reason where there is something to say; ends that are NaN are null."""
        found = self.interval
        mean, low, high = (found.mean, found.low, found.high) if found else (None, None, None)
        if low is not None and np.isnan(low):
            low = high = None
        numbers: dict[str, float | str | None] = {"mean": mean, "low": low, "high": high}
        return {**numbers, "reason": self.reason} if self.reason else numbers


@dataclass(frozen=True)
class Table:
    """The comparison: cells by row and metric, what must be said with them, and rows blind to emotion."""

    protocol: Protocol
    fingerprint: Fingerprint
    readings: Mapping[str, Sequence[RowReading]]
    cells: Mapping[str, Mapping[str, Cell]]
    bootstrap: Bootstrap
    unusable: Mapping[str, str]
    blind: tuple[str, ...] = ()
    _draws: Mapping[tuple[str, str], np.ndarray] = field(repr=False, default_factory=dict)

    @property
    def rows(self) -> tuple[str, ...]:
        """Names, in the order in which they are shown."""
        return tuple(self.cells)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is measured and what it costs, the first to be read first."""
        first = (*self.protocol.quoted, "params", "minutes")
        return (*first, *(name for name in (*self.protocol.metrics, *COSTS) if name not in first))

    @property
    def adapters(self) -> tuple[str, ...]:
        """The rows that are no reference rows."""
        return tuple(row for row in self.rows if row not in reference.ROWS)

    @property
    def judge_is_fit(self) -> bool:
        """Whether the judge reads the emotions of the ground truth well enough to mean anything."""
        truth = self.cells.get("ground_truth", {}).get("acc_emo")
        return truth is not None and truth.mean >= self.protocol.least_judge_accuracy

    @property
    def warnings(self) -> list[str]:
        """What must be read before any number."""
        return warnings_of(self)

    @property
    def notes(self) -> list[str]:
        """What each column is, its chance level, and what it cannot say."""
        return notes_of(self)

    def seed_means(self, row: str, metric: str) -> list[float]:
        """The mean of each seed of a row."""
        return list(self.cells[row][metric].seeds)

    def compare(self, first: str, second: str, metrics: Sequence[str] = ()) -> list[Comparison]:
        """One row against another on the same clips, per metric (the ranked ones) that both have."""
        return [
            self._comparison(first, second, m)
            for m in metrics or self.protocol.ranked
            if {(first, m), (second, m)} <= self._draws.keys()
        ]

    def _comparison(self, first: str, second: str, metric: str) -> Comparison:
        mean = self.cells[first][metric].mean - self.cells[second][metric].mean
        difference = interval(mean, self._draws[first, metric] - self._draws[second, metric])
        p = paired_p(self._per_clip(first, metric) - self._per_clip(second, metric))
        return Comparison(
            metric, first, second, difference, word_of(difference, p, METRICS[metric].better), p
        )

    def _per_clip(self, row: str, metric: str) -> np.ndarray:
        return per_clip(np.stack([reading.values[metric] for reading in self.readings[row]]))

    def verdicts(self) -> list[str]:
        """Each adapter against frozen and those before it, in words; p by Holm over the pairs of a metric."""
        compared = ["frozen", *self.adapters] if "frozen" in self.rows else list(self.adapters)
        pairs = [(later, earlier) for i, later in enumerate(compared) for earlier in compared[:i]]
        lines = {pair: [] for pair in pairs}  # type: dict[tuple[str, str], list[str]]
        for metric in self.protocol.ranked:
            found = [c for pair in pairs for c in self.compare(*pair, metrics=(metric,))]
            for c, p in zip(found, holm([c.p for c in found]), strict=True):
                lines[c.first, c.second].append(self._phrase(c, p))
        return [f"{a} against {b}: {'; '.join(said)}" for (a, b), said in lines.items() if said]

    def _phrase(self, found: Comparison, p: float) -> str:
        metric = METRICS[found.metric]
        word, known = word_of(found.difference, p, metric.better), found.difference
        mean, low, high = (f"{number:+.{metric.digits}f}" for number in (known.mean, known.low, known.high))
        phrase = f"{metric.heading} {word} ({mean} [{low}, {high}]"
        ours, theirs = self.seed_means(found.first, found.metric), self.seed_means(found.second, found.metric)
        apart = max(ours) < min(theirs) or min(ours) > max(theirs)
        return phrase + (", every seed)" if apart and len(ours) > 1 else ")")

    def to_json(self) -> dict[str, Any]:
        """The plain result; what is not measured is null, with a reason."""
        columns = self.columns
        rows = {row: {name: cells[name].to_json() for name in columns} for row, cells in self.cells.items()}
        return {
            "protocol": self.fingerprint.facts["protocol"],
            "fingerprint": self.fingerprint.hex,
            "rows": rows,
        }

    def write_json(self, path: Path) -> None:
        """Write `to_json` as strict JSON, whole or not at all."""
        content = json.dumps(self.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(content, encoding="utf-8")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def details(self) -> dict[str, Any]:
        """What the record keeps beside the plain result: facts, seeds, person-level intervals, words."""
        return {
            "facts": dict(self.fingerprint.facts),
            "warnings": self.warnings,
            "notes": self.notes,
            "verdicts": self.verdicts(),
            "unusable": dict(self.unusable),
            "rows": {
                row: {name: _detail(cell) for name, cell in cells.items()}
                for row, cells in self.cells.items()
            },
            "by_emotion": {
                row: [r.by_emotion() for r in readings] for row, readings in self.readings.items()
            },
        }

    def to_text(self, width: int = 132, *, color: bool = False) -> str:
        """For a terminal of `width` columns (120 or more keep every column)."""
        from eatlab.metrics.table_text import text_of

        return text_of(self, width, color=color)

    def to_markdown(self) -> str:
        """For a README: the main columns with intervals."""
        from eatlab.metrics.table_text import markdown_of

        return markdown_of(self)


def _detail(cell: Cell) -> dict[str, Any]:
    people = cell.persons and [cell.persons.low, cell.persons.high]
    return {
        **cell.to_json(),
        "seeds": list(cell.seeds),
        "seed_deviation": cell.seed_deviation,
        "persons": people,
    }


def build_table(
    rows: Mapping[str, Sequence[RowReading]],
    *,
    costs: Mapping[str, Cost] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Table:
    """Put rows into one table. rows: name → a reading for each training seed (one where nothing is trained).

    Raises UserError when two readings were not measured alike, and names what differs.
    """
    rows = {
        name: rows[name] for name in reference.ordered([name for name, readings in rows.items() if readings])
    }
    first = _measured_alike(rows)
    rows = with_intensity(rows)
    bootstrap = Bootstrap(first.clips.identity, resamples=resamples, seed=seed)
    cells, draws = _cells(rows, bootstrap)
    for name, of_row in cells.items():
        of_row |= _cost_cells(name, (costs or {}).get(name), bootstrap)
    blind = tuple(name for name in rows if costs and name in costs and not costs[name].sees_emotion)
    table = Table(first.protocol, first.fingerprint, rows, cells, bootstrap, {}, blind, draws)
    unusable = reference.contradictions(table)
    for of_row in cells.values():
        for metric, reason in unusable.items():
            cell = of_row[metric]
            of_row[metric] = (
                cell if cell.reason else Cell(cell.interval, f"unusable: {reason}", cell.seeds, cell.persons)
            )
    return Table(first.protocol, first.fingerprint, rows, cells, bootstrap, unusable, blind, draws)


def _measured_alike(rows: Mapping[str, Sequence[RowReading]]) -> RowReading:
    readings = [(name, reading) for name, of_row in rows.items() for reading in of_row]
    if not readings:
        raise UserError("a table needs at least one row", "there is none")
    first_name, first = readings[0]
    for name, reading in readings[1:]:
        if differ := first.fingerprint.differences(reading.fingerprint):
            asked = f'rows "{first_name}" and "{name}" cannot stand in one table'
            raise UserError(
                asked, f"measured differently: {', '.join(differ)}", "measure them again under one protocol"
            )
    return first


def _cells(
    rows: Mapping[str, Sequence[RowReading]], bootstrap: Bootstrap
) -> tuple[dict[str, dict[str, Cell]], dict[tuple[str, str], np.ndarray]]:
    """Cells, and bootstrap draws of everything that is measured on clips, all in two matrix products."""
    cells: dict[str, dict[str, Cell]] = {row: {} for row in rows}
    finite: dict[tuple[str, str], np.ndarray] = {}
    for row, readings in rows.items():
        for metric in readings[0].protocol.metrics:
            reason, values = _values(readings, metric)
            if values is None:
                cells[row][metric] = Cell(None, reason)
            elif METRICS[metric].of_set:
                each = tuple(values.mean(1).tolist())
                alone = Interval(float(values.mean()), np.nan, np.nan)
                cells[row][metric] = Cell(alone, readings[0].reasons.get(metric, ""), each)
            else:
                finite[row, metric] = values
    if not finite:
        return cells, {}
    stacked = np.concatenate(list(finite.values()))
    ends = np.cumsum([len(values) for values in finite.values()])[:-1]
    weights = {(row, metric): _weights(rows[row], metric) for row, metric in finite}
    counts = np.concatenate([np.broadcast_to(weights[at], finite[at].shape) for at in finite])
    by_clip, by_person = (
        np.split(bootstrap.means(stacked, by_person=person, weights=counts), ends) for person in (False, True)
    )
    draws = {}
    for (row, metric), clips, persons in zip(finite, by_clip, by_person, strict=True):
        values, counted = finite[row, metric], weights[row, metric]
        mean, draws[row, metric] = mean_of(values, counted), bootstrap.over_seeds(clips, row)
        seeds = tuple(mean_of(one[None], counted) for one in values)
        people = interval(mean, bootstrap.over_seeds(persons, row))
        said = rows[row][0].reasons.get(metric, "")
        cells[row][metric] = Cell(interval(mean, draws[row, metric]), said, seeds, people)
    return cells, draws


def _weights(readings: Sequence[RowReading], metric: str) -> np.ndarray | float:
    """(clips,) how much each counts: its frames, where the protocol's mean is over frames."""
    first = readings[0]
    return first.extras["num_frames"] if metric in first.protocol.over_frames else 1.0


def _values(readings: Sequence[RowReading], metric: str) -> tuple[str, np.ndarray | None]:
    """(seeds, clips) of a metric, or the reason why it has no finite mean."""
    for reading in readings:
        if metric not in reading.values:
            return reading.reasons.get(metric, "not measured"), None
    values = np.stack([reading.values[metric] for reading in readings])
    infinite = np.isinf(values).any(0)
    if infinite.all():
        return INFINITE, None
    return (
        (f"{INFINITE} in {infinite.sum()} of {infinite.size} clips", None) if infinite.any() else ("", values)
    )


def _cost_cells(row: str, cost: Cost | None, bootstrap: Bootstrap) -> dict[str, Cell]:
    if cost is None:
        return {name: Cell(None, NOT_TUNED) for name in COSTS}
    exact = {
        name: Cell(Interval(value, value, value))
        for name in COSTS[:2]
        for value in [float(getattr(cost, name))]
    }
    if not cost.minutes:
        return {**exact, "minutes": Cell(None, NOT_TUNED)}
    minutes = np.asarray(cost.minutes, dtype=np.float64)
    draws = bootstrap.over_seeds(np.repeat(minutes[:, None], bootstrap.resamples, 1), row)
    return {**exact, "minutes": Cell(interval(float(minutes.mean()), draws), "", tuple(cost.minutes))}
