"""The page of a grid's report (sweep_report.html): what each section says, of each block of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eatlab import __version__
from eatlab.adapters.registry import SUMS
from eatlab.experiment.page import (
    TablePart,
    TableRow,
    blanks,
    embedded,
    film_shown,
    flat,
    standing_notes,
    template,
)
from eatlab.experiment.sweeps.curves import clock_warnings
from eatlab.experiment.sweeps.figures import Picture, pictures_of
from eatlab.experiment.sweeps.gallery import SHEETS, Gallery, as_jpeg, poster_of
from eatlab.experiment.sweeps.naming import shown_as
from eatlab.experiment.sweeps.pairs import Pairs, pairs_of
from eatlab.experiment.sweeps.paper import CAUTION, SOURCE, paper_tables, per_emotion
from eatlab.experiment.sweeps.records import Block, Comparable, Sweep, SweepPoint
from eatlab.experiment.sweeps.subjects import Subject
from eatlab.experiment.sweeps.tables import (
    PROVENANCE,
    Matrix,
    best_row,
    emotion_part,
    further_columns,
    main_columns,
    matrices,
    pareto_part,
    percent,
    provenance_part,
    reasons,
    rows_part,
    share_part,
    time_part,
)
from eatlab.metrics.protocols import METRICS
from eatlab.metrics.table import Table

OF_ADAPTERS = ("acc_asked", "params")
"""Columns that only rows with an adapter have."""
QUALITY = "m_lmd"
"""What minutes, shares and budgets are tabled for, where it was measured."""


@dataclass(frozen=True)
class Told:
    """A table with a title and what must be said below it."""

    title: str
    part: TablePart
    note: str = ""


@dataclass(frozen=True)
class BlockPage:
    """All that the page says of one fingerprint. lesser: tables of smaller shares of the data."""

    number: int
    subject: Subject
    table: Table
    share: float
    best: str
    main: TablePart
    more: TablePart
    lesser: tuple[Told, ...]
    blanks: list[tuple[str, str]]
    warnings: list[str]
    clocks: list[str]
    small_print: list[str]
    notes: list[str]
    matrices: list[Matrix]
    pairs: Pairs
    emotions: TablePart
    pictures: list[Picture]
    minutes: tuple[Told, ...]
    shares: tuple[Told, ...]
    pareto: tuple[Told, ...]
    provenance: list[tuple[str, TableRow]]

    @property
    def protocol(self) -> str:
        return self.table.protocol.id

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint.hex

    def pictures_of(self, kind: str, *, folded: bool = False) -> list[Picture]:
        return [picture for picture in self.pictures if picture.kind == kind and picture.folded == folded]


def block_page(block: Block, number: int) -> BlockPage:
    """Everything of one block; the costly part of a report."""
    table, pairs = block.table, pairs_of(block.table, block.base)
    rows = table.to_json()["rows"]
    names, further = main_columns(table), further_columns(table)
    names = names if block.subject.adapts else [name for name in names if name not in OF_ADAPTERS]
    links = {row: f"from-{number}-{place}" for place, row in enumerate(all_rows(block))}
    settings = block.settings()
    quality = QUALITY if QUALITY in table.protocol.ranked else table.protocol.ranked[0]
    best = best_row(pairs, table)
    return BlockPage(
        number=number,
        subject=block.subject,
        table=table,
        share=block.share,
        best=best,
        main=rows_part(table, pairs, names, links),
        more=rows_part(table, pairs, further, links),
        lesser=tuple(lesser_part(block, share, names, links) for share in block.shares[1:]),
        blanks=blanks(rows, names),
        warnings=table.warnings,
        clocks=clock_warnings([clocked(block, point) for point in block.points]),
        small_print=table.notes,
        notes=[
            *block.reading(),
            *standing_notes(table.protocol.domain, rows if block.subject.adapts else {}),
        ],
        matrices=matrices(table, pairs),
        pairs=pairs,
        emotions=emotion_part(table),
        pictures=list(pictures_of(block, best)),
        minutes=tuple(told_minutes(settings, quality)),
        shares=tuple(told_shares(settings, quality)),
        pareto=tuple(told_pareto(settings, quality)),
        provenance=provenance_part(block, links),
    )


def clocked(block: Block, point: SweepPoint) -> dict[str, Any]:
    """A tuning's record under a name that tells it from those with other shares."""
    share = f" with {percent(point.share)}" if len(block.shares) > 1 else ""
    return {**point.record, "adapter": f"{point.row}{share}"}


