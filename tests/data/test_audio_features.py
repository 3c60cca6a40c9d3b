"""Audio features against golden numbers of librosa (data.md 3.5), and their counts, silence and windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eatlab.data.audio_features import (
    SILENCE,
    SYNC_COLUMNS,
    a2et_mel,
    mfcc,
    mfcc_filters,
    speech_bands,
    sync_mel,
    sync_start,
    windows,
)

GOLDEN = np.load(Path(__file__).parents[1] / "reference" / "mel_golden.npz", allow_pickle=False)
TOLERANCE = 1e-3


def signals() -> dict[str, np.ndarray]:
    """The golden signals as they come from PCM16, by the formulas of data.md 3.5."""
    n = np.arange(32_000)
    t = n / 16_000
    chirp = 0.5 * np.sin(2 * np.pi * (60 * t + (7600 - 60) / (2 * 2) * t**2))
    tones = sum(np.sin(240 * np.pi * k * t) / k for k in range(1, 31))
    heard = {
        "chirp": chirp,
        "harmonic": 0.2 * (0.5 - 0.5 * np.cos(8 * np.pi * t)) * tones,
        "silence": np.zeros(32_000),
        "impulse": (n == 10_000).astype(float),
        "sine1k_odd": np.sin(2000 * np.pi * t)[:31_333],
    }
    pcm = {name: np.clip(np.round(32_767 * x), -32_768, 32_767) for name, x in heard.items()}
    return {name: x / 32_768 for name, x in {**pcm, "dc_m2": np.full(32_000, -2.0)}.items()}


SIGNALS = signals()


@pytest.mark.parametrize("name", SIGNALS)
def test_the_mel_of_a2et_is_librosas(name: str) -> None:
    rows = a2et_mel(SIGNALS[name])
    np.testing.assert_allclose(rows[GOLDEN["mel_columns"]].T, GOLDEN[f"mel_{name}"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", SIGNALS)
def test_the_mel_of_the_sync_experts_is_librosas(name: str) -> None:
    rows = sync_mel(SIGNALS[name])
    assert len(rows) == GOLDEN[f"count_{name}"][1]
    np.testing.assert_allclose(rows[GOLDEN["sync_columns"]].T, GOLDEN[f"sync_{name}"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", SIGNALS)
def test_the_mel_has_one_row_a_whole_frame(name: str) -> None:
    """librosa gives floor(N / 640) + 1 columns; the last one begins no frame."""
    rows = a2et_mel(SIGNALS[name])
    assert rows.shape == (len(SIGNALS[name]) // 640, 80)
    assert len(rows) == GOLDEN[f"count_{name}"][0] - 1
    assert speech_bands(SIGNALS[name]).shape == (len(rows), 64)


def test_silence_says_minus_1_8782313() -> None:
    silent = np.zeros(640 * 4, np.float32)
    assert pytest.approx(-1.8782313, abs=1e-7) == SILENCE
    np.testing.assert_allclose(a2et_mel(silent), -1.8782313, atol=1e-6)
    np.testing.assert_allclose(speech_bands(silent), -1.8782313, atol=1e-6)
    np.testing.assert_array_equal(sync_mel(silent), -4)


def test_the_shortest_sound_has_1025_samples() -> None:
    assert a2et_mel(np.zeros(1025)).shape == (1, 80)
    with pytest.raises(ValueError, match="1025 are needed"):
        a2et_mel(np.zeros(1024))


def test_a_click_is_heard_in_the_row_of_its_frame() -> None:
    click = np.zeros(640 * 12)
    click[640 * 7] = 1
    assert a2et_mel(click).mean(1).argmax() == 7


def test_windows_are_zero_outside_the_clip_and_hold_rows_f_minus_5_to_f_plus_5() -> None:
    rows = np.arange(1, 41, dtype=np.float32).reshape(20, 2)
    cut = windows(rows, np.array([0, 10, 19]))
    assert cut.shape == (3, 11, 2)
    np.testing.assert_array_equal(cut[0, :5], 0)
    np.testing.assert_array_equal(cut[0, 5:], rows[:6])
    np.testing.assert_array_equal(cut[1], rows[5:16])
    np.testing.assert_array_equal(cut[2, :6], rows[14:])
    np.testing.assert_array_equal(cut[2, 6:], 0)
    np.testing.assert_array_equal(windows(rows, np.array([0]), pad=SILENCE)[0, :5], np.float32(SILENCE))


@pytest.mark.parametrize("num_frames", [36, 48])
def test_sync_windows_of_all_five_frame_runs_fit(num_frames: int) -> None:
    """f ≤ T - 5 and N = 640 T guarantee 16 columns (data.md 3.2)."""
    first = sync_start(np.arange(num_frames - 4))
    assert first.tolist() == [int(80 * f / 25) for f in range(num_frames - 4)]
    assert first[-1] + SYNC_COLUMNS <= len(sync_mel(np.zeros(640 * num_frames)))


def test_mfcc_has_4_rows_a_frame_less_one_and_13_columns() -> None:
    assert mfcc(np.arange(640 * 12)).shape == (47, 13)
    assert mfcc(np.arange(400)).shape == (1, 13)
    assert mfcc(np.arange(401)).shape == (2, 13)
    assert mfcc(np.arange(1)).shape == (1, 13)
    with pytest.raises(ValueError, match="0 samples"):
        mfcc(np.zeros(0))


def test_the_first_coefficient_of_mfcc_is_the_log_of_the_energy() -> None:
    """Parseval: half a spectrum with both its ends holds half of the energy and of these ends."""
    sound = np.random.default_rng(0).normal(0, 1000, 400)
    heard = np.append(sound[0], sound[1:] - 0.97 * sound[:-1])
    spectrum = np.fft.rfft(heard, 512)
    energy = (heard @ heard + (abs(spectrum[0]) ** 2 + abs(spectrum[-1]) ** 2) / 512) / 2
    assert mfcc(sound)[0, 0] == pytest.approx(np.log(energy), abs=1e-12)


def test_twice_as_loud_moves_only_the_energy_and_louder_int16_is_not_scaled() -> None:
    sound = np.random.default_rng(1).integers(-9000, 9000, 1600)
    step = mfcc((2 * sound).astype(np.int16)) - mfcc(sound)
    np.testing.assert_allclose(step[:, 0], np.log(4), atol=1e-9)
    np.testing.assert_allclose(step[:, 1:], 0, atol=1e-9)


def test_silence_has_a_finite_mfcc() -> None:
    assert np.isfinite(mfcc(np.zeros(6400))).all()


def test_the_filters_of_mfcc_are_26_triangles_of_height_1_over_8000_hz() -> None:
    filters = mfcc_filters()
    assert filters.shape == (26, 257)
    np.testing.assert_array_equal(filters.max(1), 1)
    assert (np.diff(filters.argmax(1)) > 0).all()
    np.testing.assert_allclose(
        filters[:, filters[0].argmax() : filters[-1].argmax() + 1].sum(0), 1, atol=1e-12
    )
