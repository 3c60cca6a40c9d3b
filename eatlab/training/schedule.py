"""How long and how fast a tuning goes; imports nothing heavy, so that configs can be read without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Schedule:
    """Steps of `batch` stretches of `num_frames` frames; Adam's rate warms up, then follows a cosine in
    steps.
    """

    BOUNDS: ClassVar = {
        **dict.fromkeys(("steps", "batch", "num_frames", "evaluate_every", "save_every"), (1, math.inf)),
        **dict.fromkeys(("learning_rate", "warmup", "final_rate", "clip"), (0, math.inf)),
    }

    steps: int = 400
    batch: int = 32
    num_frames: int = 5
    learning_rate: float = 2e-3
    warmup: int = 50
    final_rate: float = 0.02  # of the learning rate, where the cosine ends
    clip: float = 1.0  # norm of the gradient
    evaluate_every: int = 100
    save_every: int = 50

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return (
            self.learning_rate
            * min(1, (step + 1) / max(self.warmup, 1))
            * (self.final_rate + (1 - self.final_rate) * cosine)
        )
