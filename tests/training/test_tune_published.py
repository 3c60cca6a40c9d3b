"""Tuning by the latent loss on a head of the published parts: thin in the suite, full size on demand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sites import sha256_of
from eatlab.backbone.sizes import paper
from eatlab.backbone.talking_head import TalkingHead
from eatlab.training.learner import TuneConfig
from eatlab.training.schedule import Schedule
from eatlab.training.stream import LatentStream
from eatlab.training.tune import tune
from tests.backbone.toys import TINY_PUBLISHED, lively_head
from tests.training.toys import published_latents

SETS = ("eat", "lora(rank=4)")


def few_steps(head: TalkingHead, folder: Path, schedule: Schedule) -> None:
    """Tunes both sets on one stream and asks of each what a tuning promises."""
    latents, before = published_latents(head, num_clips=4), sha256_of(head)
    tunings = {folder / str(index): TuneConfig(spec, 0, schedule) for index, spec in enumerate(SETS)}
    for tuned in tune(head, latents, latents, tunings, report=lambda *progress: None):
        assert tuned.backbone_sha256 == before
        assert [row["step"] for row in tuned.curve] == [0, schedule.steps]
        assert all(math.isfinite(row["val_loss"]) for row in tuned.curve)
        assert tuned.curve[-1]["val_loss"] != tuned.curve[0]["val_loss"]
        adapters = AdapterSet.load(tuned.adapter, head)
        batch = latents.batch(latents.windows(schedule.num_frames)[:2])
        with torch.no_grad():
            assert head.speak(batch, adapters.context(torch.tensor([0, 4]))).shape[2:] == (15, 3)


def test_a_head_of_published_parts_is_tuned(tmp_path: Path) -> None:
    few_steps(lively_head(TINY_PUBLISHED), tmp_path, Schedule(steps=3, batch=2, evaluate_every=3))


@pytest.mark.slow
def test_a_few_steps_at_the_published_size(tmp_path: Path) -> None:
    schedule = Schedule(steps=3, batch=1, num_frames=2, evaluate_every=3, learning_rate=1e-4)
    few_steps(lively_head(paper()), tmp_path, schedule)


def test_its_expression_is_scaled_by_the_portraits_hull_with_the_prefix_shared_or_not() -> None:
    head = lively_head(TINY_PUBLISHED)
    latents, adapters = published_latents(head), AdapterSet("deep_prompt", head)
    shared, whole = (LatentStream(head, latents, 5, shared=shared) for shared in (True, False))
    chosen = torch.tensor([0, 3, 5])
    with torch.no_grad():
        e = whole.predict(chosen, adapters)
        torch.testing.assert_close(shared.predict(chosen, adapters), e, atol=1e-6, rtol=1e-5)
        unscaled = head.a2et(latents.batch(whole.rows[chosen]), whole.context(chosen, adapters))
    assert latents.hull is not None
    hull = latents.hull[latents.portrait[chosen]]
    torch.testing.assert_close(e, unscaled * hull[:, None, None, None])
