"""The face in three dimensions: curves and landmarks that FACS action units and speech move."""

from __future__ import annotations

import numpy as np

from eatlab.data.puppets.brows import brow
from eatlab.data.puppets.eyes import Lids, eye, eyelids
from eatlab.data.puppets.head import Head
from eatlab.data.puppets.identity import Array, Identity, smoothstep
from eatlab.data.puppets.mouth import Lips, lip_lines, mouth
from eatlab.data.puppets.muscles import ROUND, SIDES, Muscles

Curves = dict[str, Array]
"""Name → (T, n, 3), in the head frame (`head`)."""
_ALONG = np.linspace(0, 1, 9)


def geometry(who: Identity, aus: Array, artic: Array, gaze: Array) -> Curves:
    """All curves of the face in the head frame, and the 68 landmarks.

    aus (T, 17, 2) 0..1; artic (T, 5); gaze (T, 2) yaw, pitch in radians.  Returns name -> (T, n, 3);
    ``landmarks`` is (T, 68, 3) in the iBUG order; ``fold_*`` curves carry wrinkles.
    """
    m = Muscles(who, aus, artic)
    lids, lips = eyelids(m), lip_lines(m)
    curves = {"face": rim(m), "brow0": brow(m, 0), "brow1": brow(m, 1)}
    for side in (0, 1):
        curves |= eye(m, side, lids, gaze) | {f"cheek{side}": cheek(m, side)}
    curves |= nose(m)
    curves |= mouth(m, lips)
    for side in (0, 1):
        curves |= mouth_folds(m, side, lips, curves["wing"]) | eye_folds(m, side, lids)
        curves[f"ear{side}"] = ear(m.head, side, m.num_frames)
    curves |= forehead_folds(m)
    curves["landmarks"] = landmarks(jaw_line(m), curves)
    return curves


def rim(m: Muscles) -> Array:
    """(T, 192, 3): rings of the head whose hull is the face's silhouette; its lower part follows the jaw."""
    angles = np.radians(np.linspace(-180, 180, 49))[:-1]
    return _hung(m, np.concatenate([m.head.ring(angles, rho) for rho in (1.0, 0.96, 0.88, 0.72)]))


def jaw_line(m: Muscles) -> Array:
    """(T, 17, 3): landmarks 0 to 16, fixed points of the 3D head."""
    angles = np.r_[np.linspace(-93, -165, 7), -173, 180, 173, np.linspace(165, 93, 7)]
    return _hung(m, m.head.ring(np.radians(angles)))


def _hung(m: Muscles, ring: Array) -> Array:
    """Points (n, 3) of the rim as (T, n, 3), lowered with the jaw."""
    points = np.broadcast_to(ring, (m.num_frames, *ring.shape)).copy()
    points[..., 1] += m.drop * smoothstep(0.35, 0.95, points[..., 1])
    return points


def cheek(m: Muscles, side: int) -> Array:
    """(T, 20, 3): the blushing ellipse of a cheek, lifted by a smile."""
    lift = 0.05 * (m.sides(6)[:, side : side + 1] + 0.6 * m.sides(12)[:, side : side + 1])
    return m.lay(SIDES[side] * 0.47 + 0.19 * np.cos(ROUND), 0.27 - lift + 0.135 * np.sin(ROUND))


def nose(m: Muscles) -> Curves:
    """Bridge ("ridge"), underside ("wing"), and of each side "ala", "nostril" and the shaded flank "side"."""
    who, wrinkle = m.who, m.mean(9)
    tip = 0.02 + who.nose_len + who.eye_y + 0.06 - 0.03 * wrinkle
    root = who.eye_y - 0.03
    f = np.linspace(0, 1, 4)
    ridge = m.lay(0 * f, root + (tip - root) * f, -(0.03 + who.nose_out * f**1.3))
    wing = _nose_wing(m, tip)
    curves = {"ridge": ridge, "wing": wing}
    for side in (0, 1):
        end = slice(4 * side, 4 * side + 1)
        x, y = wing[:, end, 0], wing[:, end, 1]
        bend = SIDES[side] * np.array([-0.02, 0.004, 0.02, 0.018, -0.005, -0.035])
        rise = np.array([-0.075, -0.06, -0.03, 0, 0.02, 0.022])
        curves[f"ala{side}"] = m.lay(x + bend, y + rise, -0.25 * who.nose_out)
        hole_x = SIDES[side] * 0.5 * who.nose_w + 0.036 * np.cos(ROUND)
        hole_y = y + 0.012 + 0.016 * np.sin(ROUND)
        curves[f"nostril{side}"] = m.lay(hole_x, hole_y, -0.5 * who.nose_out)
        flank_x = SIDES[side] * np.array([0.10, 0.075, 0.055]) * (who.nose_w / 0.13)
        flank = m.lay(flank_x, tip - np.array([0.06, 0.16, 0.30]), -0.03)
        half = wing[:, 2 + 2 * side : 3 + 2 * side]
        curves[f"side{side}"] = np.concatenate([ridge, half, wing[:, end], flank], 1)
    return curves


