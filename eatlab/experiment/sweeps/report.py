"""`eatlab report`: one page of a grid, with Markdown, LaTeX rows and every picture as a file beside it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from eatlab import __version__
from eatlab.atomic import sha256_of_file, write_atomically, write_text
from eatlab.errors import UserError
from eatlab.experiment.config import split_override
from eatlab.experiment.record import commit, read_record

if TYPE_CHECKING:
    from eatlab.experiment.grids.grid import GridConfig
    from eatlab.experiment.sweeps.gallery import Gallery
    from eatlab.experiment.sweeps.page import BlockPage
    from eatlab.experiment.sweeps.records import Sweep

HOW = ("host", "engine", "cluster", "options", "point", "retry", "dry_run")
"""Keys of `eatlab grid` that say how it runs, not which points it has."""


@dataclass(frozen=True)
class ReportHost:
    """runs, data: folders, as for the grid."""

    runs: str = "runs"
    data: str = "data"
    workers: int = 1


@dataclass(frozen=True)
class ReportConfig:
    """file: a grid (experiments/sweep.yaml, with the words that it was run with, as in seeds=0,1), or a
    grid's record.json. A record is read alone; a grid that is not finished shows what is there.

    out: the folder to write into; empty: `report` in the grid's own folder.
    """

    file: str = MISSING
    out: str = ""
    words: tuple[str, ...] = ()
    host: ReportHost = field(default_factory=ReportHost)


@dataclass(frozen=True)
class SweepFiles:
    """What `write_sweep` wrote."""

    html: Path
    markdown: Path
    latex: Path
    pictures: tuple[Path, ...]


def run_report(config: ReportConfig) -> int:
    """Writes the report and says where it lies.

    Raises UserError (2) for a file that is none, or a grid of which nothing is there, (4) for damaged files.
    """
    sweep = sweep_of(config)
    if not sweep.points:
        asked = f"a report of {config.file}: none of its {sweep.num_asked} points is done"
        raise UserError(asked, do=f"run it first: eatlab grid {config.file}")
    out = Path(config.out) if config.out else sweep.folder / "report"
    files = write_sweep(sweep, out)
    print(f"{len(sweep.points)} of {sweep.num_asked} points", end="")
    print(
        f", {len(sweep.missing)} missing, {len(sweep.failed)} failed" if sweep.missing or sweep.failed else ""
    )
    for name, path in (("report", files.html), ("markdown", files.markdown), ("LaTeX", files.latex)):
        print(f"{name:>8}  {path}")
    sys.stdout.flush()
    return 0


def write_sweep(sweep: Sweep, out: Path) -> SweepFiles:
    """Writes report.html, report.md, rows.tex and pictures/ into `out`.

    Raises UserError where readings that belong together were measured differently.
    """
    from eatlab.experiment.report import PICTURES
    from eatlab.experiment.sweeps.gallery import galleries_of
    from eatlab.experiment.sweeps.page import block_page, render
    from eatlab.experiment.sweeps.text import latex_of, markdown_of

    pages = [block_page(block, number) for number, block in enumerate(sweep.blocks(), start=1)]
    galleries = galleries_of(sweep)
    pictures = [*write_pictures(pages, out / PICTURES), *copy_galleries(galleries, out / PICTURES)]
    html, markdown, latex = out / "report.html", out / "report.md", out / "rows.tex"
    write_text(html, render(sweep, pages, galleries, about=about(sweep)))
    write_text(markdown, markdown_of(sweep, pages))
    write_text(latex, latex_of(sweep, pages))
    return SweepFiles(html, markdown, latex, tuple(pictures))


def write_pictures(pages: Sequence[BlockPage], folder: Path) -> list[Path]:
    """Every plot as an SVG file, and as a PNG file beside it."""
    from eatlab.experiment.sweeps.text import file_of

    written: list[Path] = []
    for page in pages:
        for picture in page.pictures:
            written += picture.plot.write(folder / file_of(picture.name, page.number))
    return written


def copy_galleries(galleries: Sequence[Gallery], folder: Path) -> list[Path]:
    """Sheets and films as they are, named by their row."""
    from eatlab.experiment.sweeps.figures import plain

    written = []
    for gallery in galleries:
        for path in (*gallery.sheets.values(), *(film.path for film in gallery.films)):
            copy = folder / f"{plain(gallery.row)}_{path.name}"
            write_atomically(copy, lambda part, path=path: shutil.copyfile(path, part))  # type: ignore[misc]
            written.append(copy)
    return written


def about(sweep: Sweep) -> dict[str, Any]:
    """What the report says of the grid's record and of itself."""
    record = sweep.record
    return {
        "grid": {
            "record": record["identity"],
            "file": record["file"]["name"],
            "sha256": record["file"]["sha256"],
        },
        "clips": {clips: told["fingerprint"] for clips, told in record["clips"].items()},
        "grid's": record.get("environment", {}),
        "report": {"eatlab": __version__, "commit": commit()},
    }


