"""The published networks' outputs at deterministic weights; EATLAB_REFERENCE names the folder of vectors."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.emotion import EmotionMapper
from eatlab.backbone.transformer import split_in_proj
from eatlab.backbone.sizes import A2ETConfig
from eatlab.backbone.talking_head import TalkingHead
from tests.adapters.toys import TINY

VECTORS = Path(os.environ.get("EATLAB_REFERENCE", "no folder given"))
pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="EATLAB_REFERENCE names no folder of reference vectors"
)
TRANSFORMER = A2ETConfig(
    width=128, heads=8, layers=6, hidden=1024, face=(4, 128), face_channels=4, mapper_hidden=512
)


def fill_rule():
    """The module that makes weights and inputs from names and shapes."""
    spec = importlib.util.spec_from_file_location("reference_fill", VECTORS / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights(name: str) -> dict[str, Tensor]:
    spec = json.loads((VECTORS / f"{name}.json").read_text())["state_dict"]
    return {key: torch.from_numpy(value) for key, value in fill_rule().fill(spec).items()}


def drawn(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(fill_rule().normal(name, shape, 1))


def check(name: str, key: str, ours: Tensor) -> None:
    stride = json.loads((VECTORS / f"{name}.json").read_text())["tensors"][key]["stride"]
    kept = torch.from_numpy(np.load(VECTORS / f"{name}.npz")[key]).flatten()
    torch.testing.assert_close(ours.flatten()[::stride], kept, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("vector", "num_tokens"), [("emotion_mapper", 7), ("shallow_mapper", 1)])
@torch.no_grad()
def test_the_mapper_makes_the_published_tokens(vector, num_tokens):
    mapper = EmotionMapper(num_tokens, 128, 512)
    renamed = {
        k.replace("mappingnet.", "").replace("unshared", "branches"): v for k, v in weights(vector).items()
    }
    mapper.load_state_dict(renamed)
    tokens = mapper(drawn("mapper.z", 8, 16), torch.eye(8))
    check(vector, "e0", tokens[:, 0])
    if num_tokens > 1:
        check(vector, "e1to6", tokens[:, 1:])


@pytest.mark.parametrize(
    ("vector", "spec"), [("a2et_deep", "deep_prompt"), ("a2et_shallow", "shallow_prompt")]
)
@torch.no_grad()
def test_prompts_in_both_streams_give_the_published_transformer(vector, spec):
    """On the published tokens: 11 frames and the pose, then the prompts; two windows of one clip."""
    backbone, kept = TalkingHead(replace(TINY, a2et=TRANSFORMER)), np.load(VECTORS / f"{vector}.npz")
    tokens = {
        key: torch.from_numpy(kept[key]).reshape(2, -1, 128)
        for key in ("speech_token", "decoder_token", "pose_token")
    }
    speech, acoustic = (
        torch.cat([tokens[key], tokens["pose_token"]], 1) for key in ("speech_token", "decoder_token")
    )
    load_transformer(backbone, weights(vector))
    guidance = torch.cat([drawn("a2et.e0", 1, 128)[:, None], drawn("a2et.e1to6", 1, 6, 128)], 1)
    context = replace(AdapterSet(spec, backbone).context(torch.tensor([0])), guidance=guidance)
    memory = backbone.a2et.encoder(speech, context)
    check(vector, "encoder_layer5", memory.transpose(0, 1))
    backbone.a2et.decoder.norm = None  # the vector was taken before the last norm
    check(vector, "decoder_layer5", backbone.a2et.decoder(acoustic, context, memory).transpose(0, 1))


def load_transformer(backbone: TalkingHead, released: dict[str, Tensor]) -> None:
    """Released `transformer.encoder|decoder` → ours, every key."""
    stacks = ("transformer.encoder", "transformer.decoder")
    ours = {
        key.replace("transformer.", "").replace("multihead_attn", "cross_attn"): value
        for key, value in released.items()
        if key.startswith(stacks)
    }
    missing, unexpected = backbone.a2et.load_state_dict(split_in_proj(ours), strict=False)
    assert not unexpected
    assert not [key for key in missing if key.startswith(("encoder", "decoder"))]
