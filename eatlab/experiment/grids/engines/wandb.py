"""Workers as agents of a W&B sweep: W&B hands out the points, claims keep each from being run twice."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from eatlab.atomic import write_text
from eatlab.errors import UserError
from eatlab.experiment.crew import is_stop
from eatlab.experiment.grids.engines.staff import Staff, Told, needed
from eatlab.experiment.grids.point_runs import log_into
from eatlab.experiment.grids.worker import Unit, work_off
from eatlab.preemption import interrupted

PROJECT = "eatlab"


def run(staff: Staff, told: Told) -> None:
    """Writes `sweep.yaml` into the grid's folder; with cluster=ENTITY/PROJECT/SWEEP, works for that sweep.

    W&B stays offline unless WANDB_MODE=online: then, without a cluster, the sweep is made there and this
    process is its first agent. Raises UserError (75) when told to stop.
    """
    path = write_sweep(staff)
    sweep, runs = staff.cluster, staff.folder.parent
    online = os.environ.get("WANDB_MODE") == "online"
    if not sweep and not online:
        print(
            f"`wandb sweep {path}` makes the sweep",
            f"`wandb agent SWEEP` runs it, on any machine that shares {runs}",
            sep="\n",
        )
        return
    wandb = needed("wandb", "wandb")
    sweep = sweep or wandb.sweep(sweep_of(staff), project=PROJECT)
    work_for(wandb, sweep, staff, told)


def write_sweep(staff: Staff) -> Path:
    """The definition as YAML, as `wandb sweep` reads it."""
    path = staff.folder / "sweep.yaml"
    write_text(path, yaml.safe_dump(sweep_of(staff), sort_keys=False, allow_unicode=True))
    return path


def sweep_of(staff: Staff) -> dict[str, Any]:
    """A grid search over the points' names; each runs as `eatlab grid FILE point=ID`."""
    return {
        "program": "eatlab",
        "name": Path(staff.file).stem,
        "project": PROJECT,
        "method": "grid",
        "parameters": {"point": {"values": [unit.folder.name for unit in staff.points]}},
        "command": ["eatlab", "grid", staff.file, *staff.words, "${args_no_hyphens}"],
    }


def work_for(wandb: Any, sweep: str, staff: Staff, told: Told) -> None:
    """An agent in this process: it works off each point that W&B names, until there is none. The runs that
    the sweep opens are the points' own.
    """
    points = {unit.folder.name: unit for unit in staff.points}

    def work_on_one() -> None:
        with wandb.init(project=PROJECT, group=staff.folder.name) as run:
            point = points[run.config["point"]]
            try:
                work_off(replace(staff.shift(0), units=with_needs(point)), told)
            except UserError as error:
                if not is_stop(error):
                    raise
            run.summary["done"] = is_done = point.is_done()
            if is_done:
                log_into(run, point, staff.units, staff.folder.name)

    wandb.agent(sweep, function=work_on_one, project=PROJECT)
    if told():
        raise interrupted("the grid")


def with_needs(unit: Unit) -> tuple[Unit, ...]:
    """A unit, and before it what it needs."""
    return (unit,) if unit.needs is None else (*with_needs(unit.needs), unit)
