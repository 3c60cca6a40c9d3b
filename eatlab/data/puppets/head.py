"""The head of a puppet as a surface, its rotation, and its place in the picture.

Head frame: x to the image right, y down, z away from the viewer (right-handed); the origin lies between the
ears, the chin near y = +1, the crown near y = -1.1, the face at z < 0.  A head point p appears at
``K = s R p + t`` (scaled orthographic); K's x, y in [-1, 1] span the image.  "Left" and "right" of a pair
(index 0, 1) always mean the image's sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from eatlab.data.puppets.identity import Array, Identity, smoothstep

# The outline by angle from the crown (degrees): its radius, and what each factor of a person adds to it.
_ANGLE_DEG = np.array([0, 25, 50, 75, 95, 115, 130, 145, 160, 170, 180.0])
_RADIUS = np.array([1.10, 1.075, 0.98, 0.86, 0.815, 0.80, 0.815, 0.865, 0.945, 0.985, 0.995])
_FOREHEAD = np.array([0, 0.5, 1, 0.8, 0.2, 0, 0, 0, 0, 0, 0])
_CHEEK = np.array([0, 0, 0, 0.3, 1, 0.8, 0.3, 0, 0, 0, 0])
_JAW = np.array([0, 0, 0, 0, 0, 0.4, 1, 1.1, 0.6, 0.1, 0])
_CHIN = np.array([0, 0, 0, 0, 0, 0, 0, 0.3, 0.8, 1, 1])


class Head:
    """The head surface of a person: front z(x, y) and rings, in head units."""

    def __init__(self, who: Identity) -> None:
        radius = _RADIUS + who.forehead * _FOREHEAD
        radius = radius + who.cheek * _CHEEK
        radius = radius + who.jaw_w * _JAW
        radius = radius + who.chin * _CHIN
        self.grid = np.linspace(0, np.pi, 181)
        self.radius = CubicSpline(np.radians(_ANGLE_DEG), radius, bc_type="clamped")(self.grid)
        self.width = who.face_w

    def ring(self, angle: Array, rho: Array | float = 1.0, back: bool = False) -> Array:
        """Surface points (..., 3) at angles from the crown (radians, signed), rho 0 centre..1 rim."""
        r = rho * np.interp(np.abs(angle), self.grid, self.radius)
        x, y = r * np.sin(angle) * self.width, -r * np.cos(angle)
        z = 0.85 * np.sqrt(np.maximum(0, 1 - rho**2)) + 0 * y if back else self.z(x, y)
        return np.stack([x, y, z], -1)

    def z(self, x: Array, y: Array) -> Array:
        """Depth of the front surface (smaller is nearer), clamped to the rim outside it."""
        xs = x / self.width
        rho = np.hypot(xs, y) / np.interp(np.arctan2(np.abs(xs), -y), self.grid, self.radius)
        dome = np.sqrt(np.maximum(0, 1 - np.minimum(rho, 1) ** 2.5))
        return -0.52 * smoothstep(0.05, 1.05, y) - 0.80 * dome

    def half_width(self, y: Array) -> Array:
        """Half the width of the outline at heights y."""
        outline = np.interp(y, -self.radius * np.cos(self.grid), self.radius * np.sin(self.grid))
        return outline * self.width


def rotation(yaw: Array, pitch: Array, roll: Array) -> Array:
    """Rotation matrices (T, 3, 3) of angles in radians (T,); the head turns to the image right (yaw > 0),
    looks up (pitch > 0), tilts clockwise (roll > 0): R = Rz(roll) Rx(pitch) Ry(yaw)."""
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    cy, sy = np.cos(yaw), np.sin(yaw)
    cp, sp = np.cos(pitch), np.sin(pitch)
    cr, sr = np.cos(roll), np.sin(roll)
    about_z = _matrices(cr, -sr, zero, sr, cr, zero, zero, zero, one)
    about_x = _matrices(one, zero, zero, zero, cp, sp, zero, -sp, cp)
    about_y = _matrices(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    return about_z @ about_x @ about_y


def _matrices(*entries: Array) -> Array:
    """Nine (T,) entries, row by row, to (T, 3, 3)."""
    return np.stack(entries, -1).reshape(-1, 3, 3)


@dataclass(frozen=True)
class Pose:
    """A head track: R (T, 3, 3), t (T, 3) in half image widths, s (T,) half image widths per head unit."""

    R: Array
    t: Array
    s: Array

    def project(self, points: Array) -> Array:
        """Head points (T or 1, n, 3) to K = s R p + t (T, n, 3)."""
        points = np.broadcast_to(points, (len(self.R), *points.shape[1:]))
        return self.s[:, None, None] * np.einsum("tij,tnj->tni", self.R, points) + self.t[:, None]


def to_pixels(K: Array, size: int) -> Array:
    """x, y of K in [-1, 1] to pixels of a square image; pixel centres are integers."""
    return (K[..., :2] + 1) * (size / 2) - 0.5
