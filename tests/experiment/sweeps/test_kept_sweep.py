"""The sweep that is kept with the code: README's and docs' tables are what its records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from eatlab.experiment.sweeps.records import Sweep, read_sweep, record_at
from eatlab.experiment.sweeps.tables import pareto_part, share_part, time_part
from eatlab.experiment.sweeps.text import lines_of

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "benchmarks" / "results" / "sweep"


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return read_sweep(record_at(KEPT / "record.json"), KEPT)


def test_it_is_whole_and_of_clean_trees(sweep: Sweep) -> None:
    assert len(sweep.points) == sweep.num_asked == 192
    told = [sweep.record, *(point.record for point in sweep.points)]
    assert not [each for each in told if each["environment"]["commit"].endswith("+changes")]


@pytest.mark.parametrize(
    ("page", "part"),
    [("README.md", share_part), ("docs/sweep.md", time_part), ("docs/sweep.md", pareto_part)],
    ids=["share", "minutes", "size"],
)
def test_the_pages_show_its_tables(sweep: Sweep, page: str, part) -> None:
    (setting,) = sweep.blocks()[0].settings()
    found = part(setting, "m_lmd")
    table = found[0] if isinstance(found, tuple) else found
    assert lines_of(table) in (ROOT / page).read_text(encoding="utf-8")
