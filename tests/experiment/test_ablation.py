"""What names an ablation, and what is refused before anything is done."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from eatlab.errors import ExitCode, UserError
from eatlab.experiment import ablation
from eatlab.experiment.ablation import (
    BACKBONES,
    JUDGES,
    RANDOM,
    AblationConfig,
    HostConfig,
    meaning_of,
    network_digests,
)
from eatlab.experiment.config import resolve
from eatlab.experiment.corpora import source_fingerprint, stand_ins
from eatlab.experiment.run import Run
from eatlab.objectives.weights import LossConfig
from eatlab.training.schedule import Schedule
from eatlab.zoo.folders import ZOO


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    for name in ("backbone_small", *JUDGES):
        (folder / f"{name}.json").write_text(json.dumps({"sha256": f"hash of {name}"}))
    return folder


def name_of(config: AblationConfig) -> str:
    return Run.of(config, Path("runs"), meant=meaning_of(config)).name


def test_host_and_the_place_of_the_zoo_do_not_name_it(zoo: Path, tmp_path: Path) -> None:
    config = AblationConfig(zoo=str(zoo))
    moved = tmp_path / "elsewhere"
    zoo.rename(moved)
    again = replace(config, zoo=str(moved), host=HostConfig(workers=7, json="x.json"))
    assert name_of(again) == Run.of(config, Path("runs"), meant=meaning_of(again)).name


def test_that_sets_are_tuned_together_does_not_name_it(zoo: Path) -> None:
    config = AblationConfig(zoo=str(zoo))
    assert name_of(replace(config, together=True)) == name_of(config)


def test_specs_with_options_are_listed_in_words(zoo: Path) -> None:
    config = resolve(AblationConfig, ["compare=lora(rank=8,alpha=4),bitfit"])
    assert config.compare == ("lora(rank=8,alpha=4)", "bitfit")


@pytest.mark.parametrize(
    "change",
    [
        {"adapter": "shallow_prompt"},
        {"seeds": (0, 1)},
        {"puppets": "tiny"},
        {"size": "paper", "zoo": ""},
        {"clips": 3},
        {"share": 0.25},
        {"schedule": Schedule(steps=3)},
        {"loss": LossConfig(floor=0.2)},
    ],
)
def test_everything_else_names_it(zoo: Path, change: dict[str, object]) -> None:
    config = AblationConfig(zoo=str(zoo))
    assert name_of(replace(config, **change)) != name_of(config)  # type: ignore[arg-type]


def test_another_backbone_is_another_ablation(zoo: Path) -> None:
    before = name_of(AblationConfig(zoo=str(zoo)))
    (zoo / "backbone_small.json").write_text(json.dumps({"sha256": "another"}))
    assert name_of(AblationConfig(zoo=str(zoo))) != before


def test_other_clips_in_the_same_folder_are_another_ablation(zoo: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.mp4").write_bytes(b"one")
    config = AblationConfig(zoo=str(zoo), data=str(clips))
    before = name_of(config)
    assert name_of(config) == before
    (clips / "b.mp4").write_bytes(b"two")
    assert name_of(config) != before


def test_a_zoo_without_cards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no card of judge_emotion"):
        network_digests(tmp_path, JUDGES)


@pytest.mark.parametrize(("there", "asked"), [("small", "paper"), ("paper", "small")])
def test_a_backbone_of_another_size_is_refused(zoo: Path, there: str, asked: str) -> None:
    (zoo / f"{BACKBONES['small']}.json").rename(zoo / f"{BACKBONES[there]}.json")
    with pytest.raises(UserError, match=f"is of size {there}; size={asked} was asked for") as caught:
        meaning_of(AblationConfig(zoo=str(zoo), size=asked))
    assert caught.value.code == ExitCode.BAD_INPUT


def test_of_two_sizes_in_a_folder_the_one_asked_for_is_taken(zoo: Path) -> None:
    (zoo / "backbone.json").write_text(json.dumps({"size": "paper", "sha256": "ab"}))
    assert meaning_of(AblationConfig(zoo=str(zoo))).networks["backbone_small"] == "hash of backbone_small"
    assert meaning_of(AblationConfig(zoo=str(zoo), size="paper")).networks["backbone"] == "ab"


def test_the_paper_size_without_a_folder_has_random_weights_and_the_shipped_judges() -> None:
    found = meaning_of(AblationConfig(size="paper")).networks
    assert found == dict.fromkeys(("backbone", "estimator"), RANDOM) | network_digests(ZOO, JUDGES)


def test_another_estimator_is_another_ablation(zoo: Path) -> None:
    named = []
    for sha256 in ("one", "another"):
        for name in ("backbone", "estimator"):
            (zoo / f"{name}.json").write_text(json.dumps({"size": "paper", "sha256": f"{name} {sha256[:1]}"}))
        (zoo / "backbone.json").write_text(json.dumps({"size": "paper", "sha256": "the same"}))
        named.append(name_of(AblationConfig(zoo=str(zoo), size="paper")))
    assert named[0] != named[1]


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="size") as caught:
        meaning_of(AblationConfig(size="papper"))
    assert "paper" in str(caught.value)


@pytest.mark.parametrize("card", ["{", "[]", "{}"])
def test_a_card_that_is_none_is_named(zoo: Path, card: str) -> None:
    (zoo / "backbone_small.json").write_text(card)
    with pytest.raises(UserError, match="has no card of backbone_small"):
        meaning_of(AblationConfig(zoo=str(zoo)))


def test_data_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    (tmp_path / "MEAD").mkdir()
    with pytest.raises(UserError, match=r"does not exist.*MEAD"):
        source_fingerprint(tmp_path / "MAED")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        source_fingerprint(tmp_path / "file")


def test_splits_that_are_missing_are_played_by_others_and_that_is_said() -> None:
    roles, said = stand_ins({"train", "test"})
    assert roles == {"train": "train", "val": "train", "test": "test"}
    assert len(said) == 1
    assert stand_ins({"train", "val", "test"})[1] == []
    assert set(stand_ins({"test"})[0].values()) == {"test"}
    with pytest.raises(UserError, match="no clip is left"):
        stand_ins(set())


def test_its_config_reads_back_from_words_and_from_yaml(tmp_path: Path) -> None:
    from eatlab.experiment.config import to_yaml

    config = resolve(AblationConfig, ["adapter=edn", "seeds=3,4", "schedule.steps=7", "host.json=t.json"])
    assert (config.seeds, config.schedule.steps, config.host.json) == ((3, 4), 7, "t.json")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert resolve(AblationConfig, file=tmp_path / "config.yaml") == config


def test_a_clip_that_was_replaced_by_one_as_long_is_another_ablation(tmp_path: Path) -> None:
    clip = tmp_path / "a.wav"
    clip.write_bytes(b"one")
    before = source_fingerprint(tmp_path)
    clip.write_bytes(b"two")
    os.utime(clip, ns=(1, 1))
    assert source_fingerprint(tmp_path) != before


def test_what_is_written_into_the_folder_of_the_clips_does_not_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"one")
    own = (Path("out"), Path("data/mead"))
    before = source_fingerprint(Path(), own)
    for name in ("out/ab12/table.json", "data/mead/x.tar", ".git/index"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"more")
    assert source_fingerprint(Path(), own) == before
    (tmp_path / "data/b.wav").write_bytes(b"a clip")
    assert source_fingerprint(Path(), own) != before
    assert source_fingerprint(Path("data/mead"), own) != source_fingerprint(Path("data"), own)


@pytest.mark.parametrize(("asked", "made"), [(True, True), (False, False)])
def test_a_report_that_was_not_asked_for_can_be_made_later(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, asked: bool, made: bool
) -> None:
    called = []
    monkeypatch.setattr(Run, "record", lambda run: {"places": {"record": "record.json"}})
    monkeypatch.setattr(ablation, "carry_out", lambda *args: called.append(args) or {})
    monkeypatch.setattr(ablation, "tell", lambda *args: None)
    ablation.run_ablation(AblationConfig(zoo=str(zoo), host=HostConfig(report=asked)))
    assert bool(called) == made
