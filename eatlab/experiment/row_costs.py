"""Tables of readings and records: what each row of one costs, by the records of its tunings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eatlab.metrics.row import load_reading
from eatlab.metrics.table import Cost, Table, build_table

NOTHING_ADDED = Cost(0, 0.0, (0.0,))
UNADAPTED = dict.fromkeys(("still", "frozen", "reenactment"), NOTHING_ADDED)
"""What rows cost that the frozen backbone draws as it is."""


def table_of(
    readings: Mapping[str, Sequence[Path]], points: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Table:
    """The table of files of readings (row → one a seed) and records of tunings (spec → one a seed).

    Raises UserError (4) for a reading that is damaged.
    """
    rows = {row: [load_reading(path) for path in paths] for row, paths in readings.items()}
    costs = {spec: cost_of(records) for spec, records in points.items()}
    return build_table(rows, costs=costs | UNADAPTED)


def cost_of(records: Sequence[Mapping[str, Any]]) -> Cost:
    """Parameters from the budget, minutes from each seed's training clock."""
    budget = records[0]["budget"]
    minutes = tuple(record["wall_s"] / 60 for record in records)
    return Cost(budget["total"], budget["percent"], minutes, records[0].get("sees_emotion", True))
