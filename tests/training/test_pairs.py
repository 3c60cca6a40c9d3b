"""Which pairs re-enactment sees, and that they depend on (seed, step, rank) alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from eatlab.emotions import NEUTRAL
from eatlab.training.pairs import PairPool, PairsConfig, PairStream


@pytest.fixture(scope="module")
def pool(puppets: Path) -> PairPool:
    return PairPool(puppets, PairsConfig())


def stream(pool: PairPool, **changes: int) -> PairStream:
    return PairStream(pool, **({"batch": 6, "seed": 0, "rank": 0, "start": 0, "steps": 4} | changes))


def rows(stream: PairStream) -> list[list[int]]:
    return [torch.cat([batch["portrait"], batch["driving"]]).tolist() for batch in stream]


def test_batches_are_a_pure_function_of_seed_step_and_rank(pool):
    whole = rows(stream(pool))
    assert rows(stream(pool)) == whole
    assert rows(stream(pool, start=2)) == whole[2:]
    assert rows(stream(pool, steps=9))[:4] == whole
    others = [rows(stream(pool, **change)) for change in ({"rank": 1}, {"seed": 1})]
    assert all(other[i] != whole[i] for other in others for i in range(4))
    assert len({tuple(batch) for batch in whole}) == 4


def test_a_stream_knows_its_length_and_numbers_its_steps(pool):
    assert len(stream(pool, start=1)) == 3
    assert len(stream(pool, start=7)) == 0
    assert [int(batch["step"]) for batch in stream(pool, start=1)] == [1, 2, 3]


def test_both_frames_of_a_pair_show_one_person(pool):
    portrait, driving = (rows.numpy() for rows in pool.draw(200, np.random.default_rng(0)))
    who = np.array(pool.table.identity)[pool.table.clip.numpy()]
    assert (who[portrait] == who[driving]).all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PairsConfig(acted=0.0), "wild"),
        (PairsConfig(acted=1.0, twin=1.0), "twins"),
        (PairsConfig(acted=1.0, twin=0.0, calm=1.0), "calm"),
    ],
)
def test_shares_of_the_kinds_of_pairs_are_what_the_config_says(pool, config, expected):
    drawing = PairPool.__new__(PairPool)
    drawing.__dict__ = pool.__dict__ | {"config": config}
    table, g = pool.table, np.random.default_rng(0)
    for a, b in islice(iter(lambda: drawing.pair(g), None), 60):
        emotion = table.emotion[table.clip[[a, b]]].tolist()
        if expected == "wild":
            assert emotion == [-1, -1]
            assert a != b
            assert table.clip[a] == table.clip[b]
        elif expected == "twins":
            assert emotion[0] == NEUTRAL
            assert emotion[1] != NEUTRAL
            assert table.at[a] == table.at[b]
            torch.testing.assert_close(table.truth["pose"][a], table.truth["pose"][b])
        else:
            assert emotion[0] == NEUTRAL
