"""The W&B runs of a grid: one a point, once, beside the work; nothing that becomes of them changes it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from eatlab.experiment.crew import Desk
from eatlab.experiment.grids import grid, point_runs, watch
from eatlab.experiment.grids.grid import GridConfig, GridHost, log_the_rest, runs_of
from eatlab.experiment.grids.point_runs import ROW, PointRuns, log_into
from eatlab.experiment.grids.watch import Watch, Watcher
from eatlab.experiment.grids.worker import work_off
from eatlab.experiment.plan import RowFile
from eatlab.experiment.record import read_record
from eatlab.experiment.sheets import write_png
from eatlab.metrics.row import load_reading
from tests.experiment.fake_wandb import RECORDING, FakeWandb
from tests.experiment.grids.toy_units import Toy, shift_of
from tests.experiment.sweeps.toy_sweep import ToySweep
from tests.experiment.test_tracking import LIMIT_S, assert_soon

GRID = "9e1d0000"
HANGING = "import time; time.sleep(600)"
FAILING = "raise ImportError('no such library')"


@dataclass(frozen=True)
class Tuned:
    """A point that is done as soon as its record and its reading lie there."""

    folder: Path
    needs: None = None

    @property
    def name(self) -> str:
        return f"point {self.folder.name}"

    @property
    def record(self) -> dict[str, Any] | None:
        return read_record(self.folder)

    @property
    def file(self) -> RowFile:
        return RowFile("head", "adapter", None, self.folder / "readings" / "adapter.safetensors")

    def is_done(self) -> bool:
        return self.record is not None and self.file.is_there

    def work(self, desk: Desk) -> None:
        raise AssertionError("it is done")


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    return FakeWandb(tmp_path, monkeypatch)


@pytest.fixture
def points(tmp_path: Path) -> list[Tuned]:
    """Three, all done."""
    toy = ToySweep(tmp_path / "runs")
    told = [toy.point("head", seed) for seed in range(3)]
    return [Tuned(toy.runs / point["identity"]) for point in told]


def never() -> bool:
    return False


def finished(points: list[Tuned], **options: Any) -> PointRuns:
    """After the end of their grid."""
    runs = PointRuns(points, options.get("units", points), GRID)
    runs.finish(never)
    return runs


def ids(fake: FakeWandb) -> list[str]:
    return [init["id"] for (init,) in fake.calls("init")]


def content(folder: Path) -> dict[Path, bytes]:
    """Every file but W&B's."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "wandb" not in path.relative_to(folder).parts
    }


def test_a_point_is_a_run_under_its_identity_in_the_group_of_its_grid(
    points: list[Tuned], fake: FakeWandb
) -> None:
    finished(points[:1])
    ((init,),) = fake.calls("init")
    assert (init["id"], init["name"], init["group"], init["mode"]) == (
        "00000001",
        "point 00000001",
        GRID,
        "offline",
    )
    assert init["config"]["tune"]["adapter"] == "head"
    assert init["dir"] == str(points[0].folder)


def test_curve_means_and_pictures_are_logged_under_names_that_all_points_share(
    points: list[Tuned], fake: FakeWandb
) -> None:
    pictures = points[0].folder / "pictures"
    write_png(np.zeros((8, 8, 3), np.uint8), pictures / "intensity.png")
    (pictures / "gallery.json").write_text("{}")
    finished(points[:1])
    *curve, table, picture = [row for (row,) in fake.calls("log")]
    assert [row["tuning/minutes"] for row in curve] == [0, 1 / 3, 2 / 3, 1]
    assert [row["tuning/acc_emo"] for row in curve] == [0, 0.25, 0.5, 0.75]
    cells = dict(zip(table["table"]["columns"], table["table"]["data"][0], strict=True))
    reading = load_reading(points[0].file.path)
    assert cells["row"] == ROW
    assert cells["m_lmd"] == pytest.approx(reading.mean("m_lmd"))
    assert (cells["params"], cells["minutes"]) == (16_640, 1)
    assert {name for name in reading.values if name in cells} >= {"psnr", "ssim", "acc_emo", "sync"}
    assert not [name for name in cells if name.endswith((" low", " high"))]
    ((summary,),) = fake.calls("summary")
    assert summary[f"{ROW}/m_lmd"] == cells["m_lmd"]
    assert picture == {"media/intensity": f"image {pictures / 'intensity.png'}"}


