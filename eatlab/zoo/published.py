"""The head of the published size with the network beside it that reads frames: an import's, or random."""

from __future__ import annotations

from pathlib import Path

import torch

from eatlab.backbone.published.head_pose import PublishedEstimator
from eatlab.backbone.random_head import keep_signals, random_head
from eatlab.backbone.talking_head import TalkingHead, for_cpu
from eatlab.errors import UserError
from eatlab.zoo.networks import load_backbone
from eatlab.zoo.released_export import load_estimator
from eatlab.zoo.released_parts import BACKBONE, ESTIMATOR

ESTIMATOR_SEED = 1
"""Each process of an ablation makes the random networks for itself, and must make the same."""


def load_published(folder: Path | None) -> TalkingHead:
    """A frozen head that reads E and pose of frames by the released estimator.

    folder: an import's; None: all weights are random, so that whatever it says means nothing.
    Raises UserError for a folder without the estimator, which the release keeps in a file of its own.
    """
    if folder is None:
        head = random_head()
        keep_signals(head)
        for_cpu(head)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ESTIMATOR_SEED)
            return head.read_by(PublishedEstimator())
    if not (folder / f"{ESTIMATOR}.json").is_file():
        raise UserError(
            f"{folder} has no estimator, which reads E and pose of frames",
            "the release keeps it in the file of the keypoints' pretraining",
            "import that file with the others, into a new folder",
        )
    return load_backbone(BACKBONE, folder).read_by(load_estimator(folder))
