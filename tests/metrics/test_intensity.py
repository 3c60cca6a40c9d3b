"""How strong an emotion is shown: the ruler of the true clips, and what is read off it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eatlab.emotions import NEUTRAL
from eatlab.metrics.intensity import METRIC, NO_RULER, ruler_of, with_intensity
from eatlab.metrics.protocols import PUPPETS, STANDARD, Fingerprint
from eatlab.metrics.row import BY_THE_TABLE, RowReading
from eatlab.metrics.table import build_table
from eatlab.metrics.truth import ClipFacts

EMOTION = np.repeat(np.arange(8), 6)
LEVEL = np.tile([1, 1, 2, 2, 3, 3], 8)
EMOTIONAL = EMOTION != NEUTRAL
BY_LEVEL = np.array([-8.0, 1.0, 4.0, 5.0])


def judged(levels: np.ndarray, *, emotion: np.ndarray = EMOTION, level: np.ndarray = LEVEL) -> RowReading:
    """A reading whose odds of the label against neutral are those of the levels that the clips show."""
    logits = np.full((len(emotion), 8), BY_LEVEL[0])
    logits[:, NEUTRAL] = 0
    shown = emotion != NEUTRAL
    logits[shown, emotion[shown]] = np.interp(levels, range(4), BY_LEVEL)[shown]
    extras = {"log_probability": logits - np.log(np.exp(logits).sum(1, keepdims=True))}
    keys = tuple(f"c{i}" for i in range(len(emotion)))
    facts = Fingerprint({**PUPPETS.facts(), "data": "made up"})
    return RowReading(PUPPETS, facts, ClipFacts(keys, keys, emotion, level), {}, extras, {})


TRUTH = judged(LEVEL)


@given(st.lists(st.floats(0, 3), min_size=len(EMOTION), max_size=len(EMOTION)))
def test_what_the_clips_show_is_read_in_levels(shown: list[float]) -> None:
    """The ruler is linear between its marks, as the odds of these clips are."""
    read = ruler_of(TRUTH).levels(judged(np.array(shown)).extras["log_probability"], EMOTION)
    np.testing.assert_allclose(read[EMOTIONAL], np.array(shown)[EMOTIONAL], atol=1e-9)
    assert np.isnan(read[~EMOTIONAL]).all()


@given(st.integers(0, 2**32 - 1))
def test_a_surer_judge_never_reads_less(seed: int) -> None:
    generator = np.random.default_rng(seed)
    noisy = judged(LEVEL + generator.normal(size=len(LEVEL)))
    ladder = judged(np.linspace(0, 3, 50), emotion=np.full(50, 4), level=np.ones(50, int))
    read = ruler_of(noisy).levels(ladder.extras["log_probability"], ladder.clips.emotion)
    assert (np.diff(read) >= 0).all()
    assert 0 <= read.min() <= read.max() <= 3


def test_the_error_of_a_row_without_emotion_is_the_mean_level() -> None:
    rows = with_intensity({"still": [judged(np.zeros(len(LEVEL)))], "ground_truth": [TRUTH]})
    assert rows["still"][0].mean(METRIC) == pytest.approx(2)
    assert rows["ground_truth"][0].mean(METRIC) == pytest.approx(0)


def test_half_the_way_is_half_a_level_off() -> None:
    rows = with_intensity({"adapter": [judged(LEVEL - 0.5)], "ground_truth": [TRUTH]})
    np.testing.assert_allclose(rows["adapter"][0].values[METRIC][EMOTIONAL], 0.5)


def test_what_the_table_measured_has_no_reason_left() -> None:
    said = replace(TRUTH, reasons={METRIC: BY_THE_TABLE})
    assert with_intensity({"ground_truth": [said]})["ground_truth"][0].reasons == {}


@pytest.mark.parametrize(
    "rows",
    [
        {"adapter": [TRUTH]},
        {"adapter": [TRUTH], "ground_truth": [judged(LEVEL, level=np.where(EMOTIONAL, 3, 1))]},
        {"adapter": [TRUTH], "ground_truth": [judged(LEVEL, emotion=np.where(EMOTIONAL, EMOTION, 4))]},
    ],
    ids=["no truth", "one level", "no neutral clips"],
)
def test_without_a_ruler_nothing_is_measured(rows: dict[str, list[RowReading]]) -> None:
    found = with_intensity(rows)["adapter"][0]
    assert METRIC not in found.values
    assert found.reasons[METRIC] == NO_RULER


def test_a_refused_judge_is_the_reason() -> None:
    refused = replace(TRUTH, extras={}, reasons={"acc_emo": "not measured: judge emotion has no card"})
    found = with_intensity({"adapter": [refused], "ground_truth": [refused]})["adapter"][0]
    assert found.reasons[METRIC] == "not measured: judge emotion has no card"


def test_other_protocols_are_left_alone() -> None:
    films = replace(TRUTH, protocol=STANDARD)
    assert with_intensity({"films": [films]})["films"][0] is films


def test_the_table_shows_it() -> None:
    table = build_table({"still": [judged(np.zeros(len(LEVEL)))], "ground_truth": [TRUTH]})
    assert table.cells["still"][METRIC].mean == pytest.approx(2)
