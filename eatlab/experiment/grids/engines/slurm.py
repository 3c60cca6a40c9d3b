"""Workers as one job array of SLURM, by submitit; cluster=local runs the same jobs on this machine."""

from __future__ import annotations

import os
import time
from typing import Any

from eatlab.experiment.crew import PATIENCE_S
from eatlab.experiment.grids.engines.staff import Staff, Told, needed, serve_in
from eatlab.preemption import interrupted

POLL_S = 1.0


def run(staff: Staff, told: Told) -> None:
    """Submits the workers and waits for them. The first stays until all is done, and takes over what a lost
    node leaves; the others give their node back once nothing is left to take.

    options: of `submitit.AutoExecutor.update_parameters`, such as slurm_partition or timeout_min. Their logs
    lie in `slurm` in the grid's folder. Raises UserError if submitit is missing, 75 when told to stop.
    """
    jobs = submitted(staff)
    waited_s = 0.0
    while not all(job.done() for job in jobs):
        if told():
            staff.tell_to_stop()
            waited_s += POLL_S
            if waited_s > PATIENCE_S:
                break
        time.sleep(POLL_S)
    if told():
        for job in jobs:  # those that still wait for a node
            job.cancel()
        raise interrupted("the grid")


def submitted(staff: Staff) -> list[Any]:
    """The jobs of the array."""
    submitit = needed("submitit", "slurm")
    executor = submitit.AutoExecutor(folder=staff.folder / "slurm", cluster=staff.cluster or None)
    executor.update_parameters(
        **{"name": "eatlab-grid", "cpus_per_task": 1, "timeout_min": 24 * 60} | staff.options
    )
    shifts = [staff.shift(number, stays=number == 0) for number in range(staff.num_workers)]
    return list(executor.map_array(serve_in, [os.getcwd()] * len(shifts), shifts))
