"""What happens around the steps of a tuning: the clock, checkpoints, evaluation off the clock, progress,
stopping.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer

from eatlab.atomic import write_csv
from eatlab.training.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from eatlab.training.tune import Tune

Curve = list[dict[str, float]]


@dataclass
class TrainingClock:
    """Seconds spent on training steps, by the wall and of this process's cores; evaluation and saving do not
    count.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    _began: tuple[float, float] | None = None

    def start(self) -> None:
        self._began = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        if self._began is not None:
            self.wall_s += time.perf_counter() - self._began[0]
            self.cpu_s += time.process_time() - self._began[1]
            self._began = None

    def state(self) -> dict[str, float]:
        return {key: value for key, value in asdict(self).items() if not key.startswith("_")}


class Clocked(Callback):
    """Runs the clock of the module from the start of a batch to its end."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        pl_module.clock.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        pl_module.clock.stop()


class Evaluated(Callback):
    """Every so many steps, and at the ends, a row of the tuning curve; it is written as metrics.csv."""

    def __init__(self, every: int, measures: Sequence[Callable[[Any], dict[str, float]]], path: Path) -> None:
        self.every, self.measures, self.path = every, measures, path

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if not pl_module.curve:
            self.add(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.step % self.every == 0 or pl_module.step == pl_module.config.schedule.steps:
            self.add(pl_module)

    def add(self, module: Tune) -> None:
        """Measures the adapters now, in eval mode, and writes the curve with the new row."""
        row = {
            "step": module.step,
            "train_s": module.clock.wall_s,
            "cpu_s": module.clock.cpu_s,
            "loss": module.mean_loss,
        }
        module.adapters.eval()
        for measure in self.measures:
            row |= measure(module.adapters)
        module.adapters.train()
        module.curve.append(row)
        write_csv(self.path, module.curve)


class Saved(Callback):
    """A checkpoint every so many steps, at the end, and when told to stop."""

    def __init__(self, every: int, folder: Path, stop: Callable[[], bool]) -> None:
        self.every, self.folder, self.stop = every, folder, stop

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        told = self.stop()
        if told or pl_module.step % self.every == 0 or pl_module.step == pl_module.config.schedule.steps:
            save_checkpoint(self.folder, pl_module.checkpoint())
        trainer.should_stop = trainer.should_stop or told


class Reported(Callback):
    """Tells whoever draws the progress how far the tuning is."""

    def __init__(self, report: Callable[[int, int, str], object], every: int = 5) -> None:
        self.report, self.every = report, every

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.step % self.every == 0 or pl_module.step == pl_module.config.schedule.steps:
            self.report(pl_module.step, pl_module.config.schedule.steps, f"loss {pl_module.mean_loss:.3f}")
