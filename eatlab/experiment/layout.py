"""An ablation's table as the paper prints it: our rows, the paper's numbers in a block of their own, and what
each step from one row to the next changes in both.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from eatlab.adapters.specs import canonical, listed, split
from eatlab.atomic import write_json, write_text
from eatlab.errors import UserError, did_you_mean
from eatlab.experiment.ablation import AblationConfig, LayoutConfig
from eatlab.experiment.plots import Dots, Plot, dots_with_intervals
from eatlab.experiment.row_costs import table_of
from eatlab.experiment.sweeps.paper import CAUTION
from eatlab.metrics import reference
from eatlab.metrics.protocols import METRICS, PUPPETS
from eatlab.metrics.statistics import Interval, holm, word_of
from eatlab.metrics.table import COSTS, Cell, Table
from eatlab.metrics.table_text import ARROWS, MISSING, number, thousands

PERCENT = {"acc_emo"}
"""Shares that the paper prints as percent."""
COST_HEADINGS = {"params": "parameters", "params_percent": "% of backbone", "minutes": "minutes"}
WIDTH = 132
UNCUT = 200
"""Tables may be wider than text: a cut number is worse than a wrapped line."""
WORDS = {1: "better", -1: "worse", 0: "equal"}


class Block(NamedTuple):
    """A headline, column headings, lines of cells, and what must be said below."""

    headline: str
    headings: list[str]
    lines: list[list[str]]
    note: str = ""


class Step(NamedTuple):
    """What one row has over the one before it, in a metric: ours (in the units shown) and the paper's.

    word, paper_word: better, worse, or no difference. verdict: whether ours shows what the paper does.
    """

    first: str
    second: str
    metric: str
    ours: Interval
    word: str
    paper: float
    paper_word: str
    verdict: str


def check_layout(config: AblationConfig) -> None:
    """Raises UserError for a layout of rows that the ablation does not have, or of unknown columns."""
    layout = config.layout
    specs = [canonical(spec) for spec in (*config.compare, *listed(config.adapter))]
    there = [*reference.ROWS, *specs]
    for label, row in layout.rows.items():
        if spelled(row) not in there:
            raise UserError(
                f'layout.rows has "{label}: {row}"',
                f"this ablation has the rows {', '.join(dict.fromkeys(there))}",
                "name the spec in adapter= or compare=",
            )
    columns = [*PUPPETS.metrics, *COSTS]
    for column in (*layout.columns, *(column for cells in layout.paper.values() for column in cells)):
        if column not in columns:
            said = f"there are: {', '.join(columns)}"
            raise UserError(f'layout: column "{column}" is unknown', said, did_you_mean(column, columns))


def spelled(row: str) -> str:
    """A row's name in the table: a spec in its one spelling, or a reference row as it is."""
    return row if row in reference.ROWS else canonical(row)


def lay_out(config: AblationConfig, folder: Path, record: Mapping[str, Any]) -> str:
    """Writes layout.txt, .md, .json, .svg and .png into the run folder; gives the text back.

    Raises UserError (4) if a reading was damaged since.
    """
    layout, readings = config.layout, record["readings"]
    files = {row: [folder / file["file"] for file in of_row] for row, of_row in readings.items()}
    table = table_of(files, record["points"])
    found = steps(table, layout)
    blocks = [ours(table, layout)]
    blocks += [papers(layout), compared(found)] if layout.paper else []
    text = text_of(layout.title, blocks)
    write_text(folder / "layout.txt", text)
    write_text(folder / "layout.md", markdown_of(layout.title, blocks))
    write_json(folder / "layout.json", as_json(table, layout, found))
    picture(table, layout).write(folder / "layout.svg")
    return text


def ours(table: Table, layout: LayoutConfig) -> Block:
    """Means and intervals of our rows."""
    lines = []
    for label, row in layout.rows.items():
        cells, name = table.cells[spelled(row)], spelled(row)
        marks = ["✓" if part in names_in(name) else "" for part in layout.marks.values()]
        lines.append(
            [
                shown(table, label, name),
                *marks,
                *(cell_text(cells[column], column) for column in layout.columns),
            ]
        )
    seeds = max(len(readings) for readings in table.readings.values())
    who = "puppets, not people" if table.protocol.domain == "puppets" else "real faces, puppet networks"
    headline = (
        f"Ours: {table.protocol.id}, {who}; {table.bootstrap.num_clips} clips of "
        f"{table.bootstrap.num_persons} persons, {seeds} seeds, intervals of 95 % over seeds and clips"
    )
    labels = {spelled(row): label for label, row in layout.rows.items()}
    note = "; ".join(f"{label} is {name}" for name, label in labels.items() if name != label)
    return Block(headline, headings(table, layout), lines, f"{note}." if note else "")


def shown(table: Table, label: str, name: str) -> str:
    """The label of a row; one that cannot see the emotion says so."""
    return f"{label} (blind to emotion)" if name in table.blind else label


def headings(table: Table, layout: LayoutConfig) -> list[str]:
    """Of the columns, with arrows; ✗ where reference rows contradict a metric."""
    found = []
    for column in layout.columns:
        arrow = (
            "✗" if column in table.unusable else ARROWS[METRICS[column].better] if column in METRICS else ""
        )
        found.append(f"{heading(column)}{arrow}")
    return ["", *layout.marks, *found]


def heading(column: str) -> str:
    """Of a metric or a cost."""
    name = METRICS[column].heading if column in METRICS else COST_HEADINGS[column]
    return f"{name} %" if column in PERCENT else name


def names_in(spec: str) -> list[str]:
    """The adapters of a spec, without their options."""
    return [part.partition("(")[0] for part in split(spec)]


