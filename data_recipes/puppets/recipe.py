"""Draws the puppet corpus and writes it as shards with index and checksums: same preset, same bytes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from eatlab.data.members import Sample, encode
from eatlab.data.puppets.corpus import PRESETS, SPLITS, Scene, scenes, shoot
from eatlab.data.shards import data_fingerprint, has_shards, write_shards
from eatlab.errors import UserError
from eatlab.preemption import left_to_the_parent

RECIPE_VERSION = 1
PER_SHARD = 128
PROGRESS_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)
PARTS = tuple(f"{name}/{split}" for name, splits in SPLITS.items() for split in splits)


@dataclass(frozen=True)
class HostConfig:
    """What may differ between machines without changing a byte: folder, worker processes (0: one a core)."""

    BOUNDS: ClassVar = {"workers": (0, 1024)}

    folder: str = "data/puppets"
    workers: int = 0


@dataclass(frozen=True)
class PuppetsConfig:
    """preset: "small" or "tiny".  parts: "set/split" pieces of the corpus to write."""

    preset: str = "small"
    parts: tuple[str, ...] = PARTS
    host: HostConfig = field(default_factory=HostConfig)


def run(config: PuppetsConfig) -> int:
    """`eatlab data puppets`: writes what is not there yet and says where it lies."""
    folder = prepare(
        config.preset, config.parts, folder=Path(config.host.folder), workers=config.host.workers
    )
    for part in config.parts:
        set_name, split = part.split("/")
        print(f"{part}: {folder} ({data_fingerprint(folder, set_name, split)})")
    return 0


def prepare(preset: str, parts: Sequence[str] = PARTS, *, folder: Path, workers: int = 0) -> Path:
    """The folder with the shards of these parts, drawn if they are absent.

    Raises UserError for an unknown preset or part.
    """
    if preset not in PRESETS:
        raise UserError(f"puppets preset {preset!r} is unknown", f"there are: {', '.join(PRESETS)}")
    if unknown := [part for part in parts if part not in PARTS]:
        raise UserError(f"puppets part {unknown[0]!r} is unknown", f"there are: {', '.join(PARTS)}")
    out = folder / preset
    missing = [part for part in parts if not has_shards(out, *part.split("/"))]
    if missing:
        draw(preset, missing, out, workers or os.cpu_count() or 1)
    return out


def draw(preset: str, parts: Sequence[str], out: Path, workers: int) -> None:
    """Draws and writes the parts in the order of the corpus; any number of workers gives the same bytes."""
    recipe = {"name": "puppets", "version": RECIPE_VERSION, "preset": asdict(PRESETS[preset])}
    with Progress(*PROGRESS_COLUMNS) as progress, studio(workers) as shoot_all:
        for part in parts:
            set_name, split = part.split("/")
            todo = scenes(preset, set_name, split)
            task = progress.add_task(f"drawing puppets {part}", total=len(todo))
            samples = shoot_all([(scene, set_name) for scene in todo])
            report = partial(_report, progress, task)
            write_shards(out, set_name, split, samples, per_shard=PER_SHARD, recipe=recipe, progress=report)


class ShootAll(Protocol):
    """Draws jobs, a scene and its set each, in their order."""

    def __call__(self, jobs: list[tuple[Scene, str]]) -> Iterator[Sample]: ...


@contextmanager
def studio(workers: int) -> Iterator[ShootAll]:
    """What draws scenes, in this process or in several."""
    if workers == 1:
        yield partial(map, shoot_encoded)
        return
    # Fresh processes: forked ones would inherit the threads of whoever called.
    with left_to_the_parent():
        pool = multiprocessing.get_context("spawn").Pool(workers)
    with pool:
        yield partial(pool.imap, shoot_encoded, chunksize=8)


def shoot_encoded(job: tuple[Scene, str]) -> Sample:
    """One scene, drawn and encoded where it is drawn."""
    scene, set_name = job
    return encode(shoot(scene), set_name)


def _report(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)
