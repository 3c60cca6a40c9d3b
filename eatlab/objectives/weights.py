"""What a tuning's objective weighs; imports nothing heavy, so that configs can be read without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

DRAWN = ("perceptual", "sync", "pixel")


@dataclass(frozen=True)
class LossConfig:
    """Weights. expression, coefficients: the latent loss, without drawing; floor keeps weak coefficients from
    being whitened into noise.

    perceptual, sync, pixel: losses of drawn frames, against the true ones; of `windows` windows of each step,
    for drawing costs far more than the rest.
    """

    BOUNDS: ClassVar = {
        **dict.fromkeys(("expression", "coefficients", "floor", *DRAWN), (0, math.inf)),
        "windows": (1, math.inf),
    }
    LATER: ClassVar = (*DRAWN, "windows")

    expression: float = 1.0
    coefficients: float = 0.1
    floor: float = 0.1  # of the largest deviation
    perceptual: float = 0.0
    sync: float = 0.0
    pixel: float = 0.0
    windows: int = 4

    @property
    def draws(self) -> bool:
        """Whether any of it needs frames."""
        return any(getattr(self, name) for name in DRAWN)

    @property
    def networks(self) -> tuple[str, ...]:
        """Parts of the backbone that a step runs: adapters there learn."""
        return ("a2et", "renderer") if self.draws else ("a2et",)
