"""Every engine does each unit once; what stops, kills or lacks it loses nothing and says so."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from eatlab.errors import ExitCode, UserError
from eatlab.experiment.grids.engines import local, ray, slurm, wandb
from eatlab.experiment.grids.engines.staff import needed, serve_in
from eatlab.experiment.grids.worker import MAX_LOST, Failure
from tests.experiment.grids.toy_grid import staff_of
from tests.experiment.grids.toy_units import Toy, toys

ROOT = Path(__file__).parents[3]
has = importlib.util.find_spec


def never() -> bool:
    return False


def all_once(units: tuple[Toy, ...]) -> bool:
    return all(unit.is_done() and unit.lines("ended") == 1 for unit in units)


def test_local_processes_do_each_unit_once_and_end(tmp_path: Path) -> None:
    units = toys(tmp_path, 8, pause_s=0.01)
    local.run(staff_of(tmp_path, units), never)
    assert all_once(units)
    assert all(unit.lines("begun") == 1 for unit in units)


def test_a_worker_that_is_killed_is_followed_and_a_unit_that_kills_them_all_fails(tmp_path: Path) -> None:
    first, *others = toys(tmp_path, 4)
    units = (replace(first, does="die"), *others)
    local.run(staff_of(tmp_path, units), never)
    assert all_once(tuple(others))
    assert first.lines("begun") == MAX_LOST
    failure = Failure.of(first.folder)
    assert failure is not None
    assert "out of memory" in failure.reason


def test_workers_that_all_die_before_they_begin_end_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = toys(tmp_path, 2)
    monkeypatch.setattr(local, "live", sys.exit)  # gets a shift in place of an exit code: 1
    with pytest.raises(UserError, match="exit code 1") as told:
        local.run(staff_of(tmp_path, units), never)
    assert told.value.code == ExitCode.INTERRUPTED


def test_told_to_stop_local_workers_save_and_the_code_is_75(tmp_path: Path) -> None:
    units = toys(tmp_path, 2, steps=10_000, pause_s=0.01)
    begun = time.monotonic()

    def told() -> bool:
        return all((unit.folder / "saved.txt").exists() for unit in units) or time.monotonic() - begun > 60

    with pytest.raises(UserError, match="interrupted") as found:
        local.run(staff_of(tmp_path, units), told)
    assert found.value.code == ExitCode.INTERRUPTED
    assert not any(unit.is_done() for unit in units)
    assert all("released" in path.read_text() for path in tmp_path.glob("*/claim-*"))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_grid_killed_at_random_moments_ends_with_what_an_uninterrupted_one_has(
    tmp_path: Path, seed: int
) -> None:
    """The whole group, or the parent alone, so that its workers are orphans who must find out."""
    chance, words = random.Random(seed), [sys.executable, "-m", "tests.experiment.grids.toy_grid"]
    count = 12
    for kill in (True, True, True, False):
        grid = subprocess.Popen(
            [*words, str(tmp_path / "killed"), str(count)], cwd=ROOT, start_new_session=True
        )
        if kill:
            time.sleep(chance.uniform(0.5, 2.0))
            (os.kill if chance.random() < 0.4 else os.killpg)(grid.pid, signal.SIGKILL)
        assert grid.wait(60) in ((-signal.SIGKILL, 0) if kill else (0,))
    subprocess.run([*words, str(tmp_path / "whole"), str(count)], cwd=ROOT, check=True, timeout=60)
    results = [
        {path.parent.name: path.read_text() for path in (tmp_path / name).glob("*/result.txt")}
        for name in ("killed", "whole")
    ]
    assert results[0] == results[1]
    assert len(results[0]) == count
    assert not list((tmp_path / "killed").glob("*/claim-*"))


@pytest.mark.skipif(not has("submitit"), reason="submitit is not installed")
def test_a_job_array_of_submitit_does_each_unit_once(tmp_path: Path) -> None:
    units = toys(tmp_path, 5)
    slurm.run(staff_of(tmp_path, units, cluster="local"), never)
    assert all_once(units)
    assert list((tmp_path / "grid" / "slurm").glob("*_log.out"))


@pytest.mark.skipif(not has("submitit"), reason="submitit is not installed")
def test_told_to_stop_jobs_of_submitit_save(tmp_path: Path) -> None:
    units = toys(tmp_path, 2, steps=10_000, pause_s=0.01)
    threading.Timer(60, (tmp_path / "over").touch).start()

    def told() -> bool:
        return all((unit.folder / "saved.txt").exists() for unit in units) or (tmp_path / "over").exists()

    with pytest.raises(UserError, match="interrupted"):
        slurm.run(staff_of(tmp_path, units, cluster="local"), told)
    assert all("released" in path.read_text() for path in tmp_path.glob("*/claim-*"))


@pytest.mark.skipif(not has("submitit"), reason="submitit is not installed")
def test_what_sbatch_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of SLURM as there is without one: the script that submitit would hand to sbatch."""
    from submitit.slurm import slurm as of_slurm

    monkeypatch.setattr(of_slurm.SlurmExecutor, "affinity", classmethod(lambda cls: 1))
    scripts: list[str] = []

    def submit(command: list[str], **kwargs: Any) -> bytes:
        scripts.append(Path(command[-1]).read_text())
        return b"Submitted batch job 12"

    monkeypatch.setattr(
        of_slurm.utils, "CommandFunction", lambda command, **kw: lambda: submit(command).decode()
    )
    options = {"slurm_partition": "cpu", "timeout_min": 120}
    jobs = slurm.submitted(staff_of(tmp_path, toys(tmp_path, 2), cluster="slurm", options=options))
    (script,) = scripts
    for line in (
        "--array=0-1",
        "--partition=cpu",
        "--time=120",
        "--cpus-per-task=1",
        "--job-name=eatlab-grid",
    ):
        assert f"#SBATCH {line}" in script
    assert [job.job_id for job in jobs] == ["12_0", "12_1"]


