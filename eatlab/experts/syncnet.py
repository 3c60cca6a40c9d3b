"""The published lip-sync expert: five lower half faces against 0.2 s of sound (eat-networks.md 11)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

FRAMES = 5


class Step(NamedTuple):
    """One change of shape, then `residuals` units of unchanged shape. out: channels, in widths."""

    out: int
    kernel: int
    stride: int | tuple[int, int]
    padding: int
    residuals: int


FACE = (
    Step(1, 7, 1, 3, 0),
    Step(2, 5, (1, 2), 1, 2),
    Step(4, 3, 2, 1, 3),
    Step(8, 3, 2, 1, 2),
    Step(16, 3, 2, 1, 2),
    Step(16, 3, 2, 1, 0),
    Step(16, 3, 1, 0, 0),
    Step(16, 1, 1, 0, 0),
)
SOUND = (
    Step(1, 3, 1, 1, 2),
    Step(2, 3, (3, 1), 1, 2),
    Step(4, 3, 3, 1, 2),
    Step(8, 3, (3, 2), 1, 2),
    Step(16, 3, 1, 0, 0),
    Step(16, 1, 1, 0, 0),
)


class Unit(nn.Module):
    """Convolution, batch norm, the input again if `residual`, ReLU."""

    def __init__(self, cin: int, step: Step, width: int, *, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.conv = nn.Conv2d(cin, step.out * width, step.kernel, step.stride, step.padding)
        self.norm = nn.BatchNorm2d(step.out * width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, c', h', w')."""
        y = self.norm(self.conv(x))
        return F.relu(y + x if self.residual else y)


def tower(cin: int, steps: tuple[Step, ...], width: int) -> nn.Sequential:
    """The units of a table, in order."""
    units = []
    for step in steps:
        units.append(Unit(cin, step, width))
        cin = step.out * width
        same = Step(step.out, 3, 1, 1, 0)
        units += [Unit(cin, same, width, residual=True) for _ in range(step.residuals)]
    return nn.Sequential(*units)


class SyncNet(nn.Module):
    """Two towers whose embeddings agree where mouth and sound belong together.

    width: channels of the first unit, 32 as released; embeddings have 16 times as many. Both towers end in a
    ReLU, so cosines lie in 0..1.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.face = tower(3 * FRAMES, FACE, width)
        self.sound = tower(1, SOUND, width)

    def video(self, faces: Tensor) -> Tensor:
        """Lower halves of five faces (b, 15, 48, 96) in 0..1, frame by frame RGB → (b, 512) of length 1."""
        return F.normalize(self.face(faces).flatten(1).float(), dim=-1)

    def audio(self, mel: Tensor) -> Tensor:
        """Sync mel windows (b, 1, 80, 16) → (b, 512) of length 1."""
        return F.normalize(self.sound(mel).flatten(1).float(), dim=-1)

    def forward(self, faces: Tensor, mel: Tensor) -> Tensor:
        """→ cosines (b,) in 0..1."""
        return (self.video(faces) * self.audio(mel)).sum(-1)
