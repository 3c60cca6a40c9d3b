"""Configs: overrides, their mistakes, and the identity of what they resolve to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from eatlab.errors import ExitCode, UserError
from eatlab.experiment.config import identity, known_keys, resolve, to_yaml
from eatlab.experiment.jobs import Point
from eatlab.meaning import as_dict
from eatlab.objectives.weights import LossConfig
from eatlab.training.learner import TuneConfig


class Mode(Enum):
    quick = 1
    thorough = 2


@dataclass(frozen=True)
class TuneToy:
    steps: int = 350
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)


@dataclass(frozen=True)
class HostToy:
    workers: int = 2
    folder: Path = Path("runs")


@dataclass(frozen=True)
class Toy:
    adapter: str = "deep_prompt"
    data: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    emotions: list[str] = field(default_factory=lambda: ["happy", "sad"])
    mode: Mode = Mode.quick
    protocol: Literal["standard", "eat"] = "standard"
    verify: bool = True
    weights: dict[str, float] = field(default_factory=lambda: {"latent": 100.0})
    tune: TuneToy = field(default_factory=TuneToy)
    host: HostToy = field(default_factory=HostToy)


def test_no_overrides_give_the_defaults() -> None:
    assert resolve(Toy) == Toy()


def test_overrides_reach_nested_fields_and_keep_their_types() -> None:
    words = [
        "tune.steps=7",
        "tune.learning_rate=2e-4",
        "seeds=4,5",
        "emotions=[fear, happy]",
        "mode=thorough",
        "verify=no",
    ]
    toy = resolve(Toy, words)
    assert toy.tune == replace(TuneToy(), steps=7, learning_rate=2e-4)
    assert (toy.seeds, toy.emotions, toy.mode, toy.verify) == (
        (4, 5),
        ["fear", "happy"],
        Mode.thorough,
        False,
    )


def test_one_word_is_a_list_of_one() -> None:
    assert resolve(Toy, ["seeds=4"]).seeds == (4,)


@pytest.mark.parametrize(
    "spec", ["lora(rank=8,targets=*.q.*)+eam", "*.v", "1e3", "007", "a: b", "yes", "[x]"]
)
def test_text_is_taken_as_it_is_written(spec: str) -> None:
    assert resolve(Toy, [f"adapter={spec}"]).adapter == spec


def test_an_optional_text_takes_a_path_and_null() -> None:
    assert resolve(Toy, ["data=/some where/12"]).data == "/some where/12"
    assert resolve(Toy, ["data=null"]).data is None


def test_a_path_stays_a_path() -> None:
    assert resolve(Toy, ["host.folder=elsewhere/runs"]).host.folder == Path("elsewhere/runs")


@pytest.mark.parametrize(
    ("typo", "meant"), [("adaptr=x", "adapter"), ("tune.step=4", "tune.steps"), ("steps=4", "tune.steps")]
)
def test_a_typo_answers_did_you_mean(typo: str, meant: str) -> None:
    with pytest.raises(UserError, match=rf"did you mean {meant}\?") as caught:
        resolve(Toy, [typo])
    assert caught.value.code == ExitCode.BAD_INPUT
    assert "host.workers" in str(caught.value), "the message lists what there is"


@pytest.mark.parametrize(
    "wrong",
    ["tune.steps=many", "tune.steps=2.5", "mode=slow", "protocol=mine", "verify=perhaps", "seeds=a,b"],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_key_and_the_type(wrong: str) -> None:
    with pytest.raises(UserError, match="does not fit") as caught:
        resolve(Toy, [wrong])
    assert wrong.partition("=")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tuple_of_two_refuses_three() -> None:
    with pytest.raises(UserError, match=r"tune\.betas"):
        resolve(Toy, ["tune.betas=0.1,0.2,0.3"])


@pytest.mark.parametrize("word", ["deep_prompt", "=5", ""])
def test_a_word_that_is_no_override_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="key=value"):
        resolve(Toy, [word])


def test_a_section_is_not_a_value() -> None:
    with pytest.raises(UserError, match=r"section.*tune\.steps"):
        resolve(Toy, ["tune=fast"])


def test_a_file_lies_between_defaults_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text("adapter: eam\ntune: {steps: 9, learning_rate: 0.5}\nweights: {sync: 10}\n")
    toy = resolve(Toy, ["tune.steps=11"], file=file)
    assert (toy.adapter, toy.tune.steps, toy.tune.learning_rate, toy.weights) == (
        "eam",
        11,
        0.5,
        {"sync": 10.0},
    )


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "adaptr: x\n"])
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        resolve(Toy, file=file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml does not exist"):
        resolve(Toy, file=tmp_path / "nowhere.yaml")


def test_yaml_comes_back_equal(tmp_path: Path) -> None:
    toy = resolve(Toy, ["tune.steps=7", "data=somewhere", "mode=thorough"])
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(toy))
    assert resolve(Toy, file=file) == toy


def test_identity_is_eight_hex_digits_of_what_is_run_and_not_of_where() -> None:
    name = identity(Toy())
    assert len(name) == 8
    assert int(name, 16) >= 0
    assert identity(resolve(Toy, ["host.workers=9", "host.folder=x"])) == name
    assert identity(resolve(Toy, ["tune.steps=351"])) != name
    assert identity(resolve(Toy, ["seeds=0,1,2"])) == name


def test_identity_is_the_sha256_of_the_sorted_json() -> None:
    import hashlib
    import json

    values = as_dict(TuneToy())
    assert values == {"steps": 350, "learning_rate": 0.001, "betas": [0.5, 0.999]}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert identity(TuneToy()) == hashlib.sha256(text.encode()).hexdigest()[:8]


def test_words_of_a_list_of_text_stay_as_they_are_written() -> None:
    @dataclass(frozen=True)
    class Named:
        names: tuple[str, ...] = ()
        seeds: tuple[int, ...] = ()

    found = resolve(Named, ["names=0e739518,12345678,lora(rank=2)", "seeds=0,1"])
    assert found == Named(("0e739518", "12345678", "lora(rank=2)"), (0, 1))


def test_keys_are_listed_with_their_defaults() -> None:
    keys = known_keys(Toy)
    assert list(keys)[:3] == ["adapter", "data", "seeds"]
    assert (keys["seeds"], keys["data"], keys["verify"], keys["tune.steps"]) == (
        "0,1,2",
        "null",
        "true",
        "350",
    )


@dataclass(frozen=True)
class Bounded:
    BOUNDS: ClassVar = {"steps": (1, math.inf), "share": (0, 1)}

    steps: int = 1
    share: float = 0.5


@dataclass(frozen=True)
class HoldsBounded:
    inner: Bounded = field(default_factory=Bounded)


def test_a_number_out_of_bounds_is_refused_with_its_key() -> None:
    assert resolve(HoldsBounded, ["inner.share=1", "inner.steps=1"]).inner == Bounded(1, 1.0)
    with pytest.raises(UserError, match=r"inner\.steps=0 will not do; it is at least 1$"):
        resolve(HoldsBounded, ["inner.steps=0"])
    with pytest.raises(UserError, match=r"inner\.share=1\.5 will not do; it is at least 0 and at most 1$"):
        resolve(HoldsBounded, ["inner.share=1.5"])


def test_what_has_no_default_must_be_given() -> None:
    from omegaconf import MISSING

    @dataclass
    class Needs:
        source: str = MISSING

    with pytest.raises(UserError, match="source is not given"):
        resolve(Needs)
    assert resolve(Needs, ["source=x"]) == Needs("x")


def test_tunings_of_before_there_were_shares_keep_their_folders() -> None:
    judges = {
        "judge_emotion": "c0e9855df74978e1b3ce64df6f90dd5421411fc8815a4d9e8c97617a3e99a8cd",
        "judge_landmarks": "48b9f7601ece19bfdfba7c8aa255d82c98a57e2b2b12f2e01d4e10679b6ae93a",
        "judge_sync": "3f6316d7dec3baffc558819c316435de1c2baf6e03a99d25adbd6042e46e4115",
    }
    backbone = "70568ccadc92ddda267b39feeb03ab2d45074f5b4cf30936a64c86ed9e3c5467"
    data = {"train": "8bb7a8fbc5b659c8", "val": "26df65d48c9f60d1"}
    point = Point(TuneConfig("lora", 1), backbone, data, judges)
    assert identity(point) == "016932f2", "as its folder was called"
    assert identity(replace(point, tune=TuneConfig("lora", 1, share=0.5))) != "016932f2"


def test_a_loss_that_draws_and_its_teachers_name_a_tuning() -> None:
    latent, drawn = Point(TuneConfig(), "b", {}, {}), TuneConfig(loss=LossConfig(sync=1.0))
    teachers = [Point(drawn, "b", {}, {}, teachers={"teacher_sync": digest}) for digest in ("one", "another")]
    assert len({identity(point) for point in (latent, Point(drawn, "b", {}, {}), *teachers)}) == 4
