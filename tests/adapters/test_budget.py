"""Budgets: the published counts at the published size, and what a file really weighs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sizes import A2ETConfig
from eatlab.backbone.talking_head import TalkingHead
from tests.adapters.toys import NAMES, TINY

PUBLISHED = A2ETConfig(
    width=128, heads=8, layers=6, hidden=1024, face=(4, 128), face_channels=4, mapper_hidden=512
)


@pytest.mark.parametrize(
    ("spec", "count"), [("deep_prompt", 10_777_600), ("shallow_prompt", 7_625_728), ("none", 0)]
)
def test_budgets_at_the_published_size_are_the_published_ones(spec, count):
    with torch.device("meta"):
        backbone = TalkingHead(replace(TINY, a2et=PUBLISHED))
        budget = AdapterSet(spec, backbone).budget(backbone)
    assert budget["total"] == count
    assert budget["parts"].get("emotion_mapper", 0) == count


def test_the_shared_mapper_counts_once(backbone):
    deep, both = (
        AdapterSet(spec, backbone).budget(backbone) for spec in ("deep_prompt", "shallow_prompt+deep_prompt")
    )
    assert both["total"] == deep["total"] == deep["parts"]["emotion_mapper"]
    assert both["parts"] == {"shallow_prompt": 0, "deep_prompt": 0, "emotion_mapper": deep["total"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_is_what_is_trained_and_what_the_file_weighs(name, backbone, tmp_path):
    adapters, path = AdapterSet(name, backbone), tmp_path / "adapter.safetensors"
    budget = adapters.budget(backbone)
    frozen, total = (sum(p.numel() for p in module.parameters()) for module in (backbone, adapters))
    assert (budget["total"], budget["backbone"]) == (total, frozen)
    assert budget["percent"] == pytest.approx(100 * total / frozen)
    assert budget["percent_of_whole"] == pytest.approx(100 * total / (frozen + total))
    adapters.save(path, backbone)
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert budget["bytes"] == path.stat().st_size - 8 - header


def test_counting_on_the_meta_device_is_counting(backbone):
    with torch.device("meta"):
        imagined = AdapterSet("deep_prompt+toy_factors", backbone)
    assert imagined.budget(backbone) == AdapterSet("deep_prompt+toy_factors", backbone).budget(backbone)
