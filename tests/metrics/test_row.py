"""A row: what it measures in a world where the right answers are known, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eatlab.data.audio_features import sync_mel
from eatlab.data.samples import stack
from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError
from eatlab.metrics import truth as truth_module
from eatlab.metrics.protocols import PUPPETS
from eatlab.metrics.row import RowReading, ground_truth_row, load_reading, measure_row, save_reading
from eatlab.metrics.truth import cut_windows, read_truth
from tests.metrics.toys import FIRST, LENGTH, ToyJudges, painted, toy_clip, toy_clips, toy_truth


def same(a: RowReading, b: RowReading) -> bool:
    return (a.fingerprint, a.clips.key, a.reasons) == (b.fingerprint, b.clips.key, b.reasons) and all(
        one.keys() == other.keys() and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)
        for one, other in ((a.values, b.values), (a.extras, b.extras))
    )


def test_the_truth_is_perfect_against_itself() -> None:
    truth, judges, table = toy_truth()
    reading = measure_row(table.image, truth, judges)
    assert reading.mean("psnr") == float("inf")
    for metric in ("ssim", "sync", "sync_neutral", "acc_emo", "acc_level1", "acc_level2", "acc_level3"):
        assert reading.mean(metric) == 1, metric
    for metric in ("m_lmd", "f_lmd", "m_lmd_neutral"):
        assert reading.mean(metric) == 0, metric
    assert reading.mean("f_lmd_truth") == pytest.approx(0, abs=1e-6)


def test_the_ground_truth_row_is_what_measuring_the_truth_gives() -> None:
    truth, judges, table = toy_truth()
    assert same(ground_truth_row(truth, judges), measure_row(table.image, truth, judges))


def test_bytes_and_numbers_in_minus_one_to_one_are_the_same_frames() -> None:
    truth, judges, table = toy_truth()
    frames = painted(table, shift_px=1)
    assert same(measure_row(frames, truth, judges), measure_row(frames.float() / 127.5 - 1, truth, judges))


def test_a_shifted_face_is_as_far_as_it_is_shifted() -> None:
    truth, judges, table = toy_truth()
    reading = measure_row(painted(table, shift_px=3), truth, judges)
    for metric in ("m_lmd", "f_lmd", "m_lmd_truth", "f_lmd_truth", "m_lmd_neutral"):
        assert reading.mean(metric) == pytest.approx(3, abs=1e-5), metric


@pytest.mark.parametrize(("later", "offset"), [(3, -3), (-2, 2), (1, -1), (0, 0)])
def test_a_shifted_sound_is_found_at_its_offset(later: int, offset: int) -> None:
    truth, judges, table = toy_truth(toy_clips(later=later))
    reading = measure_row(table.image, truth, judges)
    assert (reading.extras["sync_offset"] == offset).all()
    assert reading.mean("sync") == (abs(offset) <= 1)


def test_a_picture_that_stands_still_is_in_sync_only_by_chance() -> None:
    truth, judges, table = toy_truth()
    reading = measure_row(painted(table, frame=FIRST + LENGTH + 5), truth, judges)
    assert reading.mean("sync") == 0
    assert reading.extras["sync_chance"].mean() == pytest.approx(3 / 31)


def test_rotated_labels_are_never_right_and_judged_as_what_was_asked() -> None:
    truth, judges, table = toy_truth()
    asked = (table.emotion + 1) % 8
    reading = measure_row(painted(table, emotion=asked), truth, judges, asked)
    assert reading.mean("acc_emo") == 0
    assert reading.mean("acc_asked") == 1
    counts = reading.confusion()
    assert counts is not None
    assert counts.sum() == 14
    assert counts[EMOTIONS.index("happy"), EMOTIONS.index("happy") + 1] == 6


def test_accuracy_by_level_and_emotion() -> None:
    truth, judges, table = toy_truth()
    happy = EMOTIONS.index("happy")
    reading = measure_row(painted(table, emotion=torch.full_like(table.emotion, happy)), truth, judges)
    assert reading.mean("acc_emo") == 6 / 14
    assert [reading.mean(f"acc_level{k}") for k in (1, 2, 3)] == [0.5, 0.5, 0.5]  # neutral is in none of them
    assert reading.by_emotion() == {"happy": 1.0, "neutral": 0.0, "sad": 0.0}


def test_the_order_of_clips_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(14)
    truth, judges, table = toy_truth()
    reading = measure_row(painted(table, shift_px=1.5), truth, judges)
    shuffled_truth, _, shuffled = toy_truth([toy_clips()[i] for i in order])
    again = measure_row(painted(shuffled, shift_px=1.5), shuffled_truth, judges)
    for metric in reading.values:
        assert np.array_equal(again.values[metric], reading.values[metric][order], equal_nan=True), metric


def test_every_metric_is_measured_or_has_a_reason() -> None:
    truth, judges, table = toy_truth()
    reading = measure_row(table.image, truth, judges)
    assert {*reading.values} | {*reading.reasons} == {*PUPPETS.metrics}
    assert not {*reading.values} & {*reading.reasons}
    assert set(reading.reasons) == {"acc_asked", "intensity_error"}
    assert "asked" in reading.reasons["acc_asked"]
    assert "off its ground_truth" in reading.reasons["intensity_error"]


def test_without_a_judge_its_metrics_are_not_measured_never_zero() -> None:
    judges = ToyJudges()
    judges.cards["landmarks"]["held_out"]["error_px"] = float("nan")
    truth, _, table = toy_truth(judges=judges)
    reading = measure_row(table.image, truth, judges)
    assert {"m_lmd", "f_lmd", "sync"} <= set(reading.reasons)
    assert "judge landmarks under its gate" in reading.reasons["sync"]
    assert np.isnan(reading.mean("m_lmd"))
    assert reading.mean("acc_emo") == 1


def test_windows_of_less_than_five_frames_have_no_sync_and_everything_else() -> None:
    protocol = replace(PUPPETS, frames_per_clip=2)
    truth, judges, table = toy_truth(cut_windows(toy_clips(), protocol)[0], protocol=protocol)
    reading = measure_row(table.image, truth, judges)
    assert "fewer than 5" in reading.reasons["sync"]
    assert reading.mean("acc_emo") == 1
    assert reading.mean("f_lmd") == 0


def test_clips_without_labels_have_no_accuracy() -> None:
    truth, judges, table = toy_truth()
    unlabelled = [c for c in toy_clips() if c.emotion == "happy"]
    for clip in unlabelled:
        object.__setattr__(clip, "emotion", None)
    truth, judges, table = toy_truth(unlabelled)
    reading = measure_row(table.image, truth, judges)
    assert {"acc_emo", "acc_level1", "m_lmd_neutral", "sync_neutral"} <= set(reading.reasons)
    assert reading.mean("sync") == 1


def test_frames_of_another_number_are_refused() -> None:
    truth, judges, table = toy_truth()
    with pytest.raises(ValueError, match="shape"):
        measure_row(table.image[:-1], truth, judges)


def test_real_sound_has_a_window_for_every_start_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth_module, "sync_mel", sync_mel)
    judges = ToyJudges()
    seen = []
    judges.sync.audio = lambda windows: seen.append(windows.shape) or torch.ones(len(windows), 4) / 2
    read_truth(stack([toy_clip("a", "P", "sad", 2)]), judges, PUPPETS, data="x")  # type: ignore[arg-type]
    assert seen == [(40, 16, 80)]


def test_a_saved_reading_comes_back_bit_for_bit(tmp_path: Path) -> None:
    truth, judges, table = toy_truth()
    for reading in (
        ground_truth_row(truth, judges),
        measure_row(painted(table, shift_px=1), truth, judges, table.emotion),
    ):
        save_reading(tmp_path / "rows" / "a.safetensors", reading)
        again = load_reading(tmp_path / "rows" / "a.safetensors")
        assert same(again, reading)
        assert again.protocol == reading.protocol
        assert np.array_equal(again.clips.level, reading.clips.level)
        assert [p.name for p in (tmp_path / "rows").iterdir()] == ["a.safetensors"]


def test_a_reading_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, judges, _ = toy_truth()
    reading = ground_truth_row(truth, judges)
    save_reading(tmp_path / "a.safetensors", reading)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        save_reading(tmp_path / "a.safetensors", reading)
    assert same(load_reading(tmp_path / "a.safetensors"), reading)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_a_damaged_reading_is_named(tmp_path: Path, content: bytes | None) -> None:
    truth, judges, _ = toy_truth()
    path = tmp_path / "a.safetensors"
    save_reading(path, ground_truth_row(truth, judges))
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(UserError, match=r"a\.safetensors") as caught:
        load_reading(path)
    assert caught.value.code == ExitCode.DATA_DAMAGED
