"""What one look, one box, one sound decide about a film."""

from __future__ import annotations

import numpy as np
import pytest

from data_recipes.mead.clip import difference_hash
from data_recipes.mead.sound import FOREIGN, Voice, choose_voice, loudest_run
from data_recipes.mead.survey import Look, check_no_cut, check_one_face, choose_box, why_no_face
from eatlab.data.faces import Face, overlap
from eatlab.data.media import FootageError


def look(place: int, *faces: tuple[float, float, float, float], luma: float = 0.0) -> Look:
    return Look(place, [Face(*face) for face in faces], np.full((36, 64), luma, np.float32))


NEAR, FAR_SMALL, FAR_LARGE = (0, 0, 100, 100), (200, 0, 240, 40), (200, 0, 260, 60)


def test_a_second_face_counts_if_it_is_large_and_stays() -> None:
    check_one_face([look(place, NEAR, FAR_SMALL) for place in range(20)])
    check_one_face([look(0, NEAR, FAR_LARGE), *[look(place, NEAR) for place in range(1, 20)]])
    with pytest.raises(FootageError, match="several_faces: a second face in 2 of 20"):
        check_one_face([look(place, NEAR, *([FAR_LARGE] if place < 2 else [])) for place in range(20)])
    with pytest.raises(FootageError, match="no_face: no face in 15%"):
        check_one_face([look(place, *([NEAR] if place > 2 else [])) for place in range(20)])


def test_no_face_tells_a_late_one_from_one_without_landmarks() -> None:
    none, late = [look(place) for place in (0, 5)], [look(place, NEAR) for place in (30, 35)]
    assert why_no_face([*none, *late]) == "no face in its first second (later in 2 of 2 looks)"
    seen = [look(0), look(5, NEAR), *late]
    assert why_no_face(seen).startswith("a face in 1 of 2 looks at its first second, but no landmarks on it")


def test_a_cut_is_a_jump_of_picture_and_face() -> None:
    check_no_cut([look(0, NEAR), look(5, NEAR, luma=90)])
    check_no_cut([look(0, NEAR), look(5, FAR_LARGE)])
    with pytest.raises(FootageError, match="cut: the shot changes before frame 5"):
        check_no_cut([look(0, NEAR), look(5, FAR_LARGE, luma=90)])


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(Face(0, 0, 2, 2), Face(1, 0, 3, 2)) == pytest.approx(2 / 6)
    assert overlap(Face(0, 0, 1, 1), Face(2, 2, 3, 3)) == 0


def test_the_box_follows_the_footage() -> None:
    face = np.array([[100.0, 100.0], [180.0, 220.0]])
    assert choose_box(face, (256, 256), "auto")[0] == "framed"
    assert choose_box(face, (1920, 1080), "auto")[0] == "eat"
    assert choose_box(face, (256, 256), "none")[1].corners == (0, 0, 256, 256)
    with pytest.raises(FootageError, match="too_small"):
        choose_box(face / 4, (256, 256), "auto")
    with pytest.raises(FootageError, match="border"):
        choose_box(np.array([[10.0, 10.0], [250.0, 250.0]]), (260, 260), "eat")


def test_a_voice_that_fits_is_preferred_and_a_foreign_one_is_repeated() -> None:
    long, right = np.ones(640 * 50, np.float32), np.full(640 * 25, 0.5, np.float32)
    voice, sound = choose_voice([Voice("own", "a.mp4", long), Voice("beside", "a.wav", right)], 25)
    assert (voice.origin, len(sound)) == ("beside", 640 * 25)
    with pytest.raises(FootageError, match="av_mismatch"):
        choose_voice([Voice("own", "a.mp4", long)], 25)
    _, sound = choose_voice([Voice(FOREIGN, "b.wav", right)], 60)
    assert len(sound) == 640 * 60


def test_the_frames_that_are_drawn_are_those_where_most_is_said() -> None:
    sound = np.zeros((20, 640), np.float32)
    sound[7:12] = 0.5
    assert loudest_run(sound.ravel(), 20, 5) == 7
    assert loudest_run(sound.ravel(), 20, 20) == 0


def test_a_difference_hash_survives_a_change_of_light() -> None:
    image = np.random.default_rng(0).integers(0, 200, (96, 96, 3), dtype=np.uint8)
    assert difference_hash(image) == difference_hash(image + 20)
    assert difference_hash(image) != difference_hash(image[:, ::-1])