def told_minutes(settings: Sequence[Comparable], metric: str) -> Iterator[Told]:
    """What tuning takes, of each setting."""
    for setting in settings:
        if found := time_part(setting, metric):
            part, target = found
            yield Told(
                titled("by minutes", setting.name, metric), part, target_note(metric, target, "minutes")
            )


def told_shares(settings: Sequence[Comparable], metric: str) -> Iterator[Told]:
    """What data it takes."""
    for setting in settings:
        if found := share_part(setting, metric):
            part, target = found
            yield Told(titled("by share", setting.name, metric), part, target_note(metric, target, "share"))


def told_pareto(settings: Sequence[Comparable], metric: str) -> Iterator[Told]:
    """What it costs."""
    for setting in settings:
        if part := pareto_part(setting, metric):
            yield Told(titled("by size", setting.name, metric), part)


def all_rows(block: Block) -> list[str]:
    """Every row's name, of every share."""
    return list(dict.fromkeys([*block.named_references(), *(point.row for point in block.points)]))


def lesser_part(block: Block, share: float, names: Sequence[str], links: Mapping[str, str]) -> Told:
    """The table of a smaller share of the training clips."""
    table = block.table_at(share)
    title = f"Tuned with {percent(share)} of the training clips"
    return Told(title, rows_part(table, pairs_of(table, block.base), names, links))


def abbreviated(rows: Sequence[str]) -> str:
    """What short names stand for, where pictures and headings use them."""
    used = [(name, "+".join(parts)) for name, parts in SUMS.items()]
    told = [f"{name} stands for {spec}" for name, spec in used if any(spec in row for row in rows)]
    return f"Where there is little room, {listed(told)}." if told else ""


def titled(by: str, setting: str, metric: str) -> str:
    """What a table of a setting is of."""
    return f"{METRICS[metric].heading} {by}{f', {setting}' if setting else ''}"


def target_note(metric: str, target: float, kind: str) -> str:
    """What the last column's target is."""
    about, number = METRICS[metric], f"{target:.{METRICS[metric].digits}f}"
    if kind == "minutes":
        return (
            f"{about.heading} on some validation clips, {about.better} is better; evaluation does not count "
            f"as time. Target {number}: what three quarters of the adapters end with."
        )
    return (
        f"{about.heading} on the test clips, {about.better} is better. Target {number}: what three quarters "
        "of the adapters reach with the largest share."
    )


def headline(pages: Sequence[BlockPage]) -> str:
    """What a block shows, in one sentence, from its verdicts."""
    if not pages or not pages[0].pairs.by_metric or not pages[0].best:
        return "Nothing can be compared yet."
    page = pages[0]
    metric = next(iter(page.pairs.by_metric))
    about, cells = METRICS[metric], page.table.cells
    equal = [r for r in page.pairs.rows if page.pairs.word(metric, page.best, r) == "no difference shown"]
    shown = f"{cells[page.best][metric].mean:.{about.digits}f}"
    base = page.pairs.base
    held = page.subject.held.removeprefix("the ") or base
    beside = f" ({held} {cells[base][metric].mean:.{about.digits}f})" if base in cells else ""
    others = (
        f"; no difference is shown to {listed(equal)}"
        if equal
        else "; it is shown to be better than each of the others"
    )
    part = f", {page.subject.learned} with {percent(page.share)} of the training clips"
    said = f"{shown}{beside if base != page.best else ''}{part if page.share != 1 else ''}"
    count = len(page.table.adapters)
    if count == 1:
        word = page.pairs.word(metric, page.best)
        return f"{page.best}: mean {about.heading} {said}{f': {word}' if word else ''}."
    return f"Of {count} {page.subject.rows} {page.best} has the best mean {about.heading}, {said}{others}."


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def standing(sweep: Sweep) -> list[str]:
    """What is not there, in a line each."""
    said = []
    if sweep.missing:
        there = f"{len(sweep.points)} of {sweep.num_asked} points are there"
        said.append(
            f"This grid is not finished: {there}, {len(sweep.missing)} are missing. Shown is what is there."
        )
    if sweep.failed:
        said.append(f"{len(sweep.failed)} failed; the reasons stand below.")
    return said


