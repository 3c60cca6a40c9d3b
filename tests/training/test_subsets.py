"""Shares of the training clips: nested, balanced, the same for whoever asks."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError
from eatlab.experiment import jobs
from eatlab.experiment.ablation import AblationConfig
from eatlab.experiment.config import resolve
from eatlab.training.latents import SetName, read_tables
from eatlab.training.subsets import Labels, clips_of_share, in_line, labels_of
from tests.training.toys import tiny_latents

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
shares = st.floats(0.001, 1.0)


def balanced(persons: int, emotions: int, clips: int) -> Labels:
    """Groups of equal size."""
    every = [(p, e, c) for p in range(persons) for e in range(emotions) for c in range(clips)]
    return Labels(
        tuple(f"P{p}_{EMOTIONS[e]}_{c}" for p, e, c in every),
        tuple(f"P{p}" for p, _, _ in every),
        tuple(e for _, e, _ in every),
    )


@st.composite
def any_labels(draw: st.DrawFn) -> Labels:
    """Groups of any size, unlabelled clips among them; at least one is labelled."""
    clips = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 7)), max_size=60))
    clips.append((0, draw(st.integers(0, 7))))
    return Labels(
        tuple(f"clip{row}" for row in range(len(clips))),
        tuple(f"P{person}" for person, _ in clips),
        tuple(emotion for _, emotion in clips),
    )


def groups_of(labels: Labels, rows: list[int]) -> Counter[tuple[str, int]]:
    return Counter((labels.identities[row], labels.emotions[row]) for row in rows)


@given(any_labels(), shares, shares)
def test_a_smaller_share_lies_in_a_larger_one(labels: Labels, one: float, other: float) -> None:
    assert set(labels.of_share(min(one, other))) <= set(labels.of_share(max(one, other)))


@given(any_labels(), shares)
def test_a_share_has_so_many_clips_and_at_least_one(labels: Labels, share: float) -> None:
    num_labelled = sum(emotion >= 0 for emotion in labels.emotions)
    rows = labels.of_share(share)
    assert rows == sorted(set(rows))
    assert abs(len(rows) - share * num_labelled) <= 0.5 or len(rows) == 1


@given(any_labels())
def test_all_is_every_labelled_clip(labels: Labels) -> None:
    assert labels.of_share(1.0) == [row for row, emotion in enumerate(labels.emotions) if emotion >= 0]


@given(any_labels(), shares, st.randoms(use_true_random=False))
def test_the_order_of_the_clips_does_not_matter(labels: Labels, share: float, lot: random.Random) -> None:
    rows = list(range(len(labels.keys)))
    lot.shuffle(rows)
    keys, identities, emotions = (
        [part[row] for row in rows] for part in (labels.keys, labels.identities, labels.emotions)
    )
    shuffled = clips_of_share(keys, identities, emotions, share)
    assert {keys[row] for row in shuffled} == {labels.keys[row] for row in labels.of_share(share)}


@given(any_labels(), shares)
def test_every_emotion_is_there_as_long_as_there_are_clips_enough(labels: Labels, share: float) -> None:
    emotions = {emotion for emotion in labels.emotions if emotion >= 0}
    rows = labels.of_share(share)
    assert len({labels.emotions[row] for row in rows}) == min(len(emotions), len(rows))


@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 4))
def test_equal_groups_never_differ_by_more_than_a_clip(persons: int, emotions: int, clips: int) -> None:
    labels = balanced(persons, emotions, clips)
    line = in_line(labels.keys, labels.identities, labels.emotions)
    groups = groups_of(labels, [])
    for row in line:
        groups[labels.identities[row], labels.emotions[row]] += 1
        counts = [groups[f"P{p}", e] for p in range(persons) for e in range(emotions)]
        assert max(counts) - min(counts) <= 1


@given(any_labels(), shares)
def test_of_unequal_groups_each_keeps_its_share_to_about_a_clip(labels: Labels, share: float) -> None:
    everything, rows = groups_of(labels, labels.of_share(1.0)), labels.of_share(share)
    num_emotions = len({emotion for _, emotion in everything})
    taken = groups_of(labels, rows)
    for group, size in everything.items():
        # The first clip of each emotion comes before the shares count, at the cost of the others.
        assert abs(taken[group] - share * size) <= 2 + num_emotions * size / sum(everything.values())


def test_persons_of_a_corpus_like_ours_keep_equally_many_clips() -> None:
    labels = balanced(36, 8, 6)
    for share in SHARES:
        of_person = Counter(labels.identities[row] for row in labels.of_share(share))
        assert max(of_person.values()) - min(of_person.values()) <= 2
        assert len(of_person) == 36


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="a share lies in"):
        balanced(1, 2, 2).of_share(share)


def test_a_key_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        replace(balanced(1, 1, 2), keys=("a", "a")).of_share(0.5)


def test_labels_are_those_of_the_tables_that_latents_are_made_of(puppets: Path) -> None:
    source = SetName(puppets, "acted", "train")
    labels, table = labels_of(source), read_tables(source)[0]
    assert list(labels.keys) == table.key
    assert list(labels.identities) == table.identity
    assert list(labels.emotions) == table.emotion.tolist()


def test_a_torn_shard_is_one_line(puppets: Path, tmp_path: Path) -> None:
    for path in puppets.glob("acted-train*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (shard,) = tmp_path.glob("*.tar")
    shard.write_bytes(shard.read_bytes()[:-2048])
    with pytest.raises(UserError, match="is damaged") as caught:
        labels_of(SetName(tmp_path, "acted", "train"))
    assert caught.value.code == ExitCode.DATA_DAMAGED


def test_latents_of_a_share_are_those_of_its_clips(puppets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = jobs.Setting("small", "", puppets, "acted", "puppets")
    rows = labels_of(setting.source("train")).of_share(0.25)
    everything = tiny_latents(24)
    monkeypatch.setattr(jobs, "load_latents", lambda *_: everything)
    monkeypatch.setattr(jobs, "backbone_of", lambda *_: None)
    assert jobs.latents_of.__wrapped__(setting, "train") is everything
    few = jobs.latents_of.__wrapped__(setting, "train", 0.25)
    assert len(rows) == len(few.emotion) == 6
    assert torch.equal(few.emotion, everything.emotion[rows])
    assert torch.equal(few.expression, everything.expression.view(24, 5, 15, 3)[rows].flatten(0, 1))


def test_a_share_out_of_bounds_is_one_line() -> None:
    for share in ("0", "1.5", "-1"):
        with pytest.raises(UserError, match=r"share=.* will not do"):
            resolve(AblationConfig, [f"share={share}"])
