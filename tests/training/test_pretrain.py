"""Re-enactment: what a step trains, and that an interrupted training ends with the same bits."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eatlab.backbone.sites import sha256_of
from eatlab.data.tables import read_clips
from eatlab.errors import ExitCode, UserError
from eatlab.objectives.reconstruction import Reconstruction, ReconstructionConfig
from eatlab.training.checkpoint import load_checkpoint
from eatlab.training.pairs import PairPool, PairsConfig
from eatlab.training.pretrain import Pretrain, RenderConfig, tint, warm_cosine
from eatlab.training.render_stage import fit, train_renderer
from tests.training.conftest import random_teachers, thin_head

CONFIG = RenderConfig(steps=4, batch=2, processes=1, moved=1)


def train(puppets: Path, folder: Path, config: RenderConfig = CONFIG) -> str:
    """sha256 of the averaged head."""
    torch.manual_seed(4)  # of the probe
    return sha256_of(train_renderer(thin_head(), random_teachers(), puppets, folder, config))


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is sent SIGTERM while it takes this step."""
    move = Pretrain.move_average

    def told(self: Pretrain) -> None:
        move(self)
        if self.step + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Pretrain, "move_average", told)


@pytest.fixture(scope="module")
def uninterrupted(puppets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return train(puppets, folder), folder


def test_a_step_trains_keypoints_estimator_and_renderer_and_moves_the_average(puppets, tmp_path):
    head, teachers = thin_head(), random_teachers()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    objective = Reconstruction(ReconstructionConfig(emotion=1.0), teachers)
    taught = [sha256_of(net) for net in (teachers.face, teachers.emotion)]
    module = Pretrain(head, PairPool(puppets, PairsConfig()), objective, replace(CONFIG, steps=1))
    assert fit(module, tmp_path, read_clips(puppets, "acted/val"), "cpu")
    now, average = head.state_dict(), module.average.state_dict()
    for part in ("keypoints.", "estimator.", "renderer."):
        mine = [name for name in now if name.startswith(part) and now[name].is_floating_point()]
        assert any(not torch.equal(now[name], before[name]) for name in mine)
        assert all(now[name].isfinite().all() for name in mine)
    assert all(torch.equal(now[name], before[name]) for name in now if name.startswith("a2et."))
    name = "renderer.out.weight"  # the average of one step keeps 1 / 20 of where it began
    torch.testing.assert_close(average[name], before[name].lerp(now[name], 0.95))
    assert [sha256_of(net) for net in (teachers.face, teachers.emotion)] == taught
    assert {path.name for path in tmp_path.iterdir()} >= {"metrics.jsonl", "step_000001.png"}


@pytest.mark.slow
def test_a_training_stopped_by_a_signal_ends_with_the_same_bits(
    puppets, tmp_path, monkeypatch, uninterrupted
):
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(UserError, match="at step 2 of 4, interrupted; all is saved") as caught:
            train(puppets, tmp_path)
    assert caught.value.code == ExitCode.INTERRUPTED
    whole, folder = uninterrupted
    assert train(puppets, tmp_path) == whole
    mine, theirs = (load_checkpoint(place / "checkpoints", pytest.fail) for place in (tmp_path, folder))
    assert mine.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(value, theirs.tensors[name]) for name, value in mine.tensors.items())
    assert train(puppets, tmp_path) == whole  # a finished training trains no further


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_training_still_ends_well(
    puppets, tmp_path, monkeypatch, uninterrupted, capsys
):
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(UserError):
            train(puppets, tmp_path)
    (saved,) = (tmp_path / "checkpoints").glob("*.safetensors")
    saved.write_bytes(saved.read_bytes()[:-1] + b"!")
    assert train(puppets, tmp_path) == uninterrupted[0]
    assert f"eatlab: checkpoint {saved} is damaged" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_with_code_5_and_saves_nothing(puppets, tmp_path):
    broken = replace(CONFIG, steps=2, reconstruction=ReconstructionConfig(pixel=math.nan))
    with pytest.raises(UserError, match="diverged") as caught:
        train(puppets, tmp_path, broken)
    assert caught.value.code == ExitCode.DIVERGED
    assert not (tmp_path / "checkpoints").exists()


def test_the_rate_rises_and_falls_like_a_cosine():
    rates = [warm_cosine(step, warm_up=10, steps=100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1 * 1.0)
    assert max(rates) == pytest.approx(rates[9], abs=0.03)
    assert rates[100] == pytest.approx(0.02)
    assert rates[50] == pytest.approx(0.51)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_one_tint_lies_alike_on_a_portrait_and_its_frame():
    lit = tint(3, torch.Generator().manual_seed(0))
    grey = torch.zeros(3, 3, 4, 4)
    assert torch.equal(lit(grey), lit(grey))
    assert lit(grey).unique().numel() == 9
    assert lit(grey + 9).max() <= 1
