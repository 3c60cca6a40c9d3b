"""Faces and films of a grid's adapters: those that ablations drew with the very same tunings."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eatlab.atomic import sha256_of_file
from eatlab.experiment.record import read_record
from eatlab.experiment.report import PICTURES
from eatlab.experiment.sweep_records import Sweep

SHEETS = {
    "intensity": "Emotions from nothing to all: only the intensity asked for changes",
    "contact_sheet": "Eight emotions: truth, re-enactment, adapter",
    "mix": "Mixed emotions",
}


@dataclass(frozen=True)
class FilmFile:
    """path: MP4, with its sound; what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Gallery:
    """What an ablation drew of an adapter. ablation, tuning: identities; sheets: name → PNG."""

    adapter: str
    ablation: str
    tuning: str
    sheets: dict[str, Path]
    films: tuple[FilmFile, ...]


def galleries_of(sweep: Sweep) -> list[Gallery]:
    """One an adapter, of the first seed, where an ablation beside the grid has it; the newest if several."""
    own = {point.identity for point in sweep.points}
    found: dict[str, Gallery] = {}
    paths = sorted(sweep.folder.parent.glob("*/record.json"), key=lambda path: path.stat().st_mtime)
    for path in paths:
        record = read_record(path.parent)
        if record and record.get("kind") == "ablation" and (tuning := drawn_with(record)) in own:
            sheets = {n: p for n in SHEETS if (p := path.parent / PICTURES / f"{n}.png").is_file()}
            films = tuple(films_in(path.parent / PICTURES))
            if sheets or films:
                found[record["adapter"]] = Gallery(record["adapter"], path.parent.name, tuning, sheets, films)
    order = dict.fromkeys(str(point.told["adapter"]) for point in sweep.points)
    return [found[adapter] for adapter in order if adapter in found]


def drawn_with(record: dict[str, Any]) -> str:
    """The tuning whose adapter an ablation draws with: its first seed's; empty if it names none."""
    points = record.get("points", {}).get(record.get("adapter")) or [{}]
    return str(points[0].get("identity", ""))


def films_in(folder: Path) -> Iterator[FilmFile]:
    """Films that still are what their sidecar says."""
    for path in sorted(folder.glob("film_*.mp4")):
        try:
            told = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if told["sha256"] == sha256_of_file(path):
                yield FilmFile(path, str(told["caption"]))
        except (OSError, ValueError, KeyError):
            continue  # a film without its sidecar does not say what it shows


def poster_of(film: Path) -> bytes:
    """JPEG of the middle frame; a film has few enough to read them all."""
    import av

    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return as_jpeg(frames[len(frames) // 2])


def as_jpeg(picture: Any, quality: int = 88) -> bytes:
    """picture: (height, width, 3) uint8, or the path of a PNG: a page of many sheets is to stay small."""
    from PIL import Image

    image = Image.open(picture).convert("RGB") if isinstance(picture, Path) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
