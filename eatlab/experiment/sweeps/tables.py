"""The tables of a grid's report: rows with verdicts, pairs, emotions, minutes, shares, Pareto, provenance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eatlab.emotions import EMOTIONS
from eatlab.experiment.page import (
    ARROWS,
    DASH,
    MAIN_COLUMNS,
    Cell,
    Column,
    TablePart,
    TableRow,
    table_part,
)
from eatlab.experiment.sweeps.curves import TIMES_S, better_of, by_adapter, finals_by_seed, of_data, of_time
from eatlab.experiment.sweeps.figures import standings_of, trained
from eatlab.experiment.sweeps.pairs import Pairs
from eatlab.experiment.sweeps.records import Block, Comparable, SweepPoint
from eatlab.metrics.protocols import METRICS
from eatlab.metrics.table import Table

TABLE_7 = ("happy", "angry", "disgusted", "fear", "sad", "neutral", "surprised", "contempt")
"""Emotions in the order of the paper's Table 7."""
Form = Callable[[float], str]
"""How a number is written."""
NO_CLIPS = "not measured: no clip of this emotion"
NO_JUDGE = "not measured: no judge of emotions saw this row"
NOT_YET = "not measured: nothing was measured so early"
NOT_REACHED = "not every seed gets there"


@dataclass(frozen=True)
class Matrix:
    """Paired differences in one metric, best row first; cells[row][column]: row - column, empty on the
    diagonal.
    """

    metric: str
    heading: str
    better: str
    rows: list[str]
    cells: list[list[Cell]]


def main_columns(table: Table) -> list[str]:
    """What the first table shows; the rest are its further columns."""
    return [name for name in MAIN_COLUMNS if name in table.columns]


def further_columns(table: Table) -> list[str]:
    """Measured, but not among the main ones."""
    shown = main_columns(table)
    there = [n for n in table.protocol.metrics if any(cells[n].interval for cells in table.cells.values())]
    return [name for name in there if name not in shown]


def rows_part(table: Table, pairs: Pairs, names: Sequence[str], links: Mapping[str, str]) -> TablePart:
    """Rows × columns with intervals; each ranked number with its verdict against the pairs' base.

    links: row → id of its place in the provenance.
    """
    part = table_part(table.to_json()["rows"], names, own=best_row(pairs, table))
    rows = [
        replace(
            row,
            link=links.get(row.name, ""),
            cells=tuple(
                replace(cell, verdict=pairs.word(name, row.name))
                for name, cell in zip(names, row.cells, strict=True)
            ),
        )
        for row in part.rows
    ]
    columns = [
        replace(column, arrow="✗" if name in table.unusable else column.arrow)
        for name, column in zip(names, part.columns, strict=True)
    ]
    return TablePart(columns, rows)


def best_row(pairs: Pairs, table: Table) -> str:
    """The adapter with the best mean in the first ranked metric; empty if none was compared."""
    for metric in pairs.by_metric:
        if found := [row for row in pairs.best(metric, table) if row in table.adapters]:
            return found[0]
    return ""


def matrices(table: Table, pairs: Pairs) -> list[Matrix]:
    """One a ranked metric."""
    found = []
    for metric, by_pair in pairs.by_metric.items():
        rows, about = pairs.best(metric, table), METRICS[metric]
        cells = [[pair_cell(by_pair, row, column, about.digits) for column in rows] for row in rows]
        found.append(Matrix(metric, about.heading, about.better, rows, cells))
    return found


def pair_cell(by_pair: Mapping[tuple[str, str], Any], row: str, column: str, digits: int) -> Cell:
    """A difference; its interval and p are told to who hovers, and stand in the Markdown file."""
    if (pair := by_pair.get((row, column))) is None:
        return Cell("")
    mean, low, high = (
        f"{number:+z.{digits}f}"
        for number in (pair.difference.mean, pair.difference.low, pair.difference.high)
    )
    told = f"{row} against {column}: {pair.word}, {mean} [{low}, {high}], p {pair.p:.2g} after Holm"
    return Cell(mean, "", told, pair.word)


