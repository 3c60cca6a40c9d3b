"""The hair of a puppet in eight styles: a volume around the head, a hairline, locks and strands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eatlab.data.puppets.head import Head
from eatlab.data.puppets.identity import Array, Identity


class Style(NamedTuple):
    """Volume on top and at the sides; the hairline's y at the centre and at the sides, and its squareness."""

    top: float
    side: float
    centre_y: float
    side_y: float
    squareness: float


BUZZ, SHORT, PARTED, QUIFF, CURLY, BOB, LONG, BUN = range(8)
STYLES = (
    Style(0.012, 0.010, -0.78, -0.10, 3.2),
    Style(0.070, 0.030, -0.72, -0.02, 4.5),
    Style(0.110, 0.050, -0.68, 0.02, 4.0),
    Style(0.170, 0.030, -0.72, -0.04, 4.5),
    Style(0.170, 0.150, -0.66, 0.05, 4.0),
    Style(0.100, 0.120, -0.60, 0.82, 9.0),
    Style(0.090, 0.085, -0.74, 1.75, 7.0),
    Style(0.075, 0.035, -0.74, 0.00, 3.2),
)
COVERS_EARS = (BOB, LONG)
NUM_STRANDS = 6
_RINGS = ((1.0, False), (0.9, False), (0.7, False), (0.45, False), (0.95, True), (0.7, True), (0.4, True))
_ACROSS = np.linspace(-1, 1, 41)


def hair(who: Identity) -> dict[str, Array]:
    """Static hair in the head frame, name -> (1, n, 3).

    ``hair_hull``: points whose convex hull is the silhouette; ``hair_line``: the closed region above the
    hairline; ``hair_curl``: centres of locks; ``hair_strand*``: lines.
    """
    head, style = Head(who), STYLES[who.hair]
    fullness = 0.7 + 0.6 * who.hair_vol
    line_y = _hairline_y(who, style)
    curves = {
        "hair_hull": silhouette(who, head, style, fullness),
        "hair_line": hairline(who, head, style, line_y),
    }
    if who.hair == CURLY:
        angles = np.radians(np.linspace(-100, 100, 17))
        swell = 1 + 0.9 * fullness * (style.side + style.top) / 2
        curves["hair_curl"] = np.concatenate([head.ring(angles, rho) * swell for rho in (1.0, 0.8)])
    if who.hair == BUN:
        curves["hair_curl"] = np.array([(0.0, -1.26, 0.30)])
    if who.hair not in (BUZZ, CURLY):
        curves |= strands(who, head, style, line_y)
    return {name: points[None] for name, points in curves.items()}


def silhouette(who: Identity, head: Head, style: Style, fullness: float) -> Array:
    """(n, 3): rings of the head, swollen by the hair's volume; long hair hangs down at both sides."""
    angles = np.radians(np.linspace(-128, 128, 41))
    crown = np.cos(np.clip(angles, -1.5, 1.5)) ** 2
    volume = fullness * (style.side + (style.top - style.side) * crown)
    if who.hair == QUIFF:
        volume = volume + 0.07 * np.exp(-(((angles - 0.45 * np.sign(who.parting)) / 0.5) ** 2))
    is_long = who.hair in COVERS_EARS
    front, behind = np.abs(angles) < np.radians(128 if is_long else 100), np.abs(angles) < np.radians(115)
    points = [
        (head.ring(angles, rho, back) * (1 + volume)[:, None])[behind if back else front]
        for rho, back in _RINGS
    ]
    if is_long:
        end_y, width = 0.80 if who.hair == BOB else 2.2, 0.86 + style.side * fullness
        ends = [
            (x * width * f, end_y - up, z)
            for x in (-1, 1)
            for z in (0.05, 0.35)
            for f, up in ((1, 0.22), (0.98, 0.1), (0.92, 0.03), (0.85, 0))
        ]
        points.append(np.array(ends))
    return np.concatenate(points)


def _hairline_y(who: Identity, style: Style) -> Array:
    """(41,): height of the hairline from left to right, with parting and fringe."""
    u = _ACROSS
    parted = 0.10 * who.parting * u + 0.05 * np.cos(3 * (u - who.parting))
    fringe = 0.035 * np.abs(np.sin(7.5 * u + who.parting))
    y = np.full(len(u), style.centre_y + who.hairline + 0.5 * who.forehead)
    y = y + (parted if who.hair in (PARTED, QUIFF, LONG) else 0)
    y = y + (fringe if who.hair in (PARTED, BOB) else 0)
    return y + (style.side_y - style.centre_y) * np.abs(u) ** style.squareness


def hairline(who: Identity, head: Head, style: Style, y: Array) -> Array:
    """(45, 3): the hairline, closed far above the head."""
    if who.hair in COVERS_EARS:
        x = _ACROSS * (head.half_width(np.minimum(y, 0.2)) * 0.93)
    else:
        x = _ACROSS * (head.half_width(y) * 0.975)
    line = np.stack([x, y, head.z(x, y) - 0.02 - 0.3 * style.top], -1)
    side_y = min(style.side_y, 1.0) if who.hair == BOB else style.side_y
    far = np.array([(1.7, side_y, 0), (1.7, -2.4, 0), (-1.7, -2.4, 0), (-1.7, side_y, 0)])
    return np.concatenate([line, far])


def strands(who: Identity, head: Head, style: Style, line_y: Array) -> dict[str, Array]:
    """Lines (9, 3) from the parting (or the crown) down to the hairline."""
    start = 0.0 if who.hair in (SHORT, BUN) else 0.5 * who.parting
    f, curves = np.linspace(0, 1, 9), {}
    for i, end in enumerate((-0.85, -0.5, -0.15, 0.2, 0.55, 0.88)):
        across = start + (end - start) * f**0.7
        y = -1.10 + (np.interp(end, _ACROSS, line_y) + 1.10) * f**1.6
        x = across * head.half_width(y * 0.97) * 1.02
        depth = head.z(across * 0.8, y) - 0.06
        curves[f"hair_strand{i}"] = np.stack([x, y * (1 + 0.5 * style.top), depth], -1)
    return curves