def apart(pages: Sequence[BlockPage]) -> str:
    """Why there are several blocks; empty for one."""
    if len(pages) < 2:
        return ""
    first = pages[0].table.fingerprint
    others = [first.differences(page.table.fingerprint) for page in pages[1:]]
    fields = {name for names in others for name in names or ("backbone",)}  # the fingerprint has no backbone
    return (
        f"{len(pages)} blocks below were measured differently ({', '.join(sorted(fields))}): their numbers "
        "are never ranked together."
    )


def render(
    sweep: Sweep, pages: Sequence[BlockPage], galleries: Sequence[Gallery], *, about: Mapping[str, Any]
) -> str:
    """The whole page as text. about: what is said of the report itself."""
    from markupsafe import Markup

    everything = [warning for page in pages for warning in page.warnings]
    return template("sweep_report.html").render(
        name=sweep.record["file"]["name"],
        identity=sweep.record["identity"],
        subject=sweep.subject,
        headline=headline(pages),
        num_points=len(sweep.points),
        num_asked=sweep.num_asked,
        warnings=list(dict.fromkeys([*standing(sweep), *filter(None, [apart(pages)]), *everything])),
        pages=pages,
        svg=Markup,
        short=shown_as,
        reasons=reasons,
        abbreviated=abbreviated(adapters_of(sweep)),
        missing=sweep.missing,
        failed=sweep.failed,
        galleries=[shown(gallery) for gallery in galleries],
        undrawn=[row for row in rows_of(sweep) if row not in {gallery.row for gallery in galleries}],
        paper=[table for table in paper_tables() if table != per_emotion()],
        paper_emotions=per_emotion(),
        source=SOURCE,
        caution=CAUTION,
        notes=list(dict.fromkeys(note for page in pages for note in page.notes)),
        provenance=list(flat(about)),
        provenance_columns=PROVENANCE,
        heading={name: metric.heading for name, metric in METRICS.items()},
        percent=percent,
        footer=footer(galleries),
    )


def adapters_of(sweep: Sweep) -> list[str]:
    """Specs, in the grid's order."""
    return list(dict.fromkeys(str(point.told["adapter"]) for point in sweep.points))


def rows_of(sweep: Sweep) -> list[str]:
    """Adapters with what else the grid varies, in its order."""
    return list(dict.fromkeys(point.row for point in sweep.points))


def shown(gallery: Gallery) -> dict[str, Any]:
    """Pictures and films of an adapter as the page takes them."""
    sheets = [
        {
            "source": embedded(as_jpeg(path), "image/jpeg"),
            "name": name,
            "caption": SHEETS[name],
            "folded": name != next(iter(gallery.sheets)),
        }
        for name, path in gallery.sheets.items()
    ]
    films = [film_shown(film.path.read_bytes(), poster_of(film.path), film.caption) for film in gallery.films]
    return {"gallery": gallery, "sheets": sheets, "films": films}


def footer(galleries: Sequence[Gallery]) -> str:
    """Who made the page, and how generated films are marked."""
    films = any(gallery.films for gallery in galleries)
    return f"Generated by eatlab {__version__}." + (" Films say what generated them." if films else "")
