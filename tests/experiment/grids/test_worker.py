"""The loop of a worker: each unit once, failures recorded, the rest goes on, told to stop it saves."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from eatlab.errors import ExitCode, UserError
from eatlab.experiment.grids import worker
from eatlab.experiment.grids.claims import Claim, asdict, holder, numbers, take
from eatlab.experiment.grids.worker import MAX_LOST, Failure, serve, try_again, work_off
from tests.experiment.grids.toy_units import Toy, shift_of, toys


def test_every_unit_is_done_and_leaves_no_claim(tmp_path: Path) -> None:
    units = toys(tmp_path, 4)
    work_off(shift_of(tmp_path, units))
    assert all(unit.is_done() and unit.lines("ended") == 1 for unit in units)
    assert not list(tmp_path.glob("*/claim-*"))
    work_off(shift_of(tmp_path, units))
    assert all(unit.lines("begun") == 1 for unit in units)


def test_several_workers_at_once_do_each_unit_once(tmp_path: Path) -> None:
    units = toys(tmp_path, 12, pause_s=0.005)
    workers = [threading.Thread(target=work_off, args=(shift_of(tmp_path, units),)) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert all(unit.is_done() and unit.lines("begun") == 1 for unit in units)


@pytest.mark.parametrize(
    ("does", "code", "reason", "has_traceback"),
    [
        ("refuse", 2, "it will not do; there is nothing", False),
        ("diverge", 5, "the loss is nan", False),
        ("trip", 1, "KeyError: 'a mistake'", True),
    ],
)
def test_a_failure_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, does: str, code: int, reason: str, has_traceback: bool
) -> None:
    first, *others = toys(tmp_path, 3)
    first = replace(first, does=does)
    work_off(shift_of(tmp_path, (first, *others)))
    assert all(unit.is_done() for unit in others)
    failure = Failure.of(first.folder)
    assert failure is not None
    assert (failure.exit_code, failure.reason, failure.attempts) == (code, reason, 1)
    assert bool(failure.traceback) == has_traceback
    assert not has_traceback or "toy_units.py" in (first.folder / failure.traceback).read_text()
    assert holder(first.folder) is None


def test_what_failed_is_tried_again_only_when_that_is_asked(tmp_path: Path) -> None:
    (unit,) = toys(tmp_path, 1, does="refuse")
    for _ in range(2):
        work_off(shift_of(tmp_path, (unit,)))
    assert unit.lines("begun") == 1
    assert try_again([unit]) == 1
    assert Failure.of(unit.folder) is None
    work_off(shift_of(tmp_path, (unit,)))
    failure = Failure.of(unit.folder)
    assert failure is not None
    assert failure.attempts == 2
    try_again([unit])
    mended = replace(unit, does="work")
    work_off(shift_of(tmp_path, (mended,)))
    assert mended.is_done()
    assert not list(unit.folder.glob("failed*"))


def test_a_unit_waits_for_what_it_needs_and_is_left_if_that_failed(tmp_path: Path) -> None:
    clips = Toy(tmp_path / "clips")
    points = toys(tmp_path, 2, needs=clips)
    work_off(shift_of(tmp_path, (*points, clips)))
    assert all(unit.is_done() for unit in (clips, *points))
    bad = Toy(tmp_path / "bad", does="refuse")
    left, free = Toy(tmp_path / "left", needs=bad), Toy(tmp_path / "free")
    work_off(shift_of(tmp_path, (left, bad, free)))
    assert free.is_done()
    assert not left.folder.exists()


def test_told_to_stop_it_saves_gives_its_claim_back_and_goes_on_from_there(tmp_path: Path) -> None:
    (unit,) = toys(tmp_path, 1, steps=1000, pause_s=0.005)
    shift = shift_of(tmp_path, (unit,))
    threading.Timer(0.3, shift.stop.touch).start()
    with pytest.raises(UserError, match="interrupted") as told:
        work_off(shift)
    assert told.value.code == ExitCode.INTERRUPTED
    assert holder(unit.folder) is None
    assert Failure.of(unit.folder) is None
    saved = int((unit.folder / "saved.txt").read_text())
    assert 0 < saved < 1000
    shift.stop.unlink()
    work_off(replace(shift, units=(replace(unit, steps=saved + 1),)))
    assert unit.is_done()


def test_a_full_disk_ends_the_worker_and_is_no_failure_of_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(unit: Toy, desk: object) -> None:
        raise OSError(28, "No space left on device", "a file")

    monkeypatch.setattr(Toy, "work", fill)
    monkeypatch.setattr(worker, "STOPS", ())
    monkeypatch.setattr(worker.signal, "signal", lambda *args: None)
    (unit,) = toys(tmp_path, 1)
    assert serve(shift_of(tmp_path, (unit,))) == ExitCode.INTERRUPTED
    assert "the disk is full" in capsys.readouterr().err
    assert Failure.of(unit.folder) is None
    assert holder(unit.folder) is None


def abandoned(claim: Claim | None) -> None:
    """As a worker on another machine leaves its claim that is switched off."""
    assert claim is not None
    claim.path.write_text(json.dumps(asdict(replace(claim.holding, host="another", beat=0.0))))


def test_who_stays_waits_for_a_stale_claim_and_who_does_not_leaves_it(tmp_path: Path) -> None:
    (unit,) = toys(tmp_path, 1)
    claim = take(unit.folder, "another")
    assert claim is not None
    claim.path.write_text(json.dumps(asdict(replace(claim.holding, host="another", beat=time.time()))))
    work_off(shift_of(tmp_path, (unit,), stays=False, stale_s=0.3))
    assert not unit.is_done()
    work_off(shift_of(tmp_path, (unit,), stays=True, stale_s=0.3))
    assert unit.is_done()


def test_a_unit_that_ends_worker_after_worker_fails_in_the_end(tmp_path: Path) -> None:
    (unit,) = toys(tmp_path, 1)
    for _ in range(MAX_LOST):
        abandoned(take(unit.folder, "another"))
    work_off(shift_of(tmp_path, (unit,)))
    failure = Failure.of(unit.folder)
    assert failure is not None
    assert "ended without a word" in failure.reason
    try_again([unit])
    work_off(shift_of(tmp_path, (unit,)))
    assert unit.is_done()


def test_who_was_taken_for_dead_stops_and_leaves_the_unit_to_who_followed(tmp_path: Path) -> None:
    first, second = toys(tmp_path, 2, steps=60, pause_s=0.01)
    shift = shift_of(tmp_path, (first, second))
    slow = threading.Thread(target=work_off, args=(shift,))
    slow.start()
    while not (first.folder / "saved.txt").exists():
        time.sleep(0.005)
    (number,) = numbers(first.folder)
    follower = Claim(first.folder, number + 1, holder(first.folder))  # type: ignore[arg-type]
    follower.tell()
    while not second.is_done():
        time.sleep(0.02)
    assert not first.is_done()
    follower.release()
    slow.join()
    assert first.is_done()
    assert second.is_done()
