"""A film against its truth: what each protocol does with it, and with what cannot be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eatlab.errors import UserError
from eatlab.experts.face_identity import FaceIdentity, load_face_identity
from eatlab.metrics import protocols, videos
from eatlab.metrics.videos import (
    ALIGNED,
    CHAINS,
    FACELESS,
    NO_EMOTION,
    NO_FACES,
    NO_IDENTITY,
    NO_SYNCNET,
    Chain,
    Instruments,
    frames_of,
    measure_film,
)
from tests.experts.onnx_files import write_embedder
from tests.metrics.films import SIDE, disc, finder, moving, write

STANDARD, EAT = CHAINS["standard"], CHAINS["eat"]
SEEN = Instruments(faces=finder())


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("films") / "truth.mp4", moving())


def test_a_film_against_itself_is_perfect(truth: Path) -> None:
    found = measure_film(truth, truth, STANDARD, SEEN)
    zero = dict.fromkeys(("m_nme", "f_nme", "f_nme_uncentred", "jitter"), 0.0)
    assert found.values == zero | {"psnr": float("inf"), "ssim": 1.0, "detect_rate": 1.0}
    assert found.num_frames == 12
    not_here = dict.fromkeys(("lse_c", "lse_d", "sync_offset"), NO_SYNCNET)
    assert found.reasons == not_here | {"acc_emo": NO_EMOTION, "identity": NO_IDENTITY}


def test_a_film_that_comes_later_is_off_in_place_and_not_in_shape(truth: Path, tmp_path: Path) -> None:
    later = measure_film(write(tmp_path / "later.mp4", moving(later=3)), truth, STANDARD, SEEN)
    assert later.values["f_nme_uncentred"] > 10 * later.values["f_nme"]
    assert later.values["psnr"] < 30
    assert later.values["jitter"] > 1


def test_the_first_frame_repeated_is_not_compared_with_itself(truth: Path) -> None:
    found = measure_film(next(frames_of(truth)), truth, STANDARD, SEEN)
    assert np.isfinite(found.values["psnr"])
    assert found.num_frames == 11


def test_without_a_finder_frames_are_compared_and_landmarks_have_a_reason(truth: Path) -> None:
    found = measure_film(truth, truth, STANDARD, Instruments())
    assert set(found.values) == {"psnr", "ssim"}
    assert found.reasons["m_nme"] == NO_FACES
    aligned = measure_film(truth, truth, EAT, Instruments())
    assert not aligned.values
    assert aligned.reasons["psnr"] == NO_FACES


def test_standard_scales_nothing_and_stretches_nothing(truth: Path, tmp_path: Path) -> None:
    larger = write(tmp_path / "larger.mp4", moving(side=SIDE + 16))
    with pytest.raises(UserError, match=r"80×80 px .* 64×64.*protocol=eat"):
        measure_film(larger, truth, STANDARD, SEEN)
    shorter = write(tmp_path / "shorter.mp4", moving(10))
    assert measure_film(shorter, truth, STANDARD, SEEN).num_frames == 10
    with pytest.raises(UserError, match=r"of 9 frames .* a truth of 12.*difference of 2 frames"):
        measure_film(write(tmp_path / "cut.mp4", moving(9)), truth, STANDARD, SEEN)


def test_eat_stretches_time_and_takes_films_of_any_size(truth: Path, tmp_path: Path) -> None:
    shorter = write(tmp_path / "shorter.mp4", moving(8, side=SIDE + 16))
    found = measure_film(shorter, truth, EAT, SEEN)
    assert found.num_frames == 8
    assert {"psnr", "ssim", "m_lmd_centred", "f_lmd_centred", "m_lvd"} <= set(found.values)


def test_eat_codes_a_film_once_more_than_its_truth(truth: Path) -> None:
    found = measure_film(truth, truth, EAT, SEEN)
    assert 25 < found.values["psnr"] < 100
    assert found.values["f_lmd_centred"] < 1


def test_a_frame_without_a_face_is_dropped_by_eat_and_counted_by_standard(
    truth: Path, tmp_path: Path
) -> None:
    frames = moving()
    frames[4] = np.full_like(frames[4], 60)
    film = write(tmp_path / "gap.mp4", frames)
    counted = measure_film(film, truth, STANDARD, SEEN)
    assert (counted.num_frames, counted.dropped) == (12, 0)
    assert counted.values["detect_rate"] == pytest.approx(11 / 12)
    dropped = measure_film(film, truth, EAT, SEEN)
    assert (dropped.num_frames, dropped.dropped) == (11, 1)


def test_a_film_without_any_face_cannot_be_aligned_and_shows_no_emotion(truth: Path, tmp_path: Path) -> None:
    nobody = write(tmp_path / "nobody.mp4", [np.full((SIDE, SIDE, 3), 60, np.uint8)] * 12)
    judged = replace(SEEN, emotion=lambda faces: pytest.fail("there is no face to judge"))
    found = measure_film(nobody, truth, EAT, judged)
    assert (found.values, found.log_probability) == ({}, [])
    assert {*found.reasons} == {*protocols.EAT.metrics} - {"acc_emo", "fid"}
    assert {found.reasons[name] for name in ALIGNED} == {FACELESS}
    with pytest.raises(UserError, match="the truth has no face"):
        measure_film(truth, nobody, EAT, SEEN)


def test_each_protocol_says_which_means_and_windows_are_its_own() -> None:
    assert protocols.EAT.means("psnr").startswith("dB; mean over the frames of all clips")
    assert "7x7 uniform" in protocols.EAT.means("ssim")
    assert "11x11 Gaussian" in protocols.STANDARD.means("ssim")
    assert {name for name, _ in protocols.EAT.says} == set(protocols.EAT.over_frames)


def test_fid_looks_at_every_frame_or_at_five_of_the_aligned(truth: Path) -> None:
    seen: list[torch.Tensor] = []

    def inception(frames: torch.Tensor) -> torch.Tensor:
        seen.append(frames)
        return frames.float().mean((2, 3))

    whole = measure_film(truth, truth, STANDARD, Instruments(finder(), None, inception)).features
    assert whole is not None
    assert [len(side) for side in whole] == [12, 12]
    assert torch.equal(*whole)
    aligned = measure_film(truth, truth, EAT, Instruments(finder(), None, inception)).features
    assert aligned is not None
    assert [len(side) for side in aligned] == [5, 5]
    assert seen[-1].shape == (5, 3, 128, 128)


class Judge:
    """A judge of emotions that keeps the faces it was shown."""

    faces: torch.Tensor

    def __call__(self, faces: torch.Tensor) -> torch.Tensor:
        self.faces = faces
        return torch.full((8,), 1 / 8).log()


@pytest.mark.parametrize("chain", [STANDARD, EAT])
def test_the_judge_of_emotion_sees_the_face_of_every_frame_that_has_one(
    chain: Chain, truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = moving()
    frames[4] = np.full_like(frames[4], 60)
    film, judge = write(tmp_path / "gap.mp4", frames), Judge()
    found = measure_film(film, truth, chain, Instruments(finder(), emotion=judge))
    assert judge.faces.shape == (11, 3, 224, 224)
    assert judge.faces.dtype == torch.uint8
    assert found.log_probability == pytest.approx([np.log(1 / 8)] * 8)
    assert "acc_emo" not in found.reasons
    monkeypatch.setattr(videos, "emotion_crop", lambda frame, points: frame)
    measure_film(film, truth, chain, Instruments(finder(), emotion=judge))
    delivered = np.delete(np.stack(list(frames_of(film))), 4, 0)
    assert np.array_equal(judge.faces.permute(0, 2, 3, 1), delivered)  # not coded again


def test_of_a_film_without_any_face_the_judge_says_nothing(truth: Path, tmp_path: Path) -> None:
    nobody = write(tmp_path / "nobody.mp4", [np.full((SIDE, SIDE, 3), 60, np.uint8)] * 12)
    found = measure_film(nobody, truth, STANDARD, Instruments(finder(), emotion=Judge()))
    assert found.log_probability == []
    assert "acc_emo" not in found.reasons


@pytest.fixture(scope="module")
def arcface(tmp_path_factory: pytest.TempPathFactory) -> FaceIdentity:
    path = tmp_path_factory.mktemp("weights") / "arcface.onnx"
    write_embedder(path)
    return load_face_identity(path)


@pytest.mark.parametrize("chain", [STANDARD, EAT])
def test_the_truth_is_the_same_person_and_another_face_is_less(
    chain: Chain, truth: Path, tmp_path: Path, arcface: FaceIdentity
) -> None:
    seen = Instruments(finder(), identity=arcface)
    other = [255 - frame // 2 if t == 5 else frame[..., ::-1] // 2 + 120 for t, frame in enumerate(moving())]
    same = measure_film(truth, truth, chain, seen).values["identity"]
    assert same == pytest.approx(1, abs=1e-9 if chain is STANDARD else 1e-2)
    another = measure_film(write(tmp_path / "other.mp4", other), truth, chain, seen).values["identity"]
    assert another < same - 0.02


def test_persons_are_compared_where_both_sides_have_a_face(
    truth: Path, tmp_path: Path, arcface: FaceIdentity
) -> None:
    frames = moving()
    frames[4] = np.full_like(frames[4], 60)
    seen = Instruments(finder(), identity=arcface)
    found = measure_film(write(tmp_path / "gap.mp4", frames), truth, STANDARD, seen)
    assert found.values["identity"] > 0.99
    nobody = write(tmp_path / "nobody.mp4", [np.full((SIDE, SIDE, 3), 60, np.uint8)] * 12)
    assert "too few frames" in measure_film(nobody, truth, STANDARD, seen).reasons["identity"]


def test_lip_sync_of_a_film_without_sound_says_so(truth: Path) -> None:
    def never(*frames: torch.Tensor) -> torch.Tensor:
        raise AssertionError("nothing is heard")

    found = measure_film(truth, truth, STANDARD, Instruments(finder(), never))  # type: ignore[arg-type]
    assert found.reasons["lse_d"] == "not measured: the truth has no sound"


def test_a_disc_is_found_where_it_is() -> None:
    image = disc(20, 40)
    face = finder().faces(image)[0]
    assert finder().landmarks(image, face).mean(0) == pytest.approx([20, 40], abs=1)
