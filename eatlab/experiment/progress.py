"""What a user sees while a crew works: a bar for each running job in a terminal, now and then a line in a
log.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from eatlab.experiment.crew import Progress

EVERY_S = 15.0
"""How often a log that is no terminal gets a line."""


class Board:
    """Use as a context manager; call it with each Progress. `num_jobs` is how many jobs the whole run has."""

    def __init__(self, console: Console, num_jobs: int) -> None:
        self.console, self.num_jobs = console, num_jobs
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[note]}"),
        )
        self.bars = Bars(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.whole = self.bars.add_task("all", total=num_jobs, note="steps")
        self.tasks: dict[str, TaskID] = {}
        self.done: set[str] = set()
        self.spoke_at = time.monotonic()

    def __enter__(self) -> Board:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def __call__(self, news: Progress) -> None:
        """A job's bar appears with its first report and goes with its result."""
        if news.warning:
            self.console.print(f"note: {news.warning}", markup=False, highlight=False)
            return
        if news.finished:
            self.finish(news.job)
            return
        if news.job not in self.tasks:
            self.tasks[news.job] = self.bars.add_task(news.job, total=news.total, note="")
        self.bars.update(self.tasks[news.job], completed=news.done, total=news.total, note=news.note)
        if not self.console.is_terminal and time.monotonic() - self.spoke_at > EVERY_S:
            self.say(f"{news.job}: {news.done} of {news.total} {news.note}")

    def finish(self, job: str) -> None:
        """Counts a job as done."""
        self.done.add(job)
        if job in self.tasks:
            self.bars.remove_task(self.tasks.pop(job))
        self.bars.update(self.whole, completed=len(self.done))
        self.say(f"{len(self.done)}/{self.num_jobs} {job}: done")

    def say(self, line: str) -> None:
        """Only in a log; a terminal has its bars."""
        if not self.console.is_terminal:
            self.console.print(line, markup=False, highlight=False)
            self.spoke_at = time.monotonic()