# ------------------------------------------------------------------------------------------- finding the grid


def sweep_of(config: ReportConfig) -> Sweep:
    """The grid that a config names: by its record, or by its file. See `ReportConfig`."""
    from eatlab.experiment.sweeps.records import read_sweep, record_at

    path = Path(config.file)
    if path.suffix == ".json":
        return read_sweep(record_at(path), path.parent)
    if not path.is_file():
        raise UserError(f"grid {path} does not exist", do="give a grid file, or the record.json of a grid")
    if found := recorded(path, config.words, Path(config.host.runs)):
        sweep = read_sweep(record_at(found), found.parent)
        return replace(sweep, missing=tuple(left_out(sweep, path, config.words)))
    return unfinished(config)


def left_out(sweep: Sweep, file: Path, words: Sequence[str]) -> list[str]:
    """Points of the file of which a grid's record says nothing: what they need has failed."""
    from eatlab.experiment.grids.grid_file import read_grid

    told = {point.name for point in sweep.points} | {failure["name"] for failure in sweep.failed}
    return [point.name for point in read_grid(file, words) if point.name not in told]


def recorded(file: Path, words: Sequence[str], runs: Path) -> Path | None:
    """The newest record of a grid of that very file, run with those words; None if there is none."""
    digest = sha256_of_file(file)
    found = []
    for path in runs.glob("*/record.json"):
        record = read_record(path.parent) or {}
        same = record.get("kind") == "grid" and record["file"]["sha256"] == digest
        if same and words_of(record["environment"]["command"].split()) == words_of(words):
            found.append(path)
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def words_of(words: Sequence[str]) -> list[str]:
    """The words of a command that say which points a grid has."""
    keys = [word for word in words if "=" in word and not word.startswith("-")]
    return sorted(word for word in keys if split_override(word)[0].partition(".")[0] not in HOW)


def unfinished(config: ReportConfig) -> Sweep:
    """What is there of a grid that has no record yet. Its points are named by what they depend on, so here
    the backbone is read; nothing is drawn or run.
    """
    from eatlab.experiment.grids.dry_run import has_clips
    from eatlab.experiment.grids.grid import check_words, folder_of
    from eatlab.experiment.grids.grid_file import read_grid
    from eatlab.experiment.grids.grid_record import record_of
    from eatlab.experiment.grids.units import PointUnit, units_of
    from eatlab.experiment.grids.worker import Failure
    from eatlab.experiment.sweeps.records import read_sweep

    check_words(Path(config.file), config.words)
    points = read_grid(Path(config.file), config.words)
    if not all(has_clips(point, config.host.data) for point in points):
        raise UserError(
            f"no record of {config.file} is in {config.host.runs}",
            "nor are the clips of its points there",
            f"run eatlab grid {config.file}, or give its record.json",
        )
    units = units_of(points, config.host)
    folder = folder_of(units, grid_config(config))
    record = record_of(config.file, folder, units)
    missing = [
        unit.name
        for unit in units
        if isinstance(unit, PointUnit) and not unit.is_done() and Failure.of(unit.folder) is None
    ]
    return read_sweep(record, folder, missing)


def grid_config(config: ReportConfig) -> GridConfig:
    """The grid as `eatlab grid` would be asked for it."""
    from eatlab.experiment.grids.grid import GridConfig, GridHost

    host = GridHost(runs=config.host.runs, data=config.host.data)
    return GridConfig(file=config.file, words=config.words, host=host)
