"""The contact sheet of a recipe: what it made of the clips, to be looked at before training."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from eatlab.data.samples import Clip

MOST_CLIPS = 48
"""More than a reader looks at."""
COLUMNS = 4
ZOOM = 2
MARGIN = 6
LABEL_PX = 18
INK, PAPER, POINT = (30, 30, 30), 250, (64, 255, 96)


def contact_sheet(clips: Sequence[Clip]) -> np.ndarray:
    """(height, width, 3) uint8 RGB: first, middle, last drawn frame of each clip, with landmarks."""
    cells = [cell(clip) for clip in clips]
    blank = np.full_like(cells[0], PAPER)
    cells += [blank] * (-len(cells) % COLUMNS)
    rows = [np.concatenate(cells[i : i + COLUMNS], axis=1) for i in range(0, len(cells), COLUMNS)]
    return np.concatenate(rows)


def cell(clip: Clip) -> np.ndarray:
    """Three frames of a clip under a line that names it."""
    points = clip.meta["landmarks"]["points"]
    chosen = (0, len(clip.at) // 2, len(clip.at) - 1)
    strip = np.concatenate([with_points(clip.frames[i], points[i]) for i in chosen], axis=1)
    framed = np.full((strip.shape[0] + LABEL_PX + MARGIN, strip.shape[1] + MARGIN, 3), PAPER, np.uint8)
    framed[LABEL_PX : LABEL_PX + strip.shape[0], : strip.shape[1]] = strip
    voice = "" if clip.meta["voice"] == "own" else f", voice: {clip.meta['voice']}"
    recipe = clip.meta["crop"]["recipe"]
    line = f"{clip.identity} {clip.emotion} {clip.level}, crop {recipe}, {clip.split}{voice}"
    cv2.putText(framed, line, (2, LABEL_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    return framed


def with_points(frame: np.ndarray, points: list[list[float]] | None) -> np.ndarray:
    """The frame, twice as large, with its 68 points."""
    large = cv2.resize(frame, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    for x, y in points or ():
        centre = (round((x + 0.5) * ZOOM - 0.5), round((y + 0.5) * ZOOM - 0.5))
        cv2.circle(large, centre, 1, POINT, -1, cv2.LINE_AA)
    return large
