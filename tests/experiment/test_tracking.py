"""Tracking: W&B gets what there is, and whatever becomes of it, the run goes on."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eatlab.experiment import tracking
from eatlab.experiment.sheets import write_png
from eatlab.experiment.tracking import TrackedRun, start_tracking, track
from tests.experiment.fake_wandb import RECORDING, FakeWandb

LIMIT_S = 300.0
"""Long enough for a busy machine."""


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    return FakeWandb(tmp_path, monkeypatch)


def assert_soon(holds: Callable[[], bool]) -> None:
    """Waits for something that another process does in its own time."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: str) -> bool:
    """Whether the process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def run_in(folder: Path) -> TrackedRun:
    picture = write_png(np.zeros((8, 8, 3), np.uint8), folder / "sheet.png")
    plot = folder / "plot.svg"
    plot.write_text("<svg/>")
    curve = (
        {"adapter": "deep_prompt", "seed": 1, "minutes": 0.5, "m_lmd": 1.0},
        {"adapter": "deep_prompt", "seed": 0, "minutes": 0.1, "m_lmd": 1.5, "sync": 0.8},
    )
    cells = {
        "m_lmd": {"mean": 1.0, "low": 0.9, "high": 1.1},
        "psnr": {"mean": None, "low": None, "high": None},
    }
    return TrackedRun(
        identity="1a2b3c4d",
        name="ablation deep_prompt",
        folder=folder / "run",
        config={"seeds": (0, 1)},
        curve=curve,
        table={"protocol": "p", "fingerprint": "f", "rows": {"deep_prompt": cells}},
        media={"sheet": picture, "plot": plot},
    )


def test_a_run_is_offline_under_its_identity_and_prints_nothing(tmp_path: Path, fake, capfd) -> None:
    tracked = track(run_in(tmp_path), limit_s=LIMIT_S)
    assert tracked.warning is None
    assert tracked.place == str(tmp_path / "run" / "wandb" / "offline-run-1a2b3c4d")
    ((init,),) = fake.calls("init")
    assert (init["id"], init["mode"], init["project"]) == ("1a2b3c4d", "offline", "eatlab")
    assert init["config"] == {"seeds": [0, 1]}
    assert len(fake.calls("finish")) == 1
    assert capfd.readouterr() == ("", "")


def test_curve_table_and_media_are_logged(tmp_path: Path, fake) -> None:
    track(run_in(tmp_path), limit_s=LIMIT_S)
    rows = [call[0] for call in fake.calls("log")]
    assert rows[0] == {
        "tuning/minutes": 0.1,
        "tuning/deep_prompt/seed 0/m_lmd": 1.5,
        "tuning/deep_prompt/seed 0/sync": 0.8,
    }
    assert rows[1] == {"tuning/minutes": 0.5, "tuning/deep_prompt/seed 1/m_lmd": 1.0}
    assert rows[2]["table"]["columns"][:4] == ["row", "m_lmd", "m_lmd low", "m_lmd high"]
    assert rows[2]["table"]["data"] == [["deep_prompt", 1.0, 0.9, 1.1, None, None, None]]
    assert list(rows[3]) == ["media/sheet"]
    assert len(rows) == 4
    assert fake.calls("summary") == [[{"deep_prompt/m_lmd": 1.0}]]


def test_a_tracked_point_is_not_tracked_again(tmp_path: Path, fake) -> None:
    first = track(run_in(tmp_path), limit_s=LIMIT_S)
    fake.is_("raise RuntimeError('started again')")
    assert track(run_in(tmp_path), limit_s=LIMIT_S) == first
    assert len(fake.calls("init")) == 1


def test_a_point_whose_w_and_b_folder_is_gone_is_tracked_again(tmp_path: Path, fake) -> None:
    place = Path(track(run_in(tmp_path), limit_s=LIMIT_S).place or "")
    (place / "files").rmdir()
    place.rmdir()
    assert track(run_in(tmp_path), limit_s=LIMIT_S).place == str(place)
    assert len(fake.calls("init")) == 2


@pytest.mark.parametrize(
    "broken",
    [
        "raise ImportError('no such library')",
        RECORDING.replace("def init(**k):", "def init(**k):\n    raise ValueError('no such library')"),
        RECORDING.replace('note("finish")', "raise OSError('no such library')"),
        "import sys; sys.exit('no such library')",
    ],
    ids=["import", "init", "finish", "exit"],
)
def test_a_broken_wandb_is_one_line_of_warning(tmp_path: Path, fake, capfd, broken: str) -> None:
    fake.is_(broken)
    tracked = track(run_in(tmp_path), limit_s=LIMIT_S)
    assert tracked.place is None
    assert "no such library" in (tracked.warning or "")
    assert "the run is not affected" in (tracked.warning or "")
    assert "\n" not in (tracked.warning or "")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["import", "init", "finish"])
def test_a_hanging_wandb_is_left_behind_dead(tmp_path: Path, fake, where: str) -> None:
    hang = "import time; time.sleep(600)"
    init = RECORDING.replace("def init(**k):", f"def init(**k):\n    {hang}")
    fake.is_({"import": hang, "init": init, "finish": RECORDING.replace('note("finish")', hang)}[where])
    tracker = start_tracking(run_in(tmp_path))
    tracked = tracker.wait(limit_s=1.0)
    assert tracked.place is None
    assert "did not answer within 1 s" in (tracked.warning or "")
    assert tracker.child is not None
    assert tracker.child.poll() is not None


def test_children_of_the_child_end_with_it(tmp_path: Path, fake) -> None:
    seen = tmp_path / "pid"
    fake.is_(
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(seen)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    tracker = start_tracking(run_in(tmp_path))
    assert_soon(lambda: seen.exists() and seen.read_text() != "")
    tracker.wait(limit_s=0.1)
    assert_soon(lambda: not is_alive(seen.read_text()))


def test_online_is_honoured(tmp_path: Path, fake, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert track(run_in(tmp_path), limit_s=LIMIT_S) == tracking.Tracked("https://wandb.example/run")
    ((init,),) = fake.calls("init")
    assert (init["mode"], init["resume"]) == ("online", "allow")


def test_online_without_an_account_is_written_offline_with_a_warning(
    tmp_path: Path, fake, monkeypatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("FAKE_REFUSES", "online")
    tracked = track(run_in(tmp_path), limit_s=LIMIT_S)
    assert Path(tracked.place or "").is_dir()
    assert "no account" in (tracked.warning or "")
    assert "wandb sync" in (tracked.warning or "")


def test_disabled_starts_nothing(tmp_path: Path, fake, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert track(run_in(tmp_path), limit_s=LIMIT_S) == tracking.Tracked(None)
    assert not (tmp_path / "run").exists()


def test_an_unknown_mode_is_offline_with_a_warning(tmp_path: Path, fake, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlin")
    tracked = track(run_in(tmp_path), limit_s=LIMIT_S)
    assert Path(tracked.place or "").is_dir()
    assert "WANDB_MODE=onlin is unknown" in (tracked.warning or "")


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, fake) -> None:
    (tmp_path / "run").write_text("a file stands in the way")
    tracked = track(run_in(tmp_path), limit_s=LIMIT_S)
    assert tracked.place is None
    assert "could not be started" in (tracked.warning or "")


def test_no_process_can_be_made_is_a_warning(tmp_path: Path, fake, monkeypatch) -> None:
    def refuse(*args, **more):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert "could not be started" in (track(run_in(tmp_path), limit_s=LIMIT_S).warning or "")


def test_the_real_wandb_writes_an_offline_run(tmp_path: Path, monkeypatch, capfd) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("PYTHONPATH")
    tracked = track(run_in(tmp_path), limit_s=LIMIT_S)
    assert tracked.warning is None
    place = Path(tracked.place or "")
    assert place.name.startswith("offline-run-")
    assert place.name.endswith("-1a2b3c4d")
    assert (place / "run-1a2b3c4d.wandb").stat().st_size > 0
    assert list(place.rglob("sheet*.png"))
    assert list(place.rglob("*.table.json"))
    assert capfd.readouterr() == ("", "")
    assert os.environ.get("WANDB_SILENT") is None
