"""The W&B runs of a grid: one a point, under the point's name, grouped by the grid.

The process that shows the grid logs them, by one child at a time: it sees the points of every engine and
machine, and no worker waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from eatlab.experiment.grids.claims import Claim, take
from eatlab.experiment.grids.worker import Unit, is_over
from eatlab.experiment.outcome import curve_of
from eatlab.experiment.plan import RowFile
from eatlab.experiment.report import PICTURES
from eatlab.experiment.row_costs import cost_of
from eatlab.experiment.tracking import (
    LIFE_S,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Tracked,
    TrackedRun,
    Tracker,
    log_content,
    start_tracking,
    tracked_before,
)
from eatlab.metrics.row import load_reading
from eatlab.metrics.table import build_table

ROW = "test"
"""The row's name in every run's table, so that W&B shows "test/m_lmd" of all points side by side."""
TRUTH = "ground_truth"
NICE = 19
LAST_S = 60.0
"""How long a child may take once the grid has ended; before, nobody waits and it may take its whole life."""
ALL_S = 120.0
"""How long all that are left may take then; what is left over, the same command logs."""
GIVE_UP = 2
"""After so many failures in a row W&B is left alone."""
RESAMPLES = 64
"""Few: only means are logged, intervals are the report's."""


class PointLike(Unit, Protocol):
    """A unit that leaves a tuning's record and a reading; see `units.PointUnit`."""

    @property
    def record(self) -> dict[str, Any] | None: ...

    @property
    def file(self) -> RowFile | None: ...


@dataclass(frozen=True)
class AtWork:
    """A child, and the claim under which it is: two grids may have a point in common."""

    tracker: Tracker
    claim: Claim


class PointRuns:
    """Logs points as they are done; nothing that W&B does or lacks is raised.

    units: all of the grid; a point is logged once what needs it (its pictures) is over too. group: the grid's
    identity. A child that is at work when the grid is stopped ends by itself, so that its run is whole.
    """

    def __init__(self, points: Sequence[PointLike], units: Sequence[Unit], group: str) -> None:
        self.group, self.left = group, list(points)
        self.later = {point.folder: [u for u in units if needs(u, point)] for point in points}
        self.truths = {point.folder: truth_of(point, units) for point in points}
        self.at_work: AtWork | None = None
        self.places: list[str] = []
        self.warnings: list[str] = []
        self.num_failed = self.in_a_row = 0

    def step(self, limit_s: float = LIFE_S) -> bool:
        """Looks at the child at work and, once it has ended or taken `limit_s`, starts the next; never waits.

        Says whether one is at work.
        """
        try:
            self.look(limit_s)
            self.start_next()
        except Exception as error:  # the grid goes on, whatever it is
            self.note(failed(error))
        return self.at_work is not None

    def look(self, limit_s: float) -> None:
        """What became of the child at work, if it has ended or taken `limit_s`."""
        if self.at_work is not None and (told := self.at_work.tracker.look(limit_s)) is not None:
            with suppress(OSError):
                self.at_work.claim.clear()
            self.at_work = None
            self.note(told)

    def start_next(self) -> None:
        """Starts a child for the first point that is done and has no run, unless one is at work."""
        while self.at_work is None and self.in_a_row < GIVE_UP and (point := self.next()) is not None:
            self.left.remove(point)
            try:
                self.begin(point)
            except Exception as error:  # only this point lacks its run
                self.note(failed(error))

    def finish(self, told: Callable[[], bool]) -> None:
        """Logs what is left, now that nothing else runs, for at most ALL_S; `told` ends it early."""
        end = time.monotonic() + ALL_S
        if self.at_work is not None:
            self.at_work.tracker.grant()
        while self.step(LAST_S) and not told() and time.monotonic() < end:
            time.sleep(0.05)

    def next(self) -> PointLike | None:
        """The first point that is done, with what needs it."""
        return next((point for point in self.left if self.is_ready(point)), None)

    def is_ready(self, point: PointLike) -> bool:
        return point.is_done() and all(map(is_over, self.later[point.folder]))

    def begin(self, point: PointLike) -> None:
        """Starts a child, unless the point has its run or another process is at it."""
        if found := tracked_before(point.folder, point.folder.name):
            self.note(found)
            return
        run = run_of(point, self.group, self.truths[point.folder])
        if claim := take(point.folder / "wandb", f"W&B of {self.group}", stale_s=LIFE_S):
            self.at_work = AtWork(start_tracking(run, nice=NICE), claim)

    def note(self, told: Tracked) -> None:
        """What became of a point."""
        self.places += [told.place] if told.place else []
        self.warnings += [told.warning] if told.warning else []
        self.num_failed += told.place is None
        self.in_a_row = 0 if told.place else self.in_a_row + 1

    def in_words(self, runs: str) -> Iterator[str]:
        """Where the runs lie, one line for each mode. runs: the folder of run folders."""
        online = [place for place in self.places if place.startswith("https://")]
        if online:
            yield f"W&B: {len(online)} runs in group {self.group}, {online[0].rpartition('/runs/')[0]}"
        if num := len(self.places) - len(online):
            yield f"W&B: {num} runs, offline; `wandb sync {runs}/*/wandb/offline-run-*` sends all there"

    def warning(self) -> str:
        """One line, empty if all is well."""
        num = self.num_failed + sum(map(self.is_ready, self.left)) + (self.at_work is not None)
        reason = self.warnings[0] if self.warnings else "there was no time left"
        if num:
            return f"{num} points have no W&B run, the same command tries again: {reason}"
        return reason if self.warnings else ""


