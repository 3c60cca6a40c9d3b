"""Workers as processes of this machine, one thread each; one that is killed is followed by another."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess

from eatlab.errors import ExitCode, UserError
from eatlab.experiment.crew import PATIENCE_S
from eatlab.experiment.grids.engines.staff import Staff, Told
from eatlab.experiment.grids.worker import MAX_LOST, Shift, is_over, serve
from eatlab.preemption import interrupted, left_to_the_parent

POLL_S = 0.1


def run(staff: Staff, told: Told) -> None:
    """Until every unit is done or failed. Raises UserError (75) when told to stop, when a disk is full, and
    when worker after worker ends without a word.
    """
    workers = {number: started(staff, number) for number in range(staff.num_workers)}
    try:
        tend(workers, staff, told)
    finally:
        for process in workers.values():
            if process.is_alive():
                process.kill()
            process.join()


def tend(workers: dict[int, BaseProcess], staff: Staff, told: Told) -> None:
    """Waits for all; see `run`."""
    deaths, over_before, waited_s, was_stopped = 0, 0, 0.0, False
    while any(process.is_alive() for process in workers.values()) or not told():
        if told():
            staff.tell_to_stop()
            waited_s += POLL_S
            if waited_s > PATIENCE_S:
                break
        ended = {number: process for number, process in workers.items() if not process.is_alive()}
        for number, process in ended.items():
            del workers[number]
            if process.exitcode == ExitCode.INTERRUPTED:
                was_stopped = True
            elif process.exitcode != ExitCode.DONE and not told():
                over = sum(map(is_over, staff.units))
                deaths = deaths + 1 if over == over_before else 1
                over_before = over
                if deaths > MAX_LOST + staff.num_workers:
                    staff.tell_to_stop()
                    raise lost_all(process.exitcode)
                workers[number] = started(staff, number)
        if not workers:
            break
        time.sleep(POLL_S)
    if told() or was_stopped:
        raise interrupted("the grid")


def started(staff: Staff, number: int) -> BaseProcess:
    """A fresh process, never a forked one: it would inherit torch's threads."""
    shift = staff.shift(number, parent=os.getpid())
    process = multiprocessing.get_context("spawn").Process(target=live, args=(shift,), name=shift.worker)
    with left_to_the_parent():
        process.start()
    return process


def live(shift: Shift) -> None:
    """The whole life of the process."""
    sys.exit(serve(shift))


def lost_all(exit_code: int | None) -> UserError:
    return UserError(
        f"one worker after another ended without a word (exit code {exit_code})",
        "finished parts are saved",
        "run the same command again to go on; host.workers=1 needs less memory",
        code=ExitCode.INTERRUPTED,
    )
