"""What a tuning's objective weighs; imports nothing heavy, so that configs can be read without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class LatentLossConfig:
    """Weights of the two terms, and the floor that keeps weak coefficients from being whitened into noise."""

    BOUNDS: ClassVar = dict.fromkeys(("expression", "coefficients", "floor"), (0, math.inf))

    expression: float = 1.0
    coefficients: float = 0.1
    floor: float = 0.1  # of the largest deviation
