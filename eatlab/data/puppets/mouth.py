"""The mouth of a puppet: lips moved by speech and emotion, teeth, tongue, chin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eatlab.data.puppets.identity import Array, smoothstep
from eatlab.data.puppets.muscles import ROUND, Muscles

P = np.linspace(-1, 1, 21)
"""Along the lips: -1 is the left corner, +1 the right one."""
_CENTRE = slice(10, 11)


class Lips(NamedTuple):
    """half_width (T, 2) of the image's sides; along P, (T, 21): x, how far the lips stand out (dz), and y of
    the line between the lips (middle), of the inner edges and of the outer edges."""

    half_width: Array
    x: Array
    dz: Array
    middle: Array
    upper_inner: Array
    lower_inner: Array
    upper_outer: Array
    lower_outer: Array


def lip_lines(m: Muscles) -> Lips:
    """Where the edges of the lips are."""
    who, mean, p = m.who, m.mean, P
    rounded = np.clip(-m.spread, 0, 1)
    half_width = _half_width(m)
    x = np.where(p < 0, half_width[:, :1], half_width[:, 1:]) * p
    middle = _middle(m)
    above, below = _opening(m)
    bell = np.maximum(0, 1 - p**2) ** (0.62 - 0.15 * rounded)
    upper_inner, lower_inner = middle - above * bell, middle + below * bell
    thin = (1 - 0.55 * mean(23)) * (1 - 0.45 * m.press) * (1 - 0.2 * mean(12)) * (1 - 0.25 * mean(20))
    cupid = 1 - 0.24 * np.exp(-((p / 0.13) ** 2)) + 0.10 * np.exp(-(((np.abs(p) - 0.25) / 0.14) ** 2))
    bow = (1 - np.abs(p) ** 2.4) * cupid
    full = thin * (1 + 0.40 * rounded + 0.2 * mean(17)) * (1 - 0.55 * m.tuck)
    return Lips(
        half_width=half_width,
        x=x,
        dz=-(0.035 + 0.09 * rounded) * (1 - 0.6 * p**2),
        middle=middle,
        upper_inner=upper_inner,
        lower_inner=lower_inner,
        upper_outer=upper_inner - 0.058 * who.lip * thin * (1 + 0.45 * rounded - 0.2 * mean(10)) * bow,
        lower_outer=lower_inner + 0.080 * who.lip * full * np.maximum(0, 1 - p**2) ** 0.75,
    )


def _half_width(m: Muscles) -> Array:
    """(T, 2): from the middle to each corner."""
    mean, wide, rounded = m.mean, np.clip(m.spread, 0, 1), np.clip(-m.spread, 0, 1)
    stretched = 1 + 0.17 * wide - 0.45 * rounded + 0.24 * mean(20) - 0.13 * mean(23)
    half = m.who.mouth_w * (stretched - 0.10 * mean(17) * mean(23))
    pulled = 0.085 * m.sides(12) + 0.05 * m.sides(14) - 0.02 * m.sides(15)
    return half + pulled * (1 - 0.5 * rounded)


def _middle(m: Muscles) -> Array:
    """(T, 21): y of the line between the lips; smiles and sorrow move its ends."""
    who, mean, p = m.who, m.mean, P
    corner = (
        who.corner
        - 0.15 * m.sides(12) * (1 - 0.45 * np.clip(-m.spread, 0, 1))
        + 0.115 * m.sides(15)
        - 0.065 * m.sides(14)
        + 0.03 * m.sides(20)
        + 0.22 * m.drop
    )
    ends = np.where(p < 0, corner[:, :1], corner[:, 1:]) * np.abs(p) ** 1.7
    pushed = (0.045 * mean(17) + 0.02 * _lift(m) + 0.01 * m.press) * (1 - p**2)
    return who.mouth_y + ends - pushed - 0.035 * mean(9) - 0.02 * mean(10)


def _lift(m: Muscles) -> Array:
    """(T, 21): how much the upper lip is raised."""
    return np.where(P < 0, m.sides(10)[:, :1], m.sides(10)[:, 1:]) + 0.5 * m.mean(9)


def _opening(m: Muscles) -> tuple[Array, Array]:
    """How far the inner edges are above (T, 21) and below (T, 1) the middle."""
    mean, smile = m.mean, m.mean(12)
    free = 1 - np.clip(m.press, 0, 1)
    above = (0.025 * mean(25) * (1 + smile) + 0.010 * m.tuck + 0.05 * _lift(m)) * free
    hang = 0.82 * m.drop + 0.035 * mean(25) * (1 + 0.5 * smile) + 0.012 * mean(20)
    return above, hang * free * (1 - 0.85 * m.tuck) * (1 - 0.4 * mean(17))


def mouth(m: Muscles, lips: Lips) -> dict[str, Array]:
    """Lips, what is seen between them, the lower lip's shine and the chin's crease."""
    up_out, up_in = m.lay(lips.x, lips.upper_outer, lips.dz), m.lay(lips.x * 0.95, lips.upper_inner, lips.dz)
    low_in, low_out = (
        m.lay(lips.x * 0.95, lips.lower_inner, lips.dz),
        m.lay(lips.x, lips.lower_outer, lips.dz),
    )
    chin = np.linspace(-1, 1, 9)
    chin_y = lips.lower_outer[:, _CENTRE] * 0.4 + 0.6 * (0.80 + m.drop * 0.8) + 0.05 * chin**2
    shine_y = (lips.lower_inner + 2 * lips.lower_outer) / 3
    return {
        "lip_up": np.concatenate([up_out, up_in[:, ::-1]], 1),
        "lip_low": np.concatenate([low_in, low_out[:, ::-1]], 1),
        "cavity": np.concatenate([up_in, low_in[:, -2:0:-1]], 1),
        "seam": (up_in + low_in) / 2,
        **inside(m, lips),
        "shine": m.lay(lips.x[:, 7:14] * 0.75, shine_y[:, 7:14], -0.05),
        "chin": m.lay(0.17 * chin, chin_y),
    }


def inside(m: Muscles, lips: Lips) -> dict[str, Array]:
    """Teeth fixed to the skull and to the jaw, and the tongue."""
    smile, lower = m.mean(12), lips.lower_inner[:, _CENTRE]
    gap = (lips.lower_inner - lips.upper_inner)[:, _CENTRE]
    edge = m.who.mouth_y - 0.035 * m.mean(9) + 0.014 + 0.022 * smile + (0.02 - 0.10 * smile) * P**2
    top, ends = m.lay(0.31 * P, edge - 0.16, 0.0), m.lay(0.31 * P, edge, 0.0)
    low = lower - 0.028 + 0.06 * P**2 + 0.04 * (1 - smoothstep(0.05, 0.13, gap))
    tips, roots = m.lay(0.2 * P, low, 0.03), m.lay(0.2 * P, low + 0.12, 0.03)
    tongue_y = lower + 0.035 - gap * (0.30 + 0.45 * m.tongue)
    return {
        "teeth_up": np.concatenate([top, ends[:, ::-1]], 1),
        "teeth_low": np.concatenate([tips, roots[:, ::-1]], 1),
        "tongue": m.lay(0.16 * np.cos(ROUND), tongue_y + 0.085 * np.sin(ROUND) + 0.04, 0.0 - 0.04 * m.tongue),
    }
