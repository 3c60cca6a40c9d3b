"""Pretraining of A2ET: steps that depend on (seed, phase, step) alone, exact resume, what it trains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import ParameterList

from eatlab.backbone.sites import BatchNorm, sha256_of
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.tables import read_clips
from eatlab.emotions import NEUTRAL
from eatlab.errors import ExitCode, UserError
from eatlab.training import speech_stage
from eatlab.training.checkpoint import saved
from eatlab.training.speech_pool import SpeechPool
from eatlab.training.speech_stage import (
    Epochs,
    Phase,
    PhaseRun,
    SpeechConfig,
    SpeechTraining,
    explained,
    load_trained_speech,
    train_speech,
    unexplained,
)
from tests.training.conftest import random_teachers, thin_head
from tests.training.toys import tiny_backbone, tiny_latents

CONFIG = SpeechConfig(latent_steps=2, batch=4, full_steps=1, full_batch=2)


def never() -> bool:
    return False


class After:
    """Says stop when it has been asked `count` times."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def latent_phase(steps: int = 4) -> tuple[TalkingHead, Phase]:
    """A tiny A2ET that learns latents of noise."""
    head, latents = tiny_backbone(), tiny_latents()
    head.a2et.requires_grad_(True)
    pool = SpeechPool(latents, None, latents.windows(5))  # type: ignore[arg-type]
    training = SpeechTraining(head, [pool], random_teachers(), CONFIG)
    return head, Phase("latent", training.latent_step, steps, 1e-3)


def fitted(folder: Path, stop=never) -> str:
    head, phase = latent_phase()
    PhaseRun(head.a2et, phase, 0, folder).fit(stop)
    return sha256_of(head)


def test_an_interrupted_phase_ends_with_the_same_bits(tmp_path):
    whole = fitted(tmp_path / "whole")
    with pytest.raises(UserError, match="at step 2 of 4, interrupted; all is saved") as caught:
        fitted(tmp_path / "parts", After(2))
    assert caught.value.code == ExitCode.INTERRUPTED
    assert fitted(tmp_path / "parts") == whole
    assert fitted(tmp_path / "parts") == whole  # finished: nothing more is done


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(tmp_path, monkeypatch, capsys):
    whole = fitted(tmp_path / "whole")
    monkeypatch.setattr(speech_stage, "SAVED_EVERY", 1)
    with pytest.raises(UserError):
        fitted(tmp_path / "parts", After(3))
    newest = saved(tmp_path / "parts" / "checkpoints" / "latent")[-1]
    newest.write_bytes(newest.read_bytes()[:-1] + b"!")
    assert fitted(tmp_path / "parts") == whole
    assert f"eatlab: checkpoint {newest} is damaged" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_with_code_5_before_the_step(tmp_path):
    head, phase = latent_phase()
    before = sha256_of(ParameterList(head.parameters()))  # statistics of batch norms move with a forward
    broken = replace(phase, loss_of=lambda g: phase.loss_of(g) * torch.inf)
    with pytest.raises(UserError, match="diverged: the loss of step 0 is inf") as caught:
        PhaseRun(head.a2et, broken, 0, tmp_path).fit(never)
    assert caught.value.code == ExitCode.DIVERGED
    assert sha256_of(ParameterList(head.parameters())) == before
    assert not saved(tmp_path / "checkpoints" / "latent")


def test_a_gradient_that_is_not_finite_is_dropped(tmp_path):
    head, phase = latent_phase(steps=1)
    before = sha256_of(ParameterList(head.parameters()))

    def steep(g: torch.Generator) -> Tensor:
        return (phase.loss_of(g) * 0).sqrt()  # 0, with an infinite slope

    PhaseRun(head.a2et, replace(phase, loss_of=steep), 0, tmp_path).fit(never)
    assert sha256_of(ParameterList(head.parameters())) == before


def test_what_is_random_in_a_step_depends_on_seed_phase_and_step_alone():
    one, other = (Phase(name, lambda g: torch.zeros(()), 10, 1.0) for name in ("latent", "all losses"))
    draw = {
        (p.name, s, t): torch.rand(4, generator=p.generator(s, t))
        for p in (one, other)
        for s in (0, 1)
        for t in (0, 1)
    }
    assert torch.equal(torch.rand(4, generator=one.generator(1, 1)), draw["latent", 1, 1])
    assert len({tuple(v.tolist()) for v in draw.values()}) == 8


