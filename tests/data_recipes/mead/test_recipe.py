"""The MEAD recipe on puppets filmed into MEAD's layout: what is taken, what is refused, same bytes."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_recipes.mead.clip import ClipOptions
from data_recipes.mead.recipe import passing, prepare
from data_recipes.mead.sound import FOREIGN
from data_recipes.mead.work import Reject
from eatlab.data.shards import data_fingerprint, read_index, read_shards
from eatlab.errors import ExitCode, UserError


def shoot_film(
    path: Path,
    person: int,
    emotion: str,
    *,
    frames: int = 26,
    sound: bool = True,
    second: int | None = None,
    face: bool = True,
) -> None:
    """A puppet, enlarged and filmed; `second` puts another one beside it; without `face` there is noise."""
    import av
    import cv2

    from eatlab.data.puppets.corpus import draw
    from eatlab.data.puppets.performance import ClipSpec

    drawn, audio, _ = draw(ClipSpec(person, sentence=person, emotion=emotion, frames=26))
    if second is not None:
        drawn = np.concatenate([drawn, draw(ClipSpec(second, emotion=emotion, frames=26))[0]], axis=2)
    if not face:
        drawn = np.random.default_rng(0).integers(0, 256, drawn.shape, dtype=np.uint8)
    audio = audio[: 640 * frames]
    images = [cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC) for image in drawn[:frames]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "2"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        voice = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        if voice is not None:
            piece = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="fltp", layout="mono")
            piece.rate, piece.pts = 16_000, 0
            container.mux(voice.encode(piece))
            container.mux(voice.encode())


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


PLANTED = {
    "P003/video/front/angry/level_3/010.mp4": "several_faces",
    "P003/video/front/fear/level_3/011.mp4": "no_audio",
    "P003/video/front/calm/level_1/012.mp4": "bad_label",
    "P003/video/front/happy/level_3/013.mp4": "corrupt",
    "P003/video/front/happy/level_3/014.mp4": "lfs_pointer",
    "P003/video/front/sad/level_3/015.mp4": "too_short",
    "P003/video/front/happy/level_3/016.mp4": "duplicate",
    "P003/video/front/neutral/level_1/017.mp4": "no_face",
    "P003/video/front/fear/level_3/018.mp4": "silent",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two puppets × three emotions, a clip with a lent voice, and one file for each reason in PLANTED."""
    pytest.importorskip("mediapipe", reason="faces are found with mediapipe 0.10.14 (extra mead)")
    pytest.importorskip("av")
    import soundfile

    root = tmp_path_factory.mktemp("mead")
    for person in (1, 2):
        for emotion, level in (("neutral", 1), ("happy", 3), ("angry", 3)):
            shoot_film(root / f"P{person:03d}/video/front/{emotion}/level_{level}/001.mp4", person, emotion)
    shoot_film(root / "P001/video/front/sad/level_3/001.mp4", 1, "sad", sound=False)
    (root / "P001/audio/sad/level_3").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    soundfile.write(root / "P001/audio/sad/level_3/001.foreign.wav", noise, 16_000)
    planted = {reason: root / name for name, reason in PLANTED.items()}
    for path in planted.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    shoot_film(planted["several_faces"], 3, "angry", second=4)
    shoot_film(planted["no_audio"], 3, "fear", sound=False)
    planted["bad_label"].write_bytes(b"not even opened")
    planted["corrupt"].write_bytes((root / "P001/video/front/happy/level_3/001.mp4").read_bytes()[:9000])
    planted["lfs_pointer"].write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    shoot_film(planted["too_short"], 3, "sad", frames=12)
    shutil.copy(root / "P002/video/front/happy/level_3/001.mp4", planted["duplicate"])
    shoot_film(planted["no_face"], 3, "neutral", face=False)
    shoot_film(planted["silent"], 3, "fear", sound=False)
    (root / "P003/audio/fear/level_3").mkdir(parents=True)
    soundfile.write(root / "P003/audio/fear/level_3/018.wav", np.zeros(26 * 640), 16_000)
    return root


@pytest.fixture(scope="module")
def made(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tree, tmp_path_factory.mktemp("one"), workers=1, console=quiet())


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_each_planted_fault_gets_its_reason(made: Path) -> None:
    with open(made / "rejects.csv", newline="") as file:
        assert {row["path"]: row["reason"] for row in csv.DictReader(file)} == PLANTED


