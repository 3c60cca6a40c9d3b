"""A grid of toys as a program that a test can kill: run it with `-m`, and FOLDER COUNT."""

from __future__ import annotations

import sys
from pathlib import Path

from eatlab.experiment.grids.engines import local
from eatlab.experiment.grids.engines.staff import Staff
from eatlab.preemption import stop_signals
from tests.experiment.grids.toy_units import toys


def staff_of(folder: Path, units: tuple, **options: object) -> Staff:
    """Two workers for the units; their folder is the grid's."""
    grid = folder / "grid"
    grid.mkdir(exist_ok=True, parents=True)
    return Staff(
        units, **{"num_workers": 2, "folder": grid, "stop": grid / ".stop", "points": units} | options
    )


if __name__ == "__main__":
    home = Path(sys.argv[1])
    with stop_signals() as told:
        local.run(staff_of(home, toys(home, int(sys.argv[2]), steps=4, pause_s=0.05)), told)
