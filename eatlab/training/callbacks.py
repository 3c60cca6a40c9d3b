"""What happens around the steps of a tuning: the clock, checkpoints, evaluation off the clock, progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer

from eatlab.atomic import write_csv

if TYPE_CHECKING:
    from eatlab.training.learner import Learner

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


class Evaluated(Callback):
    """Every so many steps, and at the ends, a row of each tuning curve; they are written as metrics.csv."""

    def __init__(self, every: int, measures: Sequence[Callable[[Any], dict[str, float]]]) -> None:
        self.every, self.measures = every, measures

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        for learner in pl_module.learners:
            if not learner.curve:
                self.add(learner)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        for learner in pl_module.moved:
            if learner.is_due(self.every):
                self.add(learner)

    def add(self, learner: Learner) -> None:
        """Measures the adapters now, in eval mode, and writes the curve with the new row."""
        row = {
            "step": learner.step,
            "train_s": learner.clock.wall_s,
            "cpu_s": learner.clock.cpu_s,
            "loss": learner.mean_loss,
        }
        learner.adapters.eval()
        for measure in self.measures:
            row |= measure(learner.adapters)
        learner.adapters.train()
        learner.curve.append(row)
        write_csv(learner.folder / "metrics.csv", learner.curve)


class Saved(Callback):
    """A checkpoint of each learner every so many steps, at the end, and when told to stop."""

    def __init__(self, every: int, stop: Callable[[], bool]) -> None:
        self.every, self.stop = every, stop

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        told = self.stop()
        for learner in pl_module.moved:
            if told or learner.is_due(self.every):
                learner.save()
        trainer.should_stop = trainer.should_stop or told


class Reported(Callback):
    """Tells whoever draws the progress how far the tuning is."""

    def __init__(self, report: Callable[[int, int, str], object], every: int = 5) -> None:
        self.report, self.every = report, every

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        step, steps = pl_module.step, pl_module.schedule.steps
        if step % self.every == 0 or step == steps:
            losses = sorted(learner.mean_loss for learner in pl_module.learners)
            most = f" to {losses[-1]:.3f}" if len(losses) > 1 else ""
            self.report(step, steps, f"loss {losses[0]:.3f}{most}")
