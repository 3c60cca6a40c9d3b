"""Reference rows: a metric that they contradict is unusable, not the method (evaluation.md 11.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eatlab.metrics.protocols import METRICS

if TYPE_CHECKING:
    from eatlab.metrics.table import Table

BEFORE = ("source_copy", "still", "frozen")
AFTER = ("wrong_emotion", "shuffled_audio", "reenactment", "ground_truth")
ROWS = (*BEFORE, *AFTER)
SYNC = ("sync", "lse_c", "lse_d")
"""What the sound of another clip must make worse, of the columns that a protocol has."""
SHOWN_BY_A_FRAME = ("acc_emo", "identity")
"""Of films a true frame, repeated, shows the person and the emotion: no floor of these."""


def ordered(rows: Sequence[str]) -> list[str]:
    """Floors first, then adapters in the order given, then counter-checks and ceilings."""
    adapters = [row for row in rows if row not in ROWS]
    return [row for row in BEFORE if row in rows] + adapters + [row for row in AFTER if row in rows]


def contradictions(table: Table) -> dict[str, str]:
    """Metric → which reference row contradicts it."""
    found: dict[str, str] = {}
    for metric in (name for name in table.protocol.metrics if METRICS[name].better):
        if table.protocol.domain == "videos" and metric in SHOWN_BY_A_FRAME:
            continue
        for floor in ("source_copy", "still"):
            if _not_under(table, metric, floor, "ground_truth"):
                found.setdefault(metric, f"{floor} is as good as the ground truth")
    for adapter in table.adapters:
        if _not_under(table, "acc_emo", "wrong_emotion", adapter):
            found.setdefault("acc_emo", f"wrong_emotion is as good as {adapter}")
        for metric in SYNC:
            if _not_under(table, metric, "shuffled_audio", adapter):
                found.setdefault(metric, f"shuffled_audio is as good as {adapter}")
    shown = (
        table.compare("wrong_emotion", "frozen", metrics=("acc_emo",))
        if _both(table, "wrong_emotion", "frozen")
        else []
    )
    if any(comparison.word == "better" for comparison in shown):
        found.setdefault("acc_emo", "wrong_emotion is better than frozen")
    return found


def _both(table: Table, *rows: str) -> bool:
    return all(row in table.cells for row in rows)


def _not_under(table: Table, metric: str, floor: str, above: str) -> bool:
    """Whether the floor reaches the row that must be above it. False where either is not measured (NaN)."""
    if metric not in table.protocol.metrics or not _both(table, floor, above):
        return False
    low, high = table.cells[floor][metric].mean, table.cells[above][metric].mean
    return low >= high if METRICS[metric].better == "higher" else low <= high
