"""A grid: many tunings or pretrainings, each run once and measured, by any number of workers on any number of
machines.

`eatlab grid experiments/sweep.yaml`. What was done before, here or by `eatlab ablation`, is not done again;
what failed is recorded and the rest goes on; a grid that was stopped, or killed, goes on with the same
command.
"""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from omegaconf import MISSING
from rich.console import Console

from eatlab.errors import ExitCode, UserError, did_you_mean, refuse_unknown
from eatlab.experiment.grids.claims import STALE_S

if TYPE_CHECKING:
    from eatlab.experiment.grids.engines.staff import Staff
    from eatlab.experiment.grids.grid_file import GridPoint
    from eatlab.experiment.grids.point_runs import PointRuns
    from eatlab.experiment.grids.units import GridUnit
    from eatlab.experiment.grids.worker import Failure

ENGINES = ("local", "slurm", "ray", "wandb")


@dataclass(frozen=True)
class GridHost:
    """Where and how. workers: processes, or jobs (0: one a core). json: also write the grid's record there.
    pictures: draw sheets, and of adapters films, of each row. track: log each point as a run of W&B's.

    stale_s: a worker of another machine that has not been heard of for so long is taken for dead.
    """

    BOUNDS: ClassVar = {"workers": (0, 1024), "stale_s": (1, 86400)}

    workers: int = 0
    runs: str = "runs"
    data: str = "data"
    json: str = ""
    pictures: bool = True
    track: bool = True
    stale_s: float = STALE_S


@dataclass(frozen=True)
class GridConfig:
    """file: the grid (experiments/sweep.yaml; grids/grid_file.py says how it is written). Any key=value of
    its points, an ablation's mostly, is laid over them; of a key that the file varies it names the values:
    seeds=0,1.

    engine: local, slurm, ray or wandb.  cluster: slurm: empty for sbatch, "local" for this machine; ray: an
    address; wandb: the sweep.  options: more for the engine: "{slurm_partition: cpu, timeout_min: 120}".
    point: only these, by their 8 hex digits.  retry: also those that failed before.  dry_run: only list them.
    """

    file: str = MISSING
    engine: str = "local"
    cluster: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    point: tuple[str, ...] = ()
    retry: bool = False
    dry_run: bool = False
    words: tuple[str, ...] = ()
    host: GridHost = field(default_factory=GridHost)


@dataclass(frozen=True)
class GridMeaning:
    """What names a grid's own folder: its points and clips."""

    units: tuple[str, ...]
    kind: str = "grid"


def run_grid(config: GridConfig) -> int:
    """Does what is left of the grid. The exit code is 0 if all is done, else that of the first point that
    failed.

    Raises UserError (2) for a grid that asks for something wrong, before anything is run; 75 when it was
    stopped.
    """
    from eatlab.experiment.grids.grid_file import read_grid

    refuse_unknown("engine", config.engine, ENGINES)
    check_words(Path(config.file), config.words)
    points = read_grid(Path(config.file), config.words)
    check_specs(config.file, points)
    if config.dry_run:
        from eatlab.experiment.grids.dry_run import list_points

        return list_points(config, points)
    from eatlab.experiment.grids.units import gallery_units, units_of

    console = Console()
    units = units_of(points, config.host)
    if config.host.pictures:
        units += gallery_units(units)
    chosen = asked_for(units, config.point)
    runs = runs_of(config, units, chosen)
    carry_out(config, units, chosen, console, runs)
    code = conclude(config, units, console)
    if runs is not None:
        log_the_rest(runs, config, console)
    return code


def check_words(file: Path, words: Sequence[str]) -> None:
    """Raises UserError for a key that neither a grid nor its points have."""
    from eatlab.experiment.config import known_keys, split_override
    from eatlab.experiment.grids.grid_file import keys_of

    if not words:
        return
    own, (command, of_points) = known_keys(GridConfig), keys_of(file)
    of_whom = "an ablation" if command == "ablation" else "a pretraining"
    for key, _ in map(split_override, words):
        if (asked := key.removeprefix("over.")) not in of_points:
            there = f"a grid has: {', '.join(own)}; and every key of {of_whom} is one of its points"
            raise UserError(f'key "{key}" is unknown', there, did_you_mean(asked, [*own, *of_points]))


def check_specs(file: str, points: Sequence[GridPoint]) -> None:
    """Raises UserError, naming the point, for an adapter that its backbone does not take or that learns
    nothing.
    """
    import torch

    from eatlab.adapters.adapter_set import AdapterSet
    from eatlab.experiment.costs import imagined

    tunings = [(point, point.tuning) for point in points if point.tuning]
    heads = {size: imagined(size) for size in dict.fromkeys(config.size for _, config in tunings)}
    seen = set()
    for point, config in tunings:
        networks = config.loss.networks
        if (asked := (point.adapter, config.size, networks)) in seen:
            continue
        seen.add(asked)
        try:
            with torch.device("meta"):
                adapters = AdapterSet(point.adapter, heads[config.size]).train_at(*networks)
        except UserError as error:
            raise UserError(f"{file}, {point.name}", str(error), code=error.code) from error
        if not adapters.touches(networks):
            there = "it has nothing that its loss can tune"
            raise UserError(f"{file}, {point.name}", there, "ask for an adapter of A2ET, such as deep_prompt")


def asked_for(units: Sequence[GridUnit], names: Sequence[str]) -> list[GridUnit]:
    """All, or the named points and what they need. Raises UserError for a name that no point has."""
    from eatlab.experiment.grids.units import GalleryUnit, PointUnit

    if not names:
        return list(units)
    points = [unit for unit in units if isinstance(unit, PointUnit)]
    for name in names:
        refuse_unknown("point", name, [unit.folder.name for unit in points])
    chosen = [unit for unit in points if unit.folder.name in names]
    needed = {unit.needs.folder: unit.needs for unit in chosen}
    return [
        *needed.values(),
        *chosen,
        *(u for u in units if isinstance(u, GalleryUnit) and u.needs in chosen),
    ]


