"""The PCA of E against an eigendecomposition; what the estimator answers."""

from __future__ import annotations

import numpy as np
import torch

from eatlab.backbone.expression import ExpressionEstimator, ExpressionPCA
from tests.training.toys import TINY


def samples(rank: int, n: int = 200) -> torch.Tensor:
    """(n, 15, 3) of exactly this rank around a mean."""
    g = torch.Generator().manual_seed(0)
    mixed = torch.randn(n, rank, generator=g) * torch.linspace(1, 0.2, rank)
    return (0.3 + mixed @ torch.randn(rank, 45, generator=g) * 0.1).unflatten(1, (15, 3))


def test_components_are_the_eigenvectors_of_the_covariance():
    e, pca = samples(45), ExpressionPCA(32, 15)
    kept = pca.fit(e)
    flat = e.flatten(1).double().numpy()
    variance, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
    variance, vectors = variance[::-1], vectors[:, ::-1].T
    np.testing.assert_allclose(pca.deviation, np.sqrt(variance[:32]), rtol=1e-4)
    np.testing.assert_allclose(pca.mean, flat.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.abs((pca.basis.numpy() * vectors[:32]).sum(1)), 1, atol=1e-4)
    np.testing.assert_allclose(kept, variance[:32].sum() / variance.sum(), rtol=1e-6)


def test_what_lies_in_the_components_comes_back():
    e, pca = samples(rank=6), ExpressionPCA(8, 15)
    assert pca.fit(e) > 1 - 1e-9
    offsets = e.flatten(1) - pca.mean
    coefficients = pca.encode(offsets) / pca.deviation.clamp(min=1e-3)
    torch.testing.assert_close(pca(coefficients), e.flatten(1), atol=1e-4, rtol=0)


def test_signs_do_not_depend_on_the_order_of_the_data():
    e, one, other = samples(20), ExpressionPCA(8, 15), ExpressionPCA(8, 15)
    one.fit(e)
    other.fit(e.flip(0))
    torch.testing.assert_close(one.basis, other.basis, atol=1e-4, rtol=0)
    largest = one.basis.gather(1, one.basis.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


def test_the_estimator_starts_without_expression_and_gives_no_depth():
    torch.manual_seed(0)
    expression, pose = ExpressionEstimator(TINY).eval()(torch.randn(3, 3, TINY.size, TINY.size))
    assert expression.shape == (3, 15, 3)
    assert expression.abs().max() < 0.1
    assert pose.shape == (3, 7)
    assert (pose[:, 5] == 0).all()
