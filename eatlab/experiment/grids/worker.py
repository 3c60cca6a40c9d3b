"""A worker of a grid: it goes through the units in order and does each that is neither done nor somebody's.

Every engine runs this loop; any number of them, on any machines that share the folder, do each unit once. No
torch here: a unit brings what it needs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from eatlab.atomic import disk_full, is_full, write_json, write_text
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.crew import Desk, Progress, is_stop
from eatlab.experiment.grids.claims import BEAT_S, STALE_S, Claim, num_lost, take
from eatlab.preemption import interrupted

FAILED, TRACEBACK = "failed.json", "traceback.txt"
MAX_LOST = 5
"""So many workers may end in a row on one unit without a word; then it counts as failed. Kills of the whole
grid count too, so there are more than a few."""
WAIT_S = 2.0
"""How long a worker waits before it looks again at what others hold."""
LOOK_S = 1.0
"""How often a working worker looks whether it should stop."""
STOPS = (signal.SIGTERM, signal.SIGUSR2)
"""What tells a worker to save and end; submitit has SLURM send the second before its time is over."""


class Unit(Protocol):
    """One piece of work; can be pickled. name: for people. folder: holds its claim and its failure.

    needs: the unit that must be done before.
    """

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def needs(self) -> Unit | None: ...

    def is_done(self) -> bool:
        """Whether its whole result is there."""

    def work(self, desk: Desk) -> None:
        """Does what is left of it. Raises UserError (75) when told to stop, with everything saved."""


@dataclass(frozen=True)
class Failure:
    """Why a unit failed. exit_code: as the shell would see it. traceback: a file beside, for our own
    mistakes.

    again: it is to be tried once more.
    """

    reason: str
    exit_code: int
    when: str
    attempts: int = 1
    traceback: str = ""
    again: bool = False

    @classmethod
    def of(cls, folder: Path) -> Failure | None:
        """The one recorded in a folder; None if there is none, or it is to be tried again."""
        found = recorded(folder)
        return None if found is None or found.again else found


@dataclass(frozen=True)
class Shift:
    """What a worker is given. stop: a file that tells all to stop when it appears. parent: process whose end
    is a worker's end; 0: none. stays: waits for what others hold, and takes over what they leave.
    """

    units: tuple[Unit, ...]
    worker: str
    stop: Path
    parent: int = 0
    stays: bool = True
    stale_s: float = STALE_S
    beat_s: float = BEAT_S
    wait_s: float = WAIT_S


def serve(shift: Shift) -> int:
    """The life of a worker's process: the exit code, 75 if it was told to stop (SIGTERM, the file, no
    parent).

    Ctrl-C is left to the parent. Whatever else goes wrong is one line on stderr.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    told: list[int] = []
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in STOPS:
            signal.signal(number, lambda number, frame: told.append(number))
    try:
        work_off(shift, lambda: bool(told))
    except UserError as error:
        print(f"eatlab: {shift.worker}: {error}", file=sys.stderr)
        return int(error.code)
    except SystemExit:  # how Lightning answers SIGTERM, after the step in which all was saved
        return int(ExitCode.INTERRUPTED)
    except OSError as error:
        if not is_full(error):
            raise
        print(f"eatlab: {shift.worker}: {disk_full(Path(error.filename or 'a file'))}", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    return int(ExitCode.DONE)


def work_off(shift: Shift, told: Callable[[], bool] = lambda: False) -> None:
    """Does every unit that is left. Raises UserError (75) when told to stop, or for a full disk."""
    left = list(shift.units)
    while left:
        acted = False
        for unit in list(left):
            if is_to_stop(shift, told):
                raise interrupted(f"{shift.worker} of the grid")
            if is_over(unit):
                left.remove(unit)
            elif is_ready(unit) and (claim := take(unit.folder, shift.worker, stale_s=shift.stale_s)):
                do(unit, claim, shift, told)
                acted = True
        if not left or (not acted and not shift.stays and all(is_ready(unit) for unit in left)):
            return
        if not acted:
            time.sleep(shift.wait_s)


def is_over(unit: Unit) -> bool:
    """Whether nothing can be done of it: it is done, or failed, or what it needs failed."""
    if unit.is_done() or Failure.of(unit.folder):
        return True
    return unit.needs is not None and not unit.needs.is_done() and is_over(unit.needs)


def is_ready(unit: Unit) -> bool:
    return unit.needs is None or unit.needs.is_done()


def is_to_stop(shift: Shift, told: Callable[[], bool]) -> bool:
    return told() or shift.stop.exists() or bool(shift.parent and os.getppid() != shift.parent)


def do(unit: Unit, claim: Claim, shift: Shift, told: Callable[[], bool]) -> None:
    """One unit under a claim, which is given back whatever happens; a failure is recorded, a stop raised.

    Who was taken for dead leaves the unit to who followed.
    """
    if unit.is_done():  # between the look and the claim
        claim.clear()
        return
    if (lost := num_lost(unit.folder, claim.number)) >= MAX_LOST:
        fail(unit.folder, gone(lost))
        claim.release()
        return
    try:
        with beating(claim, shift, told) as desk:
            unit.work(desk)
    except BaseException as error:
        if is_failure(error) and not claim.is_lost:
            fail(unit.folder, error)
        claim.release()
        if is_failure(error) or (is_stop(error) and claim.is_lost):
            return
        raise
    (unit.folder / FAILED).unlink(missing_ok=True)
    (unit.folder / TRACEBACK).unlink(missing_ok=True)
    claim.clear()


@contextmanager
def beating(claim: Claim, shift: Shift, told: Callable[[], bool]) -> Iterator[Desk]:
    """Inside, a thread says that this worker lives and how far it is, and looks whether it should stop."""
    news = [Progress(shift.worker, 0, 0)]
    over, halt = threading.Event(), threading.Event()

    def tell(progress: Progress) -> None:
        news[0] = news[0] if progress.warning else progress

    def beat() -> None:
        spoke = time.monotonic()
        while not over.wait(min(LOOK_S, shift.beat_s)):
            if claim.is_lost or is_to_stop(shift, told):
                halt.set()
            if time.monotonic() - spoke >= shift.beat_s and not claim.is_lost:
                with suppress(OSError):  # a full disk must not end the thread that hears "stop"
                    claim.beat(news[0].done, news[0].total, news[0].note)
                spoke = time.monotonic()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield Desk(shift.worker, tell, lambda: told() or halt.is_set())
    finally:
        over.set()
        thread.join()


def is_failure(error: BaseException) -> bool:
    """Whether an error is of this unit alone: not a stop, not a full disk, which ends the rest too."""
    return isinstance(error, Exception) and not is_stop(error) and not is_full(error)


def gone(lost: int) -> UserError:
    return UserError(
        f"its worker ended without a word, {lost} times in a row",
        "the system may have run out of memory",
        "host.workers=1 needs less",
    )


def fail(folder: Path, error: BaseException) -> Failure:
    """Records why a unit failed, and gives the record back."""
    before = recorded(folder)
    attempts = before.attempts + 1 if before else 1
    when = datetime.now(UTC).isoformat(timespec="seconds")
    if isinstance(error, UserError):
        failure = Failure(str(error), int(error.code), when, attempts)
    else:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        write_text(folder / TRACEBACK, "".join(traceback.format_exception(error)))
        code = int(ExitCode.BAD_INPUT) if isinstance(error, MemoryError | OSError) else 1
        failure = Failure(reason, code, when, attempts, TRACEBACK)
    write_json(folder / FAILED, asdict(failure))
    return failure


def recorded(folder: Path) -> Failure | None:
    """The failure that a folder's file tells of, to be tried again or not; None if it tells of none."""
    try:
        told: dict[str, Any] = json.loads((folder / FAILED).read_text(encoding="utf-8"))
        return Failure(**told)
    except (OSError, ValueError, TypeError):
        return None


def try_again(units: Sequence[Unit]) -> int:
    """Marks failed units as to be tried once more, and says how many those are."""
    failed = [(unit, failure) for unit in units if (failure := Failure.of(unit.folder))]
    for unit, failure in failed:
        write_json(unit.folder / FAILED, asdict(replace(failure, again=True)))
    return len(failed)