def emotion_part(table: Table) -> TablePart:
    """Percent of the clips of each emotion judged as it, as in the paper's Table 7: the mean of the seeds,
    and below it their worst and best. The last column is of all clips, each counting once.
    """
    columns = [Column(name.capitalize(), f"percent of the {name} clips judged {name}") for name in TABLE_7]
    columns.append(Column("All clips", "Acc_emo in percent"))
    rows = []
    for row, readings in table.readings.items():
        seeds = [reading.by_emotion() for reading in readings]
        values: list[Cell] = []
        for name in TABLE_7:
            shares = [100 * seed[name] for seed in seeds if name in seed]
            values.append(of_numbers(shares, 0, NO_CLIPS if any(seeds) else NO_JUDGE))
        overall = table.cells[row].get("acc_emo")
        values.append(of_numbers([100 * s for s in overall.seeds] if overall else [], 0, NO_JUDGE))
        rows.append(TableRow(row, "", False, tuple(values)))
    assert set(TABLE_7) == set(EMOTIONS)
    return TablePart(columns, rows)


def reasons(part: TablePart) -> list[str]:
    """Why cells of a table are dashes, each reason once."""
    return list(
        dict.fromkeys(c.reason for row in part.rows for c in row.cells if c.value == DASH and c.reason)
    )


def of_numbers(seeds: Sequence[float], digits: int, reason: str) -> Cell:
    """Mean, and worst–best of several."""
    if not seeds:
        return Cell(DASH, reason=reason)
    low, high = f"{min(seeds):.{digits}f}", f"{max(seeds):.{digits}f}"
    return Cell(f"{np.mean(seeds):.{digits}f}", "" if low == high else f"{low}{DASH}{high}")


# ------------------------------------------------------------------------------------- minutes, shares, cost


def time_part(setting: Comparable, metric: str) -> tuple[TablePart, float] | None:
    """Quality after some time, the mean over log time, and the time until the target; and the target: what
    three quarters of the adapters end with. None where nothing was measured on the way.
    """
    share = max(point.share for point in setting.points)
    curves = trained(setting.curves(metric, share=share))
    if not curves:
        return None
    better, groups = better_of(metric), by_adapter(curves)
    target = reached([float(np.mean([c.values[-1] for c in group])) for group in groups.values()], better)
    digits = METRICS[metric].digits
    columns = [Column(clock(t), f"{METRICS[metric].heading} after {clock(t)} of tuning") for t in TIMES_S]
    columns.append(Column("area", "mean quality over the logarithm of training time", ARROWS[better]))
    columns.append(Column(f"to {target:.{digits}f}", "training time until the target is first reached", "↓"))
    rows = []
    for name, group in groups.items():
        found = of_time(name, group, better, target, TIMES_S)
        cells = [of_spread(found["at"][f"{t:g}"], digits, NOT_YET) for t in TIMES_S]
        cells.append(of_spread(found["area_over_time"], digits, NOT_YET))
        cells.append(of_spread(found["time_to"], 0, NOT_REACHED, clock))
        rows.append(TableRow(name, "", False, tuple(cells)))
    return TablePart(columns, rows), target


def share_part(setting: Comparable, metric: str) -> tuple[TablePart, float] | None:
    """Quality on the test clips at each share, the mean over log share, and the share that the target takes:
    what three quarters of the adapters reach with all. None for a single share.
    """
    curves = setting.curves(metric, tested=True)
    shares = sorted({curve.share for curve in curves})
    if len(shares) < 2:
        return None
    better, groups = better_of(metric), by_adapter(curves)
    ends = [
        float(np.mean([c.final for c in g if c.share == shares[-1]] or [math.nan])) for g in groups.values()
    ]
    target, digits = reached(ends, better), METRICS[metric].digits
    columns = [
        Column(percent(s), f"{METRICS[metric].heading} with {percent(s)} of the clips") for s in shares
    ]
    columns.append(Column("area", "mean quality over the logarithm of the share", ARROWS[better]))
    columns.append(Column(f"to {target:.{digits}f}", "share of the clips that the target takes", "↓"))
    rows = []
    for name, group in groups.items():
        found = of_data(name, finals_by_seed(group), better, target)
        at = found["at_share"]
        cells = [of_spread(at.get(f"{s:g}"), digits, "not tuned, or not by every seed") for s in shares]
        cells.append(of_spread(found.get("area_over_share"), digits, "not every seed has every share"))
        cells.append(of_spread(found.get("data_to"), 0, NOT_REACHED, percent))
        rows.append(TableRow(name, "", False, tuple(cells)))
    return TablePart(columns, rows), target


