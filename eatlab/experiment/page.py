"""The report's page: numbers and files made into HTML that needs no network (after report.html)."""

from __future__ import annotations

import base64
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eatlab import __version__
from eatlab.metrics.protocols import METRICS, PROTOCOLS

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

    from eatlab.experiment.report import ReportInput
    from eatlab.experiment.sheets import Sheet
    from eatlab.experiment.video import FilmFile

MAIN_COLUMNS = (
    *(
        "psnr",
        "ssim",
        "m_lmd",
        "f_lmd",
        "sync",
        "acc_emo",
        "acc_level1",
        "acc_level2",
        "acc_level3",
        "acc_asked",
    ),
    *("params", "minutes"),
)
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
DASH = "\u2013"
SIGNS = {"better": "▲", "worse": "▼", "no difference shown": "·"}
"""Verdicts, told apart without colours too."""
INFINITE = "infinite"
"""How a reason begins whose cell is ∞, not unknown."""
ROWS = {
    "source_copy": "the portrait repeated: the floor",
    "still": "the portrait's expression in the true pose: moves its head, says and feels nothing",
    "frozen": "the backbone without an adapter: it speaks and feels nothing",
    "none": "the frozen backbone without an adapter",
    "shallow_prompt": "emotion tokens before the first layer alone",
    "deep_prompt": "emotion tokens before each layer",
    "wrong_emotion": "the adapter, asked for another emotion than the label",
    "shuffled_audio": "the adapter, hearing the sound of another clip",
    "reenactment": "the renderer driven by the true frame's expression: adapters' ceiling in PSNR and LMD",
    "ground_truth": "the true frames: what the judges say of them",
}
RECORDED = {
    "params": ("params", "parameters that the adapter adds, and percent of the frozen backbone"),
    "minutes": ("minutes", "minutes on the training clock, without evaluation"),
}
"""Columns from the training record: heading, meaning."""
NOTES = (
    (
        "puppets",
        "These are puppets: drawn faces whose truth is exact, not people. The numbers are of one small "
        "backbone; they do not say how real faces would look. People and sentences of the test "
        "clips were in no training set.",
    ),
    (
        "frozen",
        "Acc_emo saturates: as soon as a face plainly shows its emotion the judge says so, and adapters "
        "of very different quality score alike. It ranks nothing here. M-LMD (is the mouth where it "
        "should be) and Sync (does it move with the sound) do.",
    ),
    (
        "all",
        "Judges measure and never train: they were trained apart from everything measured here, on other "
        "seeds and as other networks than the teachers in the losses.",
    ),
    (
        "reenactment",
        "Re-enactment is the ceiling of PSNR and LMD, not of Acc_emo: an adapter that draws the typical "
        "face of an emotion can be easier to judge than a person's own.",
    ),
    (
        "wrong_emotion",
        "wrong_emotion asks the adapter for another emotion than the label: its Acc_emo must collapse "
        "while “asked” stays high. If not, voice or looks gave the label away.",
    ),
)
"""What to know before quoting a number: the domain or row that it is about ("all": any), and the note."""


@dataclass(frozen=True)
class Verdict:
    """A bar and whether it holds (None: nothing to hold). detail: the numbers."""

    says: str
    holds: bool | None = None
    detail: str = ""


@dataclass(frozen=True)
class Column:
    heading: str
    means: str
    arrow: str = ""


@dataclass(frozen=True)
class Cell:
    """below: smaller, under the value. reason: for who hovers. verdict: a word of SIGNS, shown so."""

    value: str
    below: str = ""
    reason: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class TableRow:
    """own: marked. link: id of the place in the page that says where the row's numbers come from."""

    name: str
    means: str
    own: bool
    cells: tuple[Cell, ...]
    link: str = ""


@dataclass(frozen=True)
class TablePart:
    columns: list[Column]
    rows: list[TableRow]


