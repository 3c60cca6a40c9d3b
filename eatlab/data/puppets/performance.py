"""What a puppet does in a clip: expression, speech, pose and gaze over time, a function of a small spec."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from eatlab.data.puppets.head import rotation
from eatlab.data.puppets.identity import AUS, Array, Identity, emotion_aus
from eatlab.data.puppets.voice import Speech, speak
from eatlab.emotions import EMOTIONS

LEVELS = (0.45, 0.75, 1.0)
"""Intensity 0..1 of levels 1, 2, 3."""
POSE_LIMIT_DEG = (25.0, 15.0, 14.0)


@dataclass(frozen=True)
class ClipSpec:
    """What to show; equal specs give equal clips, bit for bit.

    identity, sentence, take: seeds of the person, the words, and the performance (pose track, gaze, blinks,
    expression dynamics, backdrop).  emotion: a name, or 8 weights in the order of EMOTIONS.  intensity: 0..1.
    wild: mild, changing, unlabelled expressions in moving poses (like VoxCeleb), not acted ones (like MEAD).
    locked: neutral timing, whatever the emotion, so that twins are aligned frame by frame.  size: pixels.
    """

    identity: int
    sentence: int = 0
    take: int = 0
    emotion: str | tuple[float, ...] = "neutral"
    intensity: float = 1.0
    wild: bool = False
    frames: int = 48
    size: int = 96
    locked: bool = True

    def weights(self) -> Array:
        """Emotion weights (8,) that sum to 1."""
        if isinstance(self.emotion, str):
            if self.emotion not in EMOTIONS:
                raise ValueError(f"emotion {self.emotion!r}: expected one of {', '.join(EMOTIONS)}")
            return np.eye(len(EMOTIONS))[EMOTIONS.index(self.emotion)]
        w = np.asarray(self.emotion, float)
        if w.shape != (len(EMOTIONS),) or (w < 0).any() or w.sum() <= 0:
            raise ValueError(f"emotion weights {self.emotion!r}: expected 8 numbers >= 0, not all 0")
        return w / w.sum()

    def twin(self) -> ClipSpec:
        """The neutral twin: the same person, words, timing and pose, without emotion."""
        return replace(self, emotion="neutral", intensity=0.0, locked=True)


@dataclass(frozen=True)
class Performance:
    """Everything of a clip but its pixels; T frames.

    audio (640 T,) float32, 16 kHz; aus (T, 17, 2) in the order of AUS (image left, right), expression only;
    artic (T, 5) what speech adds; gaze (T, 2) radians; pose (T, 7): yaw, pitch, roll in degrees, t, s;
    shown (T,) intensity.
    """

    audio: Array
    aus: Array
    artic: Array
    gaze: Array
    pose: Array
    shown: Array

    def rotations(self) -> Array:
        """(T, 3, 3)."""
        return rotation(*np.radians(self.pose[:, :3]).T)


def perform(spec: ClipSpec) -> Performance:
    """Everything of a clip but its pixels: sound, expression, pose, gaze."""
    who, kind = Identity.from_seed(spec.identity), int(spec.wild)
    g = [np.random.default_rng((spec.identity, spec.take, spec.sentence, kind, 300 + i)) for i in range(6)]
    shown = mild_moods(g[0], spec.frames) if spec.wild else acted_emotion(g[0], spec)
    mix = shown.mean(0) if spec.wild else spec.weights() * spec.intensity
    speech = speak(who, spec.sentence, spec.frames, mix, spec.locked)
    aus = action_units(spec, who, shown, speech, g[1], g[2])
    pose = head_pose(spec, speech, g[3], g[4])
    gaze = look_around(g[5], spec, np.radians(pose[:, :3]))
    return Performance(speech.audio, aus, speech.artic, gaze, pose, shown.sum(1))


def drift(g: np.random.Generator, frames: int, sigma: float, channels: int) -> Array:
    """Smooth unit-variance noise (frames, channels) of a time scale in frames."""
    pad = int(4 * sigma) + 1
    x = gaussian_filter1d(g.normal(size=(frames + 2 * pad, channels)), sigma, axis=0)[pad : pad + frames]
    return x * np.sqrt(2 * sigma * np.sqrt(np.pi))


def mild_moods(g: np.random.Generator, frames: int) -> Array:
    """(frames, 8) slowly changing emotion weights of at most about 0.6: what people in the wild show."""
    mood = drift(g, frames, 28, 8) + drift(g, frames, 400, 8)
    shown = np.exp(1.6 * mood)
    return shown / shown.sum(1, keepdims=True) * (0.40 + 0.18 * np.tanh(drift(g, frames, 40, 1)))


def acted_emotion(g: np.random.Generator, spec: ClipSpec) -> Array:
    """(frames, 8) weights times intensity: an onset within the first frames, then slow change."""
    start, tau = g.uniform(0.6, 1.0), g.uniform(3, 8)
    onset = start + (1 - start) * (1 - np.exp(-np.arange(spec.frames) / tau))
    envelope = onset * (1 + 0.07 * drift(g, spec.frames, 12, 1)[:, 0])
    return spec.weights() * (spec.intensity * envelope)[:, None]


def blinks(g: np.random.Generator, frames: int) -> Array:
    """Lid closure (frames,), 0..1: about 18 blinks a minute, 200 ms each."""
    lid, at = np.zeros(frames + 8), g.uniform(5, 80)
    while at < frames:
        lid[int(at) : int(at) + 5] = (0.45, 1.0, 0.95, 0.55, 0.15)
        at += 8 + g.exponential(75)
    return lid[:frames]


def action_units(
    spec: ClipSpec,
    who: Identity,
    shown: Array,
    speech: Speech,
    g: np.random.Generator,
    lids: np.random.Generator,
) -> Array:
    """(T, 17, 2) action units: the person's way to show `shown` (T, 8), stress on the brows, blinks."""
    talking = gaussian_filter1d((speech.phoneme > 0).astype(float), 2, mode="nearest")
    aus = np.einsum("te,eas->tas", shown, emotion_aus(who))
    aus *= (1 + 0.06 * drift(g, spec.frames, 9, len(AUS)))[..., None]
    aus[:, AUS.index(26)] *= (1 - 0.45 * talking)[:, None]
    calm = 1 - shown[:, EMOTIONS.index("angry")] - shown[:, EMOTIONS.index("disgusted")]
    for unit, gain in ((1, 0.18), (2, 0.14)):
        aus[:, AUS.index(unit)] += (gain * speech.stress * g.uniform(0, 1) * calm)[:, None]
    if spec.wild:
        aus += 0.10 * np.maximum(0, drift(g, spec.frames, 20, len(AUS)) - 0.6)[..., None]
    lid = AUS.index(45)
    aus[:, lid] = np.maximum(aus[:, lid], blinks(lids, spec.frames)[:, None])
    return np.clip(aus, 0, 1.2)


