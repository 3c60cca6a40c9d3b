"""Pose pictures: a drawn frustum that turns with the head, what A2ET sees of poses (eat-networks.md 7).

Angles enter as bin expectations, 0..65, that are read as degrees: a frontal head stands at 33, 33, 33. It was
trained so (data.md 3.4). Points behind the camera are mirrored and far outside, as the networks saw them.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from eatlab.backbone.pose import RELEASED_PI, matrices, product_of
from eatlab.backbone.published.blur import shrink

SIDE, SHRUNK = 256, 4
FOCAL, CENTRE = 233.333, 128.0
CORNERS = ((-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1))
REAR, FRONT = ([(half * x, half * y, depth) for x, y in CORNERS] for half, depth in ((75, 0), (100, 100)))
FRUSTUM = np.array(REAR + FRONT, float)
EDGES = ((1, 6), (2, 7), (3, 8))
"""Between the squares; the closed line through all ten points draws the fourth, 4-5 and 9-0."""
FARTHEST = 2.0**30
"""Pixels; whatever lies farther is drawn there, for points are int32."""


def pose_pictures(poses: Tensor) -> Tensor:
    """(n, 6): yaw, pitch, roll in bins, t x, y, z → (n, 64, 64) float32 in 0..255, on the CPU.

    Differs: Sec. 3.1.2 has pose features of each frame; the release draws a box, turned by expected bins
    (0..65) that are read as degrees.
    """
    poses = poses.detach().double().cpu()
    turns = product_of(*matrices(poses[:, :3] / 180 * RELEASED_PI, 1))
    pairs = zip(turns.numpy(), poses[:, 3:].numpy(), strict=True)
    drawn = [draw(project(turn, place)) for turn, place in pairs]
    canvas = torch.from_numpy(np.stack(drawn) if drawn else np.zeros((0, SIDE, SIDE), np.uint8))
    return shrink(canvas[:, None].float(), SHRUNK)[:, 0]


def project(turn: np.ndarray, place: np.ndarray) -> np.ndarray:
    """turn (3, 3), place (3,) → the frustum's corners (10, 2) int32: pixels, truncated.

    A point at depth 0 counts as at depth 1, as in OpenCV.
    """
    points = FRUSTUM @ turn.T + place
    depth = np.where(points[:, 2:] == 0, 1.0, points[:, 2:])
    pixels = FOCAL * points[:, :2] / depth + CENTRE
    return pixels.clip(-FARTHEST, FARTHEST).astype(np.int32)


def draw(points: np.ndarray) -> np.ndarray:
    """(256, 256) uint8: white lines two pixels wide on black.

    Differs: not anti-aliased; the release asks for it, but draws on floats, where OpenCV does not know how.
    """
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.polylines(canvas, [points], True, 255, 2, cv2.LINE_8)
    for start, end in EDGES:
        cv2.line(canvas, points[start].tolist(), points[end].tolist(), 255, 2, cv2.LINE_8)
    return canvas