def _nose_wing(m: Muscles, tip: Array) -> Array:
    """(T, 5, 3): landmarks 31 to 35; a sneer widens and lifts them."""
    who, wrinkle = m.who, m.sides(9)
    wide = who.nose_w * (1 + 0.12 * m.mean(9) + 0.10 * m.mean(12) + 0.04 * m.mean(10))
    sneer = wrinkle + 0.6 * m.sides(10)
    middle = m.mean(9)[:, 0] * 0.4
    lift = np.stack([sneer[:, 0], wrinkle[:, 0], middle, wrinkle[:, 1], sneer[:, 1]], 1)
    return m.lay(
        wide * np.array([-1, -0.52, 0, 0.52, 1]),
        tip + np.array([0.035, 0.062, 0.075, 0.062, 0.035]) - 0.028 * lift,
        -who.nose_out * np.array([0.25, 0.55, 0.8, 0.55, 0.25]),
    )


def mouth_folds(m: Muscles, side: int, lips: Lips, wing: Array) -> Curves:
    """The fold from nose to mouth and the dimple beside the mouth's corner."""
    corner = lips.half_width[:, side : side + 1]
    to_x, to_y = corner + 0.07, lips.middle[:, 20 * side : 20 * side + 1]
    from_x, from_y = m.who.nose_w + 0.035, wing[:, 4 * side : 4 * side + 1, 1] - 0.05
    bow = np.sin(np.pi * _ALONG)
    return {
        f"fold_naso{side}": m.lay(
            SIDES[side] * (from_x + (to_x - from_x) * _ALONG + 0.05 * bow),
            from_y + (to_y + 0.035 - from_y) * _ALONG,
        ),
        f"fold_dimple{side}": m.lay(
            SIDES[side] * (corner + 0.045 + 0.025 * bow), to_y + 0.13 * (_ALONG - 0.55)
        ),
    }


def eye_folds(m: Muscles, side: int, lids: Lids) -> Curves:
    """Frown line, crow's feet, the bag below an eye, and the wrinkles beside the nose's root."""
    who, v = m.who, _ALONG
    frown_x, frown_y = 0.055 - 0.015 * v, who.brow_y + 0.02 + 0.13 * (v - 0.45)
    curves = {f"fold_frown{side}": m.lay(SIDES[side] * frown_x, frown_y)}
    for k in (0, 1):
        x = who.eye_x + who.eye_w + 0.035 + 0.10 * v
        y = who.eye_y + (0.055 * k - 0.02) + (0.05 * k - 0.02) * v
        curves[f"fold_crow{side}{k}"] = m.lay(SIDES[side] * x, y)
    bag_y = lids.lower[:, side, 8:9] + 0.035 + 0.028 * np.sin(np.pi * v)
    curves[f"fold_bag{side}"] = m.lay(SIDES[side] * (who.eye_x + 0.16 * (2 * v - 1)), bag_y)
    curl = 0.045 * v
    curves[f"fold_nose{side}"] = m.lay(
        SIDES[side] * (0.02 + 0.075 * v), who.eye_y + 0.03 + curl - 0.03 * v**2, -0.06
    )
    curves[f"fold_nosb{side}"] = m.lay(
        SIDES[side] * (0.02 + 0.06 * v), who.eye_y + 0.10 + curl - 0.03 * v**2, -0.08
    )
    return curves


def forehead_folds(m: Muscles) -> Curves:
    """Two lines across the forehead, raised with the brows."""
    w = np.linspace(-1, 1, 9)
    outer = np.interp(np.abs(w), [0, 0.35, 1], [0, 0, 1])
    lift = (m.mean(1) * (1 - outer) + m.mean(2) * outer) * 0.05
    return {
        f"fold_brow{k}": m.lay(
            0.42 * w, m.who.brow_y - 0.16 - 0.09 * k - lift + 0.02 * np.cos(np.pi * w), 0.0
        )
        for k in (0, 1)
    }


def ear(head: Head, side: int, num_frames: int) -> Array:
    """(T, 20, 3): an ear, which no muscle moves."""
    c, s = np.cos(ROUND), np.sin(ROUND)
    flare = 0.10 * (0.7 + 0.3 * c) * (1 + np.cos(ROUND + 0.3)) / 1.6
    points = np.stack([SIDES[side] * (head.width * 0.80 + flare), 0.02 + 0.20 * s, 0.06 + 0.05 * c], -1)
    return np.broadcast_to(points, (num_frames, 20, 3))


def landmarks(jaw: Array, curves: Curves) -> Array:
    """(T, 68, 3) in the iBUG order, points of the curves."""
    upper_outer, upper_inner = curves["lip_up"][:, :21], curves["lip_up"][:, :20:-1]
    lower_inner, lower_outer = curves["lip_low"][:, :21], curves["lip_low"][:, :20:-1]
    return np.concatenate(
        [
            jaw,
            curves["brow0"][:, ::-2],
            curves["brow1"][:, ::2],
            curves["ridge"],
            curves["wing"],
            curves["lash0"][:, [0, 5, 11, 16]],
            curves["lower0"][:, [11, 5]],
            curves["lash1"][:, [16, 11, 5, 0]],
            curves["lower1"][:, [5, 11]],
            upper_outer[:, [0, 4, 8, 10, 12, 16, 20]],
            lower_outer[:, [16, 13, 10, 7, 4]],
            upper_inner[:, [1, 6, 10, 14, 19]],
            lower_inner[:, [14, 10, 6]],
        ],
        1,
    )
