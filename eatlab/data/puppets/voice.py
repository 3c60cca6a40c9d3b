"""Speech for the puppets: articulation, and a source-filter synthesiser (16 kHz).

One phoneme track drives everything: formants and noises of the voice, and the articulators of the mouth, so
that lips and sound are in step to the sample.  Control rate 200 Hz (80 samples), video 25 Hz (640 samples):
frame f covers samples 640 f .. 640 f + 639 and shows the mouth at its middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from eatlab.data.puppets import phonemes
from eatlab.data.puppets.identity import Array, Identity
from eatlab.data.puppets.phonemes import sentence
from eatlab.data.samples import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from eatlab.emotions import EMOTIONS

HOP = 80
STEPS_PER_FRAME = SAMPLES_PER_FRAME // HOP
STEP_MS = 5


class Prosody(NamedTuple):
    """How an emotion sounds: F0 mean (semitones), F0 range (log), rate (log), energy (dB), breathiness,
    brightness, tremor, rise over a phrase (semitones)."""

    pitch: float
    pitch_range: float
    rate: float
    energy_db: float
    breath: float
    brightness: float
    tremor: float
    rise: float


_PROSODY = {
    "angry": Prosody(3.0, 0.45, 0.12, 4, -0.05, 0.9, 0.0, -1.5),
    "contempt": Prosody(-2.0, -0.55, -0.15, -1, 0.05, -0.2, 0.0, -2.5),
    "disgusted": Prosody(-3.0, 0.15, -0.20, 1, 0.22, 0.1, 0.25, -3.0),
    "fear": Prosody(5.5, -0.25, 0.24, 1, 0.40, 0.1, 1.0, 1.0),
    "happy": Prosody(4.0, 0.55, 0.10, 3, 0.02, 0.4, 0.0, 1.5),
    "neutral": Prosody(0, 0, 0, 0, 0, 0, 0, 0),
    "sad": Prosody(-1.5, -0.85, -0.26, -3, 0.35, -0.8, 0.15, -2.0),
    "surprised": Prosody(7.0, 0.70, -0.02, 4, 0.15, 0.3, 0.0, 4.0),
}
PROSODY = np.array([_PROSODY[emotion] for emotion in EMOTIONS])
"""Prosody (8, 8) of each emotion at full intensity."""


@dataclass(frozen=True)
class Speech:
    """audio (640 T,) float32; per frame: phoneme (T,) int64, artic (T, 5), stress (T,) 0..1."""

    audio: Array
    phoneme: Array
    artic: Array
    stress: Array


class Track(NamedTuple):
    """The sentence at control rate, (steps,) each: phoneme, stress, segment number, progress in it 0..1."""

    phoneme: Array
    stress: Array
    segment: Array
    progress: Array

    @property
    def time_s(self) -> Array:
        """(steps,): the middle of each step."""
        return (np.arange(len(self.phoneme)) + 0.5) * HOP / SAMPLE_RATE_HZ

    @property
    def in_stop(self) -> Array:
        """(steps,): whether a stop consonant is said."""
        return np.isin(self.phoneme, phonemes.STOPS)


class Source(NamedTuple):
    """What enters the vocal tract, (samples,) each: pulses of the vocal folds, breath, friction noise."""

    voiced: Array
    aspirated: Array
    friction: Array


def speak(who: Identity, seed: int, frames: int, mix: Array, locked: bool = True) -> Speech:
    """Says sentence `seed` for `frames` frames in the person's voice.

    mix (8,) is emotion weights times intensity (0 is neutral).  `locked` keeps neutral timing, so that clips
    of the same sentence are aligned in time; else the emotion also changes the rate.
    """
    prosody = Prosody(*(np.asarray(mix, float) @ PROSODY))
    g = np.random.default_rng((who.seed, seed, 202))
    track = time_phonemes(seed, frames, rate=0 if locked else prosody.rate)
    artic = articulate(who, track, prosody)
    pitch_hz = intonate(who, seed, track, prosody, g)
    breath = np.clip(who.breath + prosody.breath, 0, 0.7)
    source = excite(track, artic, pitch_hz, breath, g)
    F = formants(who, track, pitch_hz, prosody)
    tract = resonators(F, BANDWIDTH_HZ * (1 + 0.5 * breath))
    sound = resonate(source, track, tract, prosody.brightness)
    audio = sound[: frames * SAMPLES_PER_FRAME] * 10 ** ((prosody.energy_db - 4) / 20)
    audio = np.tanh(audio * 1.1) * 0.8 + 3e-4 * g.normal(size=len(audio))
    at = np.arange(frames) * STEPS_PER_FRAME + STEPS_PER_FRAME // 2
    return Speech(
        audio.astype(np.float32),
        track.phoneme[at].astype(np.int64),
        artic[at],
        smooth(track.stress, 60)[at],
    )


def smooth(rows: Array, width_ms: float) -> Array:
    """Gaussian over time, of control-rate rows (steps, ...)."""
    return gaussian_filter1d(np.asarray(rows, float), width_ms / STEP_MS, axis=0, mode="nearest")


def to_samples(rows: Array) -> Array:
    """Control rate (steps,) to (samples,), linear between the middles of the steps."""
    n = np.arange(len(rows) * HOP)
    return np.interp((n + 0.5) / HOP - 0.5, np.arange(len(rows)), rows)


def time_phonemes(seed: int, frames: int, rate: float) -> Track:
    """When each phoneme of the sentence is said; rate > 0 is faster."""
    text = sentence(seed, frames / FRAME_RATE_HZ * 1.5 + 0.5)
    ends = np.cumsum(text[:, 1] * np.exp(-rate))
    starts = np.r_[0, ends[:-1]]
    time_s = (np.arange(frames * STEPS_PER_FRAME) + 0.5) * HOP / SAMPLE_RATE_HZ
    segment = np.searchsorted(ends, time_s, side="right")
    progress = (time_s - starts[segment]) / (ends - starts)[segment]
    return Track(text[segment, 0].astype(int), text[segment, 2], segment, progress)


def articulate(who: Identity, track: Track, prosody: Prosody) -> Array:
    """(steps, 5): coarticulation by dominance-weighted smoothing; lips are fast, jaw and rounding slow."""
    artic = np.empty((len(track.phoneme), 5))
    for i, width_ms in enumerate((34, 46, 17, 19, 24)):
        hold = phonemes.HOLD[track.phoneme, i]
        artic[:, i] = smooth(hold * phonemes.SHAPE[track.phoneme, i], width_ms) / smooth(hold, width_ms)
    loudness = who.articulation * (1 + 0.018 * prosody.energy_db)
    artic[:, 0] *= loudness * (0.88 + 0.22 * smooth(track.stress, 40))
    return np.clip(artic, (0, -1, 0, 0, 0), 1.1)


def intonate(who: Identity, seed: int, track: Track, prosody: Prosody, g: np.random.Generator) -> Array:
    """(steps,) F0 in Hz: accents on stressed syllables, falling phrases, wander, tremor, jitter."""
    steps = len(track.phoneme)
    phrase = phrase_progress(track)
    accent = smooth(track.stress * (1.6 + 0.8 * np.sin(1.7 * track.segment + seed % 7)), 45) * 2.2
    wander = smooth(g.normal(size=steps), 120) * 2.5
    melody = accent + wander - 1.2 * (phrase - 0.5) - 0.8
    semitones = prosody.pitch + np.exp(prosody.pitch_range) * melody + prosody.rise * (phrase - 0.4)
    semitones = semitones + prosody.tremor * 0.55 * np.sin(2 * np.pi * 6.3 * track.time_s)
    semitones = semitones + g.normal(size=steps) * (0.10 + 0.12 * prosody.tremor)
    return who.f0 * 2 ** (semitones / 12)


def phrase_progress(track: Track) -> Array:
    """(steps,): 0..1 from one pause to the next."""
    begins = np.diff((track.phoneme == phonemes.SILENCE).astype(int)) == 1
    phrase = np.r_[0, np.cumsum(begins)]
    progress = np.zeros(len(phrase))
    for k in range(phrase.max() + 1):
        inside = np.flatnonzero(phrase == k)
        progress[inside] = np.linspace(0, 1, len(inside))
    return progress


def excite(track: Track, artic: Array, pitch_hz: Array, breath: float, g: np.random.Generator) -> Source:
    """What lungs, vocal folds and narrow places of the mouth give; breath 0..0.7."""
    voice, loudness = voicing(track, artic)
    pulses = glottal_pulses(to_samples(pitch_hz)) * to_samples(loudness) * (1 - 0.55 * breath)
    noise = g.normal(size=len(pulses))
    puff = track.in_stop & (track.progress > 0.75) & (phonemes.VOICE[track.phoneme] == 0)
    opened = 0.55 + 0.45 * np.clip(artic[:, 0], 0, 1)
    air = phonemes.ASPIRATION[track.phoneme] + 0.55 * breath * voice * opened + 0.25 * puff
    aspirated = noise * to_samples(smooth(air, 7)) * 0.055
    burst = np.where(track.in_stop, ((track.progress > 0.55) & (track.progress < 0.85)) * 1.0, 1.0)
    hiss = smooth(phonemes.NOISE[track.phoneme, 2] * burst, 4)
    return Source(pulses, aspirated, g.normal(size=len(pulses)) * to_samples(hiss) * 0.14)


def voicing(track: Track, artic: Array) -> tuple[Array, Array]:
    """(steps,) each: whether the folds vibrate, and how loud; the release of a stop is voiceless."""
    voice = np.where(track.in_stop & (track.progress > 0.55), 0, phonemes.VOICE[track.phoneme])
    opened = 0.55 + 0.45 * np.clip(artic[:, 0], 0, 1)
    return voice, smooth(voice * opened * (0.85 + 0.30 * track.stress), 7)


def glottal_pulses(pitch_hz: Array) -> Array:
    """(samples,): band-limited pulses (a Dirichlet kernel of accumulated phase), without their mean."""
    phase = np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    num_harmonics = 2 * np.floor(0.5 * SAMPLE_RATE_HZ / pitch_hz * 0.92) + 1
    s = np.sin(np.pi * phase)
    at_peak = np.abs(s) < 1e-4
    below = num_harmonics * np.where(at_peak, 1, s)
    pulses = np.where(at_peak, 1.0, np.sin(num_harmonics * np.pi * phase) / below)
    return lfilter([1, -1], [1, -0.985], pulses) * np.sqrt(SAMPLE_RATE_HZ / pitch_hz) * 0.30


# Time-varying filters work on Hann windows of 20 ms every 10 ms (two control steps), in the frequency domain.
FILTER_HOP, WINDOW, NUM_FFT = 160, 320, 640
FREQUENCY_HZ = np.fft.rfftfreq(NUM_FFT, 1 / SAMPLE_RATE_HZ)
UPPER_FORMANTS_HZ = np.array([3500.0, 4500.0])
BANDWIDTH_HZ = np.array([75, 95, 140, 220, 300.0])


def formants(who: Identity, track: Track, pitch_hz: Array, prosody: Prosody) -> Array:
    """(windows, 5) Hz: the phonemes' three, smoothed, and two fixed ones, scaled to the person."""
    F = smooth(phonemes.FORMANTS_HZ[track.phoneme], 13)[::2] * who.tract
    F = np.concatenate([F, np.broadcast_to(UPPER_FORMANTS_HZ * who.tract, (len(F), 2))], 1)
    brighter = F[:, 0] * (1 + 0.04 * max(0.0, float(prosody.brightness)))
    F[:, 0] = np.maximum(brighter, 1.0 * pitch_hz[::2] * 0.9)
    return F