def render_page(
    report: ReportInput, headline: str, pictures: Mapping[str, Path], films: Sequence[FilmFile]
) -> str:
    """The whole page as text; each value is escaped, only the SVG plots that we drew go in as they are."""
    from markupsafe import Markup

    rows = report.table["rows"]
    main = [name for name in MAIN_COLUMNS if any(name in row for row in rows.values())]
    more = [name for name in METRICS if name not in main and any(name in row for row in rows.values())]
    plots = {n: Markup(p.read_text("utf-8")) for n, p in pictures.items() if p.suffix == ".svg"}
    return template("report.html").render(
        adapter=report.adapter,
        headline=headline,
        warnings=[text for text in dict.fromkeys((standing_warning(report), *report.warnings)) if text],
        table=table_part(rows, main, own=report.adapter),
        more=table_part(rows, more, own=report.adapter),
        blanks=blanks(rows, main),
        protocol=report.table["protocol"],
        fingerprint=str(report.table["fingerprint"]),
        verdicts=[_verdict(verdict) for verdict in report.verdicts],
        comparisons=report.comparisons,
        notes=[*standing_notes(report.domain, rows), *report.notes],
        small_print=report.small_print,
        sheets=list(_sheets(report, pictures)),
        films=[film_shown(film.path.read_bytes(), jpeg(film.poster), film.caption) for film in films],
        curve=plots.get("tuning_curve"),
        budget=plots.get("budget"),
        confusion=[plot for name, plot in plots.items() if name.startswith("confusion_")],
        places=[(name, str(place)) for name, place in report.places.items()],
        provenance=list(flat(report.provenance)),
        footer=_footer(films),
    )


def template(name: str) -> jinja2.Template:
    """One of the pages beside this file; what it is given is escaped, a name that is missing is an error."""
    import jinja2

    def source(wanted: str) -> str:
        return resources.files("eatlab.experiment").joinpath(wanted).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["breakable"] = breakable
    environment.globals["signs"] = SIGNS
    return environment.get_template(name)


def breakable(text: str) -> Markup:
    """A long spec as HTML, with places where a narrow column may break it."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([+(=_])", r"\1<wbr>", str(escape(text))))  # no entity holds any of these


def headline(adapter: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The result in one sentence: the emotion, the mouth, the price."""
    shown = partial(_mean, rows, adapter)
    results: list[str] = []
    price: list[str] = []
    if (emotion := shown("acc_emo")) is not None:
        others = _others(rows, "acc_emo", _percent, frozen="frozen model", ground_truth="true clips")
        results.append(f"shows the emotion asked for in {_percent(emotion)} of the test clips{others}")
    if (mouth := shown("m_lmd")) is not None:
        others = _others(rows, "m_lmd", _pixels, frozen="frozen")
        results.append(f"draws the mouth within {_pixels(mouth)} of the truth{others}")
    if (params := shown("params")) is not None:
        percent = shown("params_percent")
        share = "" if percent is None else f" ({percent:.3g}\u00a0% of the backbone)"
        price.append(f"{params:,.0f} added parameters{share}")
    if (minutes := shown("minutes")) is not None:
        price.append(f"{minutes:.1f} minutes of tuning")
    sentence = f"{adapter} {' and '.join(results) or 'was measured'}"
    return f"{sentence}, with {' and '.join(price)}." if price else f"{sentence}."


def standing_warning(report: ReportInput) -> str:
    """What its protocol says of every table."""
    return PROTOCOLS[report.table["protocol"]].warning


def standing_notes(domain: str, rows: Mapping[str, Any]) -> list[str]:
    """What each reader must know before quoting a number; only of rows that are there."""
    applies = {"puppets": domain == "puppets", "all": True, **dict.fromkeys(rows, True)}
    return [note for subject, note in NOTES if applies.get(subject)]


def table_part(rows: Mapping[str, Mapping[str, Any]], names: Sequence[str], *, own: str) -> TablePart:
    """The columns `names` of all rows, formatted; the row `own` is marked."""
    columns = []
    for name in names:
        if name in METRICS:
            metric = METRICS[name]
            columns.append(Column(metric.heading, metric.means, ARROWS[metric.better]))
        else:
            columns.append(Column(*RECORDED[name]))
    made = [
        TableRow(row, ROWS.get(row, ""), row == own, tuple(_cell(values, name) for name in names))
        for row, values in rows.items()
    ]
    return TablePart(columns, made)


