"""A crew of processes, one thread each: jobs go out, progress and results come back, and all can be told to
stop.

Two threads in one process are slower than one on small networks (small-backbone.md, section 4), so cores are
used by processes. They are spawned, never forked, and stay for all jobs, so that each loads the backbone
once.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from eatlab.atomic import disk_full, is_full
from eatlab.errors import ExitCode, UserError
from eatlab.preemption import interrupted, left_to_the_parent, stop_signals
from eatlab.training.threads import use_threads

PATIENCE_S = 60.0
"""How long a crew that was told to stop may take to save."""


@dataclass(frozen=True)
class Job:
    """`work(desk, **options)` in some process; `work` is a function of a module, options and result can be
    pickled.
    """

    name: str
    work: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """A job is at `done` of `total`; `note` says more; `finished`: its result is there; `warning`: to be
    read.
    """

    job: str
    done: int
    total: int
    note: str = ""
    finished: bool = False
    warning: str = ""


@dataclass(frozen=True)
class Desk:
    """What a job gets to talk to the outside."""

    job: str
    tell: Callable[[Progress], object]
    stop: Callable[[], bool]

    def report(self, done: int, total: int, note: str = "") -> None:
        """Says how far the job is."""
        self.tell(Progress(self.job, done, total, note))

    def warn(self, line: str) -> None:
        """A line that the user must see."""
        self.tell(Progress(self.job, 0, 1, warning=line))

    def go_on(self, done: int, total: int, note: str = "") -> None:
        """Reports, and ends the job here if all were told to stop: for work that loses little."""
        self.report(done, total, note)
        if self.stop():
            raise interrupted(self.job)


class Crew:
    """Use as a context manager. `num_workers` 0 does the jobs in this process, one after the other."""

    def __init__(self, num_workers: int, tell: Callable[[Progress], object] = lambda progress: None) -> None:
        self.num_workers, self.tell = num_workers, tell
        self.processes: list[BaseProcess] = []

    def __enter__(self) -> Crew:
        if not self.num_workers:
            self.threads = use_threads(1)
        else:
            spawn = multiprocessing.get_context("spawn")
            self.todo, self.news, self.halt = spawn.Queue(), spawn.Queue(), spawn.Event()
            self.processes = [
                spawn.Process(target=serve, args=(self.todo, self.news, self.halt, os.getpid()), daemon=True)
                for _ in range(self.num_workers)
            ]
            with left_to_the_parent():
                for process in self.processes:
                    process.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.num_workers:
            use_threads(self.threads)
        for _ in self.processes:
            self.todo.put(None)
        for process in self.processes:
            process.join(2.0 if error[0] is None else 0.1)
            if process.is_alive():
                process.kill()
                process.join()

    def run(self, jobs: Sequence[Job]) -> list[Any]:
        """Results in the order of the jobs.

        Ctrl-C and SIGTERM tell every job to save and stop, then raise UserError 75. A job's own UserError
        stops the rest in the same way and is raised here.
        """
        with stop_signals() as told:
            return self.alone(jobs, told) if not self.num_workers else self.together(jobs, told)

    def alone(self, jobs: Sequence[Job], told: Callable[[], bool]) -> list[Any]:
        results = []
        for job in jobs:
            if told():
                raise interrupted(job.name)
            results.append(job.work(Desk(job.name, self.tell, told), **job.options))
            self.tell(Progress(job.name, 1, 1, finished=True))
        return results

    def together(self, jobs: Sequence[Job], told: Callable[[], bool]) -> list[Any]:
        """Results in the order of the jobs; told to stop, or after a failure, the processes save and end."""
        for index, job in enumerate(jobs):
            self.todo.put((index, job))
        results: dict[int, Any] = {}
        failure: BaseException | None = None
        open_jobs, waited_s = set(range(len(jobs))), 0.0
        while open_jobs:
            if told() or failure:
                self.halt.set()
                waited_s += 0.2
            try:
                index, kind, value = self.news.get(timeout=0.2)
            except queue.Empty:
                self.check_alive(waited_s, failure)
                continue
            if kind == "progress":
                self.tell(value)
                continue
            open_jobs.discard(index)
            if kind == "result":
                results[index] = value
                self.tell(Progress(jobs[index].name, 1, 1, finished=True))
            elif failure is None or (is_stop(failure) and not is_stop(value)):
                failure = value
        if told() and (failure is None or is_stop(failure)):
            raise failure or interrupted("the run")
        if failure:
            raise failure
        return [results[index] for index in range(len(jobs))]

    def check_alive(self, waited_s: float, failure: BaseException | None = None) -> None:
        """A process that was killed (no memory, say) must not be waited for, nor one that does not stop.

        failure: why the others were told to stop, if one of them failed: that is raised then.
        """
        if waited_s > PATIENCE_S:
            raise failure or interrupted("a job that did not stop in time was ended: the run")
        if dead := [process for process in self.processes if not process.is_alive()]:
            raise UserError(
                f"a worker process ended without a word (exit code {dead[0].exitcode})",
                "finished parts are saved",
                "run the same command again to go on; host.workers=1 needs less memory",
                code=ExitCode.INTERRUPTED,
            )


def is_stop(error: BaseException) -> bool:
    """Whether an error only says that a job was told to stop."""
    return isinstance(error, UserError) and error.code == ExitCode.INTERRUPTED


def serve(todo: Any, news: Any, halt: Any, parent: int) -> None:
    """The life of a worker process: one thread, Ctrl-C left to the parent, jobs until None comes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    use_threads(1)

    def stop() -> bool:
        return bool(told) or halt.is_set()

    while (item := receive(todo, parent)) is not None:
        index, job = item
        try:
            if stop():
                raise interrupted(job.name)
            desk = Desk(job.name, partial(tell_parent, news, index), stop)
            news.put((index, "result", job.work(desk, **job.options)))
        except BaseException as error:
            news.put((index, "failure", portable(error)))


def tell_parent(news: Any, index: int, progress: Progress) -> None:
    news.put((index, "progress", progress))


def receive(todo: Any, parent: int) -> Any:
    """The next job; None when the parent is gone, so that no orphan keeps a core."""
    while True:
        try:
            return todo.get(timeout=1.0)
        except queue.Empty:
            if os.getppid() != parent:
                return None


def portable(error: BaseException) -> BaseException:
    """An error that survives pickling and still says where it came from."""
    if isinstance(error, UserError):
        return UserError(str(error), code=error.code)
    if isinstance(error, OSError) and is_full(error):
        return disk_full(Path(error.filename or "a file"))
    return RuntimeError("".join(traceback.format_exception(error)))
