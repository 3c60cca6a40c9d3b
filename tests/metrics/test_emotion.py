"""What a judge says of clips, against torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from eatlab.metrics.emotion import clip_log_probability, confusion, hits, largest_class_share, said

LABELS = np.random.default_rng(0).integers(0, 8, 200)
SAID = np.random.default_rng(1).integers(0, 8, 200)


def test_confusion_equals_torchmetrics() -> None:
    oracle = multiclass_confusion_matrix(torch.from_numpy(SAID), torch.from_numpy(LABELS), num_classes=8)
    assert np.array_equal(confusion(SAID, LABELS), oracle.numpy())


def test_clips_without_a_label_take_no_part() -> None:
    labels = np.where(np.arange(200) < 50, -1, LABELS)
    assert confusion(SAID, labels).sum() == 150
    assert np.isnan(hits(SAID, labels)[:50]).all()
    assert not np.isnan(hits(SAID, labels)[50:]).any()


def test_the_share_of_hits_is_the_trace() -> None:
    assert hits(SAID, LABELS).sum() == np.trace(confusion(SAID, LABELS))


def test_a_clip_is_decided_by_the_mean_of_its_frames() -> None:
    sure, unsure = torch.tensor([0.99, 0.01]).log(), torch.tensor([0.4, 0.6]).log()
    frames = torch.stack([sure, unsure, unsure])[None]
    assert said(clip_log_probability(frames).numpy()).tolist() == [0]  # two of three frames say 1


def test_the_order_of_frames_does_not_matter() -> None:
    frames = torch.randn(4, 10, 8, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    assert torch.allclose(clip_log_probability(frames), clip_log_probability(frames.flip(1)), atol=1e-12)


def test_the_largest_class() -> None:
    assert largest_class_share(np.array([0, 0, 3, -1])) == 2 / 3
    assert math.isnan(largest_class_share(np.array([-1])))
