"""What the judges read once, which clips are measured, which judges are refused; the fingerprint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eatlab.data.samples import stack
from eatlab.errors import UserError
from eatlab.metrics.protocols import PUPPETS, REAL, protocol_for
from eatlab.metrics.truth import cut_windows, read_truth, refusal
from tests.metrics.toys import ToyJudges, toy_clip, toy_clips, toy_truth


def facts_that_change(**changes: object) -> list[str]:
    """Facts that differ from the plain toy truth's."""
    return toy_truth()[0].fingerprint.differences(toy_truth(**changes)[0].fingerprint)  # type: ignore[arg-type]


def test_a_window_is_the_first_run_of_ten_frames() -> None:
    clip = toy_clip("a", "P", "happy", 1)
    at = np.concatenate([[0, 1, 2, 3, 4], np.arange(20, 32)])
    frames = np.arange(17, dtype=np.uint8).repeat(96 * 96 * 3).reshape(17, 96, 96, 3)
    long = replace(clip, at=at, frames=frames, truth={"landmarks": np.zeros((17, 68, 2))})
    kept, left_out = cut_windows([long], PUPPETS)
    assert not left_out
    assert kept[0].at.tolist() == list(range(20, 30))
    assert kept[0].frames[:, 0, 0, 0].tolist() == list(range(5, 15))
    assert len(kept[0].truth["landmarks"]) == 10


def test_a_clip_without_ten_consecutive_frames_is_left_out_with_a_reason() -> None:
    clip = toy_clip("gaps", "P", "happy", 1)
    kept, left_out = cut_windows(
        [replace(clip, at=clip.at * 2), replace(clip, key="short", at=clip.at[:9])], PUPPETS
    )
    assert not kept
    assert set(left_out) == {"gaps", "short"}
    assert "10 consecutive" in left_out["gaps"]


def test_the_judges_read_the_truth_once() -> None:
    truth, _, table = toy_truth()
    assert truth.landmarks is not None
    assert truth.landmarks.shape == (140, 68, 2)
    assert truth.sound is not None
    assert [len(sound) for sound in truth.sound] == [40] * 14
    assert truth.reasons == {}
    assert truth.clips.key == tuple(table.key)


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        ([], "no clips"),
        ([replace(toy_clip("a", "P", "happy", 1), at=np.arange(0, 20, 2))], "10 consecutive"),
        ([replace(toy_clip("a", "P", "happy", 1), frames=np.zeros((10, 64, 64, 3), np.uint8))], "96 x 96"),
    ],
)
def test_clips_that_the_protocol_does_not_measure_are_refused(clips: list, says: str) -> None:
    table = stack(clips) if clips else replace(stack(toy_clips()), key=[])
    with pytest.raises(UserError, match=says):
        read_truth(table, ToyJudges(), PUPPETS, data="x")  # type: ignore[arg-type]


def test_a_judge_under_its_gate_or_without_a_card_is_refused() -> None:
    judges = ToyJudges()
    judges.cards["emotion"]["held_out"]["accuracy"] = 0.49
    del judges.cards["sync"]
    truth, _, _ = toy_truth(judges=judges)
    assert truth.log_probability is None
    assert truth.sound is None
    assert "judge emotion under its gate: accuracy is 0.490" in truth.reasons["acc_emo"]
    assert set(truth.reasons) >= {"acc_level1", "acc_asked", "sync", "sync_neutral"}
    assert "m_lmd" not in truth.reasons
    assert refusal(judges, "landmarks") is None  # type: ignore[arg-type]


def test_without_exact_landmarks_the_exact_distances_are_not_measured() -> None:
    truth, _, _ = toy_truth(toy_clips(exact=False))
    assert set(truth.reasons) == {"m_lmd_truth", "f_lmd_truth"}


def test_the_fingerprint_is_the_same_for_the_same_measurement() -> None:
    assert facts_that_change() == []
    assert toy_truth()[0].fingerprint.hex == toy_truth()[0].fingerprint.hex


def test_the_fingerprint_changes_with_judges_clips_frames_and_protocol() -> None:
    judges = ToyJudges()
    judges.cards["sync"]["sha256"] = "other"
    assert facts_that_change(judges=judges) == ["judge sync"]
    assert facts_that_change(clips=toy_clips()[::-1]) == ["clips", "truth frames"]
    assert facts_that_change(protocol=REAL) == ["protocol"]
    clips = toy_clips()
    clips[3].frames[2, 5, 5, 1] ^= 1
    assert facts_that_change(clips=clips) == ["truth frames"]


def test_an_unknown_domain_has_no_protocol() -> None:
    assert protocol_for("puppets").id == "puppets-small/1"
    assert protocol_for("real").id == "real-small/1"
    assert protocol_for("puppets", "paper").id == "puppets-paper/1"
    with pytest.raises(UserError, match=r"marble.*puppets at small, real at small"):
        protocol_for("marble")
