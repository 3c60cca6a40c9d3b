"""Losses of drawn frames: what they weigh, which adapters they teach, what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.data.samples import FrameTable
from eatlab.errors import UserError
from eatlab.experts.judges import Teachers
from eatlab.objectives.weights import LossConfig
from eatlab.training.drawn import DrawnLoss
from eatlab.training.latents import Latents, LatentsConfig, SetName, load_latents, read_tables
from eatlab.training.learner import Learner, TuneConfig
from eatlab.training.schedule import Schedule
from eatlab.training.stream import LatentStream
from eatlab.training.tune import tune
from tests.training.conftest import random_teachers, thin_head

ALL = LossConfig(perceptual=0.2, sync=1.0, pixel=1.0, windows=2)
SHORT = Schedule(steps=2, batch=3, warmup=1, evaluate_every=2, save_every=1)


@pytest.fixture(scope="module")
def read(puppets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Latents, FrameTable]:
    source = SetName(puppets, "acted", "val")
    latents = load_latents(thin_head(), source, LatentsConfig(), tmp_path_factory.mktemp("latents"))
    return latents, read_tables(source)[0]


def loss_of(read: tuple[Latents, FrameTable], config: LossConfig) -> DrawnLoss:
    head = thin_head().eval().requires_grad_(False)
    return DrawnLoss(head, *read, random_teachers(), config)


def value(read: tuple[Latents, FrameTable], config: LossConfig, *, off: float = 0.0) -> float:
    """Of the first two windows, drawn from the true expression, or from one that is `off`."""
    latents, drawn = read[0], loss_of(read, config)
    rows = latents.windows(5)[:2]
    context = AdapterSet("none", drawn.backbone).context(latents.emotion[latents.clip[rows[:, 0]]])
    return float(drawn(rows, latents.expression[rows] + off, context, seed=0))


def test_each_weight_scales_its_own_term(read: tuple[Latents, FrameTable]) -> None:
    one_by_one = [
        value(read, LossConfig(**{name: weight}))
        for name, weight in (("perceptual", 0.2), ("sync", 1.0), ("pixel", 1.0))
    ]
    assert min(one_by_one) > 0
    assert value(read, ALL) == pytest.approx(sum(one_by_one), rel=1e-3)
    assert value(read, LossConfig(pixel=3.0)) == pytest.approx(3 * one_by_one[2], rel=1e-3)


def test_it_sees_the_expression(read: tuple[Latents, FrameTable]) -> None:
    assert value(read, ALL) != pytest.approx(value(read, ALL, off=0.5), rel=1e-4)


@pytest.mark.parametrize("spec", ["deep_prompt", "deep_prompt+eam", "eam(sites=volume)"])
def test_adapters_learn_from_frames_what_acts_in_the_renderer_too(
    read: tuple[Latents, FrameTable], tmp_path: Path, spec: str
) -> None:
    drawn = loss_of(read, replace(ALL, expression=0, coefficients=0))
    config = TuneConfig(spec, schedule=SHORT, loss=drawn.config)
    learner = Learner(drawn.backbone, config, tmp_path, drawn)
    stream = LatentStream.of(drawn.backbone, read[0], 5, [learner.adapters])
    before = {name: value.clone() for name, value in learner.adapters.state_dict().items()}
    for _ in range(2):
        learner.take_step(stream, torch.arange(3), lambda loss: loss.backward(), learner.optimizer.step)
    learned = {name for name, value in learner.adapters.state_dict().items() if not value.equal(before[name])}
    assert any("volume" in name for name in learned) == ("eam" in spec)
    assert any("mapper" in name for name in learned)


DROPPED = "lora(rank=1,dropout=0.5,targets=renderer.style.*.weight)"


@pytest.mark.parametrize("spec", ["deep_prompt+eam", DROPPED])
def test_an_interrupted_tuning_ends_with_the_same_bits(
    read: tuple[Latents, FrameTable], tmp_path: Path, spec: str
) -> None:
    drawn = loss_of(read, ALL)
    config = TuneConfig(spec, schedule=SHORT, loss=ALL)
    options = {"drawn": drawn, "report": lambda done, total, note: None}
    (whole,) = tune(drawn.backbone, read[0], read[0], {tmp_path / "whole": config}, **options)
    assert "val_loss" not in whole.curve[-1], "the latent loss is not what it learned by"
    torch.rand(7)  # what else the process draws
    with pytest.raises(UserError, match="step 1 of 2"):
        tune(drawn.backbone, read[0], read[0], {tmp_path / "cut": config}, stop=lambda: True, **options)
    (cut,) = tune(drawn.backbone, read[0], read[0], {tmp_path / "cut": config}, **options)
    one, other = (AdapterSet.load(found.adapter, drawn.backbone).state_dict() for found in (whole, cut))
    assert all(one[name].equal(other[name]) for name in one)


def test_without_mask_or_landmarks_nothing_is_drawn(read: tuple[Latents, FrameTable]) -> None:
    blind = replace(read[1], truth={"pose": read[1].truth["pose"]})
    with pytest.raises(UserError, match="need mask and landmarks of the true frames"):
        loss_of((read[0], blind), ALL)


def test_a_teacher_under_its_gate_stands_in_no_loss(read: tuple[Latents, FrameTable]) -> None:
    teachers = random_teachers()
    card = {"gate": {"accuracy": [">=", 0.9]}, "held_out": {"accuracy": 0.5}}
    poor = Teachers(teachers.face, teachers.emotion, teachers.sync, {"sync": card})
    with pytest.raises(UserError, match=r"under its gate.*sync: accuracy is 0\.500"):
        DrawnLoss(thin_head(), *read, poor, ALL)


def test_windows_that_the_sync_teacher_cannot_hear_are_refused(read: tuple[Latents, FrameTable]) -> None:
    drawn = loss_of(read, ALL)
    rows = read[0].windows(5)[:1, :3]
    context = AdapterSet("none", drawn.backbone).context(torch.zeros(1, dtype=torch.long))
    with pytest.raises(UserError, match=r"windows of 5 frames, not 3.*schedule\.num_frames=5"):
        drawn(rows, read[0].expression[rows], context, seed=0)


def test_a_learner_draws_if_and_only_if_its_config_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="losses of drawn frames"):
        Learner(thin_head(), TuneConfig(loss=ALL), tmp_path)