def runs_of(config: GridConfig, units: Sequence[GridUnit], chosen: Sequence[GridUnit]) -> PointRuns | None:
    """What logs the points at W&B; None if that is not asked for, or agents of W&B's own do it."""
    from eatlab.experiment.tracking import asked_mode

    if not config.host.track or config.engine == "wandb" or asked_mode()[0] == "disabled":
        return None
    from eatlab.experiment.grids.point_runs import PointRuns
    from eatlab.experiment.grids.units import PointUnit

    points = [unit for unit in chosen if isinstance(unit, PointUnit)]
    return PointRuns(points, chosen, folder_of(units, config).name)


def carry_out(
    config: GridConfig,
    units: Sequence[GridUnit],
    chosen: Sequence[GridUnit],
    console: Console,
    runs: PointRuns | None,
) -> None:
    """Lets the engine's workers do what is left, under one display. Raises UserError (75) when stopped."""
    from eatlab.experiment.grids.dry_run import costs_of
    from eatlab.experiment.grids.watch import Watch, Watcher
    from eatlab.experiment.grids.worker import is_over, try_again
    from eatlab.preemption import interrupted, stop_signals

    if config.retry and (num := try_again(chosen)):
        console.print(f"{num} that failed before are tried again", highlight=False)
    if all(is_over(unit) for unit in chosen):
        return
    staff = staff_of(config, units, chosen)
    engine = importlib.import_module(f"eatlab.experiment.grids.engines.{config.engine}")
    watcher = Watcher(chosen, costs_of(chosen), config.host.stale_s)
    watch = Watch(console, watcher, staff.num_workers, runs.step if runs else None)
    try:
        with stop_signals() as told, watch:
            engine.run(staff, told)
    finally:
        staff.stop.unlink(missing_ok=True)
    if config.engine != "wandb" and not all(is_over(unit) for unit in chosen):
        raise interrupted("the grid, of which some points are left")


def staff_of(config: GridConfig, units: Sequence[GridUnit], chosen: Sequence[GridUnit]) -> Staff:
    """What the engine is asked to run."""
    from eatlab.experiment.grids.engines.staff import Staff
    from eatlab.experiment.grids.units import PointUnit
    from eatlab.experiment.grids.worker import is_over
    from eatlab.experiment.record import num_cores

    folder = folder_of(units, config)
    folder.mkdir(parents=True, exist_ok=True)
    num_left = sum(not is_over(unit) for unit in chosen)
    return Staff(
        units=tuple(chosen),
        num_workers=min(config.host.workers or num_cores(), num_left),
        folder=folder,
        stop=folder / f".stop-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        points=tuple(unit for unit in chosen if isinstance(unit, PointUnit)),
        cluster=config.cluster,
        file=config.file,
        words=config.words,
        stale_s=config.host.stale_s,
        options=dict(config.options),
    )


def folder_of(units: Sequence[GridUnit], config: GridConfig) -> Path:
    """The grid's own run folder."""
    from eatlab.experiment.config import identity
    from eatlab.experiment.grids.units import ClipsUnit, PointUnit

    names = sorted({unit.folder.name for unit in units if isinstance(unit, ClipsUnit | PointUnit)})
    return Path(config.host.runs) / identity(GridMeaning(tuple(names)))


def conclude(config: GridConfig, units: Sequence[GridUnit], console: Console) -> int:
    """Says what is done, what failed and why, and writes the record once nothing is left; the exit code."""
    from eatlab.atomic import write_json
    from eatlab.experiment.grids.grid_record import record_of
    from eatlab.experiment.grids.worker import is_over
    from eatlab.experiment.record import finite, write_record

    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    folder = folder_of(units, config)
    if all(is_over(unit) for unit in units):
        record = record_of(config.file, folder, units)
        say(f"{len(record['points'])} points done; {write_record(folder, record)}")
        if config.host.json:
            write_json(Path(config.host.json), finite(record))
    return report_failures(asked_for(units, config.point))


def log_the_rest(runs: PointRuns, config: GridConfig, console: Console) -> None:
    """The last points' runs, and where all lie; what failed is a line on stderr, not a failure."""
    from eatlab.preemption import stop_signals

    with stop_signals() as told, console.status("logging the last points at W&B; Ctrl-C leaves them out"):
        runs.finish(told)
    for line in runs.in_words(config.host.runs):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if warning := runs.warning():
        print(f"eatlab: {warning}", file=sys.stderr)


def report_failures(units: Sequence[GridUnit]) -> int:
    """One line each on stderr, and what to do; the first one's exit code, 0 if there is none."""
    from eatlab.experiment.grids.worker import Failure

    failed = [(unit, found) for unit in units if (found := Failure.of(unit.folder)) and not unit.is_done()]
    for unit, failure in failed:
        print(f"eatlab: {unit.name} ({unit.folder}): {told_of(failure)}", file=sys.stderr)
    if not failed:
        return int(ExitCode.DONE)
    do = "mend what can be mended, then the same command with retry=true tries again"
    print(f"eatlab: {len(failed)} of {len(units)} failed; {do}", file=sys.stderr)
    return failed[0][1].exit_code


def told_of(failure: Failure) -> str:
    """The reason, how often it was tried if more than once, and where the traceback lies if there is one."""
    times = f" ({failure.attempts} times)" if failure.attempts > 1 else ""
    return f"{failure.reason}{times}" + (f"; see {failure.traceback} there" if failure.traceback else "")
