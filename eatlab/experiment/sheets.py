"""Sheets of faces under readable labels, for what no table shows: contact sheets, intensity strips, mixes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

PAPER, INK, FAINT = (255, 255, 255), (28, 31, 36), (108, 114, 124)
GAP_PX, GROUP_GAP_PX, MARGIN_PX = 2, 12, 10


@dataclass(frozen=True)
class Row:
    """Faces from left to right. frames: (columns, height, width, 3) uint8 RGB."""

    label: str
    frames: np.ndarray


@dataclass(frozen=True)
class Group:
    """Rows that belong together, as those of one person; its label stands above them unless it is empty."""

    label: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Sheet:
    """Labelled columns over groups of rows. The title is drawn, the caption is for the text around it."""

    title: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    caption: str = ""

    def __post_init__(self) -> None:
        rows = [row for group in self.groups for row in group.rows]
        if not rows:
            raise ValueError(f"sheet {self.title!r} has no rows")
        for row in rows:
            expected = (len(self.columns), *rows[0].frames.shape[1:3], 3)
            if row.frames.shape != expected or row.frames.dtype != np.uint8:
                place, found = (
                    f"sheet {self.title!r}, row {row.label!r}",
                    f"{row.frames.dtype} {row.frames.shape}",
                )
                raise ValueError(f"{place}: frames are {found}; expected uint8 {expected}")


def draw_sheet(sheet: Sheet, *, scale: int = 2) -> np.ndarray:
    """(height, width, 3) uint8: each face enlarged `scale` times (Lanczos), type in proportion to it."""
    from PIL import Image, ImageDraw

    height, width = (scale * side for side in sheet.groups[0].rows[0].frames.shape[1:3])
    size = max(11, round(width / 9.5))
    left = MARGIN_PX + _label_width(sheet, size) + size // 2
    places, bottom = _places(sheet, height, size)
    right = left + len(sheet.columns) * (width + GAP_PX)
    title_end = MARGIN_PX + round(font(size, bold=True).getlength(sheet.title))
    picture = Image.new("RGB", (max(right, title_end) + MARGIN_PX, bottom + MARGIN_PX), PAPER)
    pen = ImageDraw.Draw(picture)
    _write_headings(pen, sheet, size=size, left=left, step=width + GAP_PX)
    for place, item in places:
        if isinstance(item, str):
            pen.text((MARGIN_PX, place), item, fill=FAINT, font=font(size), anchor="la")
            continue
        middle = (left - size // 2, place + height // 2)
        pen.multiline_text(middle, item.label, fill=INK, font=font(size), anchor="rm", align="right")
        for column, frame in enumerate(item.frames):
            picture.paste(enlarged(frame, scale), (left + column * (width + GAP_PX), place))
    return np.asarray(picture)


def write_sheet(sheet: Sheet, path: Path, *, scale: int = 2, max_bytes: int | None = None) -> Path:
    """Draws and writes a PNG; over `max_bytes` it is shrunk to two thirds, then reduced to 256 colours."""
    return write_png(draw_sheet(sheet, scale=scale), path, max_bytes=max_bytes)


def write_png(picture: np.ndarray, path: Path, *, max_bytes: int | None = None) -> Path:
    """Writes (height, width, 3) uint8 as `write_sheet`. ValueError if it cannot get under `max_bytes`."""
    for data in _smaller_and_smaller(picture):
        if max_bytes is None or len(data) <= max_bytes:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return path
    raise ValueError(
        f"{path.name}: {picture.shape[1]} x {picture.shape[0]} cannot be brought under {max_bytes} bytes"
    )


def _smaller_and_smaller(picture: np.ndarray) -> Iterator[bytes]:
    from PIL import Image

    full = Image.fromarray(picture)
    for share in (1.0, 0.9, 0.8, 0.72, 0.64):
        yield _png(_shrunk(full, share))
    for share in (1.0, 0.8, 0.64, 0.5, 0.4):
        yield _png(_shrunk(full, share).quantize(256, dither=Image.Dither.FLOYDSTEINBERG))


def _shrunk(image: Image, share: float) -> Image:
    from PIL.Image import Resampling

    size = (round(image.width * share), round(image.height * share))
    return image if share == 1.0 else image.resize(size, Resampling.LANCZOS)


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _places(sheet: Sheet, height: int, size: int) -> tuple[list[tuple[int, Row | str]], int]:
    """Top edge in pixels of each row and group label, and the bottom of the last row."""
    top = MARGIN_PX + round(size * (3.3 if sheet.title else 1.6))
    places: list[tuple[int, Row | str]] = []
    for number, group in enumerate(sheet.groups):
        top += GROUP_GAP_PX if number else 0
        if group.label:
            places.append((top, group.label))
            top += round(size * 1.4)
        for row in group.rows:
            places.append((top, row))
            top += height + GAP_PX
    return places, top


def _write_headings(pen: ImageDraw, sheet: Sheet, *, size: int, left: int, step: int) -> None:
    pen.text((MARGIN_PX, MARGIN_PX), sheet.title, fill=INK, font=font(size, bold=True), anchor="la")
    baseline = MARGIN_PX + round(size * (2.9 if sheet.title else 1.2))
    for column, name in enumerate(sheet.columns):
        middle = left + column * step + step // 2
        pen.text((middle, baseline), name, fill=INK, font=font(size), anchor="ms")


def _label_width(sheet: Sheet, size: int) -> int:
    lines = [line for group in sheet.groups for row in group.rows for line in row.label.split("\n")]
    return round(max(font(size).getlength(line) for line in lines))


def enlarged(frame: np.ndarray, scale: int) -> Image:
    """(height, width, 3) uint8 enlarged by Lanczos interpolation."""
    from PIL import Image

    image = Image.fromarray(frame)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS)


def fitted(text: str, size: int, width: int) -> tuple[str, FreeTypeFont]:
    """The text and its type no wider than `width` pixels: smaller down to half, then cut with an ellipsis."""
    small = next((s for s in range(size, size // 2, -1) if font(s).getlength(text) <= width), size // 2)
    shown = text
    while font(small).getlength(shown) > width and len(shown) > 1:
        shown = f"{shown.rstrip('…')[:-1]}…"
    return shown, font(small)


@lru_cache(maxsize=16)
def font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: the same type on each machine, with arrows and accents."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
