"""Fréchet distance of Gaussians fitted to features, and FID with the network of either protocol.

Definitions: evaluation.md 5, after Heusel et al. 2017. The networks stand in experts/inception.py; which
frames of a clip are looked at, `pairing.fid_frames` says.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from eatlab.errors import UserError

NUM_FULL_RANK = 2_048
"""With fewer images the covariance of FID's 2,048 features is singular and FID is biased upward."""
RIDGE = 1e-6
LARGEST_IMAGINARY = 1e-3

Root = Literal["exact", "sqrtm"]


class Gaussian(NamedTuple):
    """mean (d,), covariance (d, d) of divisor n - 1; float64."""

    mean: Tensor
    covariance: Tensor


class Moments:
    """Mean and covariance of features that come in batches; memory does not grow with their number.

    Sums are kept about the running mean (Chan et al. 1979), so a large mean costs no digits.
    """

    def __init__(self, num_features: int) -> None:
        self.num_samples = 0
        self.mean = torch.zeros(num_features, dtype=torch.float64)
        self.scatter = torch.zeros(num_features, num_features, dtype=torch.float64)

    def add(self, features: Tensor) -> Moments:
        """features: (n, d), n may be 0; gives itself back."""
        if not len(features):
            return self
        features = features.double()
        mean = features.mean(0)
        centred, step = features - mean, mean - self.mean
        total = self.num_samples + len(features)
        self.scatter += centred.T @ centred + step.outer(step) * (self.num_samples * len(features) / total)
        self.mean += step * (len(features) / total)
        self.num_samples = total
        return self

    def gaussian(self) -> Gaussian:
        """Raises UserError of fewer than 2 samples, which have no covariance."""
        _refuse_fewer_than_two(self.num_samples)
        return Gaussian(self.mean, self.scatter / (self.num_samples - 1))


def frechet_distance(first: Gaussian, second: Gaussian, *, root: Root = "exact") -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½), float64 (evaluation.md 5).

    root: "exact" takes the trace of the root as the nuclear norm of Σ₁^½ Σ₂^½, which is real and finite for
    singular covariances too. "sqrtm" is the release's way, which there agrees to its noise: scipy's root of
    the product; 1e-6 is added to both diagonals if that is not finite; an imaginary part of the diagonal over
    1e-3 raises ValueError.
    """
    for each in first, second:
        if not (each.mean.isfinite().all() and each.covariance.isfinite().all()):
            raise ValueError("Fréchet distance of features that are not finite")
    trace_of_root = _sqrtm_trace if root == "sqrtm" else _nuclear_norm
    squared = (first.mean - second.mean).square().sum() + (first.covariance + second.covariance).trace()
    return squared.item() - 2 * trace_of_root(first.covariance, second.covariance)


def _nuclear_norm(first: Tensor, second: Tensor) -> float:
    """tr((Σ₁ Σ₂)^½) = |F₁ᵀ F₂|_* for any factors Σ = F Fᵀ."""
    return torch.linalg.svdvals(_factor(first).T @ _factor(second)).sum().item()


def _factor(covariance: Tensor) -> Tensor:
    """F (d, rank) with Σ = F Fᵀ by Cholesky with pivots, which stops where only rounding is left.

    The root of rounding would be far larger than rounding.
    """
    from scipy.linalg.lapack import dpstrf

    packed, pivots, rank, _ = dpstrf(covariance.numpy(), lower=1)
    factor = np.zeros((len(packed), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return torch.from_numpy(factor)


def _sqrtm_trace(first: Tensor, second: Tensor) -> float:
    from scipy.linalg import sqrtm

    root = sqrtm((first @ second).numpy())
    if not np.isfinite(root).all():
        ridge = RIDGE * torch.eye(len(first), dtype=first.dtype)
        root = sqrtm(((first + ridge) @ (second + ridge)).numpy())
    imaginary = np.abs(np.diagonal(root).imag).max()
    if imaginary > LARGEST_IMAGINARY:
        raise ValueError(
            f"Fréchet distance: the root of the covariances has an imaginary part, {imaginary:g}"
        )
    return float(np.trace(root).real)


class FID(FrechetInceptionDistance):
    """torchmetrics' FID with a given network: batches, devices and processes are its; the distance is ours.

    network: images (n, 3, h, w) uint8 RGB → features (n, num_features), of experts/inception.py.
    `update(images, real=...)` adds images. Differs: torchmetrics rounds the result to float32, and takes
    eigenvalues of the product of the covariances, which are noise where that is singular.
    """

    def __init__(self, network: nn.Module, *, root: Root = "exact") -> None:
        super().__init__(feature=network, normalize=False)
        self.root: Root = root

    @property
    def num_images(self) -> tuple[int, int]:
        """How many generated and how many true images it has seen; stored with every FID."""
        return int(self.fake_features_num_samples), int(self.real_features_num_samples)

    @property
    def is_rank_deficient(self) -> bool:
        """Whether a side has too few images for a covariance of full rank: compare at equal number only."""
        return min(self.num_images) < NUM_FULL_RANK

    def compute(self) -> Tensor:
        """FID, a float64 scalar. Raises UserError unless both sides have 2 images."""
        num_generated, num_true = self.num_images
        generated = _gaussian(self.fake_features_sum, self.fake_features_cov_sum, num_generated)
        true = _gaussian(self.real_features_sum, self.real_features_cov_sum, num_true)
        return torch.tensor(frechet_distance(generated, true, root=self.root), dtype=torch.float64)


def _gaussian(total: Tensor, products: Tensor, num_samples: int) -> Gaussian:
    _refuse_fewer_than_two(num_samples)
    mean = (total / num_samples).cpu()
    return Gaussian(mean, (products.cpu() - num_samples * mean.outer(mean)) / (num_samples - 1))


def _refuse_fewer_than_two(num_samples: int) -> None:
    if num_samples < 2:
        raise UserError(
            f"a Fréchet distance of {num_samples} samples is asked",
            "a covariance needs 2 or more",
            "measure more frames or clips",
        )
