"""`eatlab pretrain`: what it refuses, in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from eatlab.backbone.sites import sha256_of
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead
from eatlab.errors import ExitCode, UserError
from eatlab.training import stages
from eatlab.training.pretrain import RenderConfig
from eatlab.training.render_stage import refuse_missing_devices
from eatlab.training.stages import PretrainConfig, PretrainHost, load_renderer, origin, pretrain
from tests.training.conftest import random_teachers
from tests.training.toys import tiny_backbone


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PretrainConfig(size="huge"), 'size "huge" is unknown; there are: small'),
        (PretrainConfig(size="paper"), "size paper is not trained by `eatlab pretrain`.*`eatlab import`"),
        (PretrainConfig(stage="speach"), "stage 'speach' is unknown; there are: all, render, polish, speech"),
    ],
)
def test_what_it_does_not_train_is_refused_before_anything_is_made(config, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        pretrain(config)
    assert caught.value.code == ExitCode.BAD_INPUT
    assert not any(tmp_path.iterdir())


def test_speech_needs_a_renderer_that_is_there_and_whole(tmp_path):
    path = tmp_path / "average.safetensors"
    with pytest.raises(UserError, match="does not exist; run `eatlab pretrain stage=render` first") as caught:
        load_renderer(tiny_backbone(), path, "render")
    assert caught.value.code == ExitCode.BAD_INPUT
    path.write_bytes(b"half a file")
    with pytest.raises(UserError, match="is damaged") as caught:
        load_renderer(tiny_backbone(), path, "render")
    assert caught.value.code == ExitCode.DATA_DAMAGED
    other = tiny_backbone(seed=1)
    save_file({k: v.contiguous() for k, v in tiny_backbone().state_dict().items()}, path)
    load_renderer(other, path, "render")
    assert sha256_of(other) == sha256_of(tiny_backbone())
    assert torch.is_tensor(other.renderer.out.weight)


def test_a_teacher_under_its_gate_teaches_nothing(tmp_path, monkeypatch):
    bad = {"face": {"gate": {"au_r2": [">=", 0.6]}, "held_out": {"au_r2": 0.1}}}
    monkeypatch.setattr(stages, "prepare", lambda preset, folder: folder)
    monkeypatch.setattr(stages, "load_teachers", lambda folder: replace(random_teachers(), cards=bad))
    says = "teacher_face must not be learned from; au_r2 is 0.100; the gate is >= 0.6; train it anew"
    with pytest.raises(UserError, match=says):
        pretrain(PretrainConfig(host=PretrainHost(folder=str(tmp_path))))
    assert not any(tmp_path.iterdir())


def test_a_stages_origin_is_its_settings_data_teachers_and_start(puppets, tmp_path):
    vgg = tmp_path / "vgg.pth"
    vgg.write_bytes(b"weights")
    cards = {"face": {"sha256": "ab"}, "sync": {"sha256": "ef"}, "emotion": {"sha256": "01"}}
    teachers = replace(random_teachers(), cards=cards)
    config, head = PretrainConfig(), tiny_backbone()
    made = origin(config, "polish", puppets, teachers, head)
    others = [
        origin(replace(config, polish=replace(config.polish, lr=1.0)), "polish", puppets, teachers, head),
        origin(replace(config, perceptual=str(vgg)), "polish", puppets, teachers, head),
        origin(config, "polish", puppets, replace(teachers, cards=cards | {"face": {"sha256": "cd"}}), head),
        origin(config, "polish", puppets, teachers, tiny_backbone(seed=1)),
        origin(config, "render", puppets, teachers, head),
    ]
    assert all(other != made for other in others)
    elsewhere = replace(config, host=PretrainHost(folder="elsewhere"))
    assert origin(elsewhere, "polish", puppets, teachers, tiny_backbone()) == made
    other_emotion, other_sync = (
        replace(teachers, cards=cards | {name: {"sha256": "23"}}) for name in ("emotion", "sync")
    )
    assert origin(config, "polish", puppets, other_emotion, head) != made
    assert origin(config, "polish", puppets, other_sync, head) == made  # no loss of this stage hears it
    for silent in (other_emotion, other_sync):
        assert origin(config, "render", puppets, silent) == origin(config, "render", puppets, teachers)


def test_a2et_finds_the_same_memory_layout_whether_or_not_the_renderer_was_just_trained(
    puppets, tmp_path, monkeypatch
):
    polished = tmp_path / "polish" / "average.safetensors"
    polished.parent.mkdir()
    head = TalkingHead(SIZES["small"]())
    save_file({k: v.contiguous() for k, v in head.state_dict().items()}, polished)
    cards = {name: {"sha256": name} for name in ("face", "emotion", "sync")}
    found = []

    def look(head, *rest):
        weights = [m.weight for m in head.modules() if isinstance(m, torch.nn.Conv2d)]
        found.extend(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
        return {}

    monkeypatch.setattr(stages, "prepare", lambda preset, folder: puppets)
    monkeypatch.setattr(stages, "load_teachers", lambda folder: replace(random_teachers(), cards=cards))
    monkeypatch.setattr(stages, "train_speech", look)
    pretrain(PretrainConfig(stage="speech", host=PretrainHost(folder=str(tmp_path))))
    assert found
    assert all(found)


def test_fewer_gpus_than_processes_are_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    refuse_missing_devices(RenderConfig(processes=1), "gpu")
    refuse_missing_devices(RenderConfig(processes=2), "cpu")
    with pytest.raises(UserError, match="processes=2 want a GPU each; there are 1; give a process"):
        refuse_missing_devices(RenderConfig(processes=2), "gpu")


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_train_with_any_term_switched_off_and_refuse_to_go_on_otherwise(tmp_path):
    def eatlab(*words: str) -> subprocess.CompletedProcess[str]:
        where = (f"host.folder={tmp_path / 'run'}", f"host.data={tmp_path / 'puppets'}", "puppets=tiny")
        command = [sys.executable, "-m", "eatlab.cli", "pretrain", "stage=render", "render.batch=2", *where]
        alone = {k: v for k, v in os.environ.items() if k not in stages.GROUP}
        return subprocess.run([*command, *words], capture_output=True, text=True, env=alone, timeout=600)

    off = [f"render.keypoints.{term}=0" for term in ("probe", "pose", "equivariance", "spread", "small")]
    first = eatlab("render.steps=3", *off)
    assert first.returncode == 0, first.stderr
    assert "render: step 3 of 3" in first.stdout
    done = eatlab("render.steps=3", *off)
    assert done.returncode == 0
    assert "step 3 of 3" not in done.stdout  # it was done before
    other = eatlab("render.steps=3", "render.seed=1", *off)
    assert other.returncode == ExitCode.BAD_INPUT
    assert "was begun otherwise; config.seed is 0 there and 1 here" in other.stderr
