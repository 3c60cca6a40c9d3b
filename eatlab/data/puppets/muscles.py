"""What moves a puppet's face: FACS action units and articulators, over the head that carries the skin."""

from __future__ import annotations

import numpy as np

from eatlab.data.puppets.head import Head
from eatlab.data.puppets.identity import AU_INDEX, Array, Identity

SIDES = np.array([-1.0, 1.0])
"""Sign of x at the image's left and right."""
ROUND = np.linspace(0, 2 * np.pi, 21)[:-1]
"""Angles (20,) of a circle or ellipse."""


class Muscles:
    """The state of a person's face over T frames, from aus (T, 17, 2) 0..1 and artic (T, 5).

    jaw, spread, press, tuck, tongue are the articulators (T, 1); drop (T, 1) is how far the jaw hangs, in
    head units.
    """

    def __init__(self, who: Identity, aus: Array, artic: Array) -> None:
        self.who, self.head, self.num_frames = who, Head(who), len(aus)
        self._aus = np.clip(aus, 0, 1.2)
        self.jaw, self.spread, self.press, self.tuck, self.tongue = (artic[:, i : i + 1] for i in range(5))
        opened = 1 - (1 - 0.85 * np.clip(self.jaw, 0, 1.1)) * (1 - 0.85 * self.mean(26))
        self.drop = 0.36 * opened * (1 - 0.75 * self.press)

    def sides(self, unit: int) -> Array:
        """(T, 2): an action unit, image left and right."""
        return self._aus[:, AU_INDEX[unit]]

    def mean(self, unit: int) -> Array:
        """(T, 1): an action unit, mean of both sides."""
        return self.sides(unit).mean(1)[:, None]

    def along(self, unit: int) -> Array:
        """(T, 2, 1): an action unit, ready to be spread along curves."""
        return self.sides(unit)[..., None]

    def lay(self, x: Array, y: Array, dz: Array | float = 0.0) -> Array:
        """(T, n, 3) on the skin from broadcastable x, y; dz < 0 stands out."""
        x, y = np.broadcast_arrays(x, y)
        points = np.stack(np.broadcast_arrays(x, y, self.head.z(x, y) + dz), -1)
        return np.broadcast_to(points, (self.num_frames, *points.shape[-2:])).copy()
