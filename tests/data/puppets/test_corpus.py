"""The corpus: same spec, same bytes; disjoint splits; balanced classes; twins differ in the face only."""

from __future__ import annotations

from collections import Counter
from functools import cache

import cv2
import numpy as np
import pytest

from eatlab.data.members import decode, encode
from eatlab.data.puppets.corpus import (
    CONDITIONS,
    FIRST_PERSON,
    FIRST_SENTENCE,
    PRESETS,
    SENTENCES,
    SPLITS,
    Scene,
    draw,
    scenes,
    shoot,
)
from eatlab.data.puppets.performance import ClipSpec, perform
from eatlab.emotions import EMOTIONS

PARTS = [(set_name, split) for set_name, splits in SPLITS.items() for split in splits]
SPEC = ClipSpec(identity=2_000_005, sentence=2_000_031, take=1, emotion="fear", intensity=0.75, frames=24)


@cache
def everything(preset: str) -> dict[tuple[str, str], list[Scene]]:
    """All scenes of a preset by set and split."""
    return {part: scenes(preset, *part) for part in PARTS}


def test_equal_specs_give_equal_clips_bit_for_bit() -> None:
    once, again = draw(SPEC, (3, 4, 20)), draw(SPEC, (3, 4, 20))
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(once[1], again[1])
    for name in once[2]:
        np.testing.assert_array_equal(once[2][name], again[2][name])


def test_drawn_frames_are_a_slice_of_the_whole_clip() -> None:
    whole, window = draw(SPEC), draw(SPEC, (7, 8, 19))
    np.testing.assert_array_equal(window[0], whole[0][[7, 8, 19]])
    np.testing.assert_array_equal(window[1], whole[1])
    for name in whole[2]:
        np.testing.assert_array_equal(window[2][name], whole[2][name][[7, 8, 19]])


