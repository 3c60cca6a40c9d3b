"""A whole grid on one person of each split: every point once, killed or not, none that an ablation has."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eatlab import cli
from eatlab.atomic import sha256_of_file
from eatlab.data.puppets.corpus import PRESETS
from eatlab.experiment.ablation import AblationConfig, HostConfig, run_ablation
from eatlab.experiment.grids.engines import local
from eatlab.experiment.grids.worker import work_off
from eatlab.experiment.record import read_record
from eatlab.experiment.sweeps.gallery import gallery_in
from eatlab.metrics.row import load_reading
from eatlab.training.schedule import Schedule
from tests.e2e.micro_grid import MICRO, SCHEDULE, words_of
from tests.e2e.random_zoo import make_random_zoo
from tests.experiment.fake_wandb import FakeWandb

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a zoo; nothing is drawn yet."""
    folder = tmp_path_factory.mktemp("grid")
    make_random_zoo(folder / "zoo")
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers work in this process, which has the networks loaded already."""
    monkeypatch.setitem(PRESETS, "micro", MICRO)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(local, "run", lambda staff, told: work_off(staff.shift(0), told))


def results(runs: Path) -> dict[str, object]:
    """What a grid leaves that must be the same however it went: adapters, curves, readings."""
    found: dict[str, object] = {}
    for path in sorted(runs.glob("*/adapter.safetensors")):
        record = read_record(path.parent)
        assert record is not None
        assert record["files"]["adapter.safetensors"] == sha256_of_file(path)
        clocks = ("train_s", "cpu_s")
        curve = [{key: value for key, value in row.items() if key not in clocks} for row in record["curve"]]
        found[path.parent.name] = (sha256_of_file(path), curve)
    for path in sorted(runs.glob("*/readings/**/*.safetensors")):
        found[str(path.relative_to(runs))] = {
            name: np.nan_to_num(values).tolist() for name, values in load_reading(path).values.items()
        }
    return found


def test_a_grid_does_what_is_left_and_shares_its_tunings_with_an_ablation(
    home: Path, here: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = home / "runs"
    host = HostConfig(workers=1, runs=str(runs), data=str(home / "data"), report=False, track=False)
    ablation = AblationConfig(
        adapter="head", compare=(), seeds=(0,), puppets="micro", zoo=str(home / "zoo"), clips=4
    )
    run_ablation(replace(ablation, schedule=Schedule(**SCHEDULE), host=host))
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("*/readings/**/*.safetensors")}
    words = words_of(home, "runs")
    assert cli.main([*words, "--json", str(home / "grid.json")]) == 0
    capsys.readouterr()
    record = json.loads((home / "grid.json").read_text())
    assert [(point["adapter"], point["share"]) for point in record["points"]] == [
        ("head", 0.5),
        ("head", 1),
        ("shallow_prompt", 0.5),
        ("shallow_prompt", 1),
    ]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    grid = runs / record["identity"]
    for point in record["points"]:
        assert read_record((grid / point["record"]).parent) is not None
        assert sha256_of_file(grid / point["reading"]["file"]) == point["reading"]["sha256"]
    (clips,) = {point["clips"] for point in record["points"]}
    folders = [(grid / point["record"]).parent / "pictures" / clips for point in record["points"]]
    drawn = [gallery_in(folder) for folder in folders]
    assert [None if found is None else (found.row, found.share) for found in drawn] == [
        None,
        ("head", 1),
        None,
        ("shallow_prompt", 1),
    ]
    sheets = {"contact_sheet", "intensity", "mix"}
    assert all(set(found.sheets) == sheets and found.films for found in drawn if found)
    (rows,) = record["references"].values()
    assert set(rows) == {"source_copy", "still", "frozen", "reenactment", "ground_truth"}
    assert not list(runs.glob("**/claim-*"))
    assert cli.main(words) == 0
    assert "4 points done" in capsys.readouterr().out
    assert cli.main([*words, "--dry-run"]) == 0
    assert "0 of 4 points left" in capsys.readouterr().out
    one = record["points"][2]["identity"]
    assert cli.main([*words, f"point={one}"]) == 0
    assert cli.main([*words, "point=12345678"]) == 2
    fake = FakeWandb(home, monkeypatch)
    assert cli.main(words) == 0
    assert "W&B: 4 runs, offline" in capsys.readouterr().out
    assert {
        (init["id"], init["group"], init["config"]["tune"]["share"]) for (init,) in fake.calls("init")
    } == {(point["identity"], record["identity"], point["share"]) for point in record["points"]}
    logged = [name for (row,) in fake.calls("log") for name in row]
    assert (logged.count("table"), logged.count("media/contact_sheet")) == (4, 2)
    assert json.loads((grid / "record.json").read_text())["points"] == record["points"]


def test_a_grid_whose_clips_are_not_drawn_is_listed_and_nothing_is_drawn(
    home: Path, here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*words_of(home, "none")[:-1], f"host.data={tmp_path / 'data'}"]
    assert cli.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 points left" in said
    assert "clips and rows without an adapter" in said
    assert not (tmp_path / "data").exists()
    assert not (home / "none").exists()


def wait_until_there_are(count: int, runs: Path, grid: subprocess.Popen[bytes]) -> None:
    """So many files of tensors (checkpoints, adapters, readings), or the end."""
    while grid.poll() is None and sum(1 for _ in runs.glob("**/*.safetensors")) < count:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_grid_killed_at_random_moments_has_the_results_of_an_uninterrupted_one(home: Path) -> None:
    """Three kills of all its processes, or of the parent alone; then once more, to the end."""
    words, chance = [sys.executable, "-m", "tests.e2e.micro_grid", str(home)], random.Random(0)
    subprocess.run([*words, "whole"], cwd=ROOT, check=True, timeout=900)
    moments = sorted(chance.sample(range(1, 18), 3))
    for moment, kill in zip(moments, (os.killpg, os.kill, os.killpg), strict=True):
        grid = subprocess.Popen([*words, "killed"], cwd=ROOT, start_new_session=True)
        wait_until_there_are(moment, home / "killed", grid)
        time.sleep(chance.uniform(0, 0.3))
        kill(grid.pid, signal.SIGKILL)
        assert grid.wait(60) == -signal.SIGKILL, "it ended before it was killed"
    subprocess.run([*words, "killed"], cwd=ROOT, check=True, timeout=900)
    whole, killed = results(home / "whole"), results(home / "killed")
    assert whole == killed
    assert len(whole) == 4 + 4 + 5
    assert not list((home / "killed").glob("**/claim-*"))
