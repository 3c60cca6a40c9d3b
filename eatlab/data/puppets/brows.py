"""The brows of a puppet: their place, and how frown, surprise and fear move them."""

from __future__ import annotations

import numpy as np

from eatlab.data.puppets.identity import Array
from eatlab.data.puppets.muscles import SIDES, Muscles


def brow(m: Muscles, side: int) -> Array:
    """(T, 9, 3): a brow from its inner to its outer end."""
    who, u = m.who, np.linspace(0, 1, 9)
    inwards, down = brow_shift(m, u)
    x = SIDES[:, None] * (np.linspace(0.155, 0.60, 9) - inwards)
    arch = np.sin(np.pi * np.clip(u * 0.82, 0, 1)) * who.brow_arch
    y = who.brow_y + 0.03 - arch + who.brow_tilt * (u - 0.5) + 0.03 * u + down
    return m.lay(x[:, side], y[:, side], -0.035)


def brow_shift(m: Muscles, u: Array) -> tuple[Array, Array]:
    """(towards the nose, down), each (T, 2, n): how far brow points at u, 0 inner..1 outer, are moved."""
    knit = m.along(4) * (1 - 0.62 * m.along(1))
    down = (
        -0.155 * m.along(1) * (1 - u) ** 1.2
        - 0.15 * m.along(2) * u**0.7 * (1 - 0.25 * u)
        + knit * (0.135 * (1 - u) + 0.02)
        + 0.045 * m.along(9) * (1 - u)
        + 0.01 * m.along(6)
    )
    return 0.06 * m.along(4) * (1 - u), down
