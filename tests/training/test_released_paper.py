"""A step of each of the release's stages at the published size, on a CPU."""

from __future__ import annotations

import math
import resource
import time
from pathlib import Path

import pytest
import torch

from eatlab.backbone.sites import sha256_of
from eatlab.backbone.sizes import paper
from eatlab.backbone.talking_head import TalkingHead
from eatlab.experts.perceptual import Vgg19
from eatlab.training.released import StepConfig
from eatlab.training.released_stages import STAGES
from tests.backbone.toys import lively_head
from tests.training.released_toys import (
    FRAMES,
    TRAINED,
    Watched,
    brightness,
    fit,
    random_clips,
    random_experts,
    training,
)


def peak_bytes() -> int:
    """Of this process since `forget_peak`, or since its start where the kernel cannot forget."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    if (clear := Path("/proc/self/clear_refs")).exists():
        clear.write_text("5")


@pytest.fixture(scope="module")
def paper_head() -> TalkingHead:
    """The published size with random weights: nobody's checkpoint."""
    return lively_head(paper())


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_a_step_at_the_published_size_on_a_cpu(name, paper_head, tmp_path):
    """One clip, random weights, random experts (VGG-19, SyncNet and a tiny CLIP that learned nothing)."""
    head, stage = paper_head, STAGES[name]
    experts = random_experts(Vgg19() if stage.weights.perceptual else brightness, width=32)
    clips = random_clips(head.config, (4,), FRAMES if stage.draws else 2)
    module = training(name, head, experts, config=StepConfig(frames_at_once=1))
    watched, before = Watched(), sha256_of(head)
    forget_peak()
    began = time.perf_counter()
    [logged] = fit(module, clips, 1, tmp_path, watched)
    seconds, peak = time.perf_counter() - began, peak_bytes()
    shape = f"1 clip x {clips.pose.shape[1]} frames, {torch.get_num_threads()} threads"
    print(f"\n{name}: {seconds:.0f} s, peak {peak / 2**30:.1f} GiB ({shape})")
    print(", ".join(f"{key} {value:.4g}" for key, value in logged.items()))
    assert all(math.isfinite(value) for value in logged.values())
    assert watched.reached == {key for key, _ in module.named_parameters() if key.startswith(TRAINED[name])}
    assert (sha256_of(head) == before) != stage.trains_backbone
