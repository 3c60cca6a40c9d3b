"""A corpus that is drawn once a session, and a head that is thin but takes its 96-pixel frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eatlab.backbone.sizes import BackboneConfig, EstimatorConfig
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.members import encode
from eatlab.data.puppets.corpus import scenes, shoot
from eatlab.data.shards import write_shards
from eatlab.experts import emotion, sync
from eatlab.experts.judges import Teachers
from eatlab.experts.perceptual import FaceTeacher
from tests.training.toys import TINY

WIDTHS = (8, 8, 8, 8)
THIN = replace(TINY, name="thin", size=96, estimator=EstimatorConfig(WIDTHS))
DRAWN = {"acted/train": 25, "acted/pretrain": 8, "acted/val": 25, "wild/train": 4}
"""Scenes of each part of the tiny preset; one acted person a split has 24 conditions and a portrait."""


@pytest.fixture(scope="session")
def puppets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of puppet shards."""
    folder = tmp_path_factory.mktemp("puppets")
    for part, count in DRAWN.items():
        name, split = part.split("/")
        shot = (encode(shoot(scene), name) for scene in scenes("tiny", name, split)[:count])
        write_shards(folder, name, split, shot, per_shard=64, recipe={"name": "puppets"})
    return folder


def thin_head(config: BackboneConfig = THIN) -> TalkingHead:
    """The same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TalkingHead(config)


def random_teachers() -> Teachers:
    """Networks that know nothing, frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        nets = FaceTeacher(WIDTHS), emotion.teacher(), sync.teacher()
    return Teachers(*(net.eval().requires_grad_(False) for net in nets))
