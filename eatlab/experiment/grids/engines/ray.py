"""Workers as tasks of Ray, on a cluster that runs already or on one that is started here."""

from __future__ import annotations

import os
from typing import Any

from eatlab.experiment.crew import PATIENCE_S
from eatlab.experiment.grids.engines.staff import Staff, Told, needed, serve_in
from eatlab.experiment.grids.worker import MAX_LOST
from eatlab.preemption import interrupted

POLL_S = 0.5


def run(staff: Staff, told: Told) -> None:
    """Until every worker has ended. Ray starts a worker again whose process died.

    cluster: the address of one ("auto", "ray://host:port"); empty: RAY_ADDRESS, or this machine. options: of
    a task, such as num_cpus. Raises UserError if ray is missing, 75 when told to stop.
    """
    ray = needed("ray", "ray")
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(**where(staff))
    try:
        task = ray.remote(serve_in).options(**{"num_cpus": 1, "max_retries": MAX_LOST + 1} | staff.options)
        here = os.getcwd()
        wait_for(ray, [task.remote(here, staff.shift(n)) for n in range(staff.num_workers)], staff, told)
    finally:
        if is_ours:
            ray.shutdown()


def where(staff: Staff) -> dict[str, Any]:
    """What `ray.init` is told: an address, or a machine of as many cores as there are workers."""
    address = staff.cluster or os.environ.get("RAY_ADDRESS", "")
    quiet = {"include_dashboard": False, "log_to_driver": True, "logging_level": "warning"}
    if address and address != "local":
        return {"address": address, "logging_level": "warning"}
    return {"address": "local", "num_cpus": staff.num_workers} | quiet


def wait_for(ray: Any, open_tasks: list[Any], staff: Staff, told: Told) -> None:
    """See `run`; a task's own error is raised."""
    waited_s = 0.0
    while open_tasks:
        ended, open_tasks = ray.wait(open_tasks, timeout=POLL_S)
        ray.get(ended)
        if told():
            staff.tell_to_stop()
            waited_s += 0 if ended else POLL_S
            if waited_s > PATIENCE_S:
                break
    if told():
        for task in open_tasks:
            ray.cancel(task, force=True)
        raise interrupted("the grid")
