"""The eyes of a puppet: lids that blink, stare and squint, an eyeball that looks around, glasses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eatlab.data.puppets.brows import brow_shift
from eatlab.data.puppets.identity import Array
from eatlab.data.puppets.muscles import ROUND, SIDES, Muscles

_RIM = np.linspace(0, 2 * np.pi, 29)[:-1]
_CIRCLE = ROUND[:, None]


class Lids(NamedTuple):
    """Lines of both eyes from the outer to the inner corner: x (2, 17), y of each line (T, 2, 17)."""

    x: Array
    upper: Array
    lower: Array
    crease: Array


def eyelids(m: Muscles) -> Lids:
    """Both lids and the crease above; q runs from -1 (outer corner) to +1 (inner corner)."""
    who, au, q = m.who, m.along, np.linspace(-1, 1, 17)
    arch = 1 - np.abs(q) ** 2.3
    x, corner_y = SIDES[:, None] * (who.eye_x - q * who.eye_w), who.eye_y + who.eye_tilt * q
    inner, outer = (1 + q) / 2, (1 - q) / 2
    up = who.eye_h * (1 + 0.55 * au(5) - 0.26 * au(7) - 0.12 * au(6) - 0.14 * au(9)) * arch
    down = who.eye_h * 0.66 * (1 - 0.62 * au(6) - 0.5 * au(7) - 0.4 * au(9) + 0.18 * au(5)) * arch
    frown = 0.055 * au(4) * (1 - 0.8 * au(1)) * inner
    sorrow = 0.05 * au(1) * (1 - 0.9 * np.clip(au(5) + au(2), 0, 1)) * outer
    upper, lower = corner_y - up * (1 + 0.10 * q) + (frown + sorrow) * arch, corner_y + down
    upper = np.minimum(upper, lower - 0.004)
    shut = 0.3 * upper + 0.7 * lower
    close = np.clip(au(45), 0, 1)
    upper, lower = upper + (shut - upper) * close, lower + (shut - lower) * close
    pull = np.maximum(brow_shift(m, 0.5 - 0.5 * q)[1], -0.04)
    crease = corner_y - who.eye_h * (1.42 + 0.25 * au(5)) * arch**0.8 + 0.35 * pull * arch
    return Lids(x, upper, lower, np.minimum(crease, upper - 0.012))


def eye(m: Muscles, side: int, lids: Lids, gaze: Array) -> dict[str, Array]:
    """Curves of one side: opening ("eye"), its edges ("lash", "lower"), crease, eyeball, socket, glass."""
    who, x = m.who, lids.x[side]
    upper, lower = m.lay(x, lids.upper[:, side], -0.02), m.lay(x, lids.lower[:, side], -0.015)
    curves = {
        f"eye{side}": np.concatenate([upper, lower[:, -2:0:-1]], 1),
        f"lash{side}": upper,
        f"lower{side}": lower,
        f"crease{side}": m.lay(x, lids.crease[:, side], -0.02),
    }
    curves |= {f"{name}{side}": points for name, points in eyeball(m, side, gaze).items()}
    curves[f"socket{side}"] = m.lay(
        SIDES[side] * who.eye_x + 0.235 * np.cos(ROUND), who.eye_y - 0.03 + 0.15 * np.sin(ROUND)
    )
    curves[f"glass{side}"] = glass(m, side)
    return curves


def eyeball(m: Muscles, side: int, gaze: Array) -> dict[str, Array]:
    """Circles (T, 20, 3) that look where `gaze` (T, 2; yaw, pitch in radians) says: iris, pupil, glint."""
    centre = m.lay(SIDES[side] * m.who.eye_x, np.array([m.who.eye_y]), 0.15)
    yaw, pitch = gaze[:, :1], gaze[:, 1:]
    ahead = np.stack([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), -np.cos(yaw) * np.cos(pitch)], -1)
    across = np.stack([np.cos(yaw), 0 * yaw, np.sin(yaw)], -1)
    circle = np.cos(_CIRCLE) * across + np.sin(_CIRCLE) * np.cross(ahead, across)
    return {
        "iris": centre + 0.18 * ahead + 0.104 * circle,
        "pupil": centre + 0.18 * ahead + 0.050 * circle,
        "glint": centre + 0.20 * ahead + 0.024 * circle + np.array([-0.036, -0.042, 0]),
    }


def glass(m: Muscles, side: int) -> Array:
    """(T, 28, 3): the rim of one glass, round to square by the person's taste."""
    x, y = _squared(np.cos(_RIM), m.who.glasses), _squared(np.sin(_RIM), m.who.glasses)
    return m.lay(SIDES[side] * (m.who.eye_x + 0.01) + 0.265 * x, m.who.eye_y + 0.03 + 0.20 * y, -0.10)


def _squared(v: Array, taste: float) -> Array:
    return np.sign(v) * np.abs(v) ** (0.6 + 0.4 * (taste % 0.2) * 5)