def head_pose(spec: ClipSpec, speech: Speech, turn: np.random.Generator, frame: np.random.Generator) -> Array:
    """(T, 7): slow drift, nods on stressed syllables, the camera framing of the take."""
    wild, T = spec.wild, spec.frames
    amplitude = np.radians((11, 6.5, 5) if wild else (6, 3, 2.5))
    base = turn.normal(size=3) * np.radians((9, 4, 4) if wild else (5, 2.5, 2))
    angles = base + amplitude * (0.75 * drift(turn, T, 22, 3) + 0.35 * drift(turn, T, 7, 3))
    angles[:, 1] -= np.radians(2.2) * speech.stress
    limit = np.radians(POSE_LIMIT_DEG)
    angles = limit * np.tanh(angles / limit)
    start = 0.66 + (0.05 if wild else 0.02) * frame.normal()
    zoom = start + (0.012 if wild else 0.004) * drift(frame, T, 25, 1)[:, 0]
    shift = np.array([0, 0.02, 0]) + frame.normal(size=3) * ((0.05, 0.025, 0) if wild else (0.015, 0.012, 0))
    place = shift + drift(frame, T, 16, 3) * ((0.018, 0.010, 0) if wild else (0.007, 0.004, 0))
    place[:, 0] += 0.10 * angles[:, 2]
    return np.concatenate([np.degrees(angles), place, np.clip(zoom, 0.52, 0.80)[:, None]], 1)


def look_around(g: np.random.Generator, spec: ClipSpec, angles: Array) -> Array:
    """(T, 2) gaze, yaw and pitch in radians: fixations that resist the turning head (T, 3)."""
    gaze, look, until = np.empty((spec.frames, 2)), np.zeros(2), 0
    for i in range(spec.frames):
        if i >= until:
            look = g.normal(size=2) * ((0.16, 0.07) if spec.wild else (0.05, 0.03)) * (g.random() < 0.6)
            until = i + int(g.integers(8, 40))
        gaze[i] = look
    return np.clip(gaze - 0.8 * angles[:, :2], -0.42, 0.42)
