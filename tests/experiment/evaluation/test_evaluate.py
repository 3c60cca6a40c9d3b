"""`eatlab evaluate`: films matched by name, reference rows beside them, what failed, what was done before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.evaluation import evaluate, film_clips
from eatlab.experiment.evaluation.evaluate import (
    EvaluateConfig,
    EvaluateHost,
    fingerprint_of,
    meaning_of,
    run_evaluate,
)
from eatlab.experiment.evaluation.film_clips import Tools, read_clip, write_clip
from eatlab.experiment.evaluation.films import clip_name, find_films, label_of, person
from eatlab.experts.emotion_fan import EmotionFan
from eatlab.metrics import videos
from eatlab.metrics.videos import ClipMeasured
from tests.experts.onnx_files import write_embedder
from tests.metrics.films import SIDE, DiscFinder, moving, write

NAMES = ("M003_hap_3_001", "W009_sad_3_002", "W009_neu_1_003")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Three true clips, and generated ones that come a frame later; faces are discs."""
    monkeypatch.setattr(film_clips, "FaceFinder", DiscFinder)
    film_clips.instruments_of.cache_clear()
    for start, name in enumerate(NAMES):
        write(tmp_path / "true" / f"{name}.mp4", moving(12, later=start))
        write(tmp_path / "ours" / f"{name[:4]}_{name}.mp4", moving(12, later=start + 1))
    yield tmp_path
    film_clips.instruments_of.cache_clear()


def config_of(home: Path, **changes: str) -> EvaluateConfig:
    places = {"videos": str(home / "ours"), "truth": str(home / "true")} | changes
    host = EvaluateHost(workers=1, runs=str(home / "runs"), json=str(home / "table.json"))
    return EvaluateConfig(**places, host=host)