def needs(unit: Unit, point: Unit) -> bool:
    return unit.needs is not None and unit.needs.folder == point.folder


def truth_of(point: PointLike, units: Sequence[Unit]) -> RowFile | None:
    """The reading of the truth of a point's clips, where the grid has one: intensity is read off it."""
    found = (u for u in units if getattr(u, "row", "") == TRUTH and u.needs == point.needs)
    return getattr(next(found, None), "file", None)


def failed(error: Exception) -> Tracked:
    return Tracked(None, " ".join(f"{type(error).__name__}: {error}".split()))


def run_of(point: PointLike, group: str, truth: RowFile | None) -> TrackedRun:
    """What W&B gets to know of a point that is done. Raises UserError for a damaged reading."""
    record, file = point.record, point.file
    assert record is not None
    assert file is not None
    return TrackedRun(
        identity=point.folder.name,
        name=point.name,
        folder=point.folder,
        config=record["config"],
        curve=tuple(curve_of(record)),
        table=means_of(record, file.path, truth),
        media=media_in(point.folder / PICTURES),
        group=group,
    )


def log_into(run: Any, point: PointLike, units: Sequence[Unit], group: str) -> None:
    """The same into a run that W&B has opened."""
    told = run_of(point, group, truth_of(point, units))
    run.config.update(told.config)
    log_content(run, vars(told))


def means_of(record: Mapping[str, Any], reading: Path, truth: RowFile | None) -> dict[str, Any]:
    """The table's JSON form, of one row: the mean of each column, or the reason why there is none."""
    rows = {ROW: [load_reading(reading)]}
    if truth is not None and truth.is_there:
        rows[TRUTH] = [load_reading(truth.path)]
    plain = build_table(rows, costs={ROW: cost_of([record])}, resamples=RESAMPLES).to_json()
    kept = {name: mean_in(cell) for name, cell in plain["rows"][ROW].items()}
    return plain | {"rows": {ROW: kept}}


def mean_in(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {"mean": cell["mean"]} | ({"reason": cell.get("reason")} if cell["mean"] is None else {})


def media_in(folder: Path) -> dict[str, Path]:
    """Pictures and films by name, of all clips that they were drawn of."""
    suffixes = PICTURE_SUFFIXES | VIDEO_SUFFIXES
    return {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix in suffixes}
