"""What puppets say: phonemes with their sounds and mouth shapes, and babbled sentences of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eatlab.data.puppets.identity import Array


class Phoneme(NamedTuple):
    """seconds; formants F1, F2, F3 (Hz); voice and aspiration, 0..1; noise (Hz, width Hz, gain); articulators
    (jaw, spread, press, tuck, tongue)."""

    seconds: float
    formants_hz: tuple[float, float, float]
    voice: float
    aspiration: float
    noise: tuple[float, float, float]
    articulators: tuple[float, float, float, float, float]


def vowel(seconds: float, formants_hz: tuple[float, float, float], *, jaw: float, spread: float) -> Phoneme:
    """A fully voiced phoneme of open lips."""
    return Phoneme(seconds, formants_hz, 1.0, 0.0, (0, 1, 0), (jaw, spread, 0, 0, 0))


TABLE = {
    "sil": Phoneme(0.20, (500, 1500, 2500), 0, 0, (0, 1, 0), (0, 0, 0.15, 0, 0)),
    "iy": vowel(0.12, (280, 2250, 3000), jaw=0.24, spread=0.90),
    "ih": vowel(0.09, (390, 1990, 2550), jaw=0.34, spread=0.50),
    "ey": vowel(0.14, (450, 2100, 2650), jaw=0.42, spread=0.70),
    "eh": vowel(0.11, (540, 1840, 2480), jaw=0.58, spread=0.40),
    "ae": vowel(0.14, (680, 1720, 2410), jaw=0.80, spread=0.50),
    "aa": vowel(0.15, (760, 1100, 2440), jaw=1.0, spread=0.00),
    "ah": vowel(0.10, (630, 1230, 2400), jaw=0.66, spread=0.00),
    "ao": vowel(0.14, (560, 850, 2410), jaw=0.70, spread=-0.60),
    "ow": vowel(0.14, (470, 900, 2350), jaw=0.48, spread=-0.85),
    "uh": vowel(0.09, (440, 1050, 2250), jaw=0.36, spread=-0.50),
    "uw": vowel(0.12, (300, 850, 2240), jaw=0.22, spread=-1.0),
    "er": vowel(0.12, (480, 1330, 1680), jaw=0.38, spread=-0.35),
    "p": Phoneme(0.085, (250, 800, 2200), 0, 0, (900, 900, 0.5), (0.05, 0, 1, 0, 0)),
    "b": Phoneme(0.080, (250, 800, 2200), 0.25, 0, (800, 700, 0.25), (0.05, 0, 1, 0, 0)),
    "m": Phoneme(0.080, (250, 1000, 2200), 0.5, 0, (0, 1, 0), (0.05, 0, 1, 0, 0)),
    "f": Phoneme(0.100, (300, 1100, 2300), 0, 0, (6200, 2600, 0.22), (0.12, 0.1, 0, 1, 0)),
    "v": Phoneme(0.075, (300, 1100, 2300), 0.45, 0, (5800, 2600, 0.10), (0.12, 0.1, 0, 1, 0)),
    "th": Phoneme(0.095, (320, 1400, 2600), 0, 0, (5200, 3000, 0.14), (0.20, 0.2, 0, 0, 1)),
    "t": Phoneme(0.080, (280, 1750, 2600), 0, 0, (4300, 1600, 0.7), (0.16, 0.2, 0, 0, 0.6)),
    "d": Phoneme(0.070, (280, 1750, 2600), 0.25, 0, (3900, 1500, 0.35), (0.18, 0.2, 0, 0, 0.6)),
    "n": Phoneme(0.070, (270, 1650, 2500), 0.5, 0, (0, 1, 0), (0.18, 0.2, 0, 0, 0.6)),
    "l": Phoneme(0.070, (370, 1250, 2700), 0.7, 0, (0, 1, 0), (0.30, 0.1, 0, 0, 0.9)),
    "s": Phoneme(0.110, (300, 1700, 2600), 0, 0, (6000, 1100, 0.55), (0.08, 0.45, 0, 0, 0.3)),
    "z": Phoneme(0.085, (280, 1700, 2600), 0.4, 0, (5800, 1100, 0.30), (0.08, 0.45, 0, 0, 0.3)),
    "sh": Phoneme(0.115, (300, 1900, 2500), 0, 0, (3200, 900, 0.55), (0.16, -0.6, 0, 0, 0.2)),
    "ch": Phoneme(0.110, (300, 1900, 2500), 0, 0, (3400, 1000, 0.8), (0.15, -0.5, 0, 0, 0.3)),
    "k": Phoneme(0.085, (300, 1900, 2350), 0, 0, (2100, 700, 0.6), (0.26, 0, 0, 0, 0)),
    "g": Phoneme(0.075, (300, 1900, 2350), 0.25, 0, (2000, 700, 0.3), (0.26, 0, 0, 0, 0)),
    "hh": Phoneme(0.065, (520, 1500, 2500), 0, 0.6, (0, 1, 0), (0.36, 0, 0, 0, 0)),
    "r": Phoneme(0.075, (330, 1080, 1450), 0.7, 0, (0, 1, 0), (0.22, -0.55, 0, 0, 0.2)),
    "w": Phoneme(0.075, (290, 650, 2150), 0.7, 0, (0, 1, 0), (0.16, -1.0, 0, 0, 0)),
    "y": Phoneme(0.065, (270, 2150, 2950), 0.7, 0, (0, 1, 0), (0.20, 0.7, 0, 0, 0.3)),
}
PHONEMES = tuple(TABLE)
SILENCE = PHONEMES.index("sil")


def ids(*names: str) -> list[int]:
    """Rows of phonemes in every table."""
    return [PHONEMES.index(name) for name in names]


STOPS = ids("p", "b", "t", "d", "k", "g", "ch")
VOWELS = [i for i, phoneme in enumerate(TABLE.values()) if phoneme.voice == 1]
CONSONANTS = [i for i in range(len(PHONEMES)) if i != SILENCE and i not in VOWELS]
SECONDS = np.array([phoneme.seconds for phoneme in TABLE.values()])
FORMANTS_HZ = np.array([phoneme.formants_hz for phoneme in TABLE.values()], float)
VOICE = np.array([phoneme.voice for phoneme in TABLE.values()], float)
ASPIRATION = np.array([phoneme.aspiration for phoneme in TABLE.values()], float)
NOISE = np.array([phoneme.noise for phoneme in TABLE.values()], float)
SHAPE = np.array([phoneme.articulators for phoneme in TABLE.values()], float)

HOLD = np.ones((len(TABLE), 5))
"""How strongly a phoneme holds each articulator against its neighbours (phonemes, 5)."""
HOLD[SILENCE] = 0.8, 0.5, 1, 1, 1
HOLD[ids("p", "b", "m")] = 1.2, 0.25, 6, 3, 1
HOLD[ids("f", "v")] = 1.2, 0.3, 4, 4, 1
HOLD[ids("k", "g", "hh", "t", "d", "n")] = 0.6, 0.35, 1, 1, 1


def sentence(seed: int, seconds: float) -> Array:
    """Phonemes of a babbled sentence lasting at least `seconds` at rate 1: (n, 3) phoneme, length s, stress.

    Words of one to three (C)(C)V(C) syllables, one stressed; a longer sentence begins with the shorter one.
    """
    g = np.random.default_rng((seed, 201))
    said: list[tuple[float, float, float]] = [(SILENCE, 0.12, 0)]
    total = 0.12
    while total < seconds:
        for _ in range(int(g.integers(2, 6))):
            said += word(g)
        said.append((SILENCE, float(g.uniform(0.12, 0.40)), 0))
        total = sum(length for _, length, _ in said)
    return np.array(said)


def word(g: np.random.Generator) -> list[tuple[float, float, float]]:
    """One to three syllables, one of them stressed: (phoneme, length s, stress) each."""
    num_syllables = int(g.integers(1, 4))
    main = int(g.integers(num_syllables))
    said: list[tuple[float, float, float]] = []
    for k in range(num_syllables):
        for phoneme in syllable(g):
            stress = float(k == main) if phoneme in VOWELS else 0.0
            length = SECONDS[phoneme] * (1 + 0.3 * stress) * float(np.exp(0.12 * g.normal()))
            said.append((phoneme, length, stress))
    return said


def syllable(g: np.random.Generator) -> list[int]:
    """(C)(C)V(C)."""
    phonemes = [int(g.choice(CONSONANTS))] if g.random() < 0.9 else []
    if phonemes and phonemes[0] in STOPS and g.random() < 0.25:
        phonemes.append(int(g.choice(ids("l", "r", "w", "y"))))
    phonemes.append(int(g.choice(VOWELS)))
    if g.random() < 0.35:
        phonemes.append(int(g.choice(CONSONANTS)))
    return phonemes