def _cell(values: Mapping[str, Any], name: str) -> Cell:
    cell = values.get(name) or {}
    mean = _number(cell.get("mean"))
    if mean is None:
        reason = str(cell.get("reason", ""))
        return Cell("∞" if reason.startswith(INFINITE) else DASH, reason=reason)
    if name == "params":
        percent = _number((values.get("params_percent") or {}).get("mean"))
        return Cell(f"{mean:,.0f}", "" if percent is None else f"{percent:.3g} %")
    digits = METRICS[name].digits if name in METRICS else 2
    low, high = _number(cell.get("low")), _number(cell.get("high"))
    shown = low is not None and high is not None and low != high
    return Cell(f"{mean:.{digits}f}", f"{low:.{digits}f}{DASH}{high:.{digits}f}" if shown else "")


def blanks(rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[tuple[str, str]]:
    """(reason, "heading of row, row; …") of the cells that are not measured, for readers who cannot hover."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row, values in rows.items():
        for name in names:
            reason = str((values.get(name) or {}).get("reason", ""))
            if reason:
                heading = METRICS[name].heading if name in METRICS else RECORDED[name][0]
                found[reason][heading].append(row)
    return [
        (reason, "; ".join(f"{heading} of {', '.join(where)}" for heading, where in by_heading.items()))
        for reason, by_heading in found.items()
    ]


def _verdict(verdict: Verdict) -> dict[str, str]:
    kind, sign, word = {
        True: ("holds", "✓", "holds"),
        False: ("fails", "✗", "fails"),
        None: ("open", "·", "note"),
    }[verdict.holds]
    return {"kind": kind, "sign": sign, "word": word, "says": verdict.says, "detail": verdict.detail}


def _sheets(report: ReportInput, pictures: Mapping[str, Path]) -> Iterator[dict[str, str]]:
    drawn: dict[str, Sheet | None] = {
        "contact_sheet": report.contact,
        "intensity": report.intensity,
        "mix": report.mix,
    }
    for name, sheet in drawn.items():
        if sheet is not None:
            rows = ", ".join(
                dict.fromkeys(row.label.replace("\n", " ") for group in sheet.groups for row in group.rows)
            )
            yield {
                "kind": "sheet" if name == "contact_sheet" else "strip",
                "source": embedded(pictures[name].read_bytes(), "image/png"),
                "alt": f"{sheet.title or name}: columns {', '.join(sheet.columns)}; rows {rows}",
                "caption": sheet.caption,
            }


def film_shown(film: bytes, poster: bytes, caption: str) -> dict[str, str]:
    """What parts.html shows of an MP4 and a JPEG."""
    sources = {"source": embedded(film, "video/mp4"), "poster": embedded(poster, "image/jpeg")}
    return sources | {"caption": caption}


def _footer(films: Sequence[FilmFile]) -> str:
    label = ""
    if films:
        seen = all(film.label_visible for film in films)
        label = " Films carry a visible label." if seen else " The films' visible label was switched off."
    return f"Generated by eatlab {__version__}.{label}"


def embedded(data: bytes, kind: str) -> str:
    """A file as the text of a `src`."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def jpeg(picture: np.ndarray) -> bytes:
    """picture: (height, width, 3) uint8."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """("versions torch", "2.15.0") of nested mappings; lists are joined by commas."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name} ")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:.6g}"
        elif value is not None:
            yield f"{prefix}{name}", str(value)


def _mean(rows: Mapping[str, Mapping[str, Any]], row: str, metric: str) -> float | None:
    return _number((rows.get(row, {}).get(metric) or {}).get("mean"))


def _others(
    rows: Mapping[str, Mapping[str, Any]], metric: str, form: Callable[[float], str], **labels: str
) -> str:
    """' (frozen model 9 %, true clips 92 %)' of the rows that have the metric."""
    known = [(label, _mean(rows, row, metric)) for row, label in labels.items()]
    text = ", ".join(f"{label} {form(value)}" for label, value in known if value is not None)
    return f" ({text})" if text else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _pixels(distance: float) -> str:
    return f"{distance:.2f}\u00a0px"


def _number(value: Any) -> float | None:
    """A finite float, or None for what is not measured."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
