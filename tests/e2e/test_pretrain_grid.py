"""A grid of pretrainings on one person of each split: Table 3's way from the file to its table."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from eatlab import cli
from eatlab.atomic import sha256_of_file
from eatlab.data.puppets.corpus import PRESETS
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.crew import Desk
from eatlab.experiment.grids.engines import local
from eatlab.experiment.grids.grid import GridHost
from eatlab.experiment.grids.grid_file import read_grid
from eatlab.experiment.grids.units import ClipsUnit, PointUnit, units_of
from eatlab.experiment.grids.worker import STOPS, Shift, serve, work_off
from eatlab.experiment.pretraining import load_renderer
from eatlab.experiment.sweeps.gallery import gallery_in
from eatlab.experiment.sweeps.report import ReportConfig, ReportHost, sweep_of
from eatlab.metrics.row import load_reading
from eatlab.training.pretrain import Pretrain
from tests.e2e.micro_grid import MICRO

POINTS = [
    {"name": "OSFV", "render": {"keypoints": {"prior": 5}, "pairs": {"acted": 0}}},
    {"name": "Enhanced"},
]
COMMON = {
    "puppets": "micro",
    "clips": 3,
    "render": {"steps": 2, "batch": 2, "moved": 1, "warm_up": 1, "average": 0.0},
}


@contextmanager
def kept_signals() -> Iterator[None]:
    """A worker takes these for the rest of its life, and this process has one of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *STOPS)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table3")
    told = {"command": "pretrain", "common": COMMON, "points": POINTS}
    (folder / "grid.yaml").write_text(yaml.safe_dump(told))
    return folder


def test_pretrainings_are_trained_once_re_enacted_drawn_and_compared(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "micro", MICRO)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(local, "run", lambda staff, told: work_off(staff.shift(0), told))
    words = [str(home / "grid.yaml"), f"host.runs={home / 'runs'}", f"host.data={home / 'data'}"]
    assert cli.main(["grid", *words, "--json", str(home / "grid.json")]) == 0
    record = json.loads((home / "grid.json").read_text())
    grid = home / "runs" / record["identity"]
    folders = {p["adapter"]: (grid / p["record"]).parent for p in record["points"]}
    assert list(folders) == ["OSFV", "Enhanced"]
    (rows,) = record["references"].values()
    assert set(rows) == {"source_copy", "reenactment", "ground_truth"}
    heads = {name: load_renderer(folder / "renderer.safetensors") for name, folder in folders.items()}
    states = [head.renderer.state_dict() for head in heads.values()]
    assert not all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    for name, folder in folders.items():
        told = json.loads((folder / "record.json").read_text())
        assert (told["kind"], [row["step"] for row in told["curve"]]) == ("pretraining", [2])
        assert told["files"]["renderer.safetensors"] == sha256_of_file(folder / "renderer.safetensors")
        assert ("prior" in told["curve"][0]) == (name == "OSFV")
        assert not any(key.startswith("a2et") for key in load_file(folder / "renderer.safetensors"))
        (reading,) = folder.glob("readings/*/pretrained.safetensors")
        assert set(load_reading(reading).values) >= {"psnr", "m_lmd", "f_lmd", "sync", "acc_emo"}
        (clips,) = (folder / "pictures").iterdir()
        found = gallery_in(clips)
        assert found is not None
        assert (found.row, list(found.sheets), found.films) == (name, ["reenactment"], ())
    capsys.readouterr()
    kept = {path: path.stat().st_mtime_ns for path in (home / "runs").glob("*/renderer.safetensors")}
    assert cli.main(["grid", *words]) == 0
    assert "2 points done" in capsys.readouterr().out
    assert cli.main(["grid", *words, "--dry-run"]) == 0
    assert "0 of 2 points left" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    host = ReportHost(runs=str(home / "runs"), data=str(home / "data"))
    (block,) = sweep_of(ReportConfig(str(home / "grid.yaml"), host=host)).blocks()
    assert (block.base, block.table.adapters) == ("OSFV", ("OSFV", "Enhanced"))
    assert any("keypoints.probe" in line for line in block.reading())


def test_a_pretraining_that_was_told_to_stop_ends_with_the_same_bits(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "micro", MICRO)
    host = GridHost(workers=1, runs=str(home / "runs"), data=str(home / "data"))
    units = units_of(read_grid(home / "grid.yaml", ["seeds=1"]), host)
    unit = next(unit for unit in units if isinstance(unit, PointUnit) and unit.said.row == "Enhanced")
    quiet = Desk("test", lambda progress: None, lambda: False)
    move = Pretrain.move_average

    def told(self: Pretrain) -> None:
        move(self)
        if self.step == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, kept_signals():
        patch.setattr(Pretrain, "move_average", told)
        patch.setattr(PointUnit, "folder", property(lambda self: home / "stopped"))
        patch.setattr(ClipsUnit, "is_done", lambda self: True)
        assert serve(Shift((unit,), "worker", home / "stop")) == ExitCode.INTERRUPTED
    assert [path.name for path in (home / "stopped" / "render" / "checkpoints").glob("*.safetensors")] == [
        "step-00000001.safetensors"
    ]
    assert not (home / "stopped" / "record.json").exists()
    for folder in (home / "stopped", home / "whole"):
        unit.point.learn(quiet, unit.needs.setting, folder)
    tensors = [load_file(home / name / "renderer.safetensors") for name in ("stopped", "whole")]
    assert all(torch.equal(value, tensors[1][key]) for key, value in tensors[0].items())


def test_a_damaged_renderer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "renderer.safetensors"
    path.write_bytes(b"half a file")
    with pytest.raises(
        UserError, match=r"renderer.safetensors is damaged.*run the same grid again"
    ) as caught:
        load_renderer(path)
    assert caught.value.code == ExitCode.DATA_DAMAGED
