"""Who a puppet is: factors of face and voice, colours, and the person's own way to show emotions (FACS)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from eatlab.emotions import EMOTIONS

Array = np.ndarray
AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
"""FACS action units, the order of every AU axis (17); 45 is lid closure."""
ARTICULATORS = ("jaw", "spread", "press", "tuck", "tongue")
"""Speech articulators, 0..1 (spread -1..1: rounded..spread), the order of their axis (5)."""
AU_INDEX = {k: i for i, k in enumerate(AUS)}

_PROTOTYPES: dict[str, dict[int, float]] = {  # AU intensities at full intensity
    "angry": {4: 1.0, 5: 0.45, 7: 0.75, 10: 0.15, 17: 0.45, 23: 0.95},
    "contempt": {2: 0.55, 7: 0.35, 14: 1.0, 12: 0.25, 45: 0.14},  # one side only, see emotion_aus
    "disgusted": {4: 0.5, 6: 0.3, 7: 0.55, 9: 1.0, 10: 0.95, 15: 0.3, 17: 0.35, 25: 0.15},
    "fear": {1: 0.95, 2: 0.45, 4: 0.7, 5: 0.95, 20: 1.0, 25: 0.6, 26: 0.22},
    "happy": {6: 0.85, 12: 1.0, 25: 0.6, 26: 0.08},
    "neutral": {},
    "sad": {1: 1.0, 4: 0.65, 7: 0.1, 15: 1.0, 17: 0.55, 45: 0.25},
    "surprised": {1: 0.95, 2: 1.0, 5: 0.85, 25: 0.7, 26: 0.75},
}


def smoothstep(a: float, b: float, x: Array | np.floating[Any]) -> Array:
    """0 below a, 1 above b, a cubic with level ends between."""
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: ArrayLike, b: ArrayLike, t: float) -> Array:
    """From a (t = 0) to b (t = 1)."""
    return (1 - t) * np.asarray(a, float) + t * np.asarray(b, float)


def ramp(stops: ArrayLike, u: float) -> Array:
    """The colour (3,) at u, 0..1, between evenly spaced stops (n, 3)."""
    s = np.asarray(stops, float)
    return np.stack([np.interp(u, np.linspace(0, 1, len(s)), s[:, c]) for c in range(3)])


@dataclass(frozen=True)
class Identity:
    """One person: factors of the face, the voice and the taste; lengths in head units.

    ``masc``, ``age``, ``melanin``, ... lie in 0..1; ``f0`` is in Hz, ``tract`` the formant scale.
    """

    seed: int
    masc: float
    age: float
    melanin: float
    undertone: float
    blush: float
    freckles: float
    face_w: float
    jaw_w: float
    chin: float
    forehead: float
    cheek: float
    eye_x: float
    eye_y: float
    eye_w: float
    eye_h: float
    eye_tilt: float
    iris: float
    brow_y: float
    brow_w: float
    brow_arch: float
    brow_tilt: float
    nose_len: float
    nose_w: float
    nose_out: float
    mouth_y: float
    mouth_w: float
    lip: float
    lip_red: float
    corner: float
    hair: int
    hair_tone: float
    hair_vol: float
    hairline: float
    parting: float
    beard: float
    glasses: float
    shirt: float
    light: float
    f0: float
    tract: float
    breath: float
    articulation: float

    @staticmethod
    def from_seed(seed: int) -> Identity:
        """The person of an integer seed; factors are drawn independently but for sex and age."""
        g = np.random.default_rng((seed, 101))
        # Arguments are drawn in the order in which they stand: to move a line is to change every person.
        masc = float(np.clip(g.choice([0.15, 0.85]) + _normal(g, 0.1), 0, 1))
        age = float(g.beta(1.2, 2.0))
        return Identity(seed, masc, age, **_skin(g), **_face(g, masc), **_hair(g, masc), **_voice(g, masc))

    def vector(self) -> Array:
        """All factors but the seed, as a float64 vector (n_factors,)."""
        return np.array([getattr(self, f.name) for f in fields(self)[1:]], float)

    def colours(self) -> dict[str, Array]:
        """RGB colours (3,), 0..255, of skin, lips, hair, iris and shirt."""
        skin = ramp(
            [(255, 226, 203), (246, 205, 172), (228, 176, 134), (198, 140, 98), (146, 95, 63), (104, 66, 46)],
            self.melanin,
        ) + self.undertone * np.array([1, -3, -6])
        natural = [(28, 24, 26), (52, 34, 28), (92, 56, 36), (150, 92, 48), (214, 168, 96), (168, 70, 38)]
        hair = ramp(natural, self.hair_tone * (1 - 0.75 * self.melanin))
        hair = mix(hair, (196, 194, 196), float(smoothstep(0.55, 0.95, np.float64(self.age))) * 0.9)
        iris = ramp(
            [(74, 44, 26), (110, 72, 38), (84, 112, 62), (70, 122, 168), (108, 134, 150)],
            self.iris * (1 - 0.7 * self.melanin),
        )
        hue = np.array([0, 2, 4]) * np.pi / 3
        return {
            "skin": np.clip(skin, 0, 255),
            "hair": hair,
            "iris": iris,
            "lip": mix(mix(skin, (176, 74, 74), 0.42), (196, 44, 66), 0.6 * self.lip_red),
            "shirt": 128 + 75 * np.cos(2 * np.pi * self.shirt + hue) * 0.75,
            "dark": np.clip(skin * (0.70, 0.58, 0.54), 0, 255),
            "shade": np.clip(skin * (0.86, 0.77, 0.74), 0, 255),
            "light": mix(skin, (255, 244, 232), 0.38),
            "rosy": mix(skin, (232, 84, 84), 0.42),
        }


def _normal(g: np.random.Generator, deviation: float) -> float:
    return float(np.clip(g.normal(), -2, 2)) * deviation


def _skin(g: np.random.Generator) -> dict[str, Any]:
    return {
        "melanin": float(g.uniform(0, 1)) ** 1.3,
        "undertone": _normal(g, 1),
        "blush": float(g.uniform(0.2, 1)),
        "freckles": max(0.0, float(g.uniform(-2, 1))),
    }


def _face(g: np.random.Generator, masc: float) -> dict[str, Any]:
    return {
        "face_w": 1 + _normal(g, 0.035) - 0.03 * (1 - masc),
        "jaw_w": 0.07 * (masc - 0.5) + _normal(g, 0.025),
        "chin": 0.05 * (masc - 0.5) + _normal(g, 0.025),
        "forehead": _normal(g, 0.025),
        "cheek": _normal(g, 0.02),
        "eye_x": 0.372 + _normal(g, 0.014),
        "eye_y": -0.10 + _normal(g, 0.02),
        "eye_w": 0.203 + _normal(g, 0.010) - 0.012 * masc,
        "eye_h": 0.118 + _normal(g, 0.009) - 0.018 * masc,
        "eye_tilt": 0.012 + _normal(g, 0.012),
        "iris": float(g.uniform(0, 1)),
        "brow_y": -0.400 + _normal(g, 0.018) + 0.03 * masc,
        "brow_w": 0.030 + 0.022 * masc + _normal(g, 0.005),
        "brow_arch": 0.055 - 0.025 * masc + _normal(g, 0.01),
        "brow_tilt": _normal(g, 0.015),
        "nose_len": 0.30 + _normal(g, 0.025),
        "nose_w": 0.125 + _normal(g, 0.014) + 0.012 * masc,
        "nose_out": 0.24 + _normal(g, 0.03),
        "mouth_y": 0.60 + _normal(g, 0.015),
        "mouth_w": 0.285 + _normal(g, 0.016) + 0.012 * masc,
        "lip": 1.1 - 0.3 * masc + _normal(g, 0.12),
        "lip_red": float(g.uniform(0.15, 0.6)) * (1.2 - masc),
        "corner": _normal(g, 0.008) - 0.012,
    }


def _hair(g: np.random.Generator, masc: float) -> dict[str, Any]:
    styles, odds = (
        ((0, 1, 2, 3, 4), (0.10, 0.26, 0.28, 0.22, 0.14))
        if masc > 0.5
        else ((2, 4, 5, 6, 7), (0.12, 0.18, 0.26, 0.26, 0.18))
    )
    return {
        "hair": int(g.choice(styles, p=odds)),
        "hair_tone": float(g.uniform(0, 1)),
        "hair_vol": float(g.uniform(0, 1)),
        "hairline": _normal(g, 0.025),
        "parting": float(g.uniform(-0.6, 0.6)),
        "beard": float(masc > 0.5) * max(0.0, float(g.uniform(-0.8, 1))),
        "glasses": max(0.0, float(g.uniform(-2.2, 1))),
        "shirt": float(g.uniform(0, 1)),
        "light": float(g.uniform(-1, 1)),
    }


def _voice(g: np.random.Generator, masc: float) -> dict[str, Any]:
    return {
        "f0": float(np.exp(mix(np.log(205), np.log(118), masc) + _normal(g, 0.10))),
        "tract": 1.15 - 0.15 * masc + _normal(g, 0.025),
        "breath": float(g.uniform(0.02, 0.14)),
        "articulation": 1 + _normal(g, 0.06),
    }


def emotion_aus(identity: Identity) -> Array:
    """The person's own way to show each emotion at full intensity: AUs (8, 17, 2), 0..1.

    Prototypes after Ekman's EMFACS, varied per person and AU (strength, slight asymmetry);
    contempt is one-sided, on a side that the person keeps.
    """
    g = np.random.default_rng((identity.seed, 102))
    out = np.zeros((len(EMOTIONS), len(AUS), 2))
    for e, name in enumerate(EMOTIONS):
        for au, v in _PROTOTYPES[name].items():
            out[e, AU_INDEX[au]] = v
    side = int(g.integers(2))
    for au in (2, 12, 14):
        out[EMOTIONS.index("contempt"), AU_INDEX[au], 1 - side] *= 0.08 if au == 14 else 0.0
    out *= np.exp(np.clip(g.normal(size=(8, 17, 1)), -2, 2) * 0.13) * (1 + 0.05 * g.normal(size=(8, 17, 2)))
    return np.clip(out, 0, 1.15)
