"""A sweep that is kept with the code: the same report, from one folder that needs no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.keep_sweep import keep
from eatlab.errors import UserError
from eatlab.experiment.sweeps.records import read_sweep, record_at
from tests.experiment.sweeps.toy_sweep import small


def test_the_copy_says_what_the_runs_said_and_needs_none_of_them(tmp_path: Path) -> None:
    toy = small(tmp_path / "runs")
    path = toy.write()
    before = read_sweep(record_at(path), path.parent)
    table = before.blocks()[0].table.to_json()
    keep(before.record, path.parent, tmp_path / "kept")
    shutil.rmtree(tmp_path / "runs")
    after = read_sweep(record_at(tmp_path / "kept" / "record.json"), tmp_path / "kept")
    assert after.blocks()[0].table.to_json() == table
    assert [point.record for point in after.points] == [point.record for point in before.points]


def test_a_reading_that_was_changed_is_not_kept(tmp_path: Path) -> None:
    toy = small(tmp_path / "runs", shares=[1.0])
    path = toy.write()
    next((tmp_path / "runs").glob("*/readings/adapter.safetensors")).write_bytes(b"another")
    with pytest.raises(UserError, match="is not the one that the grid's record tells of"):
        keep(record_at(path), path.parent, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
