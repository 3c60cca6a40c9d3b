"""The latent loss against its formula, written out in numpy."""

import numpy as np
import pytest
import torch

from eatlab.objectives.latent import LatentLoss
from eatlab.objectives.weights import LossConfig
from tests.training.toys import tiny_backbone


def pca(num: int = 500, rank: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """E (num, 15, 3) with its basis (rank, 45) and deviations (rank,)."""
    e = torch.randn(num, 45, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 0.01, 45)
    _, s, v = torch.linalg.svd(e - e.mean(0), full_matrices=False)
    return e.unflatten(1, (15, 3)), v[:rank], s[:rank] / num**0.5


def test_equals_the_formula_written_out() -> None:
    e, basis, deviation = pca()
    config = LossConfig(expression=2.0, coefficients=0.3, floor=0.2)
    predicted, true = e[:6].view(2, 3, 15, 3), e[6:12].view(2, 3, 15, 3)
    d = (predicted - true).reshape(6, 45).double().numpy()
    u, s = basis.double().numpy(), deviation.double().numpy()
    expected = 2.0 * (d**2).mean() / ((s**2).sum() / 45) + 0.3 * ((d @ u.T / (s + 0.2 * s.max())) ** 2).mean()
    assert LatentLoss(basis, deviation, config)(predicted, true).item() == pytest.approx(expected, rel=1e-5)


def test_nothing_is_lost_when_the_prediction_is_true() -> None:
    e, basis, deviation = pca()
    assert LatentLoss(basis, deviation)(e, e).item() == 0


def test_predicting_the_mean_costs_about_one_whatever_the_units() -> None:
    e, _, _ = pca()
    _, s, v = torch.linalg.svd(e.flatten(1) - e.flatten(1).mean(0), full_matrices=False)
    only = LossConfig(coefficients=0)
    for unit in (1.0, 1000.0):
        loss = LatentLoss(v, unit * s / len(e) ** 0.5, only)(unit * e.mean(0).expand_as(e), unit * e)
        assert loss.item() == pytest.approx(1, rel=1e-4)


def test_weak_coefficients_weigh_less_than_their_whitening_says() -> None:
    _, basis, deviation = pca()
    loss = LatentLoss(basis, deviation, LossConfig(expression=0, coefficients=1, floor=0.5))
    zero = torch.zeros(1, 15, 3)
    strong, weak = (loss((basis[k] * deviation[k]).view(1, 15, 3), zero).item() for k in (0, -1))
    assert weak < strong


def test_reads_the_pca_of_the_backbone() -> None:
    backbone = tiny_backbone()
    loss = LatentLoss.of(backbone)
    assert torch.equal(loss.basis, backbone.a2et.pca.basis)
    assert np.isclose(loss.variance.item() * 45, backbone.a2et.pca.deviation.square().sum().item())
    assert not list(loss.parameters())