def reached(ends: Sequence[float], better: str) -> float:
    """What three quarters of these qualities reach; NaN are left out."""
    known = sorted((end for end in ends if not math.isnan(end)), reverse=better == "higher")
    return known[math.ceil(0.75 * len(known)) - 1]


def of_spread(found: Mapping[str, Any] | None, digits: int, reason: str, form: Form | None = None) -> Cell:
    """A number over seeds: mean, its interval below. Where some seed has none: a dash, and how many have."""
    if found is None:
        return Cell(DASH, reason=reason)
    form = form or (lambda value: f"{value:.{digits}f}")
    if found["interval"] is None:
        have = sum(value is not None for value in found["seeds"])
        return Cell(DASH, f"{have} of {len(found['seeds'])} seeds" if have else "", reason)
    mean, low, high = (found["interval"][end] for end in ("mean", "low", "high"))
    return Cell(form(mean), "" if math.isnan(low) or low == high else f"{form(low)}{DASH}{form(high)}")


def clock(seconds: float) -> str:
    """0.7 s, 15 s, 1 min, 2.5 min."""
    if seconds < 10:
        return f"{seconds:.1g} s"
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.2g} min"


def percent(share: float) -> str:
    """25 %."""
    return f"{100 * share:.3g} %"


def pareto_part(setting: Comparable, metric: str) -> TablePart | None:
    """Adapters by size: budget, minutes, quality, and which no other beats. None if it was not measured, or
    nothing adds parameters.
    """
    found = standings_of(setting, metric)
    if not any(standing.parameters for standing in found):
        return None
    timed = {s.adapter: s.on_front for s in standings_of(setting, metric, count_minutes=True)}
    digits = METRICS[metric].digits
    columns = [
        Column("parameters", "parameters that the adapter adds", "↓"),
        Column("% of backbone", "the same, of the frozen backbone", "↓"),
        Column("minutes", "of tuning, without evaluation", "↓"),
        Column(METRICS[metric].heading, METRICS[metric].means, ARROWS[better_of(metric)]),
        Column("front", "no other adapter has fewer parameters and better quality"),
        Column("with minutes", "the same, where minutes count as a third cost"),
    ]
    rows = []
    for s in sorted(found, key=lambda s: s.parameters):
        quality = of_spread({"seeds": s.quality.seeds, "interval": vars_of(s.quality.interval)}, digits, "")
        cells = (
            Cell(f"{s.parameters:,}"),
            Cell(f"{s.percent:.3g}"),
            of_spread({"seeds": s.minutes.seeds, "interval": vars_of(s.minutes.interval)}, 1, ""),
            quality,
            Cell("●" if s.on_front else ""),
            Cell("●" if timed[s.adapter] else ""),
        )
        blind = "" if s.sees_emotion else "blind to emotion"
        rows.append(TableRow(s.adapter, blind, s.on_front, cells))
    return TablePart(columns, rows)


def vars_of(interval: Any) -> dict[str, float] | None:
    """An interval as plain numbers."""
    return None if interval is None else dict(vars(interval))


# ------------------------------------------------------------------------------------------- where it is from


def provenance_part(block: Block, links: Mapping[str, str]) -> list[tuple[str, TableRow]]:
    """(id of the place, row) of each tuning and each reference row: record, commit, sha256 of the reading."""
    rows: list[tuple[str, TableRow]] = []
    for name, reference in block.named_references().items():
        told = (
            Cell(DASH),
            Cell(DASH),
            Cell(DASH),
            Cell(DASH),
            Cell(reference.sha256[:12], "", reference.file),
        )
        rows.append((links.get(name, ""), TableRow(name, "", False, told)))
    for row in dict.fromkeys(p.row for p in block.points):
        for number, point in enumerate(p for p in block.points if p.row == row):
            rows.append((links.get(row, "") if number == 0 else "", point_row(point)))
    return rows


PROVENANCE = ("seed", "share", "record", "commit", "reading")


def point_row(point: SweepPoint) -> TableRow:
    """Of one tuning."""
    commit = str(point.record.get("environment", {}).get("commit", ""))
    short = commit[:9] + ("+changes" if commit.endswith("+changes") else "")
    cells = (
        Cell(str(point.seed)),
        Cell(percent(point.share) if point.subject.adapts else DASH),
        Cell(point.identity),
        Cell(short or DASH, "", commit or "the record tells no commit"),
        Cell(point.sha256[:12], "", str(point.told["reading"]["file"])),
    )
    return TableRow(point.row, "", False, cells)
