"""Paints the features of a puppet's face from projected curves: skin, nose, wrinkles, mouth, eyes"""

from __future__ import annotations

from functools import partial

import numpy as np

from eatlab.data.puppets.canvas import Canvas, smooth
from eatlab.data.puppets.identity import AU_INDEX, Array, Identity, mix, smoothstep

CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 13)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 13)[:-1])], -1
)
_TAPER = np.sin(np.pi * np.linspace(0.04, 0.96, 17)) ** 0.6
STROKE = 0.22 + np.sin(np.pi * np.linspace(0, 1, 9)) ** 0.7
_BROW_WIDTH = np.array([0.75, 0.95, 1, 1, 0.96, 0.88, 0.74, 0.55, 0.25])
_LASH = np.array((38, 26, 26))


class Sitting:
    """One frame while it is painted: the person, its colours, and the curves (n, 2) in pixels of the canvas.

    aus (17, 2) is what the muscles do; unit is the length in pixels of one head unit; mask is the 8-bit
    coverage of the face, known once the face is there.
    """

    def __init__(
        self,
        who: Identity,
        colours: dict[str, Array],
        curves: dict[str, Array],
        aus: Array,
        unit: float,
        canvas: Canvas,
    ) -> None:
        self.who, self.colours, self.curves = who, colours, curves
        self.unit, self.canvas = unit, canvas
        self.mask = np.empty(0, np.uint8)
        self.age = max(0.0, who.age - 0.35)
        self._aus = np.clip(aus, 0, 1.2)

    def muscle(self, unit: int, side: int) -> float:
        """An action unit at one side of the image."""
        return float(self._aus[AU_INDEX[unit], side])

    def mean(self, unit: int) -> float:
        """An action unit, mean of both sides."""
        return float(self._aus[AU_INDEX[unit]].mean())


def paint_skin(s: Sitting) -> None:
    """Shaded sockets, blushing cheeks, freckles, beard."""
    who, colours = s.who, s.colours
    for side in (0, 1):
        socket, cheek = s.curves[f"socket{side}"], s.curves[f"cheek{side}"]
        s.canvas.fill(socket, colours["shade"], 0.42 + 0.25 * s.age, 0.07 * s.unit, s.mask)
        blush = 0.12 + 0.30 * who.blush + 0.15 * s.muscle(6, side)
        s.canvas.fill(cheek, colours["rosy"], blush, 0.08 * s.unit, s.mask)
    if who.freckles > 0.25:
        for side in (0, 1):
            cheek = s.curves[f"cheek{side}"]
            for spot in np.concatenate([cheek[::3], mix(cheek.mean(0), cheek[::4], 0.5)]):
                s.canvas.fill(spot + 0.016 * s.unit * CIRCLE, colours["dark"], 0.45 * who.freckles)
    if who.beard > 0.1:
        thickness = float(smoothstep(0.1, 0.55, np.float64(who.beard)))
        tint = mix(colours["hair"], colours["skin"], 0.15)
        s.canvas.fill(beard(s), tint, 0.22 + 0.70 * thickness, 0.03 * s.unit, s.mask)


def beard(s: Sitting) -> Array:
    """(n, 2): from ear to ear over the upper lip, and down below the chin."""
    L = s.curves["landmarks"]
    edge = [
        L[0],
        L[1],
        mix(L[2], L[48], 0.25),
        mix(L[3], L[48], 0.62),
        mix(L[48], L[31], 0.45),
        mix(L[33], L[51], 0.25),
        mix(L[54], L[35], 0.45),
        mix(L[13], L[54], 0.62),
        mix(L[14], L[54], 0.25),
        L[15],
        L[16],
    ]
    low, beside, away = L[8] - (L[27] - L[8]) * 0.2, (0.3 * s.unit, 0), (s.unit, 0)
    below = np.stack([L[16] + beside, low + away, low - away, L[0] - beside])
    return np.concatenate([smooth(np.stack(edge), False), below])