def test_real_clips_say_what_they_are_and_claim_no_truth(made: Path) -> None:
    clips = {clip.key: clip for side in ("train", "test") for clip in read_shards(made, "mead", side)}
    spoken = clips["mead_P001_front_happy_3_001"]
    assert (spoken.emotion, spoken.level, spoken.intensity) == ("happy", 3, 1.0)
    assert (spoken.meta["domain"], spoken.meta["voice"], spoken.truth) == ("real", "own", {})
    assert spoken.meta["source"]["path"] == "P001/video/front/happy/level_3/001.mp4"
    assert "not exact truth" in spoken.meta["landmarks"]["what"]
    assert len(spoken.audio) == 640 * spoken.num_frames
    assert clips["mead_P001_front_neutral_1_001"].intensity == 0
    lent = clips["mead_P001_front_sad_3_001"]
    assert lent.meta["voice"] == FOREIGN
    assert len(lent.audio) == 640 * lent.num_frames


def test_a_puppet_is_framed_as_puppets_are(made: Path) -> None:
    """The recipe's framing against the drawn one: eyes and mouth within 3 of 96 pixels in the mean."""
    clips = [clip for side in ("train", "test") for clip in read_shards(made, "mead", side)]
    points = np.concatenate([np.array([p for p in clip.meta["landmarks"]["points"] if p]) for clip in clips])
    assert points[:, 36:48, 1].mean() == pytest.approx(45.6, abs=3)
    assert points[:, 48:, 1].mean() == pytest.approx(68.8, abs=3)
    assert points[..., 0].mean() == pytest.approx(47.7, abs=3)


def test_every_person_has_one_neutral_portrait_in_each_of_its_splits(made: Path) -> None:
    for side in ("train", "test"):
        clips = list(read_shards(made, "mead", side))
        portraits = [clip for clip in clips if clip.is_portrait]
        spoken = [clip for clip in clips if not clip.is_portrait]
        assert sorted(clip.identity for clip in portraits) == sorted({clip.identity for clip in spoken})
        assert {clip.emotion for clip in portraits} == {"neutral"}
        assert all(len(clip.at) == 1 for clip in portraits)
        assert spoken


def test_the_index_tells_what_a_reader_must_know(made: Path) -> None:
    recipe = read_index(made, "mead", "test")["recipe"]
    assert recipe["domain"] == "real"
    assert any("foreign (plumbing) in 1 of 7" in warning for warning in recipe["warnings"])
    assert recipe["split"]["identity_disjoint"] == (recipe["split"]["rule"] != "clip")
    report = json.loads((made / "report.json").read_text())
    assert report["accepted"] == 7
    assert report["rejected_by_reason"] == dict.fromkeys(sorted(PLANTED.values()), 1)


def test_any_number_of_workers_gives_the_same_bytes(tree: Path, made: Path, tmp_path: Path) -> None:
    again = prepare(tree, tmp_path, workers=2, console=quiet())
    assert again.name == made.name
    assert bytes_of(again) == bytes_of(made)


def test_finished_clips_are_kept_and_a_second_call_has_nothing_to_do(
    tree: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bytes_of(made)
    (made / "report.json").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (made.parent / "work").rglob("*.tar")}
    prepare(tree, made.parent, workers=1, console=quiet())
    assert {path: path.stat().st_mtime_ns for path in (made.parent / "work").rglob("*.tar")} == stamps
    assert bytes_of(made) == before
    monkeypatch.setattr("data_recipes.mead.recipe.make", None)
    console = quiet()
    prepare(tree, made.parent, workers=1, console=console)
    assert "nothing to do" in console.file.getvalue()  # type: ignore[attr-defined]
    assert len(data_fingerprint(made, "mead", "test")) == 16


def test_clips_that_failed_in_passing_are_said_to_be_worth_another_try(tmp_path: Path) -> None:
    faults = [Reject("a.mp4", "a", "corrupt", "memory ran out", passing=True), Reject("b", "b", "silent", "")]
    (said,) = passing(faults, tmp_path)
    assert said.startswith("failed: 1 clips")
    assert said.endswith(f"remove {tmp_path} to try them again")
    assert passing(faults[1:], tmp_path) == []


def test_if_nothing_is_left_the_reasons_are_counted(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(
        tree / "P003", tmp_path / "tree" / "P003", ignore=shutil.ignore_patterns("*_3", "neutral")
    )
    with pytest.raises(
        UserError, match=r"nothing is left of .* all rejected: bad_label 1; .*rejects\.csv"
    ) as caught:
        prepare(tmp_path / "tree", tmp_path / "out", workers=1, options=ClipOptions(), console=quiet())
    assert caught.value.code == ExitCode.BAD_INPUT
