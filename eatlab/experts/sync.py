"""Lip-sync experts after SyncNet: five mouths against 0.2 s of sound (Chung, Zisserman 2016; EAT, Eq. 7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRAMES = 5
SIDE = 40
GREY = (0.299, 0.587, 0.114)
MOUTH_REACH = 1.25
"""Half a crop's side, in lengths of the nose."""
MOUTH_BELOW = 0.92


def mouth_crops(image: Tensor, landmarks: Tensor, side: int = SIDE) -> Tensor:
    """Grey mouths (n, side, side) of images (n, 3, h, w) in -1..1; h = w.

    landmarks (n, 68, 2) in pixels, centres at integers: the crop hangs below the nose, upright with the eyes,
    and its size is measured in noses, so that opening the mouth does not change it.
    """
    eyes = torch.stack([landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)], 1)
    along = F.normalize(eyes[:, 1] - eyes[:, 0], dim=-1)
    down = torch.stack([-along[:, 1], along[:, 0]], -1)
    half = (MOUTH_REACH * (landmarks[:, 27] - landmarks[:, 33]).norm(dim=-1)).clamp(min=1)[:, None]
    centre = landmarks[:, 33] + MOUTH_BELOW * half * down
    unit = image.shape[-1] / 2
    columns = torch.stack([along * half, down * half], -1) / unit
    affine = torch.cat([columns, ((centre + 0.5) / unit - 1)[..., None]], -1)
    grey = (image * image.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    grid = F.affine_grid(affine, [len(image), 1, side, side], align_corners=False)
    return F.grid_sample(grey, grid, padding_mode="border", align_corners=False)[:, 0]


def tower(cin: int, widths: tuple[int, ...], side: tuple[int, int], out: int) -> nn.Sequential:
    """Strided convolutions, flattened, then linear to `out`."""
    layers: list[nn.Module] = []
    for a, b in zip((cin, *widths), widths, strict=False):
        layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    cells = 1
    for length in side:
        for _ in widths:
            length = (length + 1) // 2
        cells *= length
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.1), nn.Linear(widths[-1] * cells, out))


class SyncExpert(nn.Module):
    """Two towers that agree where mouth and sound belong together."""

    def __init__(self, face: tuple[int, ...], sound: tuple[int, ...], out: int = 96) -> None:
        super().__init__()
        self.face = tower(FRAMES, face, (SIDE, SIDE), out)
        self.sound = tower(1, sound, (16, 80), out)
        self.scale = nn.Parameter(torch.tensor(2.3))

    def video(self, crops: Tensor) -> Tensor:
        """Mouths (n, 5, 40, 40) → (n, out) of length 1."""
        return F.normalize(self.face(crops).float(), dim=-1)

    def audio(self, mel: Tensor) -> Tensor:
        """Sync mel windows (n, 16, 80) → (n, out) of length 1."""
        return F.normalize(self.sound(mel[:, None] / 4).float(), dim=-1)


def judge() -> SyncExpert:
    """Measures."""
    return SyncExpert((32, 48, 64, 96), (24, 48, 96))


def teacher() -> SyncExpert:
    """Stands in the sync objective."""
    return SyncExpert((24, 40, 80), (16, 32, 64, 64), out=64)
