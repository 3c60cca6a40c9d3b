"""From a face to a square picture: EAT's box, never squeezed, in the framing that the backbone knows.

The box is that of EAT's preprocessing (data.md 2.2): about 2.1 jaw widths, a little above the middle of the
face, from the first frame with a face, fixed over the clip. Differs: where it leaves the picture it shrinks
and stays square.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

EAT_JAW_WIDTHS = 2.1
PUPPET_JAW_WIDTHS = 2.05
"""Side of a puppet's picture in jaw widths, as `faces.py` measures them (32 test persons: 2.05 ± 0.12).
With it the eyes of real faces come to lie at 45 of 96 pixels and their mouths at 69; puppets': 46 and 69."""
SMALLEST_SHARE = 0.6
"""Of the wanted box, what must lie inside the picture; less is refused as `border`."""
CROPPED_PX = 512
"""Square pictures up to this side were cropped by somebody before us."""


@dataclass(frozen=True)
class Box:
    """A square in source pixels; `wanted`: the side it should have; `share`: how much of that is picture."""

    left: int
    top: int
    side: int
    wanted: int
    share: float

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1; outside the picture where edges are repeated."""
        return self.left, self.top, self.left + self.side, self.top + self.side


def eat_box(landmarks: np.ndarray, size: tuple[int, int], *, jaw_widths: float = EAT_JAW_WIDTHS) -> Box:
    """The box around landmarks (68, 2) in a picture of (width, height): moved inside, shrunk if it must."""
    wanted, centre = wanted_box(landmarks, jaw_widths)
    side = min(wanted, *size)
    inside = [max(0, c - side // 2) for c in centre]
    left, top = (int(min(low, length - side)) for low, length in zip(inside, size, strict=True))
    return Box(left, top, int(side), int(wanted), side / wanted)


def framed_box(landmarks: np.ndarray, size: tuple[int, int], *, jaw_widths: float = PUPPET_JAW_WIDTHS) -> Box:
    """The same box where it is, over the picture's edges too: for footage cropped closer than puppets are."""
    wanted, centre = wanted_box(landmarks, jaw_widths)
    left, top = (int(c - wanted // 2) for c in centre)
    across, down = (
        max(min(low + wanted, length) - max(low, 0), 0) for low, length in zip((left, top), size, strict=True)
    )
    return Box(left, top, int(wanted), int(wanted), min(across, down) / wanted)


def wanted_box(landmarks: np.ndarray, jaw_widths: float) -> tuple[float, tuple[float, float]]:
    """Side and centre by EAT's arithmetic: floor division on floats."""
    (min_x, min_y), (max_x, max_y) = landmarks.astype(float).min(axis=0), landmarks.astype(float).max(axis=0)
    return jaw_widths * (max_x - min_x), ((max_x + min_x) // 2, (3 * min_y + max_y) // 4)


def whole_box(size: tuple[int, int]) -> Box:
    """The largest square in the middle of the picture: everything, if the picture is square."""
    side = min(size)
    return Box((size[0] - side) // 2, (size[1] - side) // 2, side, side, 1.0)


def is_cropped(size: tuple[int, int]) -> bool:
    """Whether the footage is a face crop already: square and small (data.md 1.2)."""
    return size[0] == size[1] <= CROPPED_PX


def cut(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """(height, width, 3) → (size, size, 3) of the box: areas averaged if smaller, edges repeated outside."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box.corners
    inside = image[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    over = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    if any(over):
        inside = cv2.copyMakeBorder(inside, *over, cv2.BORDER_REPLICATE)
    return cv2.resize(
        inside, (size, size), interpolation=cv2.INTER_AREA if box.side >= size else cv2.INTER_CUBIC
    )


def into_crop(points: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Source pixels (..., 2) → pixels of the crop; pixel centres are at integers in both."""
    return (points - np.array([box.left, box.top]) + 0.5) * (size / box.side) - 0.5