def test_sound_is_made_noisy_and_nothing_else():
    training = SpeechTraining(tiny_backbone(), [], random_teachers(), CONFIG)
    latents = tiny_latents()
    clean, noisy = (latents.batch(latents.windows(5)[:3]) for _ in range(2))
    training.noisy(noisy, torch.Generator().manual_seed(0))
    for name in ("mel", "speech"):
        off = noisy[name] - clean[name]
        assert off.flatten(1).mean(1).abs().max() < 4 * CONFIG.gain
        assert (off - off.mean((1, 2, 3), keepdim=True)).std() == pytest.approx(CONFIG.noise, rel=0.1)
    assert all(torch.equal(noisy[name], clean[name]) for name in ("pose", "face_map"))


def test_only_unlabelled_and_neutral_clips_are_learned_from(puppets, tmp_path):
    head = thin_head().eval().requires_grad_(False)
    wild, acted = (SpeechPool.load(head, puppets, part, tmp_path) for part in ("wild/train", "acted/train"))
    emotions = [set(p.latents.emotion[p.latents.clip[p.rows[:, 0]]].tolist()) for p in (wild, acted)]
    assert emotions == [{-1}, {NEUTRAL}]
    frames, known = wild.frames(torch.tensor([0, 1]))
    assert frames.shape == (10, 3, 96, 96)
    assert known["landmarks"].shape == (10, 68, 2)
    assert wild.heard(torch.tensor([0, 1])).shape == (2, 16, 80)


def test_saying_the_mean_explains_nothing(puppets, tmp_path):
    head = thin_head().eval().requires_grad_(False)
    for value in (head.a2et.coefficients.weight, head.a2et.coefficients.bias):
        value.zero_()
    val = SpeechPool.load(head, puppets, "acted/val", tmp_path)
    error, variance, who = unexplained(head, val)
    torch.testing.assert_close(error, variance)
    assert explained(head, val) == pytest.approx(0, abs=1e-6)
    assert set(who) == {clip.identity for clip in read_clips(puppets, "acted/val")}
    assert len(who) == len(error) > 0


def test_batch_norms_learn_by_the_latent_loss_and_are_kept_by_the_others(puppets, tmp_path):
    head = thin_head().eval().requires_grad_(False)
    pool = SpeechPool.load(head, puppets, "wild/train", tmp_path)
    head.a2et.requires_grad_(True).train()
    training = SpeechTraining(head, [pool], random_teachers(), CONFIG)
    norms = [m for m in head.a2et.modules() if isinstance(m, BatchNorm)]
    learned = []
    for step in (training.latent_step, training.full_step):
        step(torch.Generator().manual_seed(0))
        learned.append([m.running_mean.clone() for m in norms])
    assert all(mean.abs().max() > 0 for mean in learned[0])
    assert all(torch.equal(a, b) for a, b in zip(*learned, strict=True))


def test_an_epoch_leaves_a_row_and_a_picture_and_repeats_neither(puppets, tmp_path, capsys):
    head = thin_head().eval().requires_grad_(False)
    head.a2et.requires_grad_(True)
    watch = Epochs(head, SpeechPool.load(head, puppets, "acted/val", tmp_path), tmp_path)
    run = PhaseRun(head.a2et, Phase("A2ET, some loss", lambda g: pytest.fail("no step"), 4, 1.0), 0, tmp_path)
    for run.step, run.mean_loss in ((1, 0.5), (2, 0.25), (2, 0.125)):
        watch(run)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["phase"], row["step"], row["loss"]) for row in rows] == [
        ("A2ET, some loss", 1, 0.5),
        ("A2ET, some loss", 2, 0.125),
    ]
    assert rows[0]["explained"] == pytest.approx(explained(head, watch.val), abs=1e-4)
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "A2ET-some-loss_000001.png",
        "A2ET-some-loss_000002.png",
    }
    assert "A2ET, some loss: step 2 of 4" in capsys.readouterr().out
    assert run.a2et.training


@pytest.mark.slow
def test_the_whole_stage_trains_a2et_and_nothing_else_and_repeats(puppets, tmp_path):
    head, teachers = thin_head(), random_teachers()
    taught, rest = sha256_of(teachers.face), sha256_of(head.renderer)
    before = sha256_of(head.a2et)
    figures = train_speech(head, teachers, puppets, tmp_path, CONFIG)
    assert figures.keys() == {"wall_s", "pca_variance_kept", "explained_after_latent_phase", "explained"}
    assert 0 < figures["pca_variance_kept"] <= 1
    assert sha256_of(head.a2et) != before
    assert (sha256_of(teachers.face), sha256_of(head.renderer)) == (taught, rest)
    again, loaded = thin_head(), thin_head()
    train_speech(again, teachers, puppets, tmp_path, CONFIG)
    load_trained_speech(loaded, tmp_path)
    assert sha256_of(again) == sha256_of(head) == sha256_of(loaded)
