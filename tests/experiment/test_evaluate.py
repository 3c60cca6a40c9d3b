"""`eatlab evaluate`: films matched by name, reference rows beside them, what failed, what was done before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from eatlab.errors import ExitCode, UserError
from eatlab.experiment import film_clips
from eatlab.experiment.evaluate import EvaluateConfig, EvaluateHost, run_evaluate
from eatlab.experiment.film_clips import read_clip, write_clip
from eatlab.experiment.films import clip_name, find_films, person
from eatlab.metrics import videos
from eatlab.metrics.videos import ClipMeasured
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
    assert "give syncnet=FILE" in table["rows"]["ours"]["lse_c"]["reason"]
    record = record_of(home)
    assert record["clips"] == sorted(NAMES)
    assert set(record["per_clip"]["ours"]["psnr"]) == set(NAMES)
    assert record["fid"]["ours"]["reason"].startswith("not measured: give inception=FILE")
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
        return columns.float().mean((1, 2, 3))[:, None].expand(-1, 4)


def test_lip_sync_stands_beside_the_sound_of_another_clip(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_clips, "load_lse_syncnet", lambda path: Ears())
    random = np.random.default_rng(0)
    sounds = {name: (0.1 * random.normal(size=640 * 40)).astype(np.float32) for name in NAMES}
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
        assert rows["ours"]["lse_d"]["mean"] != rows["shuffled_audio"]["lse_d"]["mean"]
        assert rows["ours"]["psnr"] == rows["shuffled_audio"]["psnr"]


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
    assert (person("mead_W009_sad_1"), person("M003_hap_3_001"), person("film")) == ("W009", "M003", "film")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"videos": "nowhere"}, "videos=.*nowhere is no folder"),
        ({"truth": "empty"}, "truth=.*empty holds no film"),
        ({"protocol": "fast"}, "protocol"),
        ({"syncnet": "none.pt"}, "syncnet=.*none.pt is no file"),
    ],
)
def test_mistakes_are_told_before_any_work(home: Path, change: dict[str, str], told: str) -> None:
    (home / "empty").mkdir()
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
    write_clip(path, ClipMeasured({"psnr": float("inf")}, 3, 0, {"lse_c": "why"}))
    assert read_clip(path) == ClipMeasured({"psnr": float("inf")}, 3, 0, {"lse_c": "why"})
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="not a whole measurement") as told:
        read_clip(path)
    assert told.value.code == ExitCode.DATA_DAMAGED
