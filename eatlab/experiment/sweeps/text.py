"""A grid's report as Markdown and as rows of LaTeX, from the same tables as its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eatlab.experiment.page import SIGNS, Cell, TablePart
from eatlab.experiment.sweeps.page import BlockPage, headline, standing
from eatlab.experiment.sweeps.pairs import Pairs
from eatlab.experiment.sweeps.paper import CAUTION, SOURCE, PaperTable, paper_tables
from eatlab.experiment.sweeps.records import Sweep
from eatlab.experiment.sweeps.tables import PROVENANCE
from eatlab.metrics.protocols import METRICS

LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "✗": r"$\times$", "–": "--", "∞": r"$\infty$"}


def markdown_of(sweep: Sweep, pages: Sequence[BlockPage]) -> str:
    """The report for a README or an issue; pictures are told by their files."""
    name, identity = sweep.record["file"]["name"], sweep.record["identity"]
    parts = [f"# Grid {name} ({identity})", headline(pages)]
    parts.append(f"{len(sweep.points)} of {sweep.num_asked} points.")
    parts += [f"> {line}" for line in standing(sweep)]
    parts += [
        "\n".join(f"- {one['name']} ({one['identity']}): failed: {one['reason']}" for one in sweep.failed)
    ]
    parts += [f"Missing: {' · '.join(sweep.missing)}"] if sweep.missing else []
    for page in pages:
        parts += block_parts(page)
    parts += ["## The paper's numbers", f"{SOURCE}. {CAUTION}"]
    for table in paper_tables():
        parts += [f"### {table.title}", paper_lines(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def block_parts(page: BlockPage) -> Iterator[str]:
    """One fingerprint."""
    yield f"## Protocol {page.protocol}, fingerprint {page.fingerprint[:16]}"
    yield from (f"> {warning}" for warning in page.warnings)
    yield lines_of(page.main)
    base = page.subject.held or page.pairs.base
    yield f"Against {base}, Holm over all pairs: ▲ better, ▼ worse, · no difference shown."
    yield from (f"“{reason}”: {where}." for reason, where in page.blanks)
    for title, tables in (
        ("Smaller shares of the data", page.lesser),
        (f"Quality by minutes of {page.subject.learning}", page.minutes),
        ("Quality by share of the data", page.shares),
        ("Budget, quality, time", page.pareto),
    ):
        if tables:
            yield f"### {title}"
        for told in tables:
            yield told.title
            yield lines_of(told.part)
            yield told.note
    yield "### Emotion accuracy, by emotion (percent; the layout of the paper's Table 7)"
    yield lines_of(page.emotions)
    yield "### Pictures"
    yield "\n".join(f"![{p.name}](pictures/{file_of(p.name, page.number)})" for p in page.pictures)
    yield "### Paired differences"
    yield pair_lines(page.pairs)
    yield "### Where it comes from"
    rows = [[row.name, *(cell.value for cell in row.cells)] for _, row in page.provenance]
    yield grid(["row", *PROVENANCE], rows)


def file_of(picture: str, block: int) -> str:
    """A picture's file; blocks after the first name theirs."""
    return f"{picture}.svg" if block == 1 else f"{picture}_block{block}.svg"


def lines_of(part: TablePart) -> str:
    """A table."""
    heads = ["row", *(f"{c.heading} {c.arrow}".strip() for c in part.columns)]
    return grid(heads, [[row.name, *map(cell_text, row.cells)] for row in part.rows])


def cell_text(cell: Cell) -> str:
    """A number, its sign, and its interval in brackets."""
    sign = f" {SIGNS[cell.verdict]}" if cell.verdict else ""
    return f"{cell.value}{sign}" + (f" [{cell.below}]" if cell.below else "")


def pair_lines(pairs: Pairs) -> str:
    """Each two rows in each metric, once."""
    lines = []
    for metric, by_pair in pairs.by_metric.items():
        for (first, second), pair in by_pair.items():
            if pairs.rows.index(first) > pairs.rows.index(second):
                mean, low, high = (
                    f"{number:+z.{METRICS[metric].digits}f}"
                    for number in (pair.difference.mean, pair.difference.low, pair.difference.high)
                )
                told = [METRICS[metric].heading, f"{first} against {second}", f"{mean} [{low}, {high}]"]
                lines.append([*told, f"{pair.p:.2g}", pair.word])
    return grid(["metric", "pair", "difference", "p (Holm)", "verdict"], lines)


def paper_lines(table: PaperTable) -> str:
    """As the paper prints it."""
    return grid(["", *table.columns], [[row, *(cell or "–" for cell in cells)] for row, cells in table.rows])


def grid(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(
        "| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in (heads, rule, *lines)
    )


def latex_of(sweep: Sweep, pages: Sequence[BlockPage]) -> str:
    r"""Rows for `tabular`, one block after the other; the paper's own in grey (needs xcolor)."""
    lines = [f"% eatlab grid {sweep.record['file']['name']}, record {sweep.record['identity']}"]
    for page in pages:
        lines.append(f"% protocol {page.protocol}, fingerprint {page.fingerprint}")
        lines.append("% means; 95 % intervals over seeds and clips in brackets")
        lines += latex_rows(page.main)
        lines.append("% emotion accuracy, percent (Table 7's layout)")
        lines += latex_rows(page.emotions)
    for table in paper_tables():
        lines.append(f"% {SOURCE}, {table.title}: not to be mixed with the above")
        for row, cells in table.rows:
            grey = [rf"\textcolor{{gray}}{{{escaped(text or '–')}}}" for text in (row, *cells)]
            lines.append(" & ".join(grey) + r" \\")
    return "\n".join(lines) + "\n"


def latex_rows(part: TablePart) -> list[str]:
    """A heading and a line a row."""
    heads = ["", *(f"{c.heading} {c.arrow}".strip() for c in part.columns)]
    lines = [[row.name, *map(latex_cell, row.cells)] for row in part.rows]
    return [" & ".join(map(escaped, heads)) + r" \\ \midrule"] + [
        " & ".join([escaped(line[0]), *line[1:]]) + r" \\" for line in lines
    ]


def latex_cell(cell: Cell) -> str:
    """A number and its interval, small."""
    below = rf" {{\scriptsize [{escaped(cell.below)}]}}" if cell.below else ""
    return f"{escaped(cell.value)}{below}"


def escaped(text: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(LATEX.get(letter, letter) for letter in text)