def paint_nose(s: Sitting, light: float) -> None:
    """Flanks shaded by the lamp (at the left if light < 0), underside, nostrils, a light on the bridge."""
    shade, dark = s.colours["shade"], s.colours["dark"]
    for side in (0, 1):
        depth = 0.60 if side == int(light < 0) else 0.22
        s.canvas.fill(smooth(s.curves[f"side{side}"]), mix(shade, dark, 0.25), depth, 0.03 * s.unit)
    wing, ridge = s.curves["wing"], s.curves["ridge"]
    below = (wing[2] + (0, 0.06 * s.unit))[None]
    s.canvas.fill(np.concatenate([wing, below]), dark, 0.28, 0.035 * s.unit, s.mask)
    for side in (0, 1):
        s.canvas.line(smooth(s.curves[f"ala{side}"], False), 0.018 * s.unit, dark, 0.75)
        s.canvas.fill(s.curves[f"nostril{side}"], dark * 0.62, 0.9)
    width = np.array([0.02, 0.045, 0.06, 0.07]) * s.unit
    s.canvas.line(mix(ridge, ridge.mean(0), 0.12), width, s.colours["light"], 0.55, 0.03 * s.unit)


def paint_wrinkles(s: Sitting) -> None:
    """The lines that emotion draws and age keeps."""
    forehead = 0.75 * max(s.mean(1), 0.8 * s.mean(2)) - 0.15 + 0.6 * s.age
    for side in (0, 1):
        a = partial(s.muscle, side=side)
        wrinkle(s, f"naso{side}", 0.55 * a(12) + 0.6 * a(10) + 0.4 * a(9) + 0.7 * s.age + 0.2 * a(15))
        wrinkle(s, f"dimple{side}", 1.0 * a(14) + 0.25 * max(0, a(12) - 0.5))
        wrinkle(s, f"frown{side}", 1.0 * a(4) * (1 - 0.4 * s.mean(1)))
        wrinkle(s, f"bag{side}", 0.45 * a(6) + 0.3 * a(7) + 0.8 * s.age, 0.02)
        wrinkle(s, f"nose{side}", 1.0 * a(9))
        wrinkle(s, f"nosb{side}", 0.9 * a(9) - 0.15)
        for k in (0, 1):
            wrinkle(s, f"crow{side}{k}", 0.6 * a(6) + 0.7 * s.age - 0.12, 0.018)
        wrinkle(s, f"brow{side}", forehead, 0.020)


def wrinkle(s: Sitting, name: str, strength: float, width: float = 0.026) -> None:
    """One dark line on the skin, as strong as asked, at most 0.9."""
    line = s.curves["fold_" + name]
    s.canvas.line(line, width * s.unit * STROKE, s.colours["dark"], min(strength, 0.9), 0, s.mask)


def paint_mouth(s: Sitting) -> None:
    """Chin crease, lips, what is seen between them, and the dark seam of closed lips."""
    curves, red = s.curves, s.colours["lip"]
    chin = 0.12 + 0.6 * s.mean(17)
    s.canvas.line(
        smooth(curves["chin"], False), 0.03 * s.unit, s.colours["dark"], chin, 0.012 * s.unit, s.mask
    )
    s.canvas.fill(curves["lip_up"], red * 0.90)
    s.canvas.fill(curves["lip_low"], red)
    s.canvas.line(curves["shine"], 0.022 * s.unit, mix(red, (255, 235, 230), 0.5), 0.5, 0.012 * s.unit)
    s.canvas.inside(curves["cavity"], partial(paint_teeth, s))
    gap = np.linalg.norm(curves["landmarks"][66] - curves["landmarks"][62]) / s.unit
    closed = float(1 - smoothstep(0.004, 0.03, gap))
    s.canvas.line(curves["seam"], 0.02 * s.unit, red * 0.55, 0.9 * closed)


