"""Faces and films of a grid's adapters, as the grid drew them beside their tunings."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eatlab.atomic import sha256_of_file
from eatlab.experiment.report import PICTURES
from eatlab.experiment.sweeps.records import Sweep

TOLD = "gallery.json"
"""Written last: row, tuning, share, seed, sha256 of the weights and of each file."""
WIDEST_PX = 900
"""Of a sheet in the page."""
SHEETS = {
    "intensity": "Emotions from nothing to all: only the intensity asked for changes",
    "contact_sheet": "Eight emotions: truth, re-enactment, adapter",
    "mix": "Mixed emotions",
    "reenactment": "Eight emotions of people never seen: truth, re-enactment from one neutral portrait",
}


@dataclass(frozen=True)
class FilmFile:
    """path: MP4, with its sound; what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Gallery:
    """What was drawn of a row. tuning: identity; share of the training clips; sheets: name → PNG."""

    row: str
    weights_sha256: str
    tuning: str
    share: float
    seed: int
    sheets: dict[str, Path]
    films: tuple[FilmFile, ...]


def galleries_of(sweep: Sweep) -> list[Gallery]:
    """Those that there are, in the order of the points."""
    folders = [
        (sweep.folder / point.told["record"]).parent / PICTURES / point.told["clips"]
        for point in sweep.points
    ]
    return [found for folder in dict.fromkeys(folders) if (found := gallery_in(folder)) is not None]


def gallery_in(folder: Path) -> Gallery | None:
    """The gallery that lies in a folder (`units.GalleryUnit`); None if there is none, or a file of it was
    changed.
    """
    try:
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        paths = {folder / name: digest for name, digest in told["files"].items()}
        if any(sha256_of_file(path) != digest for path, digest in paths.items()):
            return None
        sheets = {name: path for name in SHEETS if (path := folder / f"{name}.png") in paths}
        films = tuple(FilmFile(path, caption_of(path)) for path in paths if path.suffix == ".mp4")
        weights = str(told.get("weights_sha256") or told["adapter_sha256"])  # as it was called before
        row, tuning = str(told["row"]), str(told["tuning"])
        return Gallery(row, weights, tuning, float(told["share"]), int(told["seed"]), sheets, films)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def caption_of(film: Path) -> str:
    """What a film's sidecar says that it shows."""
    return str(json.loads(film.with_suffix(".json").read_text(encoding="utf-8"))["caption"])


def poster_of(film: Path) -> bytes:
    """JPEG of the middle frame; a film has few enough to read them all."""
    import av

    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return as_jpeg(frames[len(frames) // 2])


def as_jpeg(picture: Any, quality: int = 82) -> bytes:
    """picture: (height, width, 3) uint8, or the path of a PNG: a page of many sheets is to stay small, and
    their files lie beside it.
    """
    from PIL import Image

    image = Image.open(picture).convert("RGB") if isinstance(picture, Path) else Image.fromarray(picture)
    if image.width > WIDEST_PX:
        image = image.resize(
            (WIDEST_PX, round(image.height * WIDEST_PX / image.width)), Image.Resampling.LANCZOS
        )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