def record_of(home: Path) -> dict:
    (path,) = (home / "runs").glob("*/record.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("protocol", ["standard", "eat"])
def test_films_stand_between_their_reference_rows(home: Path, protocol: str) -> None:
    assert run_evaluate(config_of(home, protocol=protocol)) == ExitCode.DONE
    table = json.loads((home / "table.json").read_text())
    assert list(table["rows"]) == ["source_copy", "ours", "ground_truth"]
    assert table["protocol"] == f"{protocol}/videos/1"
    copy, ours, truth = (table["rows"][row]["ssim"]["mean"] for row in table["rows"])
    assert copy < truth
    assert ours < truth
    assert table["rows"]["ours"]["lse_c"]["mean"] is None
    for column, weights in (
        ("lse_c", "syncnet"),
        ("fid", "inception"),
        ("acc_emo", "emotion"),
        ("identity", "identity"),
    ):
        assert table["rows"]["ours"][column]["mean"] is None
        assert f"give {weights}=FILE" in table["rows"]["ours"][column]["reason"]
    record = record_of(home)
    said = " ".join(record["details"]["warnings"] + record["details"]["notes"])
    assert "judge of emotion" not in said
    assert "Acc_emo by chance" not in said
    assert record["confusion"] == dict.fromkeys(table["rows"])
    assert record["clips"] == sorted(NAMES)
    assert set(record["per_clip"]["ours"]["psnr"]) == set(NAMES)
    assert record["failed"] == {row: {} for row in table["rows"]}
    assert set(record["films"]) == set(record["truth"]) == set(NAMES)


def test_a_clip_that_fails_leaves_the_rest_and_the_row_says_incomplete(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "ours" / f"M003_{NAMES[0]}.mp4").unlink()
    write(home / "ours" / f"W009_{NAMES[1]}.mp4", moving(12, side=SIDE + 16))
    run_evaluate(config_of(home))
    cell = record_of(home)["table"]["rows"]["ours"]["psnr"]
    assert cell["reason"] == "incomplete: 2 of 3 clips"
    assert cell["mean"] > 0
    failed = record_of(home)["failed"]["ours"]
    assert failed[NAMES[0]] == "there is no film of this clip"
    assert "80×80" in failed[NAMES[1]]
    said = capsys.readouterr().out
    assert "incomplete: 2 of 3 clips" in said
    assert f"{cell['mean']:.2f}*" in said


def test_a_second_call_measures_nothing_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_evaluate(config_of(home))
    first = record_of(home)

    def again(*words: object, **options: object) -> ClipMeasured:
        raise AssertionError("measured twice")

    monkeypatch.setattr(film_clips, "measure_film", again)
    run_evaluate(config_of(home))
    assert record_of(home)["table"] == first["table"]


def test_another_film_of_the_same_name_is_another_evaluation(home: Path) -> None:
    run_evaluate(config_of(home))
    write(home / "ours" / f"M003_{NAMES[0]}.mp4", moving(12, later=5))
    run_evaluate(config_of(home))
    assert len(list((home / "runs").iterdir())) == 2


def test_the_set_value_of_eat_is_over_frames_and_of_standard_over_clips(home: Path) -> None:
    for side, later in (("true", 0), ("ours", 1)):
        name = NAMES[1] if side == "true" else f"W009_{NAMES[1]}"
        write(home / side / f"{name}.mp4", moving(30, later=later))
    found = {}
    for protocol in ("standard", "eat"):
        run_evaluate(config_of(home, protocol=protocol))
        (path,) = [p for p in (home / "runs").glob("*/record.json") if f'"{protocol}/' in p.read_text()]
        record = json.loads(path.read_text())
        each = np.array([record["per_clip"]["ours"]["psnr"][name] for name in record["clips"]])
        frames = np.array([record["num_frames"]["ours"][name] for name in record["clips"]])
        found[protocol] = (record["table"]["rows"]["ours"]["psnr"]["mean"], each, frames)
    mean, each, frames = found["eat"]
    assert mean == pytest.approx((each * frames).sum() / frames.sum())
    assert mean != pytest.approx(each.mean())
    mean, each, _ = found["standard"]
    assert mean == pytest.approx(each.mean())


class Ears:
    """SyncNet's place: hears how loud it is, and sees how far the disc is out."""

    def video(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float().mean((1, 2, 3)).mean(-1, keepdim=True).expand(-1, 4) / 100

    def audio(self, columns: torch.Tensor) -> torch.Tensor:
        # Across the picture's direction too: else the mean over clips forgets whose sound was heard.
        return columns.float().mean((1, 2, 3))[:, None] * torch.tensor([1.0, -1, 1, -1])


def test_lip_sync_stands_beside_the_sound_of_another_clip(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_clips, "load_lse_syncnet", lambda path: Ears())
    random = np.random.default_rng(0)
    sounds = {
        name: (0.05 * 3**loud * random.normal(size=640 * 40)).astype(np.float32)
        for loud, name in enumerate(NAMES)
    }
    monkeypatch.setattr(videos, "read_sound", lambda path, picture_starts_s: sounds[clip_name(path.stem)])
    for start, name in enumerate(NAMES):
        write(home / "true" / f"{name}.mp4", moving(40, later=start))
        write(home / "ours" / f"{name[:4]}_{name}.mp4", moving(40, later=start + 1))
    (home / "syncnet.pt").write_bytes(b"weights")
    for protocol in ("standard", "eat"):
        run_evaluate(config_of(home, protocol=protocol, syncnet=str(home / "syncnet.pt")))
        rows = json.loads((home / "table.json").read_text())["rows"]
        assert list(rows) == ["source_copy", "ours", "shuffled_audio", "ground_truth"]
        assert rows["ours"]["lse_d"]["mean"] > 0
        assert abs(rows["ours"]["lse_d"]["mean"] - rows["shuffled_audio"]["lse_d"]["mean"]) > 1e-6
        means = [rows[row]["psnr"]["mean"] for row in ("ours", "shuffled_audio")]
        # The same frames; but of the same frames x264 does not always write the same film.
        assert means[0] == pytest.approx(means[1], abs=0.5 if protocol == "eat" else 1e-9)


class Judge:
    """Emotion-FAN's place: takes a yellow face for a happy one, and any other for a sad one."""

    def log_probability(self, faces: torch.Tensor, *, beta_in_numerator: bool) -> torch.Tensor:
        red, _, blue = faces.float().mean((0, 2, 3))
        said = EMOTIONS.index("happy" if blue < red / 2 else "sad")
        return torch.eye(8).add(1e-3).log_softmax(1)[said]


def yellow(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frame * np.array([1, 1, 0], np.uint8) for frame in frames]


@pytest.fixture
def judged(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A happy, a sad and an unlabelled clip, read right in the truth; the happy one is generated sad."""
    monkeypatch.setattr(film_clips, "load_emotion_fan", lambda path: Judge())
    (home / "fan.pth").write_bytes(b"weights")
    for side, neutral in (("true", NAMES[2]), ("ours", f"W009_{NAMES[2]}")):
        (home / side / f"{neutral}.mp4").rename(home / side / "someone.mp4")
    write(home / "true" / f"{NAMES[0]}.mp4", yellow(moving(12)))
    return home


@pytest.mark.parametrize("protocol", ["standard", "eat"])
def test_emotions_are_judged_where_names_say_them(judged: Path, protocol: str) -> None:
    run_evaluate(config_of(judged, protocol=protocol, emotion=str(judged / "fan.pth")))
    record = record_of(judged)
    rows = record["table"]["rows"]
    assert {row: cells["acc_emo"]["mean"] for row, cells in rows.items()} == {
        "source_copy": 1.0,
        "ours": 0.5,
        "ground_truth": 1.0,
    }
    assert not any("reason" in cells["acc_emo"] for cells in rows.values())
    assert record["per_clip"]["ours"]["acc_emo"] == {NAMES[0]: 0.0, NAMES[1]: 1.0, "someone": None}
    happy, sad = EMOTIONS.index("happy"), EMOTIONS.index("sad")
    counts = np.array(record["confusion"]["ours"])
    assert counts[happy, sad] == counts[sad, sad] == 1
    assert counts.sum() == 2
    assert record["details"]["by_emotion"]["ours"] == [{"happy": 0.0, "sad": 1.0}]
    assert not any("judge of emotion" in warning for warning in record["details"]["warnings"])
    assert any("Acc_emo by chance: 0.125" in note for note in record["details"]["notes"])


def test_a_film_without_a_face_is_wrong_and_one_that_is_not_there_takes_no_part(judged: Path) -> None:
    write(judged / "ours" / f"W009_{NAMES[1]}.mp4", [np.full((SIDE, SIDE, 3), 60, np.uint8)] * 12)
    (judged / "ours" / f"M003_{NAMES[0]}.mp4").unlink()
    run_evaluate(config_of(judged, emotion=str(judged / "fan.pth")))
    record = record_of(judged)
    cell = record["table"]["rows"]["ours"]["acc_emo"]
    assert (cell["mean"], cell["reason"]) == (0.0, "incomplete: 1 of 2 clips")
    assert record["details"]["by_emotion"]["ours"] == [{"sad": 0.0}]
    assert np.sum(record["confusion"]["ours"]) == 0


def test_a_judge_that_misreads_the_truth_is_told_above_the_table(judged: Path) -> None:
    write(judged / "true" / f"{NAMES[0]}.mp4", moving(12))
    run_evaluate(config_of(judged, emotion=str(judged / "fan.pth")))
    (warning,) = record_of(judged)["details"]["warnings"]
    assert "reads only 0.50 of the ground truth's clips right, under 0.85" in warning
    assert warning.endswith("no number of emotion counts.")


def test_films_whose_names_say_no_emotion_have_none(judged: Path) -> None:
    for side in ("true", "ours"):
        for number, path in enumerate(sorted((judged / side).iterdir())):
            path.rename(judged / side / f"film{number}.mp4")
    run_evaluate(config_of(judged, emotion=str(judged / "fan.pth")))
    details = record_of(judged)["details"]
    assert "no such emotion labels" in details["rows"]["ours"]["acc_emo"]["reason"]
    assert not details["warnings"]


def test_persons_and_fid_are_columns(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_embedder(home / "arcface.onnx")
    (home / "inception.pth").write_bytes(b"weights")
    colours = lambda frames: frames.float().mean((2, 3))  # noqa: E731
    monkeypatch.setattr(film_clips, "load_inception", lambda protocol, path: colours)
    monkeypatch.setattr(evaluate, "NUM_FEATURES", 3)
    (home / "ours" / f"M003_{NAMES[0]}.mp4").unlink()
    write(home / "ours" / f"W009_{NAMES[1]}.mp4", yellow(moving(12)))
    files = {"identity": str(home / "arcface.onnx"), "inception": str(home / "inception.pth")}
    run_evaluate(config_of(home, **files))
    record, said = record_of(home), capsys.readouterr().out
    ours, truth = (record["table"]["rows"][row] for row in ("ours", "ground_truth"))
    assert truth["identity"]["mean"] == pytest.approx(1)
    assert ours["identity"]["mean"] < 0.99
    assert set(ours["fid"]) == {"mean", "low", "high", "reason"}
    assert ours["fid"]["mean"] == record["fid"]["ours"]["value"] > 1
    assert ours["fid"]["low"] is ours["fid"]["high"] is None
    assert ours["fid"]["reason"] == "incomplete: 1 of 3 clips"
    assert truth["fid"]["mean"] == pytest.approx(0, abs=1e-6)
    assert f"{ours['fid']['mean']:.2f}*" in said
    assert any("FID's images: source_copy 33, ours 24" in note for note in record["details"]["notes"])
    assert any("rank deficient" in note for note in record["details"]["notes"])
    assert set(record["weights"]) == {"identity", "inception"}


def test_files_of_weights_decide_the_identity_only_where_they_are_given(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_clips, "load_emotion_fan", lambda path: Judge())
    films = find_films(home / "ours", home / "true")
    plain = {"protocol", "clips", "truth", "chain", "landmark source", "sync crop"}
    assert set(fingerprint_of(config_of(home), films).facts) == plain
    assert set(meaning_of(config_of(home), films).config) == {"protocol"}
    write_embedder(home / "arcface.onnx")
    found = []
    for content in (b"one", b"other"):
        (home / "fan.pth").write_bytes(content)
        files = {"emotion": str(home / "fan.pth"), "identity": str(home / "arcface.onnx")}
        found.append(fingerprint_of(config_of(home, **files), films))
    more = {f"weights of {name}" for name in files} | {f"{name} crop" for name in files}
    assert set(found[0].facts) == plain | more
    assert found[0].differences(found[1]) == ["weights of emotion"]


def test_each_protocol_pools_emotions_in_its_own_form_with_networks_loaded_once(home: Path) -> None:
    torch.manual_seed(0)
    net = EmotionFan().eval()
    torch.save(net.state_dict(), home / "fan.pth")
    faces = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        for protocol, form in (("standard", True), ("eat", False)):
            tools = Tools(protocol, emotion=str(home / "fan.pth"))
            judge = tools.instruments.emotion
            assert judge is not None
            assert torch.equal(judge(faces), net.log_probability(faces, beta_in_numerator=form))
            assert Tools(protocol, emotion=str(home / "fan.pth")).instruments is tools.instruments


def test_what_is_installed_later_is_measured_then(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise UserError("no finder")

    monkeypatch.setattr(film_clips, "FaceFinder", absent)
    run_evaluate(config_of(home))
    assert json.loads((home / "table.json").read_text())["rows"]["ours"]["m_nme"]["mean"] is None
    film_clips.instruments_of.cache_clear()
    monkeypatch.setattr(film_clips, "FaceFinder", DiscFinder)
    run_evaluate(config_of(home))
    assert json.loads((home / "table.json").read_text())["rows"]["ours"]["m_nme"]["mean"] is not None


def test_two_films_of_one_clip_are_refused(home: Path) -> None:
    write(home / "ours" / f"W015_{NAMES[0]}.mp4", moving(12))
    with pytest.raises(UserError, match=f"both of clip {NAMES[0]}"):
        find_films(home / "ours", home / "true")


def test_a_folder_called_as_a_reference_row_is_no_reference_row(home: Path) -> None:
    (home / "ours").rename(home / "frozen")
    run_evaluate(config_of(home, videos=str(home / "frozen")))
    assert "frozen (videos)" in json.loads((home / "table.json").read_text())["rows"]


def test_a_clip_that_lacks_one_metric_is_named_with_its_reason(home: Path) -> None:
    nobody = [np.full((SIDE, SIDE, 3), 60, np.uint8)] * 12
    write(home / "ours" / f"M003_{NAMES[0]}.mp4", nobody)
    run_evaluate(config_of(home))
    record = record_of(home)
    assert record["table"]["rows"]["ours"]["f_nme"]["reason"] == "incomplete: 1 of 3 clips"
    assert "reason" not in record["table"]["rows"]["ours"]["psnr"]
    assert "too few frames" in record["failed"]["ours"][NAMES[0]]
    assert record["frames_dropped"]["ours"] == dict.fromkeys(sorted(NAMES), 0)


def test_names_of_eats_results_meet_those_of_the_truth() -> None:
    assert clip_name("W015_W015_ang_3_012") == clip_name("W015_ang_3_012") == "W015_ang_3_012"
    assert clip_name("some film") == "some film"
    assert label_of("W015_W015_ang_3_012") == label_of("W015_ang_3_012") == (EMOTIONS.index("angry"), 3)
    assert label_of("mead_M003_neu_1_001") == (EMOTIONS.index("neutral"), 1)
    assert [EMOTIONS[label_of(f"M003_{name[:3]}_2_001")[0]] for name in EMOTIONS] == list(EMOTIONS)
    assert label_of("M003_xyz_3_001") == label_of("film") == label_of("sad_3") == (-1, 0)
    assert (person("mead_W009_sad_1"), person("M003_hap_3_001"), person("film")) == ("W009", "M003", "film")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"videos": "nowhere"}, "videos=.*nowhere is no folder"),
        ({"truth": "empty"}, "truth=.*empty holds no film"),
        ({"protocol": "fast"}, "protocol"),
        ({"syncnet": "none.pt"}, "syncnet=.*none.pt is no file"),
        ({"emotion": "none.pt"}, "emotion=.*none.pt is no file"),
        ({"identity": "none.pt"}, "identity=.*none.pt is no file"),
        ({"emotion": "broken.pt"}, "broken.pt is no Emotion-FAN"),
        ({"identity": "broken.pt"}, "broken.pt is no ArcFace in ONNX"),
    ],
)
def test_mistakes_are_told_before_any_work(home: Path, change: dict[str, str], told: str) -> None:
    (home / "empty").mkdir()
    (home / "broken.pt").write_bytes(b"no network")
    places = {key: value if key == "protocol" else str(home / value) for key, value in change.items()}
    with pytest.raises(UserError, match=told):
        run_evaluate(config_of(home, **places))
    assert not (home / "runs").exists()


def test_a_film_without_truth_is_named(home: Path) -> None:
    write(home / "ours" / "stranger.mp4", moving(3))
    with pytest.raises(UserError, match=r"stranger.mp4 has no truth \(1 of 4 films\)"):
        find_films(home / "ours", home / "true")


def test_a_damaged_measurement_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    found = ClipMeasured({"psnr": float("inf")}, 3, 0, {"lse_c": "why"}, log_probability=[-2.0] * 8)
    write_clip(path, found)
    assert read_clip(path) == found
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="not a whole measurement") as told:
        read_clip(path)
    assert told.value.code == ExitCode.DATA_DAMAGED