@pytest.mark.parametrize(
    "change", [{"identity": 7}, {"sentence": 7}, {"take": 7}, {"emotion": "sad"}, {"intensity": 0.4}]
)
def test_whatever_the_spec_says_is_seen_or_heard(change: dict) -> None:
    other = ClipSpec(**{**vars(SPEC), **change})
    assert not np.array_equal(perform(SPEC).aus, perform(other).aus) or not np.array_equal(
        draw(SPEC, (9,))[0], draw(other, (9,))[0]
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_no_two_splits_share_a_person(preset: str) -> None:
    people = {part: {s.spec.identity for s in todo} for part, todo in everything(preset).items()}
    for a in PARTS:
        for b in PARTS:
            assert a == b or not people[a] & people[b], (a, b)


@pytest.mark.parametrize("preset", PRESETS)
def test_sentences_of_val_and_test_are_said_nowhere_else(preset: str) -> None:
    said = {part: {s.spec.sentence for s in todo} for part, todo in everything(preset).items()}
    for held_out in (("acted", "val"), ("acted", "test")):
        for other in PARTS:
            assert other == held_out or not said[held_out] & said[other], (held_out, other)


def test_number_ranges_of_the_splits_cannot_meet_however_large_a_preset_grows() -> None:
    assert len(set(FIRST_PERSON.values())) == len(FIRST_PERSON)
    gaps = np.diff(sorted(FIRST_PERSON.values()))
    assert gaps.min() > 10_000
    assert {FIRST_SENTENCE[split] for split in ("val", "test")} & {0} == set()
    assert abs(FIRST_SENTENCE["val"] - FIRST_SENTENCE["test"]) > SENTENCES


def test_keys_are_unique() -> None:
    keys = [s.key for todo in everything("small").values() for s in todo]
    assert len(keys) == len(set(keys))


def test_the_small_test_split_has_at_least_16_people_and_one_portrait_of_each() -> None:
    todo = scenes("small", "acted", "test")
    people = {s.spec.identity for s in todo}
    assert len(people) >= 16
    portraits = [s for s in todo if s.is_portrait]
    assert {s.spec.identity for s in portraits} == people
    assert len(portraits) == len(people)
    assert all(s.spec.emotion == "neutral" and s.spec.intensity == 0 for s in portraits)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_person_shows_every_condition_equally_often(preset: str, split: str) -> None:
    count = Counter(
        (s.spec.identity, s.spec.emotion, s.level)
        for s in scenes(preset, "acted", split)
        if not s.is_portrait
    )
    takes = PRESETS[preset].takes if split == "train" else 1
    assert set(count.values()) == {takes}
    assert {condition[1:] for condition in count} == set(CONDITIONS)
    assert len(count) == len({person for person, *_ in count}) * len(EMOTIONS) * 3


@pytest.mark.parametrize("preset", PRESETS)
def test_every_person_of_pretrain_shows_every_emotion_once(preset: str) -> None:
    count = Counter((s.spec.identity, s.spec.emotion) for s in scenes(preset, "acted", "pretrain"))
    assert set(count.values()) == {1}
    assert len(count) == PRESETS[preset].pretrain * len(EMOTIONS)


@pytest.mark.parametrize("preset", PRESETS)
def test_drawn_frames_lie_within_their_clips(preset: str) -> None:
    for todo in everything(preset).values():
        for s in todo:
            assert 0 <= min(s.at) <= max(s.at) < s.spec.frames


@pytest.fixture(scope="module")
def pair() -> tuple[ClipSpec, ClipSpec]:
    """An emotional spec and its neutral twin."""
    spec = ClipSpec(identity=500_004, sentence=11, take=1, emotion="disgusted", intensity=1.0, frames=24)
    return spec, spec.twin()


def test_twins_share_words_timing_and_pose_and_differ_in_expression(pair: tuple[ClipSpec, ClipSpec]) -> None:
    felt, neutral = perform(pair[0]), perform(pair[1])
    np.testing.assert_array_equal(felt.pose, neutral.pose)
    np.testing.assert_array_equal(felt.gaze, neutral.gaze)
    # The jaw alone is louder or softer with the emotion; lips, tongue and timing are the same.
    np.testing.assert_array_equal(felt.artic[:, 1:], neutral.artic[:, 1:])
    moving = neutral.artic[:, 0] > 0.05
    ratio = felt.artic[moving, 0] / neutral.artic[moving, 0]
    assert np.ptp(ratio[felt.artic[moving, 0] < 1.1]) < 1e-9
    assert np.abs(felt.aus - neutral.aus).max() > 0.5


def test_twins_differ_in_the_face_only(pair: tuple[ClipSpec, ClipSpec]) -> None:
    """Hair, shirt, backdrop and lamp are the same to the bit, outside a rim of shadow around the face."""
    at = (2, 12, 20)
    felt, _, truth = draw(pair[0], at)
    neutral, _, twin_truth = draw(pair[1], at)
    for i in range(len(at)):
        face = (truth["mask"][i] | twin_truth["mask"][i]).astype(np.uint8)
        outside = cv2.dilate(face, np.ones((21, 21), np.uint8)) == 0
        assert outside.sum() > 2000
        np.testing.assert_array_equal(felt[i][outside], neutral[i][outside])
        assert np.abs(felt[i].astype(int) - neutral[i])[face > 0].mean() > 2


def test_only_emotional_scenes_of_pretrain_have_twins() -> None:
    felt, neutral = (
        next(s for s in scenes("tiny", "acted", "pretrain") if (s.spec.emotion == "neutral") == is_neutral)
        for is_neutral in (False, True)
    )
    clip = shoot(felt)
    assert clip.twin_frames is not None
    assert clip.twin_frames.shape == clip.frames.shape
    assert set(clip.twin_truth) == set(clip.truth)
    assert shoot(neutral).twin_frames is None


def test_clips_in_the_wild_have_no_label() -> None:
    clip = shoot(scenes("tiny", "wild", "train")[0])
    assert (clip.emotion, clip.level, clip.intensity) == (None, None, 0.0)
    assert len(clip.frames) == 10


@pytest.mark.parametrize("part", [("acted", "test"), ("acted", "pretrain"), ("wild", "train")])
def test_a_clip_has_all_its_truth_and_survives_a_shard(part: tuple[str, str]) -> None:
    clip = shoot(scenes("tiny", *part)[1])
    n, size = len(clip.at), clip.frames.shape[1]
    shapes = {name: rows.shape for name, rows in clip.truth.items()}
    assert shapes == {
        "pose": (n, 7),
        "landmarks": (n, 68, 2),
        "aus": (n, 17, 2),
        "artic": (n, 5),
        "mask": (n, size, size),
    }
    assert len(clip.audio) == 640 * clip.num_frames
    assert np.abs(clip.audio).max() <= 1
    read = decode(encode(clip, part[0]))
    np.testing.assert_array_equal(read.frames, clip.frames)
    for name, rows in clip.truth.items():
        np.testing.assert_array_equal(read.truth[name], rows)
    np.testing.assert_allclose(read.audio, clip.audio, atol=1 / 32_768)
    assert (read.key, read.emotion, read.meta["domain"]) == (clip.key, clip.emotion, "puppets")


@pytest.mark.parametrize("emotion", ["joy", (0,) * 8, (1, 2), (1, -1, 0, 0, 0, 0, 0, 0)])
def test_an_unknown_emotion_is_refused(emotion: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        ClipSpec(0, emotion=emotion).weights()  # type: ignore[arg-type]


def test_a_mix_of_emotions_sums_to_one() -> None:
    weights = ClipSpec(0, emotion=(0, 0, 0, 0, 0.6, 0, 0, 0.2)).weights()
    assert weights.tolist() == pytest.approx([0, 0, 0, 0, 0.75, 0, 0, 0.25])
