"""The pictures of a grid's report: curves by minutes and by share of the data, Pareto, confusion."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eatlab.emotions import EMOTIONS
from eatlab.experiment.plots import Plot, confusion_matrix
from eatlab.experiment.sweeps.curve_plots import quality_over_minutes, quality_over_share, quality_over_size
from eatlab.experiment.sweeps.curves import TuningCurve, better_of
from eatlab.experiment.sweeps.pareto import Standing, standings
from eatlab.experiment.sweeps.records import Block, Comparable
from eatlab.metrics.table import Table

OVER_MINUTES = ("m_lmd", "acc_emo", "f_lmd", "psnr")
OVER_SHARE = ("m_lmd", "acc_emo", "f_lmd", "psnr", "sync")
OVER_SIZE = ("m_lmd", "acc_emo", "f_lmd", "sync")
"""What is drawn of each, the first to be looked at first."""
BRACKETS = ("ground_truth", "reenactment", "frozen")
"""Rows beside which confusion matrices of adapters are read."""


@dataclass(frozen=True)
class Picture:
    """name: the file's stem. kind: minutes, share, size or confusion. folded: shown when asked for."""

    name: str
    kind: str
    plot: Plot
    folded: bool = False


def pictures_of(block: Block, best: str) -> Iterator[Picture]:
    """Every picture that a block has the numbers for. best: the adapter whose confusion is shown unfolded."""
    of = block.subject.learning
    for setting in block.settings():
        where = f"_{plain(setting.name)}" if setting.name else ""
        for metric in OVER_MINUTES:
            if lines := trained(setting.curves(metric, share=max(p.share for p in setting.points))):
                yield Picture(
                    f"minutes_{metric}{where}", "minutes", quality_over_minutes(lines, metric, of=of)
                )
        for metric in OVER_SHARE:
            curves = setting.curves(metric, tested=True)
            if len({curve.share for curve in curves}) > 1:
                yield Picture(f"share_{metric}{where}", "share", quality_over_share(curves, metric))
        for metric in OVER_SIZE:
            found = standings_of(setting, metric)
            if sum(standing.percent > 0 for standing in found) > 1:
                yield Picture(f"size_{metric}{where}", "size", quality_over_size(found, metric))
    yield from confusions(block.table, best)


def trained(curves: list[TuningCurve]) -> list[TuningCurve]:
    """Those with a row after training began."""
    return [curve for curve in curves if curve.seconds[-1] > 0]


def standings_of(setting: Comparable, metric: str, *, count_minutes: bool = False) -> list[Standing]:
    """Adapters at the setting's largest share, by quality on the test clips; none if it was not measured."""
    share = max(point.share for point in setting.points)
    curves = [c for c in setting.curves(metric, share=share, tested=True) if math.isfinite(c.final)]
    if not curves:
        return []
    return standings(curves, better_of(metric), share=share, count_minutes=count_minutes)


def confusions(table: Table, best: str) -> Iterator[Picture]:
    """One matrix a row that a judge of emotions saw: counts of all seeds."""
    shown = [row for row in BRACKETS if row in table.rows]
    shown += sorted(table.adapters, key=lambda row: row != best)
    for row in shown:
        counts = [c for reading in table.readings[row] if (c := reading.confusion()) is not None]
        if counts and np.sum(counts):
            plot = confusion_matrix(np.sum(counts, axis=0), EMOTIONS, title=row)
            yield Picture(f"confusion_{plain(row)}", "confusion", plot, row not in (*BRACKETS, best))


def plain(name: str) -> str:
    """A name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9_+=.-]+", "_", name).strip("_")
