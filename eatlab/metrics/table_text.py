"""A table for the terminal and for a README."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from eatlab.metrics.notes import INCOMPLETE
from eatlab.metrics.protocols import LEVELS, METRICS

if TYPE_CHECKING:
    from eatlab.metrics.statistics import Interval
    from eatlab.metrics.table import Cell, Table

ARROWS = {"higher": "↑", "lower": "↓", "": ""}
NARROWEST = 124  # a cut number is worse than a wrapped line
MISSING = TO = "\N{EN DASH}"


def text_of(table: Table, width: int, *, color: bool) -> str:
    """Warnings, the main table, further figures, verdicts, notes."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=max(width, NARROWEST), force_terminal=color, no_color=not color)
    write = partial(console.print, highlight=False, markup=False, emoji=False)
    for warning in table.warnings:
        write(_paragraph("! ", warning, width), style="bold red")
    write(_grid(table, table.protocol.main, costs=_has_costs(table)))
    if further := [name for name in table.protocol.further if _measured(table, name)]:
        write(_grid(table, further))
    for line in table.verdicts():
        write(_paragraph("• ", line, width))
    for note in table.notes:
        write(_paragraph("  ", note, width), style="dim")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _paragraph(bullet: str, text: str, width: int) -> str:
    return textwrap.fill(text, width, initial_indent=bullet, subsequent_indent="  ")


def _measured(table: Table, metric: str) -> bool:
    return any(cells[metric].interval for cells in table.cells.values())


def _has_costs(table: Table) -> bool:
    return any(cells[name].interval for cells in table.cells.values() for name in ("params", "minutes"))


def _grid(table: Table, metrics: Sequence[str], *, costs: bool = False) -> object:
    from rich import box
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False)
    grid.add_column("row", no_wrap=True)
    for name in metrics:
        grid.add_column(_heading(table, name), justify="right", no_wrap=True)
    if costs:
        grid.add_column("params", justify="right", no_wrap=True)
        grid.add_column("min", justify="right", no_wrap=True)
    for row, cells in table.cells.items():
        shown = [
            _cell(cells[name], METRICS[name].digits, plain=name in LEVELS or METRICS[name].of_set)
            for name in metrics
        ]
        if costs:
            shown += [_params(cells), number(cells["minutes"], 1)]
        grid.add_row(row, *shown)
    return grid


def _heading(table: Table, metric: str) -> str:
    arrow = "✗" if metric in table.unusable else ARROWS[METRICS[metric].better]
    return f"{METRICS[metric].heading}{arrow}"


def _cell(cell: Cell, digits: int, *, plain: bool) -> str:
    """The mean, and its interval on a line below; those of the levels are left to the JSON, to fit."""
    if cell.interval is None or plain:
        return number(cell, digits)
    return f"{number(cell, digits)}\n{_span(cell.interval, digits)}"


def number(cell: Cell, digits: int) -> str:
    """A mean; ∞ for identical frames, – where it is not measured, * where some clips failed."""
    if cell.interval is None:
        return "∞" if cell.mean == float("inf") else MISSING
    return f"{cell.mean:.{digits}f}{'*' if cell.reason.startswith(INCOMPLETE) else ''}"


def _span(found: Interval, digits: int) -> str:
    return TO.join(
        f"{end:.{digits}f}".removeprefix("0") if end < 1 else f"{end:.{digits}f}"
        for end in (found.low, found.high)
    )


def _params(cells: Mapping[str, Cell]) -> str:
    added, share = cells["params"], cells["params_percent"]
    if added.interval is None:
        return MISSING
    return f"{thousands(added.mean)}\n{share.mean:.1f} %" if added.mean else "0"


def thousands(count: float) -> str:
    """452311 → 452 k."""
    return (
        f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.0f} k" if count >= 1e3 else f"{count:.0f}"
    )


def markdown_of(table: Table) -> str:
    """Warnings, and one table of means with intervals."""
    costs = ["added parameters", "minutes"] if _has_costs(table) else []
    heads = ["row", *(_heading(table, name) for name in table.protocol.quoted), *costs]
    lines = [f"> {warning}\n" for warning in table.warnings]
    lines += [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for row, cells in table.cells.items():
        shown = [
            _readme_cell(cells[name], METRICS[name].digits, plain=METRICS[name].of_set)
            for name in table.protocol.quoted
        ]
        spent = [_params(cells).replace("\n", ", "), number(cells["minutes"], 1)] if costs else []
        lines.append(_line([row, *shown, *spent]))
    return "\n".join(lines) + "\n"


def _readme_cell(cell: Cell, digits: int, *, plain: bool) -> str:
    if cell.interval is None or plain:
        return number(cell, digits)
    return f"{number(cell, digits)} [{cell.interval.low:.{digits}f}, {cell.interval.high:.{digits}f}]"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
