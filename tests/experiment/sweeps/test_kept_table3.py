"""docs/tables.md's Table 3 is what its records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from eatlab.experiment.sweeps.records import read_sweep, record_at
from eatlab.metrics.protocols import METRICS

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "benchmarks" / "results" / "table3"
ROWS = {
    "OSFV": "OSFV",
    "Enhanced": "Enhanced",
    "reenactment": "the zoo's head, 6500 steps of 24 pairs and a polish",
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_page_is_that_of_the_records(row: str) -> None:
    (block,) = read_sweep(record_at(KEPT / "record.json"), KEPT).blocks()
    cells = [ROWS[row]]
    for name in ("psnr", "m_lmd", "f_lmd", "sync", "acc_emo"):
        found, scale = block.table.cells[row][name].interval, 100 if name == "acc_emo" else 1
        digits = 0 if name == "acc_emo" else METRICS[name].digits
        mean, low, high = (f"{scale * x:.{digits}f}" for x in (found.mean, found.low, found.high))
        cells.append(f"{mean} [{low}, {high}]")
    assert f"| {' | '.join(cells)} |" in (ROOT / "docs" / "tables.md").read_text()
