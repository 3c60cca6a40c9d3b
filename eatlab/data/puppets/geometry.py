"""The face in three dimensions: FACS geometry on a head, its rotation and its place in the picture.

Head frame: x to the image right, y down, z away from the viewer (right-handed); the origin lies
between the ears, the chin near y = +1, the crown near y = -1.1, the face at z < 0.  A head point p
appears at ``K = s R p + t`` (scaled orthographic); K's x, y in [-1, 1] span the image.  "Left" and
"right" of a pair (index 0, 1) always mean the image's sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from eatlab.data.puppets.identity import AU_INDEX, Array, Identity, smoothstep


def rotation(yaw: Array, pitch: Array, roll: Array) -> Array:
    """Rotation matrices (T, 3, 3) of angles in radians (T,); the head turns to the image right
    (yaw > 0), looks up (pitch > 0), tilts clockwise (roll > 0): R = Rz(roll) Rx(pitch) Ry(yaw)."""
    z, o = np.zeros_like(yaw), np.ones_like(yaw)
    m = lambda *r: np.stack(r, -1).reshape(-1, 3, 3)
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    return (
        m(cr, -sr, z, sr, cr, z, z, z, o)
        @ m(o, z, z, z, cp, sp, z, -sp, cp)
        @ m(cy, z, -sy, z, o, z, sy, z, cy)
    )


class Head:
    """The head surface of an identity: front z(x, y) and rings, in head units."""

    def __init__(self, idn: Identity):
        deg = np.array([0, 25, 50, 75, 95, 115, 130, 145, 160, 170, 180.0])
        r = np.array([1.10, 1.075, 0.98, 0.86, 0.815, 0.80, 0.815, 0.865, 0.945, 0.985, 0.995])
        r = r + idn.forehead * np.array([0, 0.5, 1, 0.8, 0.2, 0, 0, 0, 0, 0, 0])
        r = r + idn.cheek * np.array([0, 0, 0, 0.3, 1, 0.8, 0.3, 0, 0, 0, 0])
        r = r + idn.jaw_w * np.array([0, 0, 0, 0, 0, 0.4, 1, 1.1, 0.6, 0.1, 0])
        r = r + idn.chin * np.array([0, 0, 0, 0, 0, 0, 0, 0.3, 0.8, 1, 1])
        self.grid = np.linspace(0, np.pi, 181)
        self.radius = CubicSpline(np.radians(deg), r, bc_type="clamped")(self.grid)
        self.w = idn.face_w

    def ring(self, angle: Array, rho: Array | float = 1.0, back: bool = False) -> Array:
        """Surface points (..., 3) at angles from the crown (radians, signed), rho 0 centre..1 rim."""
        r = rho * np.interp(np.abs(angle), self.grid, self.radius)
        x, y = r * np.sin(angle) * self.w, -r * np.cos(angle)
        return np.stack(
            [x, y, self.z(x, y) if not back else 0.85 * np.sqrt(np.maximum(0, 1 - rho**2)) + 0 * y], -1
        )

    def z(self, x: Array, y: Array) -> Array:
        """Depth of the front surface (smaller is nearer), clamped to the rim outside it."""
        xs = x / self.w
        rho = np.hypot(xs, y) / np.interp(np.arctan2(np.abs(xs), -y), self.grid, self.radius)
        return -0.52 * smoothstep(0.05, 1.05, y) - 0.80 * np.sqrt(
            np.maximum(0, 1 - np.minimum(rho, 1) ** 2.5)
        )


def _brow_shift(a: Callable[[int], Array], u: Array) -> tuple[Array, Array]:
    """(dx towards the nose, dy) of brow points at u, 0 inner..1 outer; AUs (T, 2) -> (T, 2, n)."""
    A = lambda k: a(k)[..., None]
    knit = A(4) * (1 - 0.62 * A(1))
    dy = (
        -0.155 * A(1) * (1 - u) ** 1.2
        - 0.15 * A(2) * u**0.7 * (1 - 0.25 * u)
        + knit * (0.135 * (1 - u) + 0.02)
        + 0.045 * A(9) * (1 - u)
        + 0.01 * A(6)
    )
    return 0.06 * A(4) * (1 - u), dy


def geometry(idn: Identity, aus: Array, artic: Array, gaze: Array) -> dict[str, Array]:
    """All curves of the face in the head frame, and the 68 landmarks.

    aus (T, 17, 2) 0..1; artic (T, 5); gaze (T, 2) yaw, pitch in radians.  Returns name -> (T, n, 3);
    ``landmarks`` is (T, 68, 3) in the iBUG order; ``fold_*`` curves carry wrinkles.
    """
    T = len(aus)
    head = Head(idn)
    A = lambda k: np.clip(aus[:, AU_INDEX[k]], 0, 1.2)  # (T, 2)
    M = lambda k: A(k).mean(1)[:, None]  # (T, 1)
    sgn = np.array([-1.0, 1.0])[:, None]  # image side
    jaw, spread, press, tuck, tongue = (artic[:, i : i + 1] for i in range(5))
    drop = 0.36 * (1 - (1 - 0.85 * np.clip(jaw, 0, 1.1)) * (1 - 0.85 * M(26))) * (1 - 0.75 * press)  # (T, 1)
    out: dict[str, Array] = {}

    def lay(x: Array, y: Array, dz: Array | float = 0.0) -> Array:
        """(T, n, 3) on the surface from broadcastable x, y; dz < 0 stands out."""
        x, y = np.broadcast_arrays(x, y)
        p = np.stack(np.broadcast_arrays(x, y, head.z(x, y) + dz), -1)
        return np.broadcast_to(p, (T,) + p.shape[-2:]).copy()

    # -- head, jaw line
    ang = np.radians(np.linspace(-180, 180, 49))[:-1]
    rim = np.concatenate([head.ring(ang, r) for r in (1.0, 0.96, 0.88, 0.72)])
    rim = np.broadcast_to(rim, (T,) + rim.shape).copy()
    rim[..., 1] += drop * smoothstep(0.35, 0.95, rim[..., 1])
    out["face"] = rim
    jawl = head.ring(np.radians(np.r_[np.linspace(-93, -165, 7), -173, 180, 173, np.linspace(165, 93, 7)]))
    jawl = np.broadcast_to(jawl, (T, 17, 3)).copy()
    jawl[..., 1] += drop * smoothstep(0.35, 0.95, jawl[..., 1])

    # -- brows (T, 2, n): u from the inner to the outer end
    u = np.linspace(0, 1, 9)
    dx, dy = _brow_shift(A, u)
    bx = sgn * (np.linspace(0.155, 0.60, 9) - dx)
    arch = np.sin(np.pi * np.clip(u * 0.82, 0, 1)) * idn.brow_arch
    by = idn.brow_y + 0.03 - arch + idn.brow_tilt * (u - 0.5) + 0.03 * u + dy
    brow = [lay(bx[:, s], by[:, s], -0.035) for s in (0, 1)]
    out["brow0"], out["brow1"] = brow

    # -- eyes: q from -1 (outer corner) to +1 (inner corner)
    q = np.linspace(-1, 1, 17)
    lid = 1 - np.abs(q) ** 2.3
    ex, ey = sgn * (idn.eye_x - q * idn.eye_w), idn.eye_y + idn.eye_tilt * q
    E = lambda k: A(k)[..., None]
    inner, outer = (1 + q) / 2, (1 - q) / 2
    up = idn.eye_h * (1 + 0.55 * E(5) - 0.26 * E(7) - 0.12 * E(6) - 0.14 * E(9)) * lid
    lo = idn.eye_h * 0.66 * (1 - 0.62 * E(6) - 0.5 * E(7) - 0.4 * E(9) + 0.18 * E(5)) * lid
    skew = (
        0.055 * E(4) * (1 - 0.8 * E(1)) * inner + 0.05 * E(1) * (1 - 0.9 * np.clip(E(5) + E(2), 0, 1)) * outer
    ) * lid
    yu, yl = ey - up * (1 + 0.10 * q) + skew, ey + lo
    yu = np.minimum(yu, yl - 0.004)
    shut = 0.3 * yu + 0.7 * yl
    close = np.clip(E(45), 0, 1)
    yu, yl = yu + (shut - yu) * close, yl + (shut - yl) * close
    pull = np.maximum(_brow_shift(A, 0.5 - 0.5 * q)[1], -0.04)
    crease = ey - idn.eye_h * (1.42 + 0.25 * E(5)) * lid**0.8 + 0.35 * pull * lid
    eyes = []
    for s in (0, 1):
        upper, lower = lay(ex[s], yu[:, s], -0.02), lay(ex[s], yl[:, s], -0.015)
        eyes.append((upper, lower))
        out[f"eye{s}"] = np.concatenate([upper, lower[:, -2:0:-1]], 1)
        out[f"lash{s}"], out[f"lower{s}"] = upper, lower
        out[f"crease{s}"] = lay(ex[s], np.minimum(crease[:, s], yu[:, s] - 0.012), -0.02)
        c = lay(sgn[s] * idn.eye_x, np.array([idn.eye_y]), 0.15)  # eyeball centre (T, 1, 3)
        gy, gp = gaze[:, :1], gaze[:, 1:]
        n = np.stack([np.sin(gy) * np.cos(gp), -np.sin(gp), -np.cos(gy) * np.cos(gp)], -1)  # (T, 1, 3)
        r1 = np.stack([np.cos(gy), 0 * gy, np.sin(gy)], -1)
        r2 = np.cross(n, r1)
        t = np.linspace(0, 2 * np.pi, 21)[:-1, None]
        for name, rad in (("iris", 0.104), ("pupil", 0.050)):
            out[f"{name}{s}"] = c + 0.18 * n + rad * (np.cos(t) * r1 + np.sin(t) * r2)
        out[f"glint{s}"] = (
            c + 0.20 * n + 0.024 * (np.cos(t) * r1 + np.sin(t) * r2) + np.array([-0.036, -0.042, 0])
        )
        out[f"socket{s}"] = lay(
            sgn[s] * idn.eye_x + 0.235 * np.cos(t[:, 0]), idn.eye_y - 0.03 + 0.15 * np.sin(t[:, 0])
        )
        tg = np.linspace(0, 2 * np.pi, 29)[:-1]
        sq = lambda v: np.sign(v) * np.abs(v) ** (0.6 + 0.4 * (idn.glasses % 0.2) * 5)
        out[f"glass{s}"] = lay(
            sgn[s] * (idn.eye_x + 0.01) + 0.265 * sq(np.cos(tg)),
            idn.eye_y + 0.03 + 0.20 * sq(np.sin(tg)),
            -0.10,
        )
        cheek = 0.05 * (A(6)[:, s : s + 1] + 0.6 * A(12)[:, s : s + 1])
        out[f"cheek{s}"] = lay(sgn[s] * 0.47 + 0.19 * np.cos(t[:, 0]), 0.27 - cheek + 0.135 * np.sin(t[:, 0]))

    # -- nose
    wr = M(9)
    tip = 0.02 + idn.nose_len + idn.eye_y + 0.06 - 0.03 * wr
    by_ = idn.eye_y - 0.03
    f = np.linspace(0, 1, 4)
    ridge = lay(0 * f, by_ + (tip - by_) * f, -(0.03 + idn.nose_out * f**1.3))
    wing_x = idn.nose_w * (1 + 0.12 * wr + 0.10 * M(12) + 0.04 * M(10)) * np.array([-1, -0.52, 0, 0.52, 1])
    sneer = A(9) + 0.6 * A(10)
    lift = np.stack([sneer[:, 0], A(9)[:, 0], M(9)[:, 0] * 0.4, A(9)[:, 1], sneer[:, 1]], 1)
    wing = lay(
        wing_x,
        tip + np.array([0.035, 0.062, 0.075, 0.062, 0.035]) - 0.028 * lift,
        -idn.nose_out * np.array([0.25, 0.55, 0.8, 0.55, 0.25]),
    )
    out["ridge"], out["wing"] = ridge, wing
    for s in (0, 1):
        i = 4 * s
        x, y, dy_ = (
            wing[:, i : i + 1, 0],
            wing[:, i : i + 1, 1],
            np.array([-0.075, -0.06, -0.03, 0, 0.02, 0.022]),
        )
        out[f"ala{s}"] = lay(
            x + sgn[s] * np.array([-0.02, 0.004, 0.02, 0.018, -0.005, -0.035]), y + dy_, -0.25 * idn.nose_out
        )
        nx = sgn[s] * 0.5 * idn.nose_w
        out[f"nostril{s}"] = lay(
            nx + 0.036 * np.cos(t[:, 0]), y + 0.012 + 0.016 * np.sin(t[:, 0]), -0.5 * idn.nose_out
        )
        flank = lay(
            sgn[s] * np.array([0.10, 0.075, 0.055]) * (idn.nose_w / 0.13),
            tip - np.array([0.06, 0.16, 0.30]),
            -0.03,
        )
        out[f"side{s}"] = np.concatenate(
            [ridge, wing[:, 2 + 2 * s : 3 + 2 * s], wing[:, i : i + 1], flank], 1
        )

    # -- mouth: p from -1 (left corner) to +1 (right corner)
    p = np.linspace(-1, 1, 21)
    wide, rnd = np.clip(spread, 0, 1), np.clip(-spread, 0, 1)
    half = idn.mouth_w * (1 + 0.17 * wide - 0.45 * rnd + 0.24 * M(20) - 0.13 * M(23) - 0.10 * M(17) * M(23))
    half = half + (0.085 * A(12) + 0.05 * A(14) - 0.02 * A(15)) * (1 - 0.5 * rnd)  # (T, 2)
    cdy = (
        idn.corner
        - 0.15 * A(12) * (1 - 0.45 * rnd)
        + 0.115 * A(15)
        - 0.065 * A(14)
        + 0.03 * A(20)
        + 0.22 * drop
    )
    left = p < 0
    hp = np.where(left, half[:, :1], half[:, 1:])
    cp = np.where(left, cdy[:, :1], cdy[:, 1:]) * np.abs(p) ** 1.7
    lift = np.where(left, A(10)[:, :1], A(10)[:, 1:]) + 0.5 * wr
    open_ = 1 - np.clip(press, 0, 1)
    gu = (0.025 * M(25) * (1 + M(12)) + 0.010 * tuck + 0.05 * lift) * open_
    gl = (
        (0.82 * drop + 0.035 * M(25) * (1 + 0.5 * M(12)) + 0.012 * M(20))
        * open_
        * (1 - 0.85 * tuck)
        * (1 - 0.4 * M(17))
    )
    bell = np.maximum(0, 1 - p**2) ** (0.62 - 0.15 * rnd)
    base = (
        idn.mouth_y
        + cp
        - (0.045 * M(17) + 0.02 * lift + 0.01 * press) * (1 - p**2)
        - 0.035 * wr
        - 0.02 * M(10)
    )
    thin = (1 - 0.55 * M(23)) * (1 - 0.45 * press) * (1 - 0.2 * M(12)) * (1 - 0.25 * M(20))
    bow = (1 - np.abs(p) ** 2.4) * (
        1 - 0.24 * np.exp(-((p / 0.13) ** 2)) + 0.10 * np.exp(-(((np.abs(p) - 0.25) / 0.14) ** 2))
    )
    y_ui, y_li = base - gu * bell, base + gl * bell
    y_uo = y_ui - 0.058 * idn.lip * thin * (1 + 0.45 * rnd - 0.2 * M(10)) * bow
    full = thin * (1 + 0.40 * rnd + 0.2 * M(17)) * (1 - 0.55 * tuck)
    y_lo = y_li + 0.080 * idn.lip * full * np.maximum(0, 1 - p**2) ** 0.75
    px, dz = hp * p, -(0.035 + 0.09 * rnd) * (1 - 0.6 * p**2)
    uo, ui, li, lo_ = (lay(px * k, y, dz) for k, y in ((1, y_uo), (0.95, y_ui), (0.95, y_li), (1, y_lo)))
    out["lip_up"], out["lip_low"] = (
        np.concatenate([uo, ui[:, ::-1]], 1),
        np.concatenate([li, lo_[:, ::-1]], 1),
    )
    out["lips"], out["cavity"] = (
        np.concatenate([uo, lo_[:, -2:0:-1]], 1),
        np.concatenate([ui, li[:, -2:0:-1]], 1),
    )
    out["seam"] = (ui + li) / 2
    edge = idn.mouth_y - 0.035 * wr + 0.014 + 0.022 * M(12) + (0.02 - 0.10 * M(12)) * p**2
    out["teeth_up"] = np.concatenate([lay(0.31 * p, edge - 0.16, 0.0), lay(0.31 * p, edge, 0.0)[:, ::-1]], 1)
    gap = (y_li - y_ui)[:, 10:11]
    low = y_li[:, 10:11] - 0.028 + 0.06 * p**2 + 0.04 * (1 - smoothstep(0.05, 0.13, gap))
    out["teeth_low"] = np.concatenate([lay(0.2 * p, low, 0.03), lay(0.2 * p, low + 0.12, 0.03)[:, ::-1]], 1)
    ty = y_li[:, 10:11] + 0.035 - gap * (0.30 + 0.45 * tongue)
    out["tongue"] = lay(0.16 * np.cos(t[:, 0]), ty + 0.085 * np.sin(t[:, 0]) + 0.04, 0.0 - 0.04 * tongue)
    out["shine"] = lay(px[:, 7:14] * 0.75, ((y_li + 2 * y_lo) / 3)[:, 7:14], -0.05)
    v = np.linspace(-1, 1, 9)
    out["chin"] = lay(0.17 * v, y_lo[:, 10:11] * 0.4 + 0.6 * (0.80 + drop * 0.8) + 0.05 * v**2)

    # -- expression lines
    v = np.linspace(0, 1, 9)
    for s in (0, 1):
        i = 4 * s
        cx, cy = half[:, s : s + 1] + 0.07, (base[:, 20 * s : 20 * s + 1])
        x0, y0 = idn.nose_w + 0.035, wing[:, i : i + 1, 1] - 0.05
        out[f"fold_naso{s}"] = lay(
            sgn[s] * (x0 + (cx - x0) * v + 0.05 * np.sin(np.pi * v)), y0 + (cy + 0.035 - y0) * v
        )
        arc = np.sin(np.pi * v)
        out[f"fold_dimple{s}"] = lay(
            sgn[s] * (half[:, s : s + 1] + 0.045 + 0.025 * arc), cy + 0.13 * (v - 0.55)
        )
        out[f"fold_frown{s}"] = lay(sgn[s] * (0.055 - 0.015 * v), idn.brow_y + 0.02 + 0.13 * (v - 0.45))
        for k in (0, 1):
            out[f"fold_crow{s}{k}"] = lay(
                sgn[s] * (idn.eye_x + idn.eye_w + 0.035 + 0.10 * v),
                idn.eye_y + (0.055 * k - 0.02) + (0.05 * k - 0.02) * v,
            )
        out[f"fold_bag{s}"] = lay(
            sgn[s] * (idn.eye_x + 0.16 * (2 * v - 1)), yl[:, s, 8:9] + 0.035 + 0.028 * arc
        )
        out[f"fold_nose{s}"] = lay(
            sgn[s] * (0.02 + 0.075 * v), idn.eye_y + 0.03 + 0.045 * v - 0.03 * v**2, -0.06
        )
        out[f"fold_nosb{s}"] = lay(
            sgn[s] * (0.02 + 0.06 * v), idn.eye_y + 0.10 + 0.045 * v - 0.03 * v**2, -0.08
        )
        ct, st = np.cos(t[:, 0]), np.sin(t[:, 0])
        flare = 0.10 * (0.7 + 0.3 * ct) * (1 + np.cos(t[:, 0] + 0.3)) / 1.6
        ear = np.stack([sgn[s] * (head.w * 0.80 + flare), 0.02 + 0.20 * st, 0.06 + 0.05 * ct], -1)
        out[f"ear{s}"] = np.broadcast_to(ear, (T, 20, 3))
    w = np.linspace(-1, 1, 9)
    for k in (0, 1):
        raise_ = np.interp(np.abs(w), [0, 0.35, 1], [0, 0, 1])
        lift = (A(1).mean(1)[:, None] * (1 - raise_) + A(2).mean(1)[:, None] * raise_) * 0.05
        out[f"fold_brow{k}"] = lay(
            0.42 * w, idn.brow_y - 0.16 - 0.09 * k - lift + 0.02 * np.cos(np.pi * w), 0.0
        )

    # -- landmarks
    L = np.concatenate(
        [
            jawl,
            brow[0][:, ::-2],
            brow[1][:, ::2],
            ridge,
            wing,
            eyes[0][0][:, [0, 5, 11, 16]],
            eyes[0][1][:, [11, 5]],
            eyes[1][0][:, [16, 11, 5, 0]],
            eyes[1][1][:, [5, 11]],
            uo[:, [0, 4, 8, 10, 12, 16, 20]],
            lo_[:, [16, 13, 10, 7, 4]],
            ui[:, [1, 6, 10, 14, 19]],
            li[:, [14, 10, 6]],
        ],
        1,
    )
    out["landmarks"] = L
    return out


# hair styles: volume on top / at the sides, hairline at the centre / at the sides, its squareness
_HAIR = (
    (0.012, 0.010, -0.78, -0.10, 3.2),
    (0.070, 0.030, -0.72, -0.02, 4.5),
    (0.110, 0.050, -0.68, 0.02, 4.0),
    (0.170, 0.030, -0.72, -0.04, 4.5),
    (0.170, 0.150, -0.66, 0.05, 4.0),
    (0.100, 0.120, -0.60, 0.82, 9.0),
    (0.090, 0.085, -0.74, 1.75, 7.0),
    (0.075, 0.035, -0.74, 0.00, 3.2),
)


def hair(idn: Identity) -> dict[str, Array]:
    """Static hair in the head frame, name -> (1, n, 3): ``hair_hull`` (points whose convex hull is the
    hair's silhouette), ``hair_curl`` (centres of locks), ``hair_line`` (closed region above the hairline)
    and ``hair_strand*``."""
    head, (top, side, yc, ys, power) = Head(idn), _HAIR[idn.hair]
    k = 0.7 + 0.6 * idn.hair_vol
    half_width = lambda y: (
        np.interp(y, -head.radius * np.cos(head.grid), head.radius * np.sin(head.grid)) * head.w
    )
    a = np.radians(np.linspace(-128, 128, 41))
    vol = k * (side + (top - side) * np.cos(np.clip(a, -1.5, 1.5)) ** 2)
    if idn.hair == 3:
        vol = vol + 0.07 * np.exp(-(((a - 0.45 * np.sign(idn.parting)) / 0.5) ** 2))
    long = idn.hair in (5, 6)
    keep = np.abs(a) < np.radians(128 if long else 100)
    pts = []
    for rho, back in (
        (1.0, False),
        (0.9, False),
        (0.7, False),
        (0.45, False),
        (0.95, True),
        (0.7, True),
        (0.4, True),
    ):
        p = head.ring(a, rho, back) * (1 + vol)[:, None]
        pts.append(p[keep if not back else np.abs(a) < np.radians(115)])
    if long:
        low = 0.80 if idn.hair == 5 else 2.2
        pts.append(
            np.array(
                [
                    (x * (0.86 + side * k) * f, low - d, z)
                    for x in (-1, 1)
                    for z in (0.05, 0.35)
                    for f, d in ((1, 0.22), (0.98, 0.1), (0.92, 0.03), (0.85, 0))
                ]
            )
        )
    u = np.linspace(-1, 1, 41)
    part = 0.10 * idn.parting * u + 0.05 * np.cos(3 * (u - idn.parting)) if idn.hair in (2, 3, 6) else 0
    fringe = 0.035 * np.abs(np.sin(7.5 * u + idn.parting)) if idn.hair in (2, 5) else 0
    y = yc + idn.hairline + 0.5 * idn.forehead + part + fringe + (ys - yc) * np.abs(u) ** power
    x = u * (half_width(np.minimum(y, 0.2)) * 0.93 if long else half_width(y) * 0.975)
    line = np.stack([x, y, head.z(x, y) - 0.02 - 0.3 * top], -1)
    ys = min(ys, 1.0) if idn.hair == 5 else ys
    far = np.array([(1.7, ys, 0), (1.7, -2.4, 0), (-1.7, -2.4, 0), (-1.7, ys, 0)])
    out = {"hair_hull": np.concatenate(pts), "hair_line": np.concatenate([line, far])}
    if idn.hair == 4:
        b = np.radians(np.linspace(-100, 100, 17))
        out["hair_curl"] = np.concatenate(
            [head.ring(b, r) * (1 + 0.9 * k * (side + top) / 2) for r in (1.0, 0.8)]
        )
    if idn.hair == 7:
        out["hair_curl"] = np.array([(0.0, -1.26, 0.30)])
    if idn.hair in (1, 2, 3, 5, 6, 7):
        start = 0.0 if idn.hair in (1, 7) else 0.5 * idn.parting
        for i, end in enumerate((-0.85, -0.5, -0.15, 0.2, 0.55, 0.88)):
            f = np.linspace(0, 1, 9)
            xs = start + (end - start) * f**0.7
            yy = -1.10 + (np.interp(end, u, y) + 1.10) * f**1.6
            xw = xs * half_width(yy * 0.97) * 1.02
            out[f"hair_strand{i}"] = np.stack([xw, yy * (1 + 0.5 * top), head.z(xs * 0.8, yy) - 0.06], -1)
    return {n: v[None] for n, v in out.items()}


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
