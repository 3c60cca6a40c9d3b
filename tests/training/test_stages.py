"""`eatlab pretrain`: what it refuses, in one line."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from eatlab.backbone.sites import sha256_of
from eatlab.errors import ExitCode, UserError
from eatlab.training.stages import PretrainConfig, load_renderer, pretrain
from tests.training.toys import tiny_backbone


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PretrainConfig(size="huge"), "size 'huge' is unknown; there are: small"),
        (PretrainConfig(stage="speach"), "stage 'speach' is unknown; there are: all, render, polish, speech"),
    ],
)
def test_an_unknown_size_or_stage_is_refused_before_anything_is_made(config, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        pretrain(config)
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
