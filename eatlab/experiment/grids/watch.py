"""What a user sees of a grid: one display over all its units, read from their folders.

It shows the same whatever engine runs them, on how many machines, and from whichever terminal one looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from eatlab.experiment.grids.claims import Holding, holder
from eatlab.experiment.grids.forecast import hours
from eatlab.experiment.grids.worker import Failure, Unit

LOOK_S = 2.0
"""How often the folders are looked at."""
LINE_S = 60.0
"""How often a log that is no terminal gets a line on the whole."""
SETTLED_S = 30.0
"""Before that, the time left is told from the forecast alone."""


@dataclass(frozen=True)
class Look:
    """How a grid stands. done, failed: names. running: name → who works on it. left_s: CPU seconds to go."""

    done: tuple[str, ...]
    failed: tuple[str, ...]
    running: dict[str, Holding]
    num_left: int
    left_s: float

    def in_words(self) -> str:
        """Without the time left."""
        counts = {"done": len(self.done), "running": len(self.running), "left": self.num_left}
        counts |= {"failed": len(self.failed)} if self.failed else {}
        return ", ".join(f"{count} {word}" for word, count in counts.items())


class Watcher:
    """Looks at the folders of units. costs: predicted CPU seconds of each; what is done is not looked at
    twice.
    """

    def __init__(self, units: Sequence[Unit], costs: Sequence[float], stale_s: float) -> None:
        self.units, self.costs, self.stale_s = units, costs, stale_s
        self.done: set[int] = set()

    def look(self) -> Look:
        """How the folders of all units stand now."""
        failed, running, num_left, left_s = [], dict[str, Holding](), 0, 0.0
        for index, (unit, cost) in enumerate(zip(self.units, self.costs, strict=True)):
            if index in self.done or unit.is_done():
                self.done.add(index)
            elif Failure.of(unit.folder):
                failed.append(unit.name)
            elif held := holder(unit.folder, self.stale_s):
                running[unit.name] = held
                left_s += cost * (1 - min(1.0, held.done / held.total) if held.total else 1)
            else:
                num_left += 1
                left_s += cost
        done = tuple(self.units[index].name for index in sorted(self.done))
        return Look(done, tuple(failed), running, num_left, left_s)


class Watch:
    """Use as a context manager: inside, a thread keeps the display as the folders say. workers: how many work
    at once, for the time left before it can be told from what was done. beside: done after each look.
    """

    def __init__(
        self, console: Console, watcher: Watcher, workers: int, beside: Callable[[], object] | None = None
    ) -> None:
        self.console, self.watcher, self.workers = console, watcher, max(1, workers)
        self.beside = beside
        self.first = watcher.look()
        self.began = self.spoke = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[note]}"),
            TimeElapsedColumn(),
        )
        self.bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self.whole = self.bars.add_task("all", total=len(watcher.units), note="")
        self.tasks: dict[str, TaskID] = {}
        self.told = {*self.first.done, *self.first.failed}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.keep, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self.say(f"{self.first.in_words()}; about {hours(self.first.left_s / self.workers)} to go")
        self.bars.start()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join()
        self.show(self.watcher.look())
        self.bars.stop()

    def keep(self) -> None:
        while not self.over.wait(LOOK_S):
            self.show(self.watcher.look())
            if self.beside is not None:
                self.beside()

    def show(self, look: Look) -> None:
        """Bars in a terminal; in a log a line for each unit that is done, and one on the whole."""
        note = f"{look.in_words()}; {self.to_go(look)}"
        self.bars.update(self.whole, completed=len(look.done), note=note)
        for name in self.tasks.keys() - look.running.keys():
            self.bars.remove_task(self.tasks.pop(name))
        for name, held in look.running.items():
            if name not in self.tasks:
                self.tasks[name] = self.bars.add_task(name, total=1, note="")
            note = f"{held.note} ({held.worker} on {held.host})".lstrip()
            self.bars.update(self.tasks[name], completed=held.done, total=held.total or 1, note=note)
        for word, names in (("done", look.done), ("failed", look.failed)):
            for name in names:
                if name not in self.told:
                    self.told.add(name)
                    self.say(f"{len(look.done)}/{len(self.watcher.units)} {name}: {word}")
        if time.monotonic() - self.spoke > LINE_S:
            self.say(f"{look.in_words()}; {self.to_go(look)}")

    def to_go(self, look: Look) -> str:
        """The time left: at the pace of what was done since the display began, or of the forecast."""
        elapsed_s = time.monotonic() - self.began
        done_s = self.first.left_s - look.left_s
        pace = done_s / elapsed_s if elapsed_s > SETTLED_S and done_s > 0 else self.workers
        return f"about {hours(look.left_s / pace)} to go" if look.left_s else "nothing to go"

    def say(self, line: str) -> None:
        """Only in a log; a terminal has its bars."""
        if not self.console.is_terminal:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self.spoke = time.monotonic()
