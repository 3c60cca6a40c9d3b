"""The canvas: polygons cover their area, painting stays inside, a backdrop is a function of its seed."""

from __future__ import annotations

import numpy as np
import pytest

from eatlab.data.puppets.canvas import Canvas, background, hull, smooth

SQUARE = np.array([(10, 10), (29, 10), (29, 29), (10, 29)], float)


def test_an_opaque_polygon_covers_its_area_and_nothing_else() -> None:
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8))
    canvas.fill(SQUARE, np.array((200, 100, 50)))
    assert (canvas.img[11:29, 11:29] == (200, 100, 50)).all()
    canvas.img[9:31, 9:31] = 0  # a pixel at the edge is antialiased
    assert not canvas.img.any()


@pytest.mark.parametrize(("alpha", "grey"), [(0.0, 0), (0.5, 100), (1.0, 200)])
def test_alpha_blends(alpha: float, grey: int) -> None:
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8))
    canvas.fill(SQUARE, np.full(3, 200), alpha)
    assert canvas.img[20, 20, 0] == pytest.approx(grey, abs=2)


def test_what_is_painted_inside_stays_inside() -> None:
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8))
    canvas.inside(
        SQUARE, lambda part: part.fill(np.array([(0, 0), (40, 0), (40, 40), (0, 40)], float), (9, 9, 9))
    )
    assert canvas.img[20, 20, 0] == 9
    assert not canvas.img[:8].any()
    assert not canvas.img[:, 32:].any()


def test_shapes_outside_the_canvas_change_nothing() -> None:
    canvas = Canvas(np.full((40, 40, 3), 7, np.uint8))
    canvas.fill(SQUARE + 100, np.full(3, 200), 0.5)
    canvas.line(SQUARE - 100, 2.0, np.full(3, 200), 0.5)
    canvas.inside(SQUARE + 100, lambda part: part.img.fill(0))
    assert (canvas.img == 7).all()


def test_a_smooth_curve_goes_through_its_points() -> None:
    closed, opened = smooth(SQUARE, True, 4), smooth(SQUARE, False, 4)
    np.testing.assert_allclose(closed[::4], SQUARE)
    np.testing.assert_allclose(opened[::4], SQUARE)


def test_the_hull_forgets_inner_points() -> None:
    assert len(hull(np.concatenate([SQUARE, [(20, 20)]]))) == 4


def test_a_backdrop_is_a_function_of_its_seed_and_a_room_is_busier_than_a_studio() -> None:
    np.testing.assert_array_equal(background(3, 64, 0), background(3, 64, 0))
    assert not np.array_equal(background(3, 64, 0), background(4, 64, 0))
    roughness = [np.abs(np.diff(background(3, 64, busy).astype(float), axis=1)).mean() for busy in (0.0, 1.0)]
    assert roughness[1] > 1.5 * roughness[0]
