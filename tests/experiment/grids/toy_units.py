"""Units of a grid that do next to nothing, for tests of who does what, when, and how often."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from eatlab.atomic import write_text
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.crew import Desk
from eatlab.experiment.grids.worker import Shift


@dataclass(frozen=True)
class Toy:
    """Takes some steps, saving each, and leaves a result; its log has a line for each time it is begun, and
    each time it comes to its end.

    does: "work"; "refuse" (a user's mistake), "diverge", "trip" (our own), or "die" (as if killed).
    """

    folder: Path
    does: str = "work"
    steps: int = 3
    pause_s: float = 0.0
    needs: Toy | None = None
    point: bool = True

    @property
    def name(self) -> str:
        return f"toy {self.folder.name}"

    @property
    def result(self) -> Path:
        return self.folder / "result.txt"

    def is_done(self) -> bool:
        return self.result.exists()

    def log(self, line: str) -> None:
        with open(self.folder / "log.txt", "a") as file:
            file.write(line + "\n")

    def lines(self, line: str) -> int:
        """How often the log says that."""
        path = self.folder / "log.txt"
        return path.read_text().splitlines().count(line) if path.exists() else 0

    def work(self, desk: Desk) -> None:
        self.log("begun")
        if self.does == "refuse":
            raise UserError("it will not do", "there is nothing")
        if self.does == "diverge":
            raise UserError("the loss is nan", code=ExitCode.DIVERGED)
        if self.does == "trip":
            raise KeyError("a mistake")
        if self.does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        saved = self.folder / "saved.txt"
        for step in range(int(saved.read_text()) if saved.exists() else 0, self.steps):
            time.sleep(self.pause_s)
            write_text(saved, str(step + 1))
            desk.go_on(step + 1, self.steps)
        self.log("ended")
        write_text(self.result, f"{self.folder.name} after {self.steps} steps")


def toys(folder: Path, count: int, **options: object) -> tuple[Toy, ...]:
    return tuple(Toy(folder / f"{number:02d}", **options) for number in range(count))  # type: ignore[arg-type]


def shift_of(folder: Path, units: tuple[Toy, ...], **options: object) -> Shift:
    """In this process, without waiting long."""
    return Shift(units, "worker", folder / "stop", **{"beat_s": 0.02, "wait_s": 0.02} | options)  # type: ignore