def test_what_is_not_measured_says_why(tmp_path: Path, fake: FakeWandb) -> None:
    from eatlab.metrics.row import NOTHING_ASKED, save_reading
    from tests.metrics.test_table import made_up

    toy = ToySweep(tmp_path / "blind")
    point = Tuned(toy.runs / toy.point("full", 0)["identity"])
    save_reading(point.file.path, made_up())
    finished([point])
    (table,) = [row["table"] for (row,) in fake.calls("log") if "table" in row]
    assert dict(zip(table["columns"], table["data"][0], strict=True))["acc_asked"] == NOTHING_ASKED


def test_a_point_is_logged_when_it_is_done_and_so_is_what_needs_it(
    tmp_path: Path, points: list[Tuned], fake: FakeWandb
) -> None:
    first, second, _ = points
    late = (second.folder / "record.json").read_bytes()
    (second.folder / "record.json").unlink()
    faces = Toy(first.folder / "pictures", needs=first)  # type: ignore[arg-type]
    runs = PointRuns([first, second], [first, second, faces], GRID)
    assert not runs.step()
    (second.folder / "record.json").write_bytes(late)
    runs.finish(never)
    assert ids(fake) == [second.folder.name]
    work_off(shift_of(tmp_path, (faces,)))
    runs.finish(never)
    assert ids(fake) == [second.folder.name, first.folder.name]


def test_one_child_at_a_time_gives_way_to_all_others_and_is_not_waited_for(
    points: list[Tuned], fake: FakeWandb
) -> None:
    gate = fake.log.with_name("gate")
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.05)\n"
    fake.is_(waits + RECORDING)
    runs = PointRuns(points, points, GRID)
    for _ in range(3):
        assert runs.step()
    assert runs.at_work is not None
    assert runs.at_work.tracker.child is not None
    assert runs.at_work.tracker.child.poll() is None
    assert len(list(points[0].folder.parent.glob("*/wandb/*.request.json"))) == 1
    gate.touch()
    runs.finish(never)
    assert ids(fake) == [point.folder.name for point in points]
    assert fake.calls("nice") == [[point_runs.NICE]] * 3


def test_points_are_logged_while_the_grid_is_at_work(
    points: list[Tuned], fake: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.02)
    runs = PointRuns(points, points, GRID)
    with Watch(Console(quiet=True), Watcher(points, (1.0,) * 3, 60), 1, runs.step):
        assert_soon(lambda: len(fake.calls("finish")) == 3)


def test_a_point_that_has_its_run_gets_no_second_one(points: list[Tuned], fake: FakeWandb) -> None:
    assert finished(points[:1]).places == finished(points).places[:1]
    again = finished(points)
    assert ids(fake) == [point.folder.name for point in points]
    assert len(again.places) == 3
    assert again.warning() == ""


def test_a_grid_that_is_stopped_leaves_a_whole_run_and_the_next_logs_the_rest(
    points: list[Tuned], fake: FakeWandb
) -> None:
    stopped = PointRuns(points, points, GRID)
    stopped.step()
    stopped.finish(lambda: True)
    assert_soon(lambda: (points[0].folder / "wandb" / f"{points[0].folder.name}.json").exists())
    for path in points[0].folder.glob("wandb/claim-*"):  # as if its process were gone
        path.unlink()
    assert len(finished(points).places) == 3
    assert ids(fake) == [point.folder.name for point in points]


def test_two_grids_that_share_a_point_log_it_once(points: list[Tuned], fake: FakeWandb) -> None:
    one, other = PointRuns(points[:1], points, GRID), PointRuns(points, points, "another")
    one.step()
    other.finish(never)
    one.finish(never)
    assert sorted(ids(fake)) == [point.folder.name for point in points]
    assert not list(points[0].folder.parent.glob("*/wandb/claim-*"))


