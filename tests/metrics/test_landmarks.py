"""Laws of the uncentred landmark distance."""

from __future__ import annotations

import pytest
import torch

from eatlab.metrics.landmarks import MOUTH, face_distance, mouth_distance

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
