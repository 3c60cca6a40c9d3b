"""The CLIP loss is small where pictures fit the text."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eatlab.experts.clip import random_clip
from eatlab.objectives.clip import ClipLoss


@pytest.fixture(scope="module")
def loss() -> ClipLoss:
    return ClipLoss(random_clip(), ["a woman talks while crying hard"])


def pictures() -> Tensor:
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_is_one_minus_a_hundredth_of_open_clips_logit(loss):
    clip = loss.clip
    logits, _ = clip.net.get_logits(
        clip.prepare(pictures()), clip.tokens(["a woman talks while crying hard"])
    )
    assert loss(pictures()).item() == pytest.approx((1 - logits / 100).mean().item(), abs=1e-6)


def test_a_trained_scale_of_100_makes_it_one_minus_the_cosine():
    clip = random_clip()
    clip.net.logit_scale.data.fill_(torch.tensor(100.0).log())
    cosine = clip.images(pictures()) @ clip.texts(["happy"])
    assert ClipLoss(clip, ["happy"])(pictures()).item() == pytest.approx(1 - cosine.mean().item(), abs=1e-5)


def test_following_the_gradient_makes_pictures_fit_better(loss):
    images = pictures().requires_grad_()
    before = loss(images)
    before.backward()
    better = images.detach() - 1e-2 * images.grad / images.grad.abs().max()
    assert loss(better) < before
