"""The paper's own numbers (EAT, ICCV 2023, tables 1 and 3 to 8), to be shown apart from ours and never ranked
with them: other clips, another size, other judges, no intervals.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

TITLES = {
    "1": "Table 1, on MEAD: against other methods",
    "3": "Table 3: the latent representation",
    "4": "Table 4: emotional prompts",
    "5": "Table 5: the parts of EAT",
    "6": "Table 6: the losses",
    "7": "Table 7: emotion accuracy, percent of the clips of each emotion",
    "8": "Table 8: the start of the emotional deformation network",
}
"""Those that are shown; table 2 is of what people said of films."""
PART = "MEAD "
"""How headings of table 1 begin whose numbers are of emotional clips."""
PER_EMOTION = "7"
SOURCE = "EAT, ICCV 2023"
CAUTION = (
    "Not to be mixed with ours: other clips, another size, landmarks by another rule, and its Sync is "
    "SyncNet's confidence while ours is a share of clips. No intervals were published."
)


@dataclass(frozen=True)
class PaperTable:
    """cells: as printed, one line a row; empty where the paper has none."""

    number: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@lru_cache(1)
def paper_tables() -> tuple[PaperTable, ...]:
    """From metrics/paper_tables.csv: table, row, column, value."""
    text = resources.files("eatlab.metrics").joinpath("paper_tables.csv").read_text("utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    return tuple(table_of(number, [line for line in lines if line["table"] == number]) for number in TITLES)


def table_of(number: str, lines: list[dict[str, str]]) -> PaperTable:
    """One table, rows and columns in the order of the file."""
    there = dict.fromkeys(line["column"] for line in lines)
    columns = [column for column in there if number != "1" or column.startswith(PART)]
    cells = {(line["row"], line["column"]): line["value"] for line in lines}
    rows = dict.fromkeys(line["row"] for line in lines)
    return PaperTable(
        number,
        TITLES[number],
        tuple(column.removeprefix(PART) for column in columns),
        tuple((row, tuple(cells.get((row, column), "") for column in columns)) for row in rows),
    )


def per_emotion() -> PaperTable:
    """Table 7."""
    return next(table for table in paper_tables() if table.number == PER_EMOTION)
