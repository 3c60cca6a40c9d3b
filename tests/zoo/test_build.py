"""`eatlab zoo`: one failure loses nothing else, and a second call goes on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from eatlab.backbone.sites import fingerprint
from eatlab.errors import UserError
from eatlab.training.experts import RECIPES
from eatlab.zoo import build
from eatlab.zoo.build import (
    ZooConfig,
    ZooHost,
    backbone_figures,
    build_zoo,
    ending_pool,
    rounded,
    save_network,
    tell,
)
from eatlab.zoo.networks import load_network, read_card
from tests.training.toys import tiny_backbone

NAMES = ("judge_emotion", "judge_sync", "teacher_sync")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ZooHost:
    """Threads instead of processes, no corpus, no training; judge_sync fails while a file says so."""
    monkeypatch.setattr(build, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
    monkeypatch.setattr(build, "prepare", lambda preset, folder: folder / preset)
    monkeypatch.setattr(build, "provenance", lambda data: {"machine": "test", "data": {}})
    monkeypatch.setattr(
        build,
        "held_out",
        lambda name, nets, data: {"held_out": {"f": 1.0}, "spread": {"f": [1, 1], "of": f"{len(nets)} nets"}},
    )
    monkeypatch.setattr(build, "expert_card", lambda name, net: {"name": name})

    def train(name: str, data: Path, training: int) -> tuple[nn.Module, dict]:
        (tmp_path / f"trained_{name}{training or ''}").touch(exist_ok=False)
        if name == "judge_sync" and (tmp_path / "broken").exists():
            (tmp_path / f"trained_{name}").unlink()
            raise RuntimeError("out of\nmemory")
        return RECIPES[name].build(), {"wall_s": 1.0, "cpu_s": 1.0, "held_out": {"f": 0.9}}

    monkeypatch.setattr(build, "train_expert", train)
    return ZooHost(zoo=str(tmp_path / "zoo"), work=str(tmp_path / "work"), data=str(tmp_path), workers=1)


def test_one_failure_does_not_lose_the_others_and_a_second_call_makes_the_rest(host, tmp_path, capsys):
    (tmp_path / "broken").touch()
    config = ZooConfig(only=NAMES, host=host)
    with pytest.raises(UserError, match="could not make judge_sync: RuntimeError: out of memory") as caught:
        build_zoo(config)
    assert "run the same command again" in str(caught.value)
    zoo = Path(host.zoo)
    assert {path.stem for path in zoo.iterdir()} == {"judge_emotion", "teacher_sync"}
    (tmp_path / "broken").unlink()
    assert build_zoo(config) == 0  # the others are not trained again: `touch` would have said so
    assert {path.stem for path in zoo.iterdir()} == set(NAMES)


def test_figures_on_a_card_are_those_of_the_file(host):
    build_zoo(ZooConfig(only=("judge_emotion",), host=host))
    card = read_card("judge_emotion", Path(host.zoo))
    assert card["held_out"] == {"f": 1.0}  # measured after it was stored, not 0.9
    assert card.keys() >= {"spread", "machine", "data", "wall_s", "sha256", "stored_as"}
    load_network(RECIPES["judge_emotion"].build(), "judge_emotion", Path(host.zoo))


def test_further_trainings_widen_the_spread_and_the_first_is_kept(host, tmp_path):
    once, thrice = (ZooConfig(only=("judge_emotion",), trainings=n, host=host) for n in (1, 3))
    build_zoo(once)
    kept = read_card("judge_emotion", Path(host.zoo))
    build_zoo(thrice)  # the first is not trained again: `touch` would have said so
    assert {path.name for path in tmp_path.glob("trained_*")} == {
        f"trained_judge_emotion{number}" for number in ("", "1", "2")
    }
    card = read_card("judge_emotion", Path(host.zoo))
    assert (kept["spread"]["of"], card["spread"]["of"]) == ("1 nets", "3 nets")
    assert card["sha256"] == kept["sha256"]
    assert {path.name for path in Path(host.zoo).iterdir()} == {
        "judge_emotion.json",
        "judge_emotion.safetensors",
    }


def test_each_figure_is_held_against_the_spread_that_the_shipped_card_states(capsys):
    low, high = read_card("judge_emotion")["spread"]["clip_accuracy"]
    for value, word in ((high, "within"), (high + 4e-5, "within"), (high + 0.01, "NOT within")):
        figures = {"clip_accuracy": value, "chance": 0.125}
        tell({"name": "judge_emotion", "held_out": figures, "wall_s": {"one part": 2.0, "other": 3.0}})
        spent, first, second = capsys.readouterr().out.splitlines()
        assert spent == "judge_emotion: 5 s"
        assert first.startswith(f"judge_emotion clip_accuracy: {value:.4g}, {word} the card's {low:.4g} to")
        assert second == "judge_emotion chance: 0.125"  # the card states no spread of it


def test_the_backbones_figures_are_means_and_shares_with_a_spread_over_people(monkeypatch, tmp_path):
    who, decibel = ["a", "a", "b"], {"psnr": torch.tensor([20.0, 22.0, 30.0])}
    monkeypatch.setattr(build, "read_clips", lambda data, part: [])
    monkeypatch.setattr(build.SpeechPool, "load", lambda *a: None)
    monkeypatch.setattr(build, "reenactment_psnr", lambda head, val: (decibel, who))
    monkeypatch.setattr(
        build, "named_right", lambda *a: (torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 1.0]))
    )
    monkeypatch.setattr(
        build, "unexplained", lambda *a: (torch.tensor([1.0, 6.0]), torch.tensor([4.0, 8.0]), ["a", "b"])
    )
    found = backbone_figures(tiny_backbone(), None, {"pca_variance_kept": 1.0}, tmp_path, tmp_path)
    assert found["held_out"] == pytest.approx(
        {"pca_variance_kept": 1.0, "psnr": 24.0, "emotion_kept": 2 / 3, "explained": 1 - 7 / 12}
    )
    assert found["spread"]["psnr"] == [21.0, 30.0]  # of a alone, of b alone
    assert found["spread"]["explained"] == [0.25, 0.75]
    assert found["spread"]["emotion_kept"] == [0.5, 1.0]


def test_an_unknown_name_is_refused_before_anything_is_made(host, tmp_path):
    with pytest.raises(UserError, match="'judge_smell' is not in the zoo; there are: teacher_face"):
        build_zoo(ZooConfig(only=("judge_smell",), host=host))
    assert not Path(host.work).exists()


@pytest.mark.parametrize("expert", ["teacher_face", "judge_emotion"])
def test_a_backbone_waits_for_those_that_teach_and_measure_it(host, monkeypatch, expert):
    monkeypatch.setattr(build, "make_experts", lambda *a: {expert: "RuntimeError: no"})
    monkeypatch.setattr(build, "make_backbone", lambda *a: pytest.fail("pretrained"))
    with pytest.raises(UserError, match=f"{expert}: RuntimeError.*backbone_small waits"):
        build_zoo(ZooConfig(host=host))


def test_the_fingerprint_on_the_card_is_that_of_the_loaded_file(tmp_path):
    head, loaded = tiny_backbone(), tiny_backbone(seed=1)
    save_network(head, tmp_path, "head", {})
    load_network(loaded, "head", tmp_path)

    assert fingerprint(loaded) == fingerprint(rounded(head))
    assert torch.equal(loaded.a2et.pca.deviation, head.a2et.pca.deviation)


def test_told_to_stop_what_is_under_way_and_what_waits_is_ended():
    with pytest.raises(KeyboardInterrupt), ending_pool(1) as pool:  # noqa: PT012
        jobs = [pool.submit(time.sleep, 60) for _ in range(3)]
        while not jobs[0].running():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert jobs[0].exception() is not None  # waited for, it would have a result
    assert all(job.cancelled() or job.exception() for job in jobs)
