"""Shards to tables: no portraits, twins behind their clips, several parts in one table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_recipes.puppets.recipe import draw
from eatlab.data.puppets.corpus import scenes
from eatlab.data.tables import read_clips, read_tables
from eatlab.emotions import NEUTRAL


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts acted/pretrain (with twins) and acted/val (with a portrait) of the tiny puppets."""
    folder = tmp_path_factory.mktemp("puppets")
    draw("tiny", ["acted/pretrain", "acted/val"], folder, workers=1)
    return folder


def test_clips_come_back_in_the_order_of_the_corpus_portraits_included(corpus: Path) -> None:
    clips = read_clips(corpus, "acted/val")
    assert [clip.key for clip in clips] == [scene.key for scene in scenes("tiny", "acted", "val")]
    assert [clip.is_portrait for clip in clips] == [True] + [False] * 24


def test_tables_have_no_portraits(corpus: Path) -> None:
    table = read_tables(corpus, ["acted/val"])
    assert len(table.key) == 24
    assert not any("portrait" in key for key in table.key)


def test_twins_follow_as_neutral_clips_unless_they_are_not_wanted(corpus: Path) -> None:
    plain = read_tables(corpus, ["acted/pretrain"], twins=False)
    table = read_tables(corpus, ["acted/pretrain"])
    emotional = plain.emotion != NEUTRAL
    assert len(plain.key) == 16
    assert len(table.key) == 16 + int(emotional.sum())
    assert torch.equal(table.emotion[:16], plain.emotion)
    assert (table.emotion[16:] == NEUTRAL).all()
    assert (table.level[16:] == 0).all()
    own = torch.cat([table.rows_of(int(i)) for i in emotional.nonzero()[:, 0]])
    twins = torch.cat([table.rows_of(i) for i in range(16, len(table.key))])
    assert torch.equal(table.truth["pose"][own], table.truth["pose"][twins])


def test_parts_are_read_one_after_the_other(corpus: Path) -> None:
    both = read_tables(corpus, ["acted/val", "acted/pretrain"], twins=False)
    val = read_tables(corpus, ["acted/val"])
    assert both.key[:24] == val.key
    assert torch.equal(both.image[: len(val.image)], val.image)
    assert int(both.clip.max()) == len(both.key) - 1 == 39
