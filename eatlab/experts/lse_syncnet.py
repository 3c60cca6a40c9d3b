"""The SyncNet that lip-sync scores are published with (Chung & Zisserman 2016; evaluation.md 7).

Another network than syncnet.py, which is a loss. Names and indices are those of the public checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from eatlab.experts.user_file import load_frozen

FRAMES, FACE_SIDE = 5, 224
COLUMNS, COEFFICIENTS = 20, 13
NUM_FEATURES = 1_024
WIDTH = 512

Size = int | tuple[int, ...]


def step(
    convolution: type[nn.Module], cin: int, cout: int, kernel: Size, stride: Size, padding: Size
) -> Iterator[nn.Module]:
    """A convolution, its batch norm, ReLU."""
    norm = nn.BatchNorm3d if convolution is nn.Conv3d else nn.BatchNorm2d
    yield from (convolution(cin, cout, kernel, stride, padding), norm(cout), nn.ReLU(inplace=True))


def head() -> nn.Sequential:
    """512 features of a tower → 1,024."""
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(inplace=True), nn.Linear(WIDTH, NUM_FEATURES)
    )


def sound_tower() -> nn.Sequential:
    """(b, 1, 13, 20) → (b, 512, 1, 1)."""
    conv = nn.Conv2d
    return nn.Sequential(
        *step(conv, 1, 64, 3, 1, 1),
        nn.MaxPool2d(1, 1),
        *step(conv, 64, 192, 3, 1, 1),
        nn.MaxPool2d(3, (1, 2)),
        *step(conv, 192, 384, 3, 1, 1),
        *step(conv, 384, 256, 3, 1, 1),
        *step(conv, 256, 256, 3, 1, 1),
        nn.MaxPool2d(3, 2),
        *step(conv, 256, WIDTH, (5, 4), 1, 0),
    )


def picture_tower() -> nn.Sequential:
    """(b, 3, 5, 224, 224) → (b, 512, 1, 1, 1)."""
    conv, small = nn.Conv3d, (1, 3, 3)
    return nn.Sequential(
        *step(conv, 3, 96, (5, 7, 7), (1, 2, 2), 0),
        nn.MaxPool3d(small, (1, 2, 2)),
        *step(conv, 96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
        nn.MaxPool3d(small, (1, 2, 2), (0, 1, 1)),
        *step(conv, 256, 256, small, 1, (0, 1, 1)),
        *step(conv, 256, 256, small, 1, (0, 1, 1)),
        *step(conv, 256, 256, small, 1, (0, 1, 1)),
        nn.MaxPool3d(small, (1, 2, 2)),
        *step(conv, 256, WIDTH, (1, 6, 6), 1, 0),
    )


class LseSyncNet(nn.Module):
    """Embeds five frames, and 0.2 s of sound, in one space of 1,024 dimensions; no length is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = sound_tower()
        self.netfcaud = head()
        self.netfclip = head()
        self.netcnnlip = picture_tower()

    def video(self, windows: Tensor) -> Tensor:
        """(b, 3, 5, 224, 224) of 0..255, BGR, any dtype → (b, 1024)."""
        return self.netfclip(self.netcnnlip(windows.float()).flatten(1))

    def audio(self, windows: Tensor) -> Tensor:
        """(b, 1, 13, 20) MFCC → (b, 1024)."""
        return self.netfcaud(self.netcnnaud(windows.float()).flatten(1))


def load_lse_syncnet(path: str | Path) -> LseSyncNet:
    """From the public syncnet_v2.model, or the same tensors as .safetensors, frozen.

    Raises UserError: 3 for a file that needs code to run or is another network's, 2 if there is none.
    """
    give = "the path of the public syncnet_v2.model"
    return load_frozen(LseSyncNet(), path, what="SyncNet of lip-sync scores", give=give)
