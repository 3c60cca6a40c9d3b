"""The voice: words keep their timing, lips are closed where they must be, loudness follows the emotion."""

from __future__ import annotations

import numpy as np
import pytest

from eatlab.data.puppets import phonemes
from eatlab.data.puppets.identity import ARTICULATORS, Identity
from eatlab.data.puppets.phonemes import PHONEMES, sentence
from eatlab.data.puppets.voice import PROSODY, speak
from eatlab.emotions import EMOTIONS, NEUTRAL

WHO = Identity.from_seed(8)
CALM = np.zeros(8)


def level_db(audio: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt((audio**2).mean()) + 1e-9)


def test_a_longer_sentence_begins_with_the_shorter_one() -> None:
    short, long = sentence(5, 1.0), sentence(5, 3.0)
    np.testing.assert_array_equal(long[: len(short)], short)
    assert long[:, 1].sum() >= 3


def test_other_seeds_say_other_words() -> None:
    assert len({tuple(sentence(seed, 2.0)[:12, 0]) for seed in range(20)}) == 20


def test_sound_has_640_samples_a_frame_within_full_scale() -> None:
    speech = speak(WHO, 3, 20, CALM)
    assert speech.audio.shape == (20 * 640,)
    assert speech.audio.dtype == np.float32
    assert np.abs(speech.audio).max() < 1
    assert level_db(speech.audio) > -40
    assert speech.artic.shape == (20, len(ARTICULATORS))


@pytest.mark.parametrize("emotion", ["angry", "sad", "fear"])
def test_locked_timing_does_not_know_the_emotion(emotion: str) -> None:
    felt = np.eye(8)[EMOTIONS.index(emotion)]
    calm, locked, free = (
        speak(WHO, 3, 40, CALM),
        speak(WHO, 3, 40, felt),
        speak(WHO, 3, 40, felt, locked=False),
    )
    np.testing.assert_array_equal(locked.phoneme, calm.phoneme)
    np.testing.assert_array_equal(locked.stress, calm.stress)
    assert not np.array_equal(free.phoneme, calm.phoneme)
    assert not np.array_equal(locked.audio, calm.audio)


def test_lips_are_pressed_in_p_b_m_and_apart_in_open_vowels() -> None:
    said = [speak(WHO, seed, 60, CALM) for seed in range(8)]
    phoneme = np.concatenate([s.phoneme for s in said])
    artic = np.concatenate([s.artic for s in said])
    press, jaw = ARTICULATORS.index("press"), ARTICULATORS.index("jaw")
    bilabial, wide = np.isin(phoneme, phonemes.ids("p", "b", "m")), np.isin(phoneme, phonemes.ids("aa", "ae"))
    assert artic[bilabial, press].mean() > 0.5
    assert artic[wide, press].mean() < 0.15
    assert artic[wide, jaw].mean() > 2 * artic[bilabial, jaw].mean()


def test_pauses_are_quiet() -> None:
    said = [speak(WHO, seed, 60, CALM) for seed in range(8)]
    quiet = [s.audio.reshape(60, 640)[s.phoneme == PHONEMES.index("sil")] for s in said]
    loud = [s.audio.reshape(60, 640)[np.isin(s.phoneme, phonemes.VOWELS)] for s in said]
    assert level_db(np.concatenate(quiet)) < level_db(np.concatenate(loud)) - 12


def test_anger_is_louder_than_sorrow_and_neutral_has_no_prosody() -> None:
    angry, sad = (speak(WHO, 3, 40, np.eye(8)[EMOTIONS.index(e)]).audio for e in ("angry", "sad"))
    assert level_db(angry) > level_db(sad) + 3
    assert not PROSODY[NEUTRAL].any()
    assert PROSODY.shape == (8, 8)
