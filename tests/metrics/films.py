"""Small films of a bright disc, and a finder that takes the disc for a face: what films are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eatlab.data.faces import Face
from eatlab.metrics.coding import write_h264

SIDE = 64


def disc(x: float, y: float = SIDE / 2, *, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8: a bright disc around (x, y) on grey."""
    rows, columns = np.mgrid[:side, :side]
    away = np.hypot(columns - x, rows - y)
    return np.repeat((60 + 180 / (1 + np.exp(away - 10)))[..., None], 3, 2).astype(np.uint8)


def moving(num_frames: int = 12, *, later: int = 0, side: int = SIDE) -> list[np.ndarray]:
    """A disc that swings."""
    return [disc(side / 2 + 6 * np.sin(0.6 * (t + later)), side=side) for t in range(num_frames)]


def write(path: Path, frames: list[np.ndarray]) -> Path:
    """A film of H.264, 25 fps, without sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_h264(path, iter(frames), frames[0].shape[:2])
    return path


class DiscFinder:
    """68 points on a ring around the brightest place; no face where nothing is bright."""

    def faces(self, image: np.ndarray) -> list[Face]:
        bright = np.argwhere(image[..., 0] > 150)
        if not len(bright):
            return []
        (y0, x0), (y1, x1) = bright.min(0), bright.max(0)
        return [Face(float(x0), float(y0), float(x1), float(y1))]

    def landmarks(self, image: np.ndarray, face: Face) -> np.ndarray:
        light = np.clip(image[..., 0].astype(float) - 100, 0, None)
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
        centre = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
        angle = 2 * np.pi * np.arange(68) / 68
        reach = 0.25 * (face.x1 - face.x0) * (1 + np.arange(68) % 3)[:, None]
        return centre + reach * np.stack([np.cos(angle), np.sin(angle)], 1)


def finder() -> Any:
    """Typed as the real one."""
    return DiscFinder()