def cell_text(cell: Cell, column: str) -> str:
    """A mean and its interval in the units shown."""
    if cell.interval is None or column in COSTS:
        return thousands(cell.mean) if column == "params" and cell.interval else number(cell, 1)
    return span(scaled(cell.interval, column), column)


def scaled(found: Interval, column: str) -> Interval:
    """In percent where the paper prints percent."""
    factor = 100 if column in PERCENT else 1
    return Interval(*(factor * value for value in (found.mean, found.low, found.high)))


def span(found: Interval, column: str, sign: str = "") -> str:
    digits = digits_of(column)
    mean, low, high = (f"{value:{sign}.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def digits_of(column: str) -> int:
    return 0 if column in PERCENT else METRICS[column].digits


def papers(layout: LayoutConfig) -> Block:
    """The paper's block."""
    columns = [column for column in layout.columns if any(column in cells for cells in layout.paper.values())]
    lines = [
        [label, *(f"{cells[c]:.{digits_of(c)}f}" if c in cells else MISSING for c in columns)]
        for label, cells in layout.paper.items()
    ]
    return Block(f"The paper's: {layout.source}", ["", *map(heading, columns)], lines, CAUTION)


def steps(table: Table, layout: LayoutConfig) -> list[Step]:
    """Every step from a row to the next that the paper has too; p by Holm over all of them."""
    pairs = [
        (first, second, column)
        for first, second in pairwise(label for label in layout.rows if label in layout.paper)
        for column in layout.columns
        if column in layout.paper[first] and column in layout.paper[second]
    ]
    found = []
    for first, second, column in pairs:
        rows = spelled(layout.rows[second]), spelled(layout.rows[first])
        found += [(first, second, c) for c in table.compare(*rows, metrics=(column,))]
    result = []
    for (first, second, c), p in zip(found, holm([c.p for _, _, c in found]), strict=True):
        sense = 1 if METRICS[c.metric].better == "higher" else -1
        paper = layout.paper[second][c.metric] - layout.paper[first][c.metric]
        paper_word = WORDS[sense * ((paper > 1e-9) - (paper < -1e-9))]
        word = word_of(c.difference, p, METRICS[c.metric].better)
        verdict = verdict_of(word, paper_word, c.metric in table.unusable)
        difference = scaled(c.difference, c.metric)
        result.append(Step(first, second, c.metric, difference, word, paper, paper_word, verdict))
    return result


def verdict_of(word: str, paper_word: str, unusable: bool) -> str:
    """Whether ours shows what the paper does."""
    if unusable:
        return "unusable here"
    if paper_word == "equal":
        return "the paper shows none"
    if word not in ("better", "worse"):
        return "not shown"
    return "agrees" if word == paper_word else "the other way"


def compared(found: Sequence[Step]) -> Block:
    """One line a step and metric."""
    lines = [
        [
            f"{s.first} → {s.second}",
            heading(s.metric),
            f"{s.paper:+.{digits_of(s.metric)}f} {s.paper_word}",
            f"{span(s.ours, s.metric, '+')} {s.word}",
            s.verdict,
        ]
        for s in found
    ]
    names = ["step", "metric", "the paper's", "ours, paired on clips", "ours shows it?"]
    return Block("Each step, in the paper and here (p by Holm over all of them)", names, lines)


def text_of(title: str, blocks: Sequence[Block]) -> str:
    """For a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    out = io.StringIO()
    console = Console(file=out, width=UNCUT, no_color=True)
    say = partial(console.print, markup=False, highlight=False)
    say(title)
    for block in blocks:
        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for index, name in enumerate(block.headings):
            grid.add_column(name, justify="right" if index else "left", no_wrap=True)
        for line in block.lines:
            grid.add_row(*line)
        say(f"\n{block.headline}", grid, textwrap.fill(block.note, WIDTH), sep="\n")
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()) + "\n"


def markdown_of(title: str, blocks: Sequence[Block]) -> str:
    """For a document."""
    parts = [f"**{title}**"]
    for block in blocks:
        rule = ["---", *["---:"] * (len(block.headings) - 1)]
        lines = ["| " + " | ".join(cells) + " |" for cells in (block.headings, rule, *block.lines)]
        parts += [f"{block.headline}:", "\n".join(lines)]
        parts += [block.note] if block.note else []
    return "\n\n".join(parts) + "\n"


def as_json(table: Table, layout: LayoutConfig, found: Sequence[Step]) -> dict[str, Any]:
    """The same as numbers, in the table's own units; the paper's apart."""
    return {
        "title": layout.title,
        "protocol": table.protocol.id,
        "fingerprint": table.fingerprint.hex,
        "rows": {
            label: {column: table.cells[spelled(row)][column].to_json() for column in layout.columns}
            for label, row in layout.rows.items()
        },
        "paper": {"source": layout.source, "rows": layout.paper},
        "steps": [s._asdict() | {"ours": s.ours.__dict__} for s in found],
    }


def picture(table: Table, layout: LayoutConfig) -> Plot:
    """Our rows: a panel a metric."""
    labels = [shown(table, label, spelled(row)) for label, row in layout.rows.items()]
    panels = []
    for column in layout.columns:
        cells = [table.cells[spelled(row)][column] for row in layout.rows.values()]
        if column in METRICS and any(cell.interval for cell in cells):
            dots = [cell.interval and scaled(cell.interval, column) for cell in cells]
            panels.append(Dots(f"{heading(column)}, {METRICS[column].better} is better", dots))
    return dots_with_intervals(labels, panels, layout.title)
