"""The losses of the EAT release with its weights, stage by stage (eat-networks.md 13, 15)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.backbone.expression import ExpressionPCA
from eatlab.errors import UserError
from eatlab.experts.syncnet import FRAMES, SyncNet
from eatlab.objectives.clip import ClipLoss
from eatlab.objectives.face_crop import face_crops, lower_halves
from eatlab.objectives.perceptual_pyramid import PerceptualPyramid


@dataclass(frozen=True)
class ReleasedWeights:
    """Weights; a term of weight 0 is not computed. perceptual: for each of the five taps."""

    latent: float = 0.0
    pca: float = 0.0
    perceptual: float = 0.0
    image_l1: float = 0.0
    sync: float = 0.0
    clip: float = 0.0


STAGES = {
    "1a": ReleasedWeights(latent=10, pca=10),
    "1b": ReleasedWeights(latent=25, pca=25, perceptual=10, image_l1=1, sync=25),
    "adaptation": ReleasedWeights(latent=100, perceptual=10, image_l1=10, sync=10),
    "editing": ReleasedWeights(latent=10, sync=10, clip=100),
}
"""Of A2ET alone, of A2ET with rendering, of the emotional parts, of editing by a text."""


@dataclass(frozen=True)
class KeypointWeights:
    """Of the pretraining of keypoints and renderer, which precedes the stages; its code was not released.

    gan: hinge, of renderer and discriminator alike; feature_matching: for each of the discriminator's four
    maps; perceptual: for each tap. equivariance: affine sigma 0.05, thin plate 5×5 sigma 0.005. prior: pairs
    nearer than a squared distance of 0.1, and |mean depth - 0.33|. The small backbone's weights, in other
    units, stand in objectives/keypoints.py.
    Differs: the paper describes this stage (Sec. 3.1.1); the release has only its weights.
    """

    gan: float = 1.0
    feature_matching: float = 10.0
    perceptual: float = 10.0
    equivariance: float = 10.0
    prior: float = 10.0
    head_pose: float = 20.0
    expression: float = 0.0


@dataclass(frozen=True)
class Said:
    """What the network says of clips.

    expression (b, n, 45): E, scaled by the hull; coefficients (b, n, 32) of the PCA; frames (b, n, 3, h, w)
    in -1..1, where a stage renders.
    """

    expression: Tensor
    coefficients: Tensor
    frames: Tensor | None = None


@dataclass(frozen=True)
class Truth:
    """What is true of them.

    expression (b, n, 45): the estimator's, of the driving frames; hull (b,): volumes of the canonical
    keypoints; frames (b, n, 3, h, w) in -1..1; boxes (b, n, 4): faces in pixels; mel (b, 1, 80, 16): sync mel
    from the first frame on.
    """

    expression: Tensor
    hull: Tensor
    frames: Tensor | None = None
    boxes: Tensor | None = None
    mel: Tensor | None = None


class ReleasedObjective:
    """The terms of a stage, unweighted, and their weighted sum.

    pca: the backbone's, of 32 components. The experts, frozen and in .eval(), are needed only where they
    count: raises UserError if one is lacking.
    """

    def __init__(
        self,
        weights: ReleasedWeights,
        pca: ExpressionPCA,
        *,
        perceptual: PerceptualPyramid | None = None,
        sync: SyncNet | None = None,
        clip: ClipLoss | None = None,
    ) -> None:
        self.weights, self.pca = weights, pca
        self.perceptual, self.sync, self.clip = perceptual, sync, clip
        experts = {"perceptual": perceptual, "sync": sync, "clip": clip}
        lacking = [name for name, it in experts.items() if getattr(weights, name) and it is None]
        if lacking:
            raise UserError(
                f"the objective weighs {', '.join(lacking)}",
                "there is no expert for " + ("it" if len(lacking) == 1 else "them"),
                "give the file of VGG-19, SyncNet or CLIP, or set the weight to 0",
            )

    def terms(self, said: Said, truth: Truth) -> dict[str, Tensor]:
        """Name → scalar, of the terms that count. Raises ValueError where one lacks its pictures or sound."""
        every = {
            "latent": self.expressions,
            "pca": self.coefficients,
            "perceptual": self.pictures,
            "image_l1": self.faces,
            "sync": self.mouths,
            "clip": self.fit,
        }
        return {name: term(said, truth) for name, term in every.items() if getattr(self.weights, name)}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of terms."""
        return torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()

    def expressions(self, said: Said, truth: Truth) -> Tensor:
        """Mean squared error of E. Differs: Eq. 6 compares keypoints; the release never does."""
        return F.mse_loss(said.expression, truth.expression)

    def coefficients(self, said: Said, truth: Truth) -> Tensor:
        """Mean squared error of the PCA's coefficients, of E before the hull scales it."""
        unscaled = truth.expression / truth.hull[:, None, None]
        wanted = self.pca.encode(unscaled - self.pca.mean) / self.pca.deviation
        return F.mse_loss(said.coefficients, wanted)

    def pictures(self, said: Said, truth: Truth) -> Tensor:
        """Features of whole frames, every tap counting alike."""
        assert self.perceptual is not None
        return self.perceptual(flat(said.frames), flat(truth.frames))

    def faces(self, said: Said, truth: Truth) -> Tensor:
        """Mean absolute difference of the faces, 0..1."""
        boxes = flat(truth.boxes)
        return F.l1_loss(face_crops(flat(said.frames), boxes), face_crops(flat(truth.frames), boxes))

    def mouths(self, said: Said, truth: Truth) -> Tensor:
        """Five lower half faces against their 0.2 s of sound."""
        assert self.sync is not None
        halves = lower_halves(face_crops(flat(said.frames), flat(truth.boxes)), FRAMES)
        return sync_loss(self.sync, halves, given(truth.mel))

    def fit(self, said: Said, truth: Truth) -> Tensor:
        """How badly the frames fit the text."""
        assert self.clip is not None
        return self.clip(flat(said.frames))


def given(tensor: Tensor | None) -> Tensor:
    """The tensor. Raises ValueError if it was left out."""
    if tensor is None:
        raise ValueError("the weights ask for rendered frames, boxes and sound; give those of both sides")
    return tensor


def flat(clips: Tensor | None) -> Tensor:
    """(b, n, ...) → (b · n, ...)."""
    return given(clips).flatten(0, 1)


def sync_loss(net: SyncNet, faces: Tensor, mel: Tensor) -> Tensor:
    """Lower half faces (b, 15, 48, 96) in 0..1, mel (b, 1, 80, 16) → mean of -ln cosine.

    It is the binary cross-entropy of the cosine against 1. Differs: cosines under 1e-7 have no gradient; the
    release's is 1e12 at 0.
    """
    return -net(faces, mel).clamp(min=1e-7).log().mean()  # Eq. 7