@pytest.mark.parametrize("broken", [HANGING, FAILING], ids=["hanging", "failing"])
def test_a_broken_wandb_is_left_alone_soon_and_changes_no_file(
    points: list[Tuned], fake: FakeWandb, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    fake.is_(broken)
    monkeypatch.setattr(point_runs, "LAST_S", 0.3 if broken == HANGING else LIMIT_S)
    runs_folder = points[0].folder.parent
    before = content(runs_folder)
    began: list[Any] = []
    start = point_runs.start_tracking
    monkeypatch.setattr(
        point_runs, "start_tracking", lambda run, nice: began.append(start(run, nice=nice)) or began[-1]
    )
    runs = finished(points)
    assert len(began) == point_runs.GIVE_UP
    assert all(tracker.child.poll() is not None for tracker in began)
    assert runs.warning().startswith("3 points have no W&B run, the same command tries again: W&B ")
    assert "\n" not in runs.warning()
    assert list(runs.in_words("runs")) == []
    assert content(runs_folder) == before
    assert not list(runs_folder.glob("*/wandb/claim-*"))


def test_the_rest_is_not_waited_for_without_end(
    points: list[Tuned], fake: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.is_(HANGING)
    monkeypatch.setattr(point_runs, "ALL_S", 0.2)
    runs = finished(points)
    assert runs.warning() == (
        "3 points have no W&B run, the same command tries again: there was no time left"
    )
    assert runs.at_work is not None
    assert runs.at_work.tracker.look(0) is not None  # which ends it


@pytest.mark.parametrize("fault", ["record", "disk"])
def test_what_goes_wrong_with_one_point_is_a_warning_and_the_rest_is_logged(
    points: list[Tuned], fake: FakeWandb, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    take, bad = point_runs.take, points[0].folder
    if fault == "record":
        (bad / "record.json").write_text("{}")

    def full(folder: Path, *args: Any, **options: Any) -> Any:
        if fault == "disk" and folder.parent == bad:
            raise OSError(errno.ENOSPC, "no space left on device")
        return take(folder, *args, **options)

    monkeypatch.setattr(point_runs, "take", full)
    runs = finished(points)
    assert ids(fake) == [point.folder.name for point in points[1:]]
    assert runs.warning().startswith("1 points have no W&B run")
    assert {"record": "KeyError", "disk": "no space left"}[fault] in runs.warning()


def test_the_end_of_a_grid_says_in_one_line_where_the_runs_lie(
    points: list[Tuned], capsys: pytest.CaptureFixture[str]
) -> None:
    config = GridConfig(file="grid.yaml", host=GridHost(runs="runs"))
    log_the_rest(PointRuns(points, points, GRID), config, Console())
    told = capsys.readouterr()
    assert told.out == "W&B: 3 runs, offline; `wandb sync runs/*/wandb/offline-run-*` sends all there\n"
    assert told.err == ""


def test_what_failed_is_one_line_of_warning(
    points: list[Tuned], fake: FakeWandb, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.is_(FAILING)
    log_the_rest(PointRuns(points, points, GRID), GridConfig(file="grid.yaml"), Console())
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("eatlab: 3 points have no W&B run")
    assert "no such library" in line


def test_online_runs_are_told_by_their_group(
    points: list[Tuned], fake: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    fake.is_(RECORDING.replace("wandb.example/run", "wandb.example/me/eatlab/runs/1"))
    runs = finished(points[:2])
    assert list(runs.in_words("runs")) == [f"W&B: 2 runs in group {GRID}, https://wandb.example/me/eatlab"]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("disabled", {}),
        ("offline", {"host": GridHost(track=False)}),
        ("offline", {"engine": "wandb"}),
    ],
)
def test_nothing_is_logged_where_it_is_not_asked_for_or_agents_do_it(
    monkeypatch: pytest.MonkeyPatch, mode: str, options: dict[str, Any]
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    assert runs_of(GridConfig(file="grid.yaml", **options), [], []) is None


def test_points_are_logged_if_nothing_else_is_said() -> None:
    runs = runs_of(GridConfig(file="grid.yaml"), [], [])
    assert runs is not None
    assert runs.group == grid.folder_of([], GridConfig(file="grid.yaml")).name


def test_a_run_that_an_agent_has_opened_gets_the_same(points: list[Tuned]) -> None:
    import wandb

    rows: list[dict[str, Any]] = []
    summary: dict[str, float] = {}
    run = SimpleNamespace(
        config={}, summary=summary, log=rows.append, define_metric=lambda *args, **options: None
    )
    log_into(run, points[0], (), GRID)
    assert run.config["tune"]["seed"] == 0
    assert [row["tuning/acc_emo"] for row in rows[:4]] == [0, 0.25, 0.5, 0.75]
    assert isinstance(rows[4]["table"], wandb.Table)
    assert summary[f"{ROW}/params"] == 16_640


def test_the_real_wandb_writes_a_point_offline(
    points: list[Tuned], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("PYTHONPATH")
    write_png(np.zeros((8, 8, 3), np.uint8), points[0].folder / "pictures" / "intensity.png")
    monkeypatch.setattr(point_runs, "LAST_S", LIMIT_S)
    runs = finished(points[:1])
    assert runs.warning() == ""
    place = Path(runs.places[0])
    assert place.name.endswith("-00000001")
    written = (place / "run-00000001.wandb").read_bytes()
    assert GRID.encode() in written
    assert list(place.rglob("intensity*.png"))
    assert list(place.rglob("*.table.json"))
    assert capfd.readouterr() == ("", "")