@pytest.mark.slow
@pytest.mark.skipif(not has("ray"), reason="ray is not installed")
def test_tasks_of_a_local_ray_do_each_unit_once_and_save_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    units = toys(tmp_path / "all", 5)
    ray.run(staff_of(tmp_path / "all", units), never)
    assert all_once(units)
    long = toys(tmp_path / "long", 2, steps=10_000, pause_s=0.01)
    with pytest.raises(UserError, match="interrupted"):
        ray.run(
            staff_of(tmp_path / "long", long), lambda: all((u.folder / "saved.txt").exists() for u in long)
        )
    assert all("released" in path.read_text() for path in tmp_path.glob("long/*/claim-*"))


class FakeRay:
    """Tasks are called when they are waited for, in this process, one at a time."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.told.append(options)

    def shutdown(self) -> None:
        self.told.append({"shutdown": True})

    def remote(self, function: Any) -> Any:
        def options(**kept: Any) -> Any:
            self.told.append(kept)
            return SimpleNamespace(remote=lambda *given: lambda: function(*given))

        return SimpleNamespace(options=options)

    def wait(self, tasks: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return tasks[:1], tasks[1:]

    def get(self, tasks: list[Any]) -> list[Any]:
        return [task() for task in tasks]


def test_what_ray_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, units = FakeRay(), toys(tmp_path, 3)
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(ray, "serve_in", lambda folder, shift: local.serve(shift))
    monkeypatch.setattr("eatlab.experiment.grids.worker.signal.signal", lambda *args: None)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    ray.run(staff_of(tmp_path, units, options={"num_cpus": 2}), never)
    assert all_once(units)
    init, task, last = fake.told
    assert init["address"] == "auto"
    assert task == {"num_cpus": 2, "max_retries": MAX_LOST + 1}
    assert last == {"shutdown": True}
    assert ray.where(staff_of(tmp_path, units, cluster="ray://there:1"))["address"] == "ray://there:1"
    monkeypatch.delenv("RAY_ADDRESS")
    assert ray.where(staff_of(tmp_path, units))["num_cpus"] == 2


class FakeWandb:
    """An agent that gets every value of the sweep, once each, as a grid search hands them out."""

    def __init__(self) -> None:
        self.sweeps: list[dict[str, Any]] = []
        self.summaries: dict[str, dict[str, Any]] = {}
        self.point = ""

    def sweep(self, definition: dict[str, Any], project: str) -> str:
        self.sweeps.append(definition)
        return "abc"

    def agent(self, sweep: str, function: Any, project: str) -> None:
        for point in self.sweeps[0]["parameters"]["point"]["values"]:
            self.point = point
            function()

    def init(self, **options: Any) -> Any:
        run = SimpleNamespace(config={"point": self.point}, summary=self.summaries.setdefault(self.point, {}))
        return nullcontext(run)


def test_the_sweep_is_written_and_nothing_is_run_where_wandb_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    units = toys(tmp_path, 3)
    wandb.run(staff_of(tmp_path, units, file="experiments/sweep.yaml", words=("seeds=0",)), never)
    written = yaml.safe_load((tmp_path / "grid" / "sweep.yaml").read_text())
    assert written["method"] == "grid"
    assert written["parameters"] == {"point": {"values": ["00", "01", "02"]}}
    assert written["command"] == ["eatlab", "grid", "experiments/sweep.yaml", "seeds=0", "${args_no_hyphens}"]
    assert "wandb sweep" in capsys.readouterr().out
    assert not any(unit.is_done() for unit in units)


def test_wandb_takes_the_definition_for_a_sweep(tmp_path: Path) -> None:
    from wandb.sdk.launch.sweeps import utils  # its own reader of definitions

    wandb.write_sweep(staff_of(tmp_path, toys(tmp_path, 2), file="grid.yaml"))
    assert utils.load_sweep_config(str(tmp_path / "grid" / "sweep.yaml"))["name"] == "grid"


def test_an_agent_works_off_each_point_and_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    monkeypatch.setenv("WANDB_MODE", "online")
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr(
        wandb, "log_into", lambda run, point, units, group: logged.append((point.folder.name, group))
    )
    clips = Toy(tmp_path / "clips")
    points = (*toys(tmp_path, 3, needs=clips), Toy(tmp_path / "bad", "refuse", needs=clips))
    wandb.run(replace(staff_of(tmp_path, (clips, *points)), points=points), never)
    assert all_once((clips, *points[:3]))
    assert fake.summaries == {name: {"done": name != "bad"} for name in ("00", "01", "02", "bad")}
    assert Failure.of(points[3].folder) is not None
    assert logged == [(name, "grid") for name in ("00", "01", "02")]


@pytest.mark.parametrize(("engine", "package"), [(slurm, "submitit"), (ray, "ray")])
def test_a_package_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs {package}.*pip install 'eatlab") as told:
        engine.run(staff_of(tmp_path, toys(tmp_path, 1)), never)
    assert told.value.code == ExitCode.BAD_INPUT


def test_the_extras_are_those_that_are_named() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["slurm"][0].startswith("submitit")
    assert extras["ray"][0].startswith("ray")
    assert needed("yaml", "slurm") is yaml


def test_a_machine_that_does_not_share_the_folder_says_so(tmp_path: Path) -> None:
    shift = staff_of(tmp_path, ()).shift(0)
    with pytest.raises(UserError, match="is not on this machine"):
        serve_in(str(tmp_path / "elsewhere"), shift)
