"""Clips stacked into tables: rows belong to their clips, twins are neutral, tables join end to end."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from eatlab.data.samples import Clip, join, stack, unit
from eatlab.emotions import EMOTIONS


def make_clip(key: str, emotion: str | None = "happy", *, num: int = 3, twin: bool = False, **more) -> Clip:
    """A clip of noise whose every pixel of frame i is told apart."""
    g = np.random.default_rng(len(key) + num)
    frames = g.integers(0, 255, (num, 8, 8, 3), dtype=np.uint8)
    truth = {"pose": g.normal(size=(num, 7)).astype(np.float32), "mask": g.random((num, 8, 8)) > 0.5}
    return Clip(
        key=key,
        identity=key[:1],
        split="train",
        emotion=emotion,
        level=2 if emotion else None,
        intensity=0.75,
        num_frames=9,
        at=np.arange(num) + 2,
        frames=frames,
        audio=np.full(9 * 640, len(key), np.float32),
        truth=more.get("truth", truth),
        twin_frames=255 - frames if twin else None,
        twin_truth={name: rows[::-1].copy() for name, rows in truth.items()} if twin else {},
    )


def test_the_middle_of_a_clip_is_the_row_of_its_middle_drawn_frame() -> None:
    table = stack([make_clip("a1", num=5), make_clip("b22", num=2), make_clip("c333", num=1)])
    assert table.middle().tolist() == [2, 6, 7]


def test_a_table_keeps_every_frame_of_every_clip_in_its_order() -> None:
    clips = [make_clip("a1", num=3), make_clip("b22", None, num=2), make_clip("c333", "sad", num=1)]
    table = stack(clips)
    assert table.image.shape == (6, 3, 8, 8)
    assert table.image.dtype == torch.uint8
    for row, clip in enumerate(clips):
        mine = table.rows_of(row)
        np.testing.assert_array_equal(table.image[mine].permute(0, 2, 3, 1).numpy(), clip.frames)
        np.testing.assert_array_equal(table.at[mine].numpy(), clip.at)
        np.testing.assert_array_equal(table.truth["pose"][mine].numpy(), clip.truth["pose"])
        assert table.truth["mask"].dtype == torch.bool
    assert table.key == ["a1", "b22", "c333"]
    assert table.identity == ["a", "b", "c"]
    assert table.emotion.tolist() == [EMOTIONS.index("happy"), -1, EMOTIONS.index("sad")]
    assert table.level.tolist() == [2, 0, 2]
    assert [len(sound) for sound in table.audio] == [9 * 640] * 3


def test_twins_are_neutral_frames_of_the_same_clips() -> None:
    clip = make_clip("a1", twin=True)
    table = stack([clip], twins=True)
    np.testing.assert_array_equal(table.image.permute(0, 2, 3, 1).numpy(), clip.twin_frames)
    np.testing.assert_array_equal(table.truth["pose"].numpy(), clip.twin_truth["pose"])
    assert table.emotion.tolist() == [EMOTIONS.index("neutral")]
    assert (table.intensity.tolist(), table.level.tolist()) == ([0.0], [0])


def test_a_clip_without_a_twin_is_named_where_one_is_asked_for() -> None:
    with pytest.raises(ValueError, match="b22 has no twin"):
        stack([make_clip("a1", twin=True), make_clip("b22")], twins=True)


def test_only_the_truth_that_all_clips_have_is_kept() -> None:
    assert set(stack([make_clip("a1"), make_clip("b22", truth={})]).truth) == set()
    assert set(stack([make_clip("a1"), make_clip("b22")]).truth) == {"mask", "pose"}
    assert set(join([stack([make_clip("a1")]), stack([make_clip("b22", truth={})])]).truth) == set()


def test_to_join_tables_is_to_stack_all_clips() -> None:
    clips = [make_clip("a1"), make_clip("b22", "fear", num=2), make_clip("c333", None, num=4)]
    joined, whole = join([stack(clips[:1]), stack(clips[1:])]), stack(clips)
    for name in ("image", "clip", "at", "emotion", "intensity", "level"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    assert all(torch.equal(joined.truth[name], whole.truth[name]) for name in whole.truth)
    assert (joined.key, joined.identity) == (whole.key, whole.identity)
    assert all(np.array_equal(a, b) for a, b in zip(joined.audio, whole.audio, strict=True))


def test_nothing_cannot_be_stacked_or_joined() -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        stack([])
    with pytest.raises(ValueError, match="no tables"):
        join([])


def test_pixels_span_minus_one_to_one() -> None:
    assert unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(((unit(every) + 1) * 127.5).round().to(torch.uint8), every)


def test_whoever_only_draws_does_not_import_torch() -> None:
    """Each worker of a recipe would pay seconds and half a gigabyte for it."""
    code = "import sys, eatlab.data.puppets.corpus, eatlab.data.members; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