def resonators(F: Array, bandwidth_hz: Array) -> Array:
    """(windows, 321) complex: two-pole resonators at F (windows, 5) in a row, each with gain 1 at 0 Hz."""
    delay = np.exp(-2j * np.pi * FREQUENCY_HZ / SAMPLE_RATE_HZ)
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ)
    c = 2 * radius * np.cos(2 * np.pi * np.minimum(F, 7600) / SAMPLE_RATE_HZ)
    gain = np.ones((len(F), len(FREQUENCY_HZ)), complex)
    for i in range(F.shape[1]):
        poles = 1 - c[:, i, None] * delay + radius[i] ** 2 * delay**2
        gain *= (1 - c[:, i] + radius[i] ** 2)[:, None] / poles
    return gain


def resonate(source: Source, track: Track, tract: Array, brightness: float) -> Array:
    """(samples,): each part of the source through its filter, added up.

    tract (windows, 321) shapes voice and breath; bright voices tilt less; friction has its phoneme's band.
    """
    tilt = 1 / (1 + 1j * FREQUENCY_HZ / (420 * np.exp(0.75 * brightness))) + 0.035 * np.exp(0.9 * brightness)
    lift = (1 + 1j * FREQUENCY_HZ / 900) / 1.5
    noise_hz = phonemes.NOISE[track.phoneme][::2]
    band = np.exp(-0.5 * ((FREQUENCY_HZ - noise_hz[:, :1]) / noise_hz[:, 1:2]) ** 2)
    voiced = windowed(source.voiced) * tract * (tilt * lift)
    aspirated = windowed(source.aspirated) * tract * lift
    return overlap_add(np.fft.irfft(voiced + aspirated + windowed(source.friction) * band, NUM_FFT))


def windowed(sound: Array) -> Array:
    """(samples,) to the spectra (windows, 321) of its Hann windows."""
    start = np.arange(len(sound) // FILTER_HOP)[:, None] * FILTER_HOP
    hann = np.hanning(WINDOW + 1)[:-1]
    return np.fft.rfft(np.pad(sound, (FILTER_HOP // 2, WINDOW))[start + np.arange(WINDOW)] * hann, NUM_FFT)


def overlap_add(pieces: Array) -> Array:
    """Windows (windows, 640) at every 160 samples, added up; from the first window's middle on."""
    audio = np.zeros(len(pieces) * FILTER_HOP + NUM_FFT)
    for i in range(NUM_FFT // FILTER_HOP):
        part = pieces[:, i * FILTER_HOP : (i + 1) * FILTER_HOP].reshape(-1)
        audio[i * FILTER_HOP : i * FILTER_HOP + len(part)] += part
    return audio[FILTER_HOP // 2 :]
