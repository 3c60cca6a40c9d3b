"""Speech for the puppets: random sentences, articulation, and a source-filter synthesiser (16 kHz).

One phoneme track drives everything: formants and noises of the voice, and the articulators of the
mouth, so that lips and sound are in step to the sample.  Control rate 200 Hz (80 samples), video
25 Hz (640 samples): frame f covers samples 640 f .. 640 f + 639 and shows the mouth at its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from eatlab.data.puppets.identity import Array, Identity
from eatlab.emotions import EMOTIONS

RATE, FPS, HOP = 16000, 25, 80
_STEPS = RATE // FPS // HOP  # control steps a frame

# name: seconds, F1 F2 F3 (Hz), voice, aspiration, (noise Hz, width Hz, gain), jaw spread press tuck tongue, viseme
_V = lambda s, f, jaw, spread, vis: (s, f, 1.0, 0.0, (0, 1, 0), (jaw, spread, 0, 0, 0), vis)
_TABLE: dict[str, tuple] = {
    "sil": (0.20, (500, 1500, 2500), 0, 0, (0, 1, 0), (0, 0, 0.15, 0, 0), 0),
    "iy": _V(0.12, (280, 2250, 3000), 0.24, 0.90, 1),
    "ih": _V(0.09, (390, 1990, 2550), 0.34, 0.50, 1),
    "ey": _V(0.14, (450, 2100, 2650), 0.42, 0.70, 1),
    "eh": _V(0.11, (540, 1840, 2480), 0.58, 0.40, 2),
    "ae": _V(0.14, (680, 1720, 2410), 0.80, 0.50, 2),
    "aa": _V(0.15, (760, 1100, 2440), 1.0, 0.00, 3),
    "ah": _V(0.10, (630, 1230, 2400), 0.66, 0.00, 3),
    "ao": _V(0.14, (560, 850, 2410), 0.70, -0.60, 4),
    "ow": _V(0.14, (470, 900, 2350), 0.48, -0.85, 4),
    "uh": _V(0.09, (440, 1050, 2250), 0.36, -0.50, 5),
    "uw": _V(0.12, (300, 850, 2240), 0.22, -1.0, 5),
    "er": _V(0.12, (480, 1330, 1680), 0.38, -0.35, 5),
    "p": (0.085, (250, 800, 2200), 0, 0, (900, 900, 0.5), (0.05, 0, 1, 0, 0), 6),
    "b": (0.080, (250, 800, 2200), 0.25, 0, (800, 700, 0.25), (0.05, 0, 1, 0, 0), 6),
    "m": (0.080, (250, 1000, 2200), 0.5, 0, (0, 1, 0), (0.05, 0, 1, 0, 0), 6),
    "f": (0.100, (300, 1100, 2300), 0, 0, (6200, 2600, 0.22), (0.12, 0.1, 0, 1, 0), 7),
    "v": (0.075, (300, 1100, 2300), 0.45, 0, (5800, 2600, 0.10), (0.12, 0.1, 0, 1, 0), 7),
    "th": (0.095, (320, 1400, 2600), 0, 0, (5200, 3000, 0.14), (0.20, 0.2, 0, 0, 1), 8),
    "t": (0.080, (280, 1750, 2600), 0, 0, (4300, 1600, 0.7), (0.16, 0.2, 0, 0, 0.6), 8),
    "d": (0.070, (280, 1750, 2600), 0.25, 0, (3900, 1500, 0.35), (0.18, 0.2, 0, 0, 0.6), 8),
    "n": (0.070, (270, 1650, 2500), 0.5, 0, (0, 1, 0), (0.18, 0.2, 0, 0, 0.6), 8),
    "l": (0.070, (370, 1250, 2700), 0.7, 0, (0, 1, 0), (0.30, 0.1, 0, 0, 0.9), 8),
    "s": (0.110, (300, 1700, 2600), 0, 0, (6000, 1100, 0.55), (0.08, 0.45, 0, 0, 0.3), 9),
    "z": (0.085, (280, 1700, 2600), 0.4, 0, (5800, 1100, 0.30), (0.08, 0.45, 0, 0, 0.3), 9),
    "sh": (0.115, (300, 1900, 2500), 0, 0, (3200, 900, 0.55), (0.16, -0.6, 0, 0, 0.2), 10),
    "ch": (0.110, (300, 1900, 2500), 0, 0, (3400, 1000, 0.8), (0.15, -0.5, 0, 0, 0.3), 10),
    "k": (0.085, (300, 1900, 2350), 0, 0, (2100, 700, 0.6), (0.26, 0, 0, 0, 0), 11),
    "g": (0.075, (300, 1900, 2350), 0.25, 0, (2000, 700, 0.3), (0.26, 0, 0, 0, 0), 11),
    "hh": (0.065, (520, 1500, 2500), 0, 0.6, (0, 1, 0), (0.36, 0, 0, 0, 0), 11),
    "r": (0.075, (330, 1080, 1450), 0.7, 0, (0, 1, 0), (0.22, -0.55, 0, 0, 0.2), 5),
    "w": (0.075, (290, 650, 2150), 0.7, 0, (0, 1, 0), (0.16, -1.0, 0, 0, 0), 5),
    "y": (0.065, (270, 2150, 2950), 0.7, 0, (0, 1, 0), (0.20, 0.7, 0, 0, 0.3), 1),
}
PHONEMES = tuple(_TABLE)
VISEMES = ("rest", "ee", "eh", "ah", "oh", "oo", "pbm", "fv", "tdnl", "sz", "sh", "kg")
_STOPS = {PHONEMES.index(p) for p in ("p", "b", "t", "d", "k", "g", "ch")}
_VOWELS = [i for i, p in enumerate(PHONEMES) if _TABLE[p][2] == 1]
_CONS = [i for i, p in enumerate(PHONEMES) if i and i not in _VOWELS]
_DUR = np.array([v[0] for v in _TABLE.values()])
_FORM = np.array([v[1] for v in _TABLE.values()], float)
_VOICE = np.array([v[2] for v in _TABLE.values()], float)
_ASP = np.array([v[3] for v in _TABLE.values()], float)
_NOISE = np.array([v[4] for v in _TABLE.values()], float)
_ART = np.array([v[5] for v in _TABLE.values()], float)
_VIS = np.array([v[6] for v in _TABLE.values()])
# how strongly a phoneme holds (jaw, spread, press, tuck, tongue) against its neighbours
_HOLD = np.ones((len(_TABLE), 5))
_HOLD[0] = 0.8, 0.5, 1, 1, 1
_HOLD[_VIS == 6] = 1.2, 0.25, 6, 3, 1
_HOLD[_VIS == 7] = 1.2, 0.3, 4, 4, 1
_HOLD[[PHONEMES.index(p) for p in ("k", "g", "hh", "t", "d", "n")]] = 0.6, 0.35, 1, 1, 1

# F0 mean (semitones), F0 range (log), rate (log), energy (dB), breathiness, brightness, tremor, rise (semitones)
_PROSODY = {
    "angry": (3.0, 0.45, 0.12, 4, -0.05, 0.9, 0.0, -1.5),
    "contempt": (-2.0, -0.55, -0.15, -1, 0.05, -0.2, 0.0, -2.5),
    "disgusted": (-3.0, 0.15, -0.20, 1, 0.22, 0.1, 0.25, -3.0),
    "fear": (5.5, -0.25, 0.24, 1, 0.40, 0.1, 1.0, 1.0),
    "happy": (4.0, 0.55, 0.10, 3, 0.02, 0.4, 0.0, 1.5),
    "neutral": (0, 0, 0, 0, 0, 0, 0, 0),
    "sad": (-1.5, -0.85, -0.26, -3, 0.35, -0.8, 0.15, -2.0),
    "surprised": (7.0, 0.70, -0.02, 4, 0.15, 0.3, 0.0, 4.0),
}
PROSODY = np.array([_PROSODY[e] for e in EMOTIONS])
"""Prosody (8, 8) of each emotion at full intensity, in the units above."""


@dataclass(frozen=True)
class Speech:
    """audio (T 640) float32; per frame: phoneme, viseme (T,) int64, artic (T, 5), f0 (T,) Hz (0: unvoiced),
    energy (T,) dB re full scale, stress (T,) 0..1; segments (n, 3): start s, end s, phoneme."""

    audio: Array
    phoneme: Array
    viseme: Array
    artic: Array
    f0: Array
    energy: Array
    stress: Array
    segments: Array


def sentence(seed: int, seconds: float) -> Array:
    """Phonemes of a babbled sentence lasting at least ``seconds`` at rate 1: (n, 3) phoneme, length s, stress.

    Words of one to three (C)(C)V(C) syllables, one stressed; a longer one begins with the shorter one.
    """
    g = np.random.default_rng((seed, 201))
    out: list[tuple[float, float, float]] = [(0, 0.12, 0)]
    total, liquids = 0.12, [PHONEMES.index(p) for p in "lrwy"]
    while total < seconds:
        for _ in range(int(g.integers(2, 6))):
            n = int(g.integers(1, 4))
            main = int(g.integers(n))
            for k in range(n):
                syl = [int(g.choice(_CONS))] if g.random() < 0.9 else []
                if syl and syl[0] in _STOPS and g.random() < 0.25:
                    syl.append(int(g.choice(liquids)))
                syl.append(int(g.choice(_VOWELS)))
                if g.random() < 0.35:
                    syl.append(int(g.choice(_CONS)))
                for p in syl:
                    stress = float(k == main) if p in _VOWELS else 0.0
                    out.append((p, _DUR[p] * (1 + 0.3 * stress) * float(np.exp(0.12 * g.normal())), stress))
        out.append((0, float(g.uniform(0.12, 0.40)), 0))
        total = sum(o[1] for o in out)
    return np.array(out)


def speak(idn: Identity, seed: int, frames: int, mix: Array, locked: bool = True) -> Speech:
    """Say sentence ``seed`` for ``frames`` frames in the person's voice.

    mix (8,) is emotion weights times intensity (0 is neutral).  ``locked`` keeps neutral timing, so that
    clips of the same sentence are aligned in time; else the emotion also changes the rate.
    """
    mean, rng_, rate, energy, breath, bright, tremor, rise = np.asarray(mix, float) @ PROSODY
    g = np.random.default_rng((idn.seed, seed, 202))
    seconds, steps = frames / FPS, frames * _STEPS
    text = sentence(seed, seconds * 1.5 + 0.5)
    ends = np.cumsum(text[:, 1] * np.exp(-(0 if locked else rate)))
    tc = (np.arange(steps) + 0.5) * HOP / RATE
    seg = np.searchsorted(ends, tc, side="right")
    ph, stress = text[seg, 0].astype(int), text[seg, 2]
    starts = np.r_[0, ends[:-1]]
    phase = (tc - starts[seg]) / (ends - starts)[seg]
    smooth = lambda x, ms: gaussian_filter1d(np.asarray(x, float), ms / 5, axis=0, mode="nearest")

    # articulators: dominance-weighted smoothing, lips fast, jaw and rounding slow
    art = np.empty((steps, 5))
    for i, ms in enumerate((34, 46, 17, 19, 24)):
        hold = _HOLD[ph, i]
        art[:, i] = smooth(hold * _ART[ph, i], ms) / smooth(hold, ms)
    loud = idn.articulation * (1 + 0.018 * energy)
    art[:, 0] *= loud * (0.88 + 0.22 * smooth(stress, 40))
    art = np.clip(art, (0, -1, 0, 0, 0), 1.1)

    # source: phase-accumulated band-limited pulses with pitch accents, declination, jitter, tremor
    stop = np.isin(ph, list(_STOPS))
    silent = ph == 0
    voice = np.where(stop & (phase > 0.55), 0, _VOICE[ph])
    pause = np.r_[0, np.cumsum(np.diff(silent.astype(int)) == 1)]
    since = np.array([0.0] * steps)
    for k in range(pause.max() + 1):
        idx = np.flatnonzero(pause == k)
        since[idx] = np.linspace(0, 1, len(idx))
    accent = smooth(stress * (1.6 + 0.8 * np.sin(1.7 * seg + seed % 7)), 45) * 2.2
    wander = smooth(g.normal(size=steps), 120) * 2.5
    st = mean + np.exp(rng_) * (accent + wander - 1.2 * (since - 0.5) - 0.8) + rise * (since - 0.4)
    st = st + tremor * 0.55 * np.sin(2 * np.pi * 6.3 * tc) + g.normal(size=steps) * (0.10 + 0.12 * tremor)
    f0 = idn.f0 * 2 ** (st / 12)
    n = np.arange(steps * HOP)
    up = lambda x: np.interp((n + 0.5) / HOP - 0.5, np.arange(steps), x)
    f = up(f0)
    ph0 = np.cumsum(f) / RATE
    m = 2 * np.floor(0.5 * RATE / f * 0.92) + 1  # harmonics of a Dirichlet kernel
    s = np.sin(np.pi * ph0)
    pulse = np.where(np.abs(s) < 1e-4, 1.0, np.sin(m * np.pi * ph0) / (m * np.where(np.abs(s) < 1e-4, 1, s)))
    pulse = lfilter([1, -1], [1, -0.985], pulse) * np.sqrt(RATE / f) * 0.30
    noise = g.normal(size=len(n))
    open_vowel = 0.55 + 0.45 * np.clip(art[:, 0], 0, 1)
    amp = smooth(voice * open_vowel * (0.85 + 0.30 * stress), 7)
    br = np.clip(idn.breath + breath, 0, 0.7)
    voiced = pulse * up(amp) * (1 - 0.55 * br)
    puff = stop & (phase > 0.75) & (_VOICE[ph] == 0)
    aspirated = noise * up(smooth(_ASP[ph] + 0.55 * br * voice * open_vowel + 0.25 * puff, 7)) * 0.055
    burst = np.where(stop, ((phase > 0.55) & (phase < 0.85)) * 1.0, 1.0)
    fric = g.normal(size=len(n)) * up(smooth(_NOISE[ph, 2] * burst, 4)) * 0.14

    # time-varying filters: 20 ms Hann frames, 10 ms hop, complex resonators in the frequency domain
    hop, win, nfft = 160, 320, 640
    k = np.fft.rfftfreq(nfft, 1 / RATE)
    z1 = np.exp(-2j * np.pi * k / RATE)
    F = smooth(_FORM[ph], 13)[::2] * idn.tract
    F = np.concatenate([F, np.broadcast_to(np.array([3500.0, 4500.0]) * idn.tract, (len(F), 2))], 1)
    F[:, 0] = np.maximum(F[:, 0] * (1 + 0.04 * max(0.0, float(bright))), 1.0 * f0[::2] * 0.9)
    B = np.array([75, 95, 140, 220, 300.0]) * (1 + 0.5 * br)
    rad = np.exp(-np.pi * B / RATE)
    c = 2 * rad * np.cos(2 * np.pi * np.minimum(F, 7600) / RATE)  # (frames, 5)
    tract = np.ones((len(F), len(k)), complex)
    for i in range(5):
        tract *= (1 - c[:, i] + rad[i] ** 2)[:, None] / (1 - c[:, i, None] * z1 + rad[i] ** 2 * z1**2)
    tilt = 1 / (1 + 1j * k / (420 * np.exp(0.75 * bright))) + 0.035 * np.exp(0.9 * bright)
    lift = (1 + 1j * k / 900) / 1.5
    fn = _NOISE[ph][::2]
    band = np.exp(-0.5 * ((k - fn[:, :1]) / fn[:, 1:2]) ** 2)
    w = np.hanning(win + 1)[:-1]
    idx = np.arange(len(F))[:, None] * hop + np.arange(win)
    frame = lambda x: np.fft.rfft(np.pad(x, (hop // 2, win))[idx] * w, nfft)
    y = np.fft.irfft(
        frame(voiced) * tract * (tilt * lift) + frame(aspirated) * tract * lift + frame(fric) * band, nfft
    )
    audio = np.zeros(len(F) * hop + nfft)
    for i in range(nfft // hop):  # overlap-add, four phases
        part = y[:, i * hop : (i + 1) * hop].reshape(-1)
        audio[i * hop : i * hop + len(part)] += part
    audio = audio[hop // 2 : hop // 2 + len(n)] * 10 ** ((energy - 4) / 20)
    audio = np.tanh(audio * 1.1) * 0.8 + 3e-4 * g.normal(size=len(n))

    at = np.arange(frames) * _STEPS + _STEPS // 2
    rms = np.sqrt((audio.reshape(frames, -1) ** 2).mean(1))
    keep = starts < seconds
    return Speech(
        audio.astype(np.float32),
        ph[at].astype(np.int64),
        _VIS[ph[at]].astype(np.int64),
        art[at],
        np.where(amp[at] > 0.1, f0[at], 0),
        20 * np.log10(rms + 1e-6),
        smooth(stress, 60)[at],
        np.stack([starts, np.minimum(ends, seconds), text[:, 0]], 1)[keep],
    )
