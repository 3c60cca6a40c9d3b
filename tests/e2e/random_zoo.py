"""A zoo of networks that learned nothing, for tests of the machinery: right shapes, right cards, numbers
without meaning.
"""

from __future__ import annotations

from pathlib import Path

import torch

from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead
from eatlab.experts import emotion, landmarks, sync
from eatlab.zoo.build import save_network


def make_random_zoo(folder: Path, seed: int = 0) -> Path:
    """Writes backbone and judges with random weights into a folder, and returns it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = TalkingHead(SIZES["small"]())
        head.a2et.pca.deviation.copy_(torch.linspace(0.1, 0.01, len(head.a2et.pca.deviation)))
        passed = {"held_out": {"figure": 1.0}, "gate": {"figure": [">=", 0.5]}}
        save_network(head, folder, "backbone_small", {"size": "small"})
        judges = {"emotion": emotion.judge(), "landmarks": landmarks.LandmarkJudge(), "sync": sync.judge()}
        for name, net in judges.items():
            save_network(net, folder, f"judge_{name}", passed)
    return folder
