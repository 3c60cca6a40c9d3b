"""The clips as jobs: each ends as a small tar or a reason, kept under `work/`: a stopped run goes on there.

A finished job is named by what it was made from: its files' checksums, its name, the options, the tools'
versions.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from data_recipes.mead.clip import ClipOptions, film_clip, options_of, sums_of
from data_recipes.mead.layout import Take
from eatlab.atomic import is_full, write_bytes
from eatlab.data import members, shards
from eatlab.data.faces import FaceFinder
from eatlab.data.media import FootageError
from eatlab.data.members import Sample
from eatlab.errors import UserError
from eatlab.preemption import left_to_the_parent

SET_NAME = "mead"
RECIPE_VERSION = 3
TOOLS = ("av", "mediapipe", "numpy", "opencv-python-headless")
_FINDER: list[FaceFinder] = []


@dataclass(frozen=True)
class Reject:
    """A line of the reject log. reason: one of the closed list of data.md 5; stage: where it was found.

    passing: perhaps the machine's fault and not the film's, so that another run may accept it.
    """

    path: str
    key: str
    reason: str
    detail: str
    value: str = ""
    limit: str = ""
    sha256: str = ""
    passing: bool = False

    @property
    def stage(self) -> str:
        """The step that a reason belongs to."""
        return STAGES.get(self.reason, "decode")


STAGES = {
    **dict.fromkeys(("bad_label", "not_in_split"), "scan"),
    **dict.fromkeys(("lfs_pointer", "no_video", "too_short"), "probe"),
    **dict.fromkeys(("no_audio", "silent", "av_mismatch"), "sound"),
    **dict.fromkeys(("no_face", "several_faces", "cut"), "faces"),
    **dict.fromkeys(("too_small", "border", "moved"), "crop"),
    "duplicate": "pack",
}


@dataclass(frozen=True)
class Job:
    """One clip to do: the take, the folder it is in, the options, and the folder of finished work."""

    take: Take
    folder: Path
    options: ClipOptions
    work: Path


@dataclass(frozen=True)
class Outcome:
    """What came of a job: the tar with its samples, or why there is none."""

    take: Take
    tar: Path | None
    reject: Reject | None


def do_all(jobs: Sequence[Job], workers: int, progress: Callable[[Outcome], object]) -> list[Outcome]:
    """The outcomes in the order of the jobs, for any number of workers. What is finished stays."""
    outcomes: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        outcomes[outcome.take.key] = outcome
        progress(outcome)

    left = list(jobs)
    while left:
        try:
            do_some(left, workers, note)
        except BrokenProcessPool:
            suspects = [job for job in left if job.take.key not in outcomes][: 2 * workers + 1]
            for job in suspects:  # a pool hands out its jobs in order, so many at once
                note(do_apart(job))
        left = [job for job in left if job.take.key not in outcomes]
    return [outcomes[job.take.key] for job in jobs]


def do_some(jobs: Sequence[Job], workers: int, note: Callable[[Outcome], object]) -> None:
    """Each outcome as it comes. Raises BrokenProcessPool if a worker died; what it was at is not known.

    What the others had finished by then has been noted.
    """
    # Fresh processes: forked ones would inherit the threads of whoever called.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_worker)
    try:
        with left_to_the_parent():
            todo = [pool.submit(do, job) for job in jobs]
        died: BrokenProcessPool | None = None
        for future in as_completed(todo):
            try:
                outcome = future.result()
            except BrokenProcessPool as error:
                died = error
            else:
                note(outcome)
        if died:
            raise died
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def do_apart(job: Job) -> Outcome:
    """A clip in a process of its own: one that kills it is rejected."""
    outcomes: list[Outcome] = []
    try:
        do_some([job], 1, outcomes.append)
    except BrokenProcessPool:
        died = "the process that read it died: its decoder crashed, or memory ran out"
        outcomes.append(Outcome(job.take, None, in_passing(job.take, died)))
    return outcomes[0]


def start_worker() -> None:
    """One thread, and no chatter: the models' C++ code writes to the terminal past every switch it has."""
    cv2.setNumThreads(1)
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def do(job: Job) -> Outcome:
    """One clip, unless it was done before. UserError without mediapipe, or (75) if the disk is full."""
    try:
        sums = sums_of(job.take, job.folder)
    except OSError as error:
        told = f"cannot be read ({error.strerror}: {error.filename})"
        return Outcome(job.take, None, in_passing(job.take, told))
    name = name_of(job, sums)
    tar, reason = job.work / name[:2] / f"{name}.tar", job.work / name[:2] / f"{name}.json"
    if tar.is_file():
        return Outcome(job.take, tar, None)
    if reason.is_file():
        return Outcome(job.take, None, Reject(**json.loads(reason.read_bytes())))
    tar.parent.mkdir(parents=True, exist_ok=True)
    try:
        clips = film_clip(job.take, job.folder, job.options, finder(), sums=sums)
    except FootageError as fault:
        reject = rejected(job.take, fault, sums)
        write_bytes(reason, members.canonical_json(asdict(reject)))
        return Outcome(job.take, None, reject)
    except Exception as error:
        if isinstance(error, UserError) or is_full(error):
            raise
        # One film must not end the work of hours, whatever breaks over it.
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(job.take, None, in_passing(job.take, told, sums))
    write_bytes(tar, shards.pack([members.encode(clip, SET_NAME) for clip in clips]))
    return Outcome(job.take, tar, None)


def in_passing(take: Take, told: str, sums: dict[str, str] | None = None) -> Reject:
    """The line for what may be the machine's fault; it is not kept with the finished work."""
    return replace(rejected(take, FootageError("corrupt", told), sums or {}), passing=True)


def finder() -> FaceFinder:
    """The worker's models, loaded with its first clip."""
    if not _FINDER:
        _FINDER.append(FaceFinder())
    return _FINDER[0]


def rejected(take: Take, fault: FootageError, sums: dict[str, str]) -> Reject:
    """The line of the log for a fault."""
    value, limit = str(fault.value), str(fault.limit)
    return Reject(take.path, take.key, fault.reason, fault.detail, value, limit, sums.get(take.path, ""))


def name_of(job: Job, sums: dict[str, str]) -> str:
    """32 hex digits of all that the result depends on."""
    made_from = [
        RECIPE_VERSION,
        members.SCHEMA,
        asdict(job.take),
        options_of(job.options),
        sums,
        tool_versions(),
    ]
    return hashlib.sha256(members.canonical_json(made_from)).hexdigest()[:32]


def tool_versions() -> dict[str, str]:
    """The packages that decide the pixels and landmarks."""
    versions: dict[str, str] = {}
    for package in TOOLS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return versions


def read_work(tar: Path) -> tuple[Sample, Sample]:
    """The clip and its portrait. UserError DATA_DAMAGED if the file is not what was written."""
    try:
        with open(tar, "rb") as file:
            clip, portrait = shards.group(shards.read_members(file, tar.stat().st_size))
        for sample in (clip, portrait):
            members.check_sums(sample, members.read_description(sample)["sha256"])
    except (members.DamagedError, members.RefusedError) as error:
        shards.refuse(error, str(tar), "delete this file and run the same command: it will be made again")
    except ValueError as error:
        shards.refuse(members.DamagedError(str(error)), str(tar), "delete this file and run the same command")
    return clip, portrait


def described(sample: Sample) -> dict[str, Any]:
    """The json of a sample that `read_work` gave."""
    return dict(json.loads(sample.members["json"]))
