"""The MEAD recipe on puppets filmed into MEAD's layout: what is taken, what is refused, same bytes."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_recipes.mead import layout, splits
from data_recipes.mead.clip import ClipOptions, difference_hash
from data_recipes.mead.recipe import MeadConfig, prepare, run
from data_recipes.mead.sound import FOREIGN, Voice, choose_voice, loudest_run
from data_recipes.mead.splits import Labelled, decide
from data_recipes.mead.survey import Look, check_no_cut, check_one_face, choose_box
from eatlab.data.faces import Face, overlap
from eatlab.data.media import FootageError
from eatlab.data.shards import data_fingerprint, read_index, read_shards
from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError

# Names


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("M003/video/front/angry/level_3/001.mp4", "mead_M003_front_angry_3_001"),
        ("MEAD/Part0/W009/video/left_30/disgust/level_1/030.mp4", "mead_W009_left_30_disgusted_1_030"),
        ("M003_video/video/front/surprise/level_2/007.mp4", "mead_M003_front_surprised_2_007"),
        ("M003/happy_level_3/001.mp4", "mead_M003_front_happy_3_001"),
        ("M003/video/front/fear/level_3/001.MP4", "mead_M003_front_fear_3_001"),
        ("W015_hap_3_012.mp4", "mead_W015_front_happy_3_012"),
        ("flat/M030_front_neutral_level1_001.mp4", "mead_M030_front_neutral_1_001"),
        ("P0000007/video/front/sad/level_1/001.mp4", "mead_P0000007_front_sad_1_001"),
    ],
)
def test_every_spelling_of_the_layout_is_read(name: str, key: str) -> None:
    found = layout.match(name, layout.FILM_LAYOUTS)
    assert found is not None
    take = layout.read_name(name, found, {})
    assert isinstance(take, layout.Take)
    assert take.key == key


@pytest.mark.parametrize(
    "name", ["M003/001.mp4", "X003/video/front/angry/level_3/001.mp4", "M003/video/front/angry/1.txt"]
)
def test_other_names_are_no_clips(name: str) -> None:
    assert layout.match(name, layout.FILM_LAYOUTS) is None


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_sounds_beside_are_found_in_either_tree(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "M003/video/front/angry/level_3/001.mp4",
        "M003/audio/angry/level_3/001.m4a",
        "M003/video/front/sad/level_1/002.mp4",
        "M003/sad/level_1/002.wav",
        "M003/video/front/fear/level_1/003.mp4",
        "M003/audio/fear/level_1/003.foreign.wav",
    )
    takes = {take.emotion: take for take in layout.scan(tmp_path).takes}
    assert takes["angry"].beside == "M003/audio/angry/level_3/001.m4a"
    assert takes["sad"].beside == "M003/sad/level_1/002.wav"
    assert (takes["fear"].beside, takes["fear"].foreign) == (None, "M003/audio/fear/level_1/003.foreign.wav")


def test_hidden_files_other_views_and_links_out_are_left_out(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    touch(
        tree,
        "M003/video/front/angry/level_3/001.mp4",
        "M003/video/front/angry/level_3/._001.mp4",
        "__MACOSX/M003/video/front/angry/level_3/001.mp4",
        "M003/video/down/angry/level_3/001.mp4",
        "M003/notes.txt",
    )
    touch(tmp_path, "secret.mp4")
    (tree / "M003/video/front/angry/level_3/002.mp4").symlink_to(tmp_path / "secret.mp4")
    found = layout.scan(tree)
    assert [take.key for take in found.takes] == ["mead_M003_front_angry_3_001"]
    assert (found.other_views, dict(found.others)) == (1, {".txt": 1})


def test_a_wrong_folder_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        layout.scan(tmp_path / "nowhere")
    touch(tmp_path, "holiday/beach.mp4")
    with pytest.raises(UserError, match=r"tried: <id>/video.*there are: holiday/beach\.mp4") as caught:
        layout.scan(tmp_path)
    assert caught.value.code == ExitCode.BAD_INPUT
    with pytest.raises(UserError, match="source=FOLDER"):
        run(MeadConfig())


# Splits


def people(*names: str, emotions: Sequence[str] = EMOTIONS, takes: int = 1) -> list[Labelled]:
    return [
        Labelled(f"mead_{n}_front_{e}_3_{t:03d}", n, e) for n in names for e in emotions for t in range(takes)
    ]


def sides(clips: list[Labelled], rule: str = "auto") -> dict[str, set[str]]:
    split = decide(clips, rule)
    return {
        side: {clip.identity for clip in clips if split.of.get(clip.key) == side}
        for side in ("train", "val", "test")
    }


def test_the_lists_are_those_of_the_paper_and_disjoint() -> None:
    for name in splits.LISTED:
        listed = splits.read_list(name)
        assert len(listed) == 48
        assert {who for who, side in listed.items() if side == "test"} == {"M003", "M030", "W009", "W015"}
    assert {who for who, side in splits.read_list("standard").items() if side == "val"} == {
        "M013",
        "M028",
        "W016",
        "W018",
    }


def test_known_people_are_split_as_listed() -> None:
    clips = people("M003", "M005", "W009", "W011", "M013")
    assert decide(clips).rule == "standard"
    assert decide(clips).warnings == ()
    assert sides(clips) == {"train": {"M005", "W011"}, "val": {"M013"}, "test": {"M003", "W009"}}


def test_other_people_are_split_by_person() -> None:
    clips = people("M901", "M902", "M903", "W904", "W905")
    split = decide(clips)
    assert (split.rule, split.identity_disjoint, split.warnings) == ("identity", True, ())
    found = sides(clips)
    assert len(found["test"]) == 1
    assert not found["test"] & found["train"]


def test_two_test_persons_alone_are_split_by_clip_with_a_warning() -> None:
    clips = people("M030", "W009")
    split = decide(clips)
    assert split.rule == "identity" or split.warnings == (
        "split: not identity-disjoint (2 identities, split by clip)",
    )
    assert set(split.of.values()) == {"train", "test"}


@pytest.mark.parametrize("takes", [1, 2, 3, 10, 12])
def test_one_person_is_split_by_clip_and_every_tested_emotion_is_trained(takes: int) -> None:
    clips = people("M030", emotions=EMOTIONS, takes=takes)
    split = decide(clips)
    assert split.rule == "clip"
    assert "not identity-disjoint (1 identity" in split.warnings[0]
    assert set(split.of.values()) == {"train", "test"}
    if takes > 1:
        assert len(split.warnings) == 1
    else:
        assert "never trained: surprised" in split.warnings[1]


def test_a_single_clip_cannot_be_split() -> None:
    with pytest.raises(UserError, match="nothing to train on or nothing to test on"):
        decide(people("M030", emotions=["happy"]))
    with pytest.raises(UserError, match="there are: auto"):
        decide(people("M030"), "even")


# What one look, one sound, one box decide


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


# The whole recipe, on puppets


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


def test_if_nothing_is_left_the_reasons_are_counted(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(
        tree / "P003", tmp_path / "tree" / "P003", ignore=shutil.ignore_patterns("*_3", "neutral")
    )
    with pytest.raises(
        UserError, match=r"nothing is left of .* all rejected: bad_label 1; .*rejects\.csv"
    ) as caught:
        prepare(tmp_path / "tree", tmp_path / "out", workers=1, options=ClipOptions(), console=quiet())
    assert caught.value.code == ExitCode.BAD_INPUT
