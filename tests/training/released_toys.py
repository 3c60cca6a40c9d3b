"""What the tests of the release's stages run on: noise, experts that learned nothing, a short fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sites import BatchNorm
from eatlab.backbone.sizes import BackboneConfig
from eatlab.backbone.talking_head import TalkingHead
from eatlab.experts.clip import random_clip
from eatlab.experts.syncnet import SyncNet
from eatlab.objectives.clip import ClipLoss
from eatlab.training.released import Experts, ReleasedTraining, StepConfig, parts_of
from eatlab.training.released_clips import Clips, fresh_latents
from eatlab.training.released_stages import RELEASED_START, STAGES
from eatlab.training.tune import quiet_lightning
from tests.backbone.toys import lively_head

FRAMES = 5
EMOTIONS = (0, 4, 7)
TRAINED = {
    "1a": ("head.a2et.",),
    "1b": ("head.a2et.",),
    "adaptation": ("adapters.",),
    "editing": ("adapters.mapper.", "adapters.adapters.2."),
}
"""Names of what each stage trains; of RELEASED_START, adapter 1 is the EDN and 2 the EAM."""
MOVED = {
    "1a": ("head.a2et.",),
    "1b": ("head.a2et.",),
    "adaptation": ("adapters.adapters.1.",),
    "editing": ("head.a2et.", "adapters.adapters.1."),
}
"""Where batch norms follow what they see."""


def random_clips(
    config: BackboneConfig, emotions: tuple[int, ...] = EMOTIONS, num_frames: int = FRAMES
) -> Clips:
    """Noise in the shapes of clips; whatever its head's parts read is there."""
    random, clips = torch.Generator().manual_seed(3), len(emotions)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def poses(*shape: int) -> Tensor:
        return torch.cat([10 * noise(*shape, 3), 0.1 * noise(*shape, 3), torch.ones(*shape, 1)], -1)

    box = torch.tensor([0.2, 0.25, 0.8, 0.9]) * config.size
    windows = (clips, num_frames, 11)
    return Clips(
        portrait=noise(clips, 3, config.size, config.size).tanh(),
        portrait_pose=poses(clips),
        portrait_expression=0.05 * noise(clips, 15, 3),
        mel=noise(*windows, 80),
        speech=noise(*windows, *config.a2et.speech.statistics),
        pose=poses(clips, num_frames),
        expression=0.1 * noise(clips, num_frames, 15, 3),
        emotion=torch.tensor(emotions),
        latent=fresh_latents(clips, seed=0, step=0),
        pictures=255 * torch.rand(*windows, 64, 64, generator=random),
        frames=noise(clips, num_frames, 3, config.size, config.size).tanh(),
        boxes=box.expand(clips, num_frames, 4) + noise(clips, num_frames, 4),
        sync_mel=noise(clips, 1, 80, 16),
    )


def brightness(image: Tensor) -> list[Tensor]:
    return [image, F.avg_pool2d(image, 2)]


def random_sync(width: int) -> SyncNet:
    """Knows nothing, but hears and sees: its two embeddings share directions."""
    net = SyncNet(width)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return net


def random_experts(perceptual: Callable[[Tensor], list[Tensor]] = brightness, width: int = 2) -> Experts:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        sync, clip = random_sync(width), ClipLoss(random_clip(), ["a woman who cries"])
    return Experts(perceptual, sync, clip, random=("perceptual", "sync"))


def training(
    name: str,
    head: TalkingHead | None = None,
    experts: Experts | None = None,
    adapters: AdapterSet | None = None,
    config: StepConfig | None = None,
) -> ReleasedTraining:
    """A stage, by default on a tiny head of published parts with adapters that start as the release's."""
    head = lively_head() if head is None else head
    if STAGES[name].adapters != "none" and adapters is None:
        adapters = lively_adapters(head)
    return ReleasedTraining(STAGES[name], head, experts or random_experts(), adapters, config or StepConfig())


def lively_adapters(head: TalkingHead) -> AdapterSet:
    """Random ones; a tiny EAM's heads have one hidden unit, and one that is born dead has no gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        adapters = AdapterSet(RELEASED_START, head)
    for layers in parts_of(head, adapters)["eam.a2et"]:
        nn.init.ones_(layers[0].bias)
    return adapters


class Watched(Callback):
    """Keeps what each step logged, and which parameters the last one gave a gradient."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.reached: set[str] = set()

    def on_after_backward(self, trainer: Trainer, module: ReleasedTraining) -> None:
        self.reached = {name for name, p in module.named_parameters() if p.grad is not None}

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(
    module: ReleasedTraining, clips: Clips, steps: int, folder: Path, watched: Watched | None = None
) -> list[dict[str, float]]:
    """What Lightning logs of `steps` steps on the same clips."""
    watched = watched or Watched()
    with quiet_lightning():
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watched],
            default_root_dir=folder,
        )
        trainer.fit(module, DataLoader([clips] * steps, batch_size=None))
    return watched.logged


def statistics(module: nn.Module) -> dict[str, Tensor]:
    """Running means and variances by the names of their batch norms."""
    norms = ((name, m) for name, m in module.named_modules() if isinstance(m, BatchNorm))
    return {name: torch.cat([m.running_mean, m.running_var]).clone() for name, m in norms}
