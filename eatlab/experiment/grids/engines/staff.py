"""What every engine is given, and what they have in common."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eatlab.errors import UserError
from eatlab.experiment.grids.claims import STALE_S
from eatlab.experiment.grids.worker import Shift, Unit, serve

if TYPE_CHECKING:
    from eatlab.experiment.grids.point_runs import PointLike

Told = Callable[[], bool]
"""Whether the user wants to stop."""


@dataclass(frozen=True)
class Staff:
    """Workers that an engine is to run. folder: the grid's own, for logs. stop: a file that tells all to
    stop.

    points: those of the units that W&B can hand out. cluster: which one, in the engine's own words. file,
    words: the grid as it was asked for. options: more in the engine's own words.
    """

    units: tuple[Unit, ...]
    num_workers: int
    folder: Path
    stop: Path
    points: tuple[PointLike, ...] = ()
    cluster: str = ""
    file: str = ""
    words: tuple[str, ...] = ()
    stale_s: float = STALE_S
    options: dict[str, Any] = field(default_factory=dict)

    def shift(self, number: int, *, parent: int = 0, stays: bool = True) -> Shift:
        """What worker `number` is given."""
        return Shift(
            self.units, f"worker {number}", self.stop, parent=parent, stays=stays, stale_s=self.stale_s
        )

    def tell_to_stop(self) -> None:
        """Every worker that sees this folder saves and ends."""
        self.stop.parent.mkdir(parents=True, exist_ok=True)
        self.stop.touch()


def serve_in(folder: str, shift: Shift) -> int:
    """A worker on another machine, or in a process of others: in the folder where the grid was asked for,
    since paths are told from there. Raises UserError if that folder is not there.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        do = "run it from a folder that all machines share"
        raise UserError(f"{folder} is not on this machine", str(error), do) from error
    return serve(shift)


def needed(package: str, extra: str) -> Any:
    """The module of an optional package. Raises UserError that says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        do = f"pip install 'eatlab[{extra}]', or take engine=local"
        raise UserError(f"engine={extra} needs {package}", "it is not installed", do) from error
