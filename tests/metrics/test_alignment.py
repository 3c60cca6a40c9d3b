"""Crops by landmarks: similarities against closed forms and scikit-image, warps, smoothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform, warp

from eatlab.metrics.alignment import (
    CHIP_TEMPLATE,
    FACE_TEMPLATE,
    IDENTITY_TARGET,
    SYNC_TARGET,
    align_face,
    align_matrix,
    emotion_crop,
    identity_crop,
    similarity,
    sync_crop,
    sync_matrices,
    sync_points,
)


def turned(theta: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """(2, 3)."""
    cos, sin = scale * np.cos(theta), scale * np.sin(theta)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@given(theta=st.floats(-3, 3), scale=st.floats(0.1, 10), x=st.floats(-100, 100), y=st.floats(-100, 100))
def test_a_similarity_is_found_again(theta: float, scale: float, x: float, y: float) -> None:
    matrix = turned(theta, scale, (x, y))
    np.testing.assert_allclose(similarity(FACE_TEMPLATE, moved(FACE_TEMPLATE, matrix)), matrix, atol=1e-9)


def test_noisy_points_give_the_matrix_of_scikit_image() -> None:
    noise = np.random.default_rng(0).normal(0, 4, FACE_TEMPLATE.shape)
    target = moved(FACE_TEMPLATE, turned(0.4, 1.7, (3, 9))) + noise
    oracle = SimilarityTransform.from_estimate(FACE_TEMPLATE, target).params[:2]
    np.testing.assert_allclose(similarity(FACE_TEMPLATE, target), oracle, atol=1e-9)


def test_mirrored_points_are_turned_not_mirrored() -> None:
    matrix = similarity(FACE_TEMPLATE, FACE_TEMPLATE * (-1, 1))
    assert np.linalg.det(matrix[:, :2]) > 0
    oracle = SimilarityTransform.from_estimate(FACE_TEMPLATE, FACE_TEMPLATE * (-1, 1)).params[:2]
    np.testing.assert_allclose(matrix, oracle, atol=1e-9)


def test_points_that_are_one_point_are_refused() -> None:
    for source in (np.ones((3, 2)), np.full((3, 2), np.nan), np.ones((1, 2))):
        with pytest.raises(ValueError, match="no similarity"):
            similarity(source, SYNC_TARGET[: len(source)])


def landmarks_at(matrix: np.ndarray) -> np.ndarray:
    """(68, 2) whose points 27…44 are the template's, moved; the others are far off and must not matter."""
    marks = np.full((68, 2), 1e4)
    marks[27:45] = moved(FACE_TEMPLATE, matrix)
    return marks


@pytest.mark.parametrize("matrix", [turned(0.1, 1.6, (22, 31)), turned(-0.7, 1.1, (-20, 60))])
def test_the_aligned_face_is_that_of_scikit_image(matrix: np.ndarray) -> None:
    """The second one reaches beyond the frame, where it is black."""
    frame = np.random.default_rng(0).integers(0, 256, (200, 180, 3), dtype=np.uint8)
    found = align_matrix(landmarks_at(matrix))
    np.testing.assert_allclose(found, matrix, atol=1e-4)
    oracle = (
        warp(frame, SimilarityTransform(np.vstack([found, [0, 0, 1]])), output_shape=(163, 163)) * 255
    ).astype(np.uint8)[1:129, 1:129]
    crop = align_face(frame, found)
    off = np.abs(crop.astype(int) - oracle)
    assert off.max() <= 1
    assert (off > 0).mean() < 1e-3


def test_the_crop_begins_at_template_position_1_1_and_is_cut_off_not_rounded() -> None:
    frame = np.arange(200 * 200 * 3, dtype=np.uint32).reshape(200, 200, 3).astype(np.uint8)
    plain = align_face(frame, turned(0, 1, (0, 0)))
    assert np.abs(plain.astype(int) - frame[1:129, 1:129]).max() <= 1
    grey = np.zeros((200, 200, 3), np.uint8)
    grey[:, 100:] = 255
    assert align_face(grey, turned(0, 1, (0.499, 0)))[0, 98, 0] == int(0.499 * 255)


