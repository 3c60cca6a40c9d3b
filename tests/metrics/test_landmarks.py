"""Laws of the landmark distances, not centred and centred, of velocities, and of NME (evaluation.md 6)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eatlab.metrics import landmarks
from eatlab.metrics.landmarks import (
    MOUTH,
    centred_distance,
    f_lvd_published_bug,
    face_distance,
    lmd,
    lvd,
    mouth_distance,
    nme,
)

PARTS = pytest.mark.parametrize("points", [landmarks.FACE, MOUTH], ids=["face", "mouth"])
FACE = torch.rand(3, 68, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 60 + 18


def test_the_truth_is_at_distance_zero_of_itself() -> None:
    assert face_distance(FACE, FACE).tolist() == [0, 0, 0]
    assert mouth_distance(FACE, FACE).tolist() == [0, 0, 0]


def test_a_shift_counts_in_full() -> None:
    moved = FACE + torch.tensor([3.0, 4.0])
    assert face_distance(moved, FACE).tolist() == pytest.approx([5.0] * 3, abs=1e-12)
    assert mouth_distance(moved, FACE).tolist() == pytest.approx([5.0] * 3, abs=1e-12)


def test_scaling_by_k_moves_by_k_minus_1_times_the_mean_radius() -> None:
    radius = torch.linalg.vector_norm(FACE, dim=-1)
    assert torch.allclose(face_distance(1.1 * FACE, FACE), 0.1 * radius.mean(1), atol=1e-12)
    assert torch.allclose(mouth_distance(1.1 * FACE, FACE), 0.1 * radius[:, MOUTH].mean(1), atol=1e-12)


def test_both_sides_scaled_scale_the_distance() -> None:
    other = FACE.flip(0)
    assert torch.allclose(face_distance(2 * FACE, 2 * other), 2 * face_distance(FACE, other), atol=1e-12)


def test_the_mouth_is_points_48_to_67() -> None:
    moved = FACE.clone()
    moved[:, 48:] += torch.tensor([0.0, 2.0])
    assert mouth_distance(moved, FACE).tolist() == pytest.approx([2.0] * 3, abs=1e-12)
    assert face_distance(moved, FACE).tolist() == pytest.approx([2 * 20 / 68] * 3, abs=1e-12)


def test_other_numbers_of_points_are_refused() -> None:
    with pytest.raises(ValueError, match="68"):
        face_distance(FACE[:, :5], FACE[:, :5])
    with pytest.raises(ValueError, match="68"):
        face_distance(FACE[:1], FACE)


@PARTS
@given(dx=st.floats(-50, 50), dy=st.floats(-50, 50))
def test_lmd_is_blind_to_a_shift(points: slice, dx: float, dy: float) -> None:
    assert lmd(FACE + torch.tensor([dx, dy]), FACE, points) == pytest.approx(0, abs=1e-12)


@PARTS
@given(k=st.floats(0.1, 5))
def test_lmd_of_a_scale_k_is_k_minus_1_times_the_mean_radius(points: slice, k: float) -> None:
    part = FACE[:, points]
    radius = torch.linalg.vector_norm(part - part.mean(1, keepdim=True), dim=-1).mean().item()
    assert lmd(k * FACE, FACE, points) == pytest.approx(abs(k - 1) * radius, abs=1e-10)


def test_m_lmd_is_centred_on_the_mouth_alone_so_a_shifted_mouth_is_not_seen() -> None:
    moved = FACE.clone()
    moved[:, MOUTH] += torch.tensor([0.0, 5.0])
    assert lmd(moved, FACE, MOUTH) == pytest.approx(0, abs=1e-12)
    assert lmd(moved, FACE, landmarks.FACE) > 1
    assert mouth_distance(moved, FACE).mean().item() == pytest.approx(5, abs=1e-12)


def test_frames_without_a_face_on_either_side_do_not_count() -> None:
    other = FACE.flip(0)
    valid = torch.tensor([True, False, True])
    assert lmd(other, FACE, MOUTH, valid=valid) == lmd(other[valid], FACE[valid], MOUTH)
    assert math.isnan(lmd(other, FACE, MOUTH, valid=torch.zeros(3, dtype=torch.bool)))


@PARTS
def test_nme_is_percent_of_the_true_outer_eye_distance_of_each_frame(points: slice) -> None:
    other = FACE.flip(0)
    eyes = (FACE[:, 36] - FACE[:, 45]).norm(dim=-1)
    wanted = (100 * centred_distance(other, FACE, points) / eyes).mean().item()
    assert nme(other, FACE, points) == pytest.approx(wanted, abs=1e-12)
    assert nme(3 * other, 3 * FACE, points) == pytest.approx(wanted, abs=1e-10), "no unit is left"
    assert lmd(3 * other, 3 * FACE, points) == pytest.approx(3 * lmd(other, FACE, points), abs=1e-10)


def test_only_the_uncentred_nme_sees_a_shift() -> None:
    moved = FACE + torch.tensor([3.0, 4.0])
    eyes = (FACE[:, 36] - FACE[:, 45]).norm(dim=-1)
    assert nme(moved, FACE, landmarks.FACE) == pytest.approx(0, abs=1e-10)
    assert nme(moved, FACE, landmarks.FACE, centred=False) == pytest.approx(
        (500 / eyes).mean().item(), abs=1e-9
    )


def test_velocities_are_blind_to_what_does_not_move() -> None:
    assert lvd(FACE + torch.rand(68, 2), FACE, MOUTH) == pytest.approx(0, abs=1e-12)


def test_eat_divides_the_velocities_by_frames_and_standard_by_steps() -> None:
    still = torch.zeros(5, 68, 2)
    moving = still + 3 * torch.arange(5)[:, None, None] * torch.tensor([1.0, 0.0])
    assert lvd(moving, still, landmarks.FACE) == pytest.approx(3 * 4 / 5)
    assert lvd(moving, still, landmarks.FACE, divisor="steps") == pytest.approx(3)


def test_a_step_leads_from_one_valid_frame_to_the_next() -> None:
    still = torch.zeros(4, 68, 2)
    moving = still + torch.tensor([0.0, 100.0, 2.0, 3.0])[:, None, None] * torch.tensor([1.0, 0.0])
    valid = torch.tensor([True, False, True, True])
    assert lvd(moving, still, MOUTH, valid=valid) == pytest.approx((2 + 1) / 3)


def test_one_frame_has_no_step_and_none_has_no_frame() -> None:
    assert lvd(FACE[:1], FACE[:1], MOUTH) == 0
    assert math.isnan(lvd(FACE[:1], FACE[:1], MOUTH, divisor="steps"))
    assert math.isnan(lvd(FACE[:0], FACE[:0], MOUTH))


def test_the_published_face_velocity_is_the_mouths_and_blind_to_the_face() -> None:
    moved = FACE.clone()
    moved[1, :48] += 9
    assert f_lvd_published_bug(moved, FACE) == 0
    assert lvd(moved, FACE, landmarks.FACE) > 1
    other = FACE + torch.from_numpy(np.random.default_rng(0).normal(size=FACE.shape))
    assert f_lvd_published_bug(other, FACE) == pytest.approx(lvd(other, FACE, MOUTH) * 20 / 68, abs=1e-12)
