"""What the networks hear: A2ET's log-mel, finer bands in place of a recogniser, sync experts' mel, and MFCC.

Definitions: data.md 3.1 (A2ET) and 3.2 (sync experts, Wav2Lip's), after the published feature code; MFCC:
evaluation.md 7.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dct
from scipy.signal import lfilter

SAMPLE_RATE_HZ = 16_000
SAMPLES_PER_FRAME = 640
WINDOW_FRAMES = 11
SYNC_COLUMNS = 16
SYNC_COLUMNS_HZ = 80
SILENCE = float((np.log(1e-5) + 4) / 4)
"""What `a2et_mel` and `speech_bands` say where there is no sound."""
MFCC_WINDOW, MFCC_HOP, MFCC_FFT = 400, 160, 512
MFCC_BANDS, MFCC_COEFFICIENTS, MFCC_LIFTER = 26, 13, 22


@cache
def mel_filters(n_fft: int, bands: int, low_hz: float, high_hz: float, htk: bool) -> np.ndarray:
    """(bands, 1 + n_fft / 2) triangles; HTK scale with peak 1, or Slaney's with unit area."""
    import librosa

    norm: Literal["slaney"] | None = None if htk else "slaney"
    return librosa.filters.mel(
        sr=SAMPLE_RATE_HZ, n_fft=n_fft, n_mels=bands, fmin=low_hz, fmax=high_hz, htk=htk, norm=norm
    )


def magnitudes(audio: np.ndarray, *, n_fft: int, hop: int, window: int) -> np.ndarray:
    """(1 + n_fft / 2, columns) of centred, reflected frames; column t is centred on sample hop·t."""
    if len(audio) <= n_fft // 2:
        raise ValueError(f"a sound of {len(audio)} samples is too short; {n_fft // 2 + 1} are needed")
    padded = np.pad(np.asarray(audio, np.float64), n_fft // 2, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    shape = np.pad(hann, (n_fft - window) // 2)
    return np.abs(np.fft.rfft(sliding_window_view(padded, n_fft)[::hop] * shape)).T


def a2et_mel(audio: np.ndarray) -> np.ndarray:
    """(640 T,) sound → (T, 80): (ln(1e-5 + mel) + 4) / 4, row t centred on frame t's start (data.md 3.1)."""
    return normalised(a2et_mel_power(audio)).T[: len(audio) // SAMPLES_PER_FRAME].astype(np.float32)


def a2et_mel_power(audio: np.ndarray) -> np.ndarray:
    """(n,) sound → (80, 1 + n // 640): power in HTK mel bands to 8000 Hz, a column a frame (data.md 3.1)."""
    return mel_filters(2048, 80, 0, 8000, True) @ (magnitudes(audio, n_fft=2048, hop=640, window=640) ** 2)


def normalised(power: np.ndarray) -> np.ndarray:
    """(ln(1e-5 + power) + 4) / 4, as A2ET hears it."""
    return (np.log(1e-5 + power) + 4) / 4


def speech_bands(audio: np.ndarray) -> np.ndarray:
    """(640 T,) sound → (T, 64): four columns of 16 log-mel bands a frame, for the recogniser's features."""
    power = magnitudes(audio, n_fft=512, hop=160, window=400) ** 2
    mel = mel_filters(512, 16, 0, 8000, True) @ power
    columns = normalised(mel).T[: 4 * (len(audio) // SAMPLES_PER_FRAME)]
    return columns.reshape(-1, 64).astype(np.float32)


def sync_mel(audio: np.ndarray) -> np.ndarray:
    """Sound → (columns, 80), 80 columns a second, in -4..4 (data.md 3.2)."""
    emphasised = lfilter([1, -0.97], [1], audio)
    mel = mel_filters(800, 80, 55, 7600, False) @ magnitudes(emphasised, n_fft=800, hop=200, window=800)
    decibel = 20 * np.log10(np.maximum(1e-5, mel)) - 20
    return np.clip(8 * (decibel + 100) / 100 - 4, -4, 4).T.astype(np.float32)


def sync_start(frame: np.ndarray | int) -> np.ndarray:
    """First of the 16 sync columns that belong to the five frames from `frame` on."""
    return (np.asarray(frame) * SYNC_COLUMNS_HZ // 25).astype(np.int64)


def windows(rows: np.ndarray, at: np.ndarray, pad: float = 0.0) -> np.ndarray:
    """rows (T, c) → (n, 11, c) around the rows `at` (n,); `pad` outside the clip (zeros: data.md 3.1)."""
    half = WINDOW_FRAMES // 2
    padded = np.pad(rows, ((half, half), (0, 0)), constant_values=pad)
    return padded[np.asarray(at)[:, None] + np.arange(WINDOW_FRAMES)]


def mfcc(audio: np.ndarray) -> np.ndarray:
    """(n,) sound at 16 kHz, int16 values not scaled → (1 + ceil((n - 400) / 160), 13) (evaluation.md 7).

    What SyncNet's scores hear: python_speech_features.mfcc by its defaults. Frames of 25 ms each 10 ms, the
    last padded with zeros; log of 26 mel bands, DCT, lifter; the first coefficient is the log of the energy.
    640 T samples give 4 T - 1 rows. Raises ValueError on no sound at all.
    """
    if not len(audio):
        raise ValueError("MFCC of a sound of 0 samples")
    emphasised = lfilter([1, -0.97], [1], np.asarray(audio, np.float64))
    num_rows = 1 + max(0, -(-(len(audio) - MFCC_WINDOW) // MFCC_HOP))
    missing = (num_rows - 1) * MFCC_HOP + MFCC_WINDOW - len(audio)
    frames = sliding_window_view(np.pad(emphasised, (0, missing)), MFCC_WINDOW)[::MFCC_HOP]
    power = np.abs(np.fft.rfft(frames, MFCC_FFT)) ** 2 / MFCC_FFT
    cepstrum = dct(_log(power @ mfcc_filters().T), type=2, axis=1, norm="ortho")[:, :MFCC_COEFFICIENTS]
    cepstrum *= 1 + MFCC_LIFTER / 2 * np.sin(np.pi * np.arange(MFCC_COEFFICIENTS) / MFCC_LIFTER)
    cepstrum[:, 0] = _log(power.sum(1))
    return cepstrum


@cache
def mfcc_filters() -> np.ndarray:
    """(26, 257) triangles between whole bins floor(513 f / 16000), evenly spaced in mel from 0 to 8000 Hz."""
    mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700), MFCC_BANDS + 2)
    edges = np.floor((MFCC_FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE_HZ)
    bins = np.arange(MFCC_FFT // 2 + 1)
    low, peak, high = (edges[i : i + MFCC_BANDS, None] for i in range(3))
    # A bin at a peak belongs to the falling side, so triangles of no width stay 0.
    rising = np.where((low <= bins) & (bins < peak), (bins - low) / np.maximum(peak - low, 1), 0)
    falling = np.where((peak <= bins) & (bins < high), (high - bins) / np.maximum(high - peak, 1), 0)
    return rising + falling


def _log(values: np.ndarray) -> np.ndarray:
    """Silence has no logarithm: where there is nothing at all, that of the smallest step above 1 is said."""
    return np.log(np.where(values == 0, np.finfo(float).eps, values))