def paint_teeth(s: Sitting, inside: Canvas) -> None:
    """Tongue and teeth in the dark of the mouth."""
    inside.img[:] = (74, 22, 28)
    inside.fill(s.curves["tongue"], np.array((196, 92, 96)))
    inside.fill(s.curves["teeth_low"], np.array((226, 220, 208)))
    inside.fill(s.curves["teeth_up"], np.array((246, 243, 236)))


def paint_eye(s: Sitting, side: int) -> None:
    """Crease, eyeball, lids, lashes."""
    curves, who, unit = s.curves, s.who, s.unit
    s.canvas.line(curves[f"crease{side}"], 0.018 * unit * _TAPER, s.colours["dark"], 0.65)
    s.canvas.inside(curves[f"eye{side}"], partial(paint_eyeball, s, side))
    s.canvas.line(curves[f"lower{side}"], 0.012 * unit * _TAPER, s.colours["dark"], 0.75)
    lash = curves[f"lash{side}"]
    s.canvas.line(lash, (0.034 - 0.010 * who.masc) * unit * (_TAPER * 0.75 + 0.25), _LASH, 1.0)
    if who.masc < 0.5:
        tail = np.stack([lash[2], lash[0], lash[0] + (lash[0] - lash[3]) * 0.45 - (0, 0.012 * unit)])
        s.canvas.line(tail, np.array([0.026, 0.024, 0.004]) * unit, _LASH)


def paint_eyeball(s: Sitting, side: int, opening: Canvas) -> None:
    """White, iris, pupil, glint, and the shadow of the upper lid."""
    iris = s.curves[f"iris{side}"]
    opening.img[:] = (248, 246, 242)
    opening.fill(iris, s.colours["iris"] * 0.55)
    opening.fill(mix(iris, iris.mean(0), 0.14), s.colours["iris"])
    opening.fill(s.curves[f"pupil{side}"], np.array((18, 14, 16)))
    opening.fill(s.curves[f"glint{side}"], np.array((255, 255, 255)))
    shadow = s.curves[f"lash{side}"] + (0, 0.02 * s.unit)
    opening.line(shadow, 0.05 * s.unit, np.array((120, 110, 118)), 0.45)


def paint_brow(s: Sitting, side: int) -> None:
    """A brow, a little browner than the hair, greyer in old age."""
    width = s.who.brow_w * 2 * _BROW_WIDTH
    brown = mix(s.colours["hair"] * 0.8, (60, 44, 38), 0.35 if s.who.age < 0.8 else 0.1)
    line = smooth(s.curves[f"brow{side}"], False, 2)
    s.canvas.line(line, np.repeat(width, 2)[:-1] * s.unit, brown, 0.95)


def paint_ear(s: Sitting, side: int, alpha: float) -> None:
    """An ear; alpha below 1 lets what is in front of it show."""
    ear = s.curves[f"ear{side}"]
    s.canvas.fill(ear, s.colours["shade"], alpha)
    s.canvas.fill(mix(ear.mean(0), ear, 0.55), s.colours["dark"], 0.6 * alpha)


def paint_glasses(s: Sitting, near: Array) -> None:
    """Glasses, rims, and the arm at the side that is nearer (near (2,), 0..1)."""
    canvas, curves, unit = s.canvas, s.curves, s.unit
    rim = mix((30, 28, 34), (120, 70, 40), s.who.shirt)
    for side in (0, 1):
        glass = curves[f"glass{side}"]
        canvas.fill(glass, np.array((225, 238, 250)), 0.13)
        canvas.line(np.concatenate([glass, glass[:2]]), 0.026 * unit, rim)
        arm = np.stack([glass[14 - 14 * side], curves[f"ear{side}"][15]])
        shown = float(0.35 + 0.65 * near[side]) if near[1 - side] < 0.5 else 0.0
        canvas.line(arm, 0.022 * unit, rim, shown)
    canvas.line(np.stack([curves["glass0"][0], curves["glass1"][14]]), 0.026 * unit, rim)
