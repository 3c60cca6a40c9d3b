"""Fréchet distance against closed forms, scipy, torchmetrics; moments in batches; FID of a toy network."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from eatlab.errors import UserError
from eatlab.experts.inception import ImageNetInception
from eatlab.metrics.frechet import FID, Gaussian, Moments, frechet_distance
from eatlab.metrics.pairing import fid_frames, frame_pairs
from tests.golden.inputs import hash_fill, made, to_frames

HERE = Path(__file__).parent


def samples(count: int, width: int, *, seed: int = 0, scale: float = 1, shift: float = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return scale * torch.randn(count, width, generator=generator, dtype=torch.float64) @ mix + shift


def fitted(features: Tensor) -> Gaussian:
    return Moments(features.shape[1]).add(features).gaussian()


def scipys(first: Gaussian, second: Gaussian) -> float:
    root = sqrtm((first.covariance @ second.covariance).numpy()).real
    squared = (first.mean - second.mean).square().sum() + (first.covariance + second.covariance).trace()
    return float(squared) - 2 * float(np.trace(root))


@given(mean=st.floats(-5, 5), deviation=st.floats(0.1, 5), other=st.floats(0.1, 5), dim=st.integers(1, 6))
def test_round_gaussians_have_the_closed_form(mean: float, deviation: float, other: float, dim: int) -> None:
    first = Gaussian(torch.zeros(dim).double(), deviation**2 * torch.eye(dim).double())
    second = Gaussian(torch.full((dim,), mean).double(), other**2 * torch.eye(dim).double())
    wanted = dim * (float(second.mean[0]) ** 2 + (deviation - other) ** 2)
    assert frechet_distance(first, second) == pytest.approx(wanted, abs=1e-9)


@given(count=st.integers(2, 40), width=st.integers(1, 12), seed=st.integers(0, 99))
def test_equal_features_are_at_distance_zero(count: int, width: int, seed: int) -> None:
    gaussian = fitted(samples(count, width, seed=seed))
    tolerance = 1e-10 * gaussian.covariance.trace().item() + 1e-12
    assert frechet_distance(gaussian, gaussian) == pytest.approx(0, abs=tolerance)


@given(seed=st.integers(0, 99), shift=st.floats(-20, 20))
def test_a_shift_counts_squared_in_each_dimension(seed: int, shift: float) -> None:
    features = samples(30, 5, seed=seed)
    found = frechet_distance(fitted(features), fitted(features + shift))
    assert found == pytest.approx(5 * shift**2, abs=1e-8)


@given(seed=st.integers(0, 99))
def test_it_is_symmetric_and_no_turn_changes_it(seed: int) -> None:
    a, b = samples(30, 6, seed=seed), samples(25, 6, seed=seed + 1000, shift=0.5)
    turn = torch.linalg.qr(samples(6, 6, seed=seed + 2000)).Q
    wanted = frechet_distance(fitted(a), fitted(b))
    assert frechet_distance(fitted(b), fitted(a)) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(fitted(a @ turn), fitted(b @ turn)) == pytest.approx(wanted, rel=1e-9)


def test_it_is_scipys_root_of_the_product() -> None:
    first, second = fitted(samples(50, 8)), fitted(samples(60, 8, seed=1, scale=1.3, shift=0.2))
    assert frechet_distance(first, second) == pytest.approx(scipys(first, second), abs=1e-10)
    assert frechet_distance(first, second, root="sqrtm") == pytest.approx(scipys(first, second), abs=1e-10)


def test_fewer_samples_than_dimensions_give_the_same_by_either_root() -> None:
    first, second = fitted(samples(6, 20)), fitted(samples(9, 20, seed=1))
    exact = frechet_distance(first, second)
    assert exact == pytest.approx(frechet_distance(first, second, root="sqrtm"), rel=1e-5)
    # Of F1 and F2, the centred samples themselves, the trace of the root is a nuclear norm.
    factors = [(s - s.mean(0)) / (len(s) - 1) ** 0.5 for s in (samples(6, 20), samples(9, 20, seed=1))]
    wanted = (
        sum(f.square().sum() for f in factors) - 2 * torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
    )
    wanted += (first.mean - second.mean).square().sum()
    assert exact == pytest.approx(wanted.item(), rel=1e-12)


def test_the_releases_root_adds_a_millionth_to_the_diagonals_where_scipys_is_not_finite(monkeypatch) -> None:
    first, second = fitted(samples(9, 3)), fitted(samples(9, 3, seed=1))
    asked = []

    def once_broken(product: np.ndarray) -> np.ndarray:
        asked.append(product)
        return np.full_like(product, np.nan) if len(asked) == 1 else sqrtm(product)

    monkeypatch.setattr("scipy.linalg.sqrtm", once_broken)
    found = frechet_distance(first, second, root="sqrtm")
    ridge = 1e-6 * torch.eye(3)
    np.testing.assert_allclose(asked[1], (first.covariance + ridge) @ (second.covariance + ridge), rtol=1e-12)
    assert found == pytest.approx(frechet_distance(first, second), abs=1e-4)


def test_the_releases_root_refuses_an_imaginary_part(monkeypatch) -> None:
    gaussian = fitted(samples(9, 3))
    monkeypatch.setattr("scipy.linalg.sqrtm", lambda product: product + 2e-3j)
    with pytest.raises(ValueError, match="imaginary"):
        frechet_distance(gaussian, gaussian, root="sqrtm")


def test_one_sample_and_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="1 samples"):
        fitted(samples(1, 3))
    broken = Gaussian(torch.full((2,), torch.nan), torch.eye(2))
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(broken, broken)


@given(cuts=st.lists(st.integers(0, 20), max_size=4), shift=st.sampled_from([0.0, 1e6]))
def test_moments_of_batches_are_those_of_all_and_do_not_grow(cuts: list[int], shift: float) -> None:
    features = samples(20, 4, shift=shift)
    moments = Moments(4)
    bounds = [0, *sorted(cuts), 20]
    for low, high in pairwise(bounds):
        moments.add(features[low:high])
    assert (moments.mean.shape, moments.scatter.shape) == ((4,), (4, 4))
    mean, covariance = moments.gaussian()
    np.testing.assert_allclose(mean, features.mean(0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(covariance, np.cov(features.numpy().T), rtol=1e-8, atol=1e-9)


class Toy(nn.Module):
    """Eight features: means of the quarters of two channels."""

    num_features = 8

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        return nn.functional.adaptive_avg_pool2d(images[:, :2].float() / 50, 2).flatten(1)


def test_fid_in_batches_is_torchmetrics_without_its_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 24, 3, 16, 16), generator=generator).to(torch.uint8)
    ours, theirs = FID(Toy()), FrechetInceptionDistance(Toy())
    for side, real in zip(images, (False, True), strict=True):
        for part in side.split(7):
            ours.update(part, real=real)
            theirs.update(part, real=real)
    assert ours.compute().dtype == torch.float64
    assert ours.compute().item() == pytest.approx(theirs.compute().item(), rel=1e-5)
    wanted = frechet_distance(*(fitted(Toy()(side)) for side in images))
    assert ours.compute().item() == pytest.approx(wanted, rel=1e-9)
    assert ours.num_images == (24, 24)
    assert ours.is_rank_deficient


def test_fid_of_one_image_is_refused() -> None:
    metric = FID(Toy())
    for real in (True, False):
        metric.update(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), real=real)
    with pytest.raises(UserError, match="1 samples"):
        metric.compute()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switches", "per_clip", "wrong"),
    [
        ({"channels": "RGB"}, 5, 0.01436),
        ({"normalisation": "centred"}, 5, 0.0857),
        ({"normalisation": "imagenet"}, 5, 0.00416),
        ({}, None, 0.01633),
    ],
    ids=["RGB", "once", "torchvision's alone", "all frames"],
)
@torch.no_grad()
def test_each_switch_of_eat_moves_the_golden_fid_as_the_note_says(
    switches: dict, per_clip: int | None, wrong: float
) -> None:
    """evaluation.md 5 says what each wrong order gives for `fid_eat_end_to_end`, whose value is 0.0231."""
    inputs = json.loads((HERE.parent / "golden" / "metrics.json").read_text())["cases"]
    (clips,) = (case["inputs"] for case in inputs if case["id"] == "fid_eat_end_to_end")
    network = hash_fill(ImageNetInception(**switches))
    metric = FID(network)
    for clip in clips["clips"]:
        sides = [to_frames(made(clip[side])) for side in ("fake", "gt")]
        for side, at, real in zip(
            sides, frame_pairs(*map(len, sides), lengths="stretch"), (False, True), strict=True
        ):
            metric.update(side[at[fid_frames(len(at), per_clip=per_clip)]], real=real)
    assert metric.compute().item() == pytest.approx(wrong, abs=5e-5)
