"""A person's looks must not tell the emotion: in the plan of the corpus, in the studio, and in the pixels."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from eatlab.data.puppets.corpus import Scene, draw, scenes, surroundings
from eatlab.data.puppets.identity import Identity
from eatlab.data.puppets.performance import ClipSpec
from eatlab.emotions import EMOTIONS

SPLITS = ("train", "pretrain", "val", "test")


def acted(split: str) -> list[Scene]:
    """The clips of a split of `small` that carry a label."""
    return [s for s in scenes("small", "acted", split) if not s.is_portrait]


def looks(s: Scene) -> np.ndarray:
    """Everything about a picture that is not expression: 42 factors of the person, backdrop, lamp."""
    return np.append(factors(s.spec.identity), surroundings(s.spec))


@cache
def factors(person: int) -> np.ndarray:
    """(42,) factors of face, voice and taste."""
    return Identity.from_seed(person).vector()


def table(a: list, b: list) -> np.ndarray:
    """Contingency table of two lists of labels."""
    rows, columns = sorted(set(a)), sorted(set(b))
    counts = np.zeros((len(rows), len(columns)), int)
    for x, y in zip(a, b, strict=True):
        counts[rows.index(x), columns.index(y)] += 1
    return counts


def mutual_information(counts: np.ndarray) -> float:
    """In nats."""
    p = counts / counts.sum()
    expected = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    return float((p[p > 0] * np.log(p[p > 0] / expected[p > 0])).sum())


@pytest.mark.parametrize("split", SPLITS)
def test_person_and_emotion_are_independent_exactly(split: str) -> None:
    """Then whatever hangs on the person alone is independent of the emotion too."""
    todo = acted(split)
    counts = table([s.spec.identity for s in todo], [s.spec.emotion for s in todo])
    assert chi2_contingency(counts).statistic == pytest.approx(0, abs=1e-9)
    assert mutual_information(counts) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("split", SPLITS)
def test_every_factor_of_the_looks_has_the_same_mean_and_spread_for_every_emotion(split: str) -> None:
    todo = acted(split)
    seen = np.stack([looks(s) for s in todo])
    seen = (seen - seen.mean(0)) / np.maximum(seen.std(0), 1e-12)
    by_emotion = [seen[[s.spec.emotion == emotion for s in todo]] for emotion in EMOTIONS]
    for rows in by_emotion:
        np.testing.assert_allclose(rows.mean(0), by_emotion[0].mean(0), atol=1e-9)
        np.testing.assert_allclose(rows.std(0), by_emotion[0].std(0), atol=1e-9)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_take_and_emotion_are_independent_exactly(split: str) -> None:
    """The take seeds framing and pose."""
    todo = acted(split)
    counts = table([s.spec.take for s in todo], [s.spec.emotion for s in todo])
    assert chi2_contingency(counts).statistic == pytest.approx(0, abs=1e-9)


def test_a_studio_is_the_same_in_all_takes_of_a_person() -> None:
    spec = ClipSpec(identity=12, sentence=3)
    for emotion in EMOTIONS:
        other = replace(spec, emotion=emotion, take=5, sentence=40, intensity=0.4)
        assert surroundings(other) == surroundings(spec)
    assert surroundings(replace(spec, identity=13)) != surroundings(spec)
    assert surroundings(spec).busy == 0


def test_a_place_in_the_wild_changes_from_take_to_take() -> None:
    spec = ClipSpec(identity=12, wild=True)
    assert surroundings(spec) != surroundings(replace(spec, take=1))


def test_corners_of_the_picture_are_the_same_for_all_emotions_of_a_person() -> None:
    todo = [s for s in acted("test") if s.level == 3]
    for person in sorted({s.spec.identity for s in todo})[:2]:
        frames = [draw(s.spec, s.at[:1])[0][0] for s in todo if s.spec.identity == person]
        assert len(frames) == len(EMOTIONS)
        for frame in frames:
            np.testing.assert_array_equal(frame[:6, :6], frames[0][:6, :6])
            np.testing.assert_array_equal(frame[:6, -6:], frames[0][:6, -6:])
