"""PSNR and SSIM against closed forms, torchmetrics, scikit-image, and golden cases (evaluation.md 3, 4).

The golden inputs are made by the formulas of the metrics reference: channel k of image(ph) is
clip(rint(127.5 + 100 sin(2π(x(k+1)/64 + y(k+2)/96) + ph(k+1))), 0, 255).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from eatlab.metrics.image import psnr, ssim, to_uint8


def golden_image(phase: float, height: int = 128, width: int = 128, *, then_add: int = 0) -> Tensor:
    """(1, 3, height, width) uint8 by the formula."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(2 * np.pi * (x * (k + 1) / 64 + y * (k + 2) / 96) + phase * (k + 1)) for k in range(3)]
    image = np.clip(np.rint(127.5 + 100 * np.stack(waves)), 0, 255)
    return torch.from_numpy(np.clip(image + then_add, 0, 255).astype(np.uint8))[None]


GOLDEN = [
    (golden_image(0), golden_image(0.3), 15.128457711148267, 0.653700717936652),
    (golden_image(0), golden_image(0, then_add=10), 28.130803608679106, 0.9924540649182383),
    (golden_image(0.5), golden_image(0.9), 12.820185040165065, 0.49209438746417594),
    (golden_image(0, 96, 160), golden_image(1.0, 96, 160), 7.026405057950114, -0.19270376830567956),
    (golden_image(1.2, 256, 256), golden_image(1.25, 256, 256), 30.473177906342247, 0.9860759778838825),
]


@pytest.fixture
def noisy() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = golden_image(0.2, 96, 96).repeat(5, 1, 1, 1).int()
    noise = torch.randint(-40, 41, clean.shape, generator=generator)
    return (clean + noise).clamp(0, 255).to(torch.uint8), clean.to(torch.uint8)


@pytest.mark.parametrize(("frames", "truth", "decibel", "likeness"), GOLDEN)
def test_golden_cases(frames: Tensor, truth: Tensor, decibel: float, likeness: float) -> None:
    assert psnr(frames, truth).item() == pytest.approx(decibel, abs=1e-9)
    assert ssim(frames, truth).item() == pytest.approx(likeness, abs=1e-8)


def test_ssim_equals_torchmetrics_fed_float64(noisy: tuple[Tensor, Tensor]) -> None:
    frames, truth = (x[..., :64] for x in noisy)
    oracle = structural_similarity_index_measure(
        frames.double(), truth.double(), data_range=255.0, reduction="none"
    )
    assert torch.allclose(ssim(frames, truth), oracle, rtol=0, atol=1e-12)


def test_psnr_equals_scikit_image(noisy: tuple[Tensor, Tensor]) -> None:
    frames, truth = noisy
    oracle = [
        peak_signal_noise_ratio(t.numpy(), f.numpy(), data_range=255)
        for f, t in zip(frames, truth, strict=True)
    ]
    assert psnr(frames, truth).numpy() == pytest.approx(oracle, abs=1e-12)


def test_identical_frames_are_infinite_and_alike() -> None:
    frames = golden_image(0.4)
    assert math.isinf(psnr(frames, frames).item())
    assert ssim(frames, frames).item() == 1
    assert ssim(torch.cat([frames, frames]), torch.cat([frames, golden_image(0)]))[0].item() == pytest.approx(
        1, abs=1e-12
    )


def test_constants_have_the_closed_form() -> None:
    low, high = (torch.full((1, 3, 32, 32), v, dtype=torch.uint8) for v in (100, 110))
    assert psnr(low, high).item() == pytest.approx(10 * math.log10(255**2 / 100), abs=1e-12)
    c1 = (0.01 * 255) ** 2
    assert ssim(low, high).item() == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1), abs=1e-12)


def test_psnr_falls_by_six_decibels_when_the_error_doubles() -> None:
    truth = torch.full((1, 3, 8, 8), 50, dtype=torch.uint8)
    assert (psnr(truth + 4, truth) - psnr(truth + 8, truth)).item() == pytest.approx(
        20 * math.log10(2), abs=1e-12
    )


def test_both_are_symmetric(noisy: tuple[Tensor, Tensor]) -> None:
    frames, truth = noisy
    assert torch.equal(psnr(frames, truth), psnr(truth, frames))
    assert torch.allclose(ssim(frames, truth), ssim(truth, frames), rtol=0, atol=1e-14)


def test_rounding_brings_every_byte_back() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every.float() / 127.5 - 1), every)
    assert to_uint8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]
    assert to_uint8(torch.tensor([0.5 / 127.5 - 1 + 1e-4])).tolist() == [1]  # rounded, not cut


def test_frames_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]))


def test_the_uniform_window_is_scikit_images(noisy: tuple[Tensor, Tensor]) -> None:
    frames, truth = noisy
    pairs = zip(frames.movedim(1, -1).numpy(), truth.movedim(1, -1).numpy(), strict=True)
    oracle = [structural_similarity(a, b, channel_axis=-1, data_range=255) for a, b in pairs]
    assert ssim(frames, truth, window="uniform").numpy() == pytest.approx(oracle, abs=1e-12)


def test_the_uniform_window_is_torchmetrics_with_another_constant(noisy: tuple[Tensor, Tensor]) -> None:
    """C2 scaled by 48/49 is the same as covariances scaled by 49/48 (evaluation.md 4)."""
    frames, truth = (x.double() for x in noisy)
    _, whole = structural_similarity_index_measure(
        frames,
        truth,
        gaussian_kernel=False,
        kernel_size=7,
        k2=0.03 * math.sqrt(48 / 49),
        data_range=255.0,
        return_full_image=True,
    )
    inside = whole[..., 3:-3, 3:-3].mean((1, 2, 3))
    assert torch.allclose(ssim(*noisy, window="uniform"), inside, rtol=0, atol=1e-12)


def test_the_windows_differ_and_standard_has_the_gaussian_one(noisy: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(ssim(*noisy), ssim(*noisy, window="gaussian"))
    assert (ssim(*noisy) - ssim(*noisy, window="uniform")).abs().min() > 1e-3


def test_only_the_gaussian_window_looks_at_the_border() -> None:
    truth = golden_image(0.2, 32, 32)
    frames = truth.clone()
    frames[..., 0, 0] = (
        255 - frames[..., 0, 0]
    )  # the uniform window sees the corner in one place, mirrors in 36
    lost = [1 - ssim(frames, truth, window=window).item() for window in ("gaussian", "uniform")]
    assert lost[0] > 4 * lost[1] > 0


def test_frames_smaller_than_a_window_are_refused() -> None:
    small = golden_image(0, 6, 9)
    with pytest.raises(ValueError, match="7"):
        ssim(small, small, window="uniform")
    assert ssim(small, small).item() == 1
