"""What the released networks need and no checkpoint holds: the PCA of E, and the features of silence.

Figures of the EAT release (CC-BY-NC 4.0): 45 x 32 principal components and the mean of the estimator's
expressions; what its mel and its speech recogniser give for silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file
from torch import Tensor

FILE = Path(__file__).parent / "constants.safetensors"


class ReleasedConstants(NamedTuple):
    """components (45, 32), columns of U; mean (45,); silence_mel (80,); silence_speech (16, 29)."""

    components: Tensor
    mean: Tensor
    silence_mel: Tensor
    silence_speech: Tensor


def released_constants() -> ReleasedConstants:
    """As shipped beside this module."""
    return ReleasedConstants(**load_file(FILE))