def test_sync_points_are_the_eyes_and_the_inner_lips() -> None:
    marks = np.zeros((2, 68, 2))
    marks[:, 36:42], marks[:, 42:48], marks[:, 60:68], marks[:, 48:60] = (1, 2), (3, 4), (5, 6), 99
    np.testing.assert_array_equal(sync_points(marks)[1], [(1, 2), (3, 4), (5, 6)])


def test_a_still_face_lies_at_its_target_in_every_frame() -> None:
    points = np.repeat(moved(SYNC_TARGET, turned(0.2, 1.5, (40, 10)))[None], 4, 0)
    for matrix, each in zip(sync_matrices(points), points, strict=True):
        np.testing.assert_allclose(moved(each, matrix), SYNC_TARGET, atol=1e-9)


def test_without_smoothing_the_mouth_is_always_at_its_target_and_with_it_it_lags() -> None:
    points = np.repeat(SYNC_TARGET[None], 5, 0)
    points[3:, :, 0] += 10
    followed = [moved(p, m)[2] for p, m in zip(points, sync_matrices(points, smoothing=0), strict=True)]
    np.testing.assert_allclose(followed, np.repeat(SYNC_TARGET[2:], 5, 0), atol=1e-9)
    lags = [moved(p, m)[2, 0] - 112 for p, m in zip(points, sync_matrices(points), strict=True)]
    np.testing.assert_allclose(lags, [0, 0, 0, 0.2 * 10, 0.2**2 * 10], atol=1e-9)


def test_the_sync_crop_moves_the_frame_by_its_matrix_and_is_black_outside() -> None:
    frame = np.full((100, 100, 3), 200, np.uint8)
    frame[30, 40] = 10
    crop = sync_crop(frame, turned(0, 1, (100, 50)))
    assert crop.shape == (224, 224, 3)
    assert (crop[80, 140] == 10).all()
    assert (crop[:50] == 0).all()
    assert (crop[60:140, 110:139] == 200).all()


def smooth_frame() -> np.ndarray:
    """(160, 200, 3) uint8 without edges, so that ways to interpolate agree."""
    rows, columns = np.mgrid[:160, :200]
    waves = [np.sin(rows / 11 + k) + np.cos(columns / 13 - k) for k in range(3)]
    return np.stack([127 + 60 * wave for wave in waves], -1).astype(np.uint8)


def face_of(five: np.ndarray, places: list[list[int]]) -> np.ndarray:
    """(68, 2) landmarks whose means over `places` are the five points; the others must not matter."""
    landmarks = np.full((68, 2), 1e6)
    for point, at in zip(five, places, strict=True):
        landmarks[at] = point
    return landmarks


def test_the_emotion_judge_sees_dlibs_chip() -> None:
    """Its five points lie in a square that the padding of 0.25 widens on each side."""
    chip = 224 * (0.25 + CHIP_TEMPLATE) / 1.5
    noise = np.random.default_rng(0).normal(0, 1, (5, 2))
    five = moved(chip, turned(0.2, 0.5, (50, 20))) + noise
    crop = emotion_crop(smooth_frame(), face_of(five, [[45], [42], [36], [39], [33]]))
    way = SimilarityTransform.from_estimate(chip, five)
    oracle = 255 * warp(smooth_frame(), way, output_shape=(224, 224), order=1)
    assert crop.shape == (224, 224, 3)
    assert np.abs(crop - oracle).mean() < 1


def test_faces_are_told_apart_in_the_crop_of_arcface() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (5, 2))
    five = moved(IDENTITY_TARGET, turned(-0.2, 0.8, (40, 30))) + noise
    eyes = [list(range(36, 42)), list(range(42, 48))]
    crop = identity_crop(smooth_frame(), face_of(five, [*eyes, [30], [48], [54]]))
    way = SimilarityTransform.from_estimate(five, IDENTITY_TARGET)
    oracle = 255 * warp(smooth_frame(), way.inverse, output_shape=(112, 112), order=1)
    assert crop.shape == (112, 112, 3)
    assert np.abs(crop - oracle).mean() < 1
