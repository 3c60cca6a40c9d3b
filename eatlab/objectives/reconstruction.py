"""Reconstruction of the driving frame: L1, perceptual features, edges (EAT, Sec. 3.3); and its emotion.

Differs: the paper's L1 sees a crop of the face alone; here the face counts 3 to 8 times, the rest once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.experts.judges import Teachers

FEATURES = (*range(17, 27), *range(36, 68))
"""Landmarks of brows, eyes and mouth."""
SHIFT_PX = 4
Features = Callable[[Tensor], list[Tensor]]
"""Images (b, 3, h, w) in -1..1 → feature maps of several depths."""


@dataclass(frozen=True)
class ReconstructionConfig:
    """Weights.

    pixel: L1, mostly of the face; warped: the same of the warped portrait; edge: of neighbouring differences;
    perceptual: relative L1 of features; aus, landmarks: what the face teacher reads of both pictures.
    emotion: how far the emotion teacher's reading of the image is from that of the truth.
    """

    pixel: float = 5.0
    warped: float = 2.0
    edge: float = 4.0
    perceptual: float = 1.0
    aus: float = 2.0
    landmarks: float = 10.0
    emotion: float = 0.0


def face_weights(mask: Tensor, landmarks: Tensor) -> Tensor:
    """Weights (b, 1, h, w) of mean 1: the face counts 3, its brows, eyes and mouth up to 8.

    mask (b, h, w) bool of even h = w; landmarks (b, 68, 2) in pixels.
    """
    half = mask.shape[-1] // 2
    spots, at = landmarks[:, FEATURES, :] / 2, torch.arange(half, device=mask.device).float()
    across, down = (torch.exp(-((spots[..., i : i + 1] - at) ** 2) / 5) for i in (0, 1))
    near = torch.einsum("bkx,bky->byx", across, down).clamp(max=1.0)[:, None]
    weight = 1 + 2 * mask[:, None].float() + 5 * F.interpolate(near, scale_factor=2.0)
    return weight / weight.mean((1, 2, 3), keepdim=True)


class Reconstruction:
    """Terms, unweighted, of an image (b, 3, h, w) in -1..1 against the truth.

    features: another feature network (VGG-19) for the perceptual term; by default the face teacher's taps.
    """

    def __init__(
        self,
        config: ReconstructionConfig,
        teachers: Teachers,
        features: Features | None = None,
    ) -> None:
        self.config, self.teachers, self.features = config, teachers, features

    def pixels(self, image: Tensor, warped: Tensor | None, truth: Tensor, where: Tensor) -> dict[str, Tensor]:
        """L1 (weights `where`) of the image, of the warped portrait (if there is one) and of edges."""
        off = image - truth
        edge = (where[..., 1:] * off.diff(dim=3).abs()).mean() + (
            where[..., 1:, :] * off.diff(dim=2).abs()
        ).mean()
        terms = {"pixel": (where * off.abs()).mean()}
        if warped is not None:
            terms["warped"] = (where * (warped - truth).abs()).mean()
        return terms | {"edge": edge}

    def perceived(self, image: Tensor, truth: Tensor, g: torch.Generator) -> dict[str, Tensor]:
        """Features, action units, landmarks, emotion of both pictures, shifted by the same few pixels.

        Without the common shift a strided teacher can be fooled by checkerboards. The emotion is read only if
        it counts.
        """
        shift = tuple(int(v) for v in torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,), generator=g))
        image, truth = image.roll(shift, (2, 3)), truth.detach().roll(shift, (2, 3))
        with torch.no_grad():
            want = self.teachers.face(truth)
        got = self.teachers.face(image)
        if self.features is None:
            pairs = list(zip(got.taps[:3], want.taps[:3], strict=True))
        else:
            with torch.no_grad():
                wanted = self.features(truth)
            pairs = list(zip(self.features(image), wanted, strict=True))
        aus = (got.aus - want.aus).abs().mean() + 0.5 * (got.artic - want.artic).abs().mean()
        terms = {
            "perceptual": torch.stack([relative_l1(a.float(), b.float()) for a, b in pairs]).sum(),
            "aus": aus,
            "landmarks": (got.landmarks - want.landmarks).abs().mean(),
        }
        return terms | ({"emotion": self.misread(image, truth)} if self.config.emotion else {})

    def misread(self, image: Tensor, truth: Tensor) -> Tensor:
        """How the emotion teacher's reading of the image differs from its reading of the truth.

        KL divergence (nats), and relative L1 of its features: what it says alone is easily fooled.
        """
        with torch.no_grad():
            wanted, said = self.teachers.emotion.read(truth)
        seen, read = self.teachers.emotion.read(image)
        log_read, log_said = (logits.float().log_softmax(1) for logits in (read, said))
        features = [relative_l1(a.float(), b.float()) for a, b in zip(seen, wanted, strict=True)]
        divergence = F.kl_div(log_read, log_said, reduction="batchmean", log_target=True)
        return divergence + torch.stack(features).sum()

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms that this objective knows."""
        return torch.stack([getattr(self.config, name) * value for name, value in terms.items()]).sum()


def relative_l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b| in shares of the mean |b|."""
    return (a - b).abs().mean() / (b.abs().mean() + 1e-3)
