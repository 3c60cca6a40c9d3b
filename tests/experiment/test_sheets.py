"""Sheets: each face stands where its labels say, and files keep their size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from eatlab.experiment.sheets import INK, Group, Row, Sheet, draw_sheet, fitted, font, write_png, write_sheet

COLOURS = np.array(
    [[[200, 30, 40], [30, 200, 40], [30, 40, 200]], [[200, 200, 40], [200, 40, 200], [40, 200, 200]]]
)


def flat_sheet(side: int = 16) -> Sheet:
    """Two rows of three faces, each of one colour."""
    frames = np.broadcast_to(COLOURS[:, :, None, None], (2, 3, side, side, 3)).astype(np.uint8)
    rows = [Row("truth", frames[0]), Row("deep_prompt", frames[1])]
    return Sheet(
        "Title", ("angry", "happy", "sad"), tuple(Group(f"person {i}", (row,)) for i, row in enumerate(rows))
    )


def where(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(n, 2) row and column of each pixel of that colour."""
    return np.argwhere((picture == colour).all(-1))


def test_each_face_is_drawn_whole_at_its_scale() -> None:
    picture = draw_sheet(flat_sheet(), scale=2)
    for colour in COLOURS.reshape(-1, 3):
        found = where(picture, colour)
        assert len(found) == 32 * 32
        assert (found.max(0) - found.min(0) == 31).all()


def test_columns_run_left_to_right_and_rows_top_to_bottom() -> None:
    picture = draw_sheet(flat_sheet())
    tops, lefts = np.moveaxis(np.array([[where(picture, c).min(0) for c in row] for row in COLOURS]), -1, 0)
    assert (np.diff(lefts, axis=1) > 32).all()
    assert (np.diff(tops, axis=0) > 32).all()
    assert (np.diff(tops, axis=1) == 0).all()


def test_labels_stand_left_of_their_row_and_above_their_column() -> None:
    picture = draw_sheet(flat_sheet(side=96))
    top, left = where(picture, COLOURS[0, 0]).min(0)
    ink = np.abs(picture.astype(int) - INK).sum(-1) < 30
    assert ink[top : top + 192, :left].any()
    assert ink[:top, left : left + 192].any()
    assert not ink[top : top + 192, left:].any()


def test_enlarging_keeps_the_picture() -> None:
    gradient = np.tile(np.linspace(0, 255, 48).astype(np.uint8)[None, :, None], (48, 1, 3))
    picture = draw_sheet(Sheet("", ("",), (Group("", (Row("", gradient[None]),)),)), scale=2)
    large = picture[-10 - 2 - 96 : -10 - 2, -10 - 2 - 96 : -10 - 2]
    small = np.asarray(Image.fromarray(large).resize((48, 48), Image.Resampling.BOX))
    assert np.abs(small[:, 2:-2].astype(int) - gradient[:, 2:-2]).max() <= 2


def test_the_type_has_arrows_and_accents() -> None:
    missing = font(20).getmask("\uffff").getbbox(), bytes(font(20).getmask("\uffff"))
    for sign in "→éß":
        assert bytes(font(20).getmask(sign)) != missing[1]


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 8, 8, 3)), np.zeros((3, 9, 8, 3), np.uint8)]
)
def test_rows_that_do_not_fit_are_refused_by_name(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="row 'odd'"):
        Sheet(
            "",
            ("a", "b", "c"),
            (Group("", (Row("even", np.zeros((3, 8, 8, 3), np.uint8)), Row("odd", frames))),),
        )


def test_a_sheet_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Sheet("empty", ("a",), (Group("", ()),))


def test_the_file_holds_the_drawing_and_is_the_same_each_time(tmp_path) -> None:
    path = write_sheet(flat_sheet(), tmp_path / "new" / "sheet.png")
    assert (np.asarray(Image.open(path)) == draw_sheet(flat_sheet())).all()
    assert path.read_bytes() == write_sheet(flat_sheet(), tmp_path / "again.png").read_bytes()


def test_a_limit_of_bytes_holds(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    for limit in (150_000, 60_000, 25_000):
        data = write_png(noise, tmp_path / "noise.png", max_bytes=limit).read_bytes()
        assert len(data) <= limit
        Image.open(io.BytesIO(data)).verify()
    with pytest.raises(ValueError, match="under 100 bytes"):
        write_png(noise, tmp_path / "noise.png", max_bytes=100)


@pytest.mark.parametrize("text", ["edn", "lora(rank=8)+film_input", "full+deep_prompt+edn+eam" * 3])
def test_a_label_fits_its_width_whatever_the_spec(text: str) -> None:
    shown, letters = fitted(text, 20, 200)
    assert letters.getlength(shown) <= 200
    assert shown == text or shown.endswith("…")
    assert fitted("edn", 20, 200) == ("edn", font(20))
