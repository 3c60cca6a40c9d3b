"""Tuning: adapter sets learn emotion while one backbone is frozen, by the latent loss and, where they are
weighed, losses of drawn frames (EAT, Sec. 3.3, 4.1).

Several sets may learn from one stream of windows, step by step in turn: what no adapter touches is computed
once for all of them, and each ends with the bits that it has alone.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.budget import Budget
from eatlab.atomic import write_atomically
from eatlab.backbone.sites import sha256_of
from eatlab.backbone.talking_head import TalkingHead
from eatlab.errors import ExitCode, UserError
from eatlab.preemption import interrupted
from eatlab.training.callbacks import Curve, Evaluated, Reported, Saved
from eatlab.training.drawn import DrawnLoss
from eatlab.training.latents import Latents
from eatlab.training.learner import Learner, TuneConfig, seed_of
from eatlab.training.stream import LatentStream

Measure = Callable[[AdapterSet], dict[str, float]]


@dataclass(frozen=True)
class Tuned:
    """What a tuning leaves: its file, its curve, how long it trained, and the backbone's sha256 before =
    after.
    """

    adapter: Path
    curve: Curve
    wall_s: float
    cpu_s: float
    budget: Budget
    sees_emotion: bool
    backbone_sha256: str


class Order(Dataset[Tensor]):
    """Which windows each step reads, from step `start` on: a pure function of (seed, step)."""

    def __init__(self, config: TuneConfig, num_windows: int, start: int) -> None:
        self.config, self.num_windows, self.start = config, num_windows, start

    def __len__(self) -> int:
        return max(0, self.config.schedule.steps - self.start)

    def __getitem__(self, index: int) -> Tensor:
        random = torch.Generator().manual_seed(seed_of(self.config.seed, "order", self.start + index))
        return torch.randint(self.num_windows, (self.config.schedule.batch,), generator=random)


class Tune(LightningModule):
    """Steps of one learner, or of several in turn, on cached latents.

    step: the next one of whoever is furthest behind. moved: who took the last one; learners that were saved
    later than others wait for them.
    """

    def __init__(self, backbone: TalkingHead, latents: Latents, learners: Sequence[Learner]) -> None:
        super().__init__()
        self.automatic_optimization = False  # Lightning's own takes one optimizer only
        self.backbone = backbone.requires_grad_(False).eval()
        self.learners, self.moved = tuple(learners), tuple[Learner, ...]()
        self.adapters = nn.ModuleList(learner.adapters for learner in learners)
        self.schedule = learners[0].config.schedule
        self.stream = LatentStream.of(backbone, latents, self.schedule.num_frames, self.adapters)
        self.step = min(learner.step for learner in learners)

    def train(self, mode: bool = True) -> Tune:
        """The backbone stays in eval mode, whatever Lightning asks for."""
        super().train(mode)
        self.backbone.eval()
        return self

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [learner.optimizer for learner in self.learners]

    def training_step(self, chosen: Tensor, index: int) -> None:
        """chosen: (batch,) windows, the same for all (EAT, Eq. 6)."""
        self.moved, found = (), self.optimizers()
        optimizers = found if isinstance(found, list) else [found]
        for learner, optimizer in zip(self.learners, optimizers, strict=True):
            if learner.step == self.step:
                learner.take_step(self.stream, chosen, self.manual_backward, optimizer.step)
                self.moved += (learner,)
        self.step += 1


class Validation:
    """On clips of other people: the share of the variance of their E that is explained, and the latent loss,
    where that is all that is learned by.
    """

    def __init__(self, tune: Tune, latents: Latents) -> None:
        self.tune = tune
        self.stream = LatentStream.of(tune.backbone, latents, tune.schedule.num_frames, tune.adapters)

    @torch.no_grad()
    def __call__(self, adapters: AdapterSet) -> dict[str, float]:
        parts = [
            (self.stream.predict(rows, adapters), self.stream.true(rows)) for rows in self.stream.everything()
        ]
        predicted, true = (torch.cat(side) for side in zip(*parts, strict=True))
        mean = self.tune.backbone.a2et.pca.mean.view(true.shape[-2:])
        explained = 1 - (predicted - true).square().mean() / (true - mean).square().mean()
        learner = self.tune.learners[0]
        if learner.drawn is not None:  # the latent part alone is not what it learns by
            return {"val_explained": float(explained)}
        return {"val_loss": float(learner.loss(predicted, true)), "val_explained": float(explained)}


def tune(
    backbone: TalkingHead,
    latents: Latents,
    validation: Latents,
    tunings: Mapping[Path, TuneConfig],
    *,
    drawn: DrawnLoss | None = None,
    measures: Sequence[Measure] = (),
    report: Callable[[int, int, str], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], object] = warnings.warn,
) -> list[Tuned]:
    """Tunes each set in its folder, going on from its newest whole checkpoint, and leaves adapter.safetensors
    and metrics.csv there.

    tunings: folder → config; several share seed, schedule and loss, and learn from one stream. drawn: the
    losses that need frames, where the config weighs any. `measures` add columns to the tuning curves, off the
    clock. Raises UserError: code 5 if a loss is not finite (the last good adapter is kept, the others are
    saved), 75 if `stop()` became true (all is saved); ValueError if the tunings cannot share a stream.
    """
    if len({replace(config, adapter="") for config in tunings.values()}) != 1:
        raise ValueError("sets that learn together differ in their adapter alone")
    before = sha256_of(backbone)
    learners = [Learner(backbone, config, folder, drawn) for folder, config in tunings.items()]
    for learner in learners:
        learner.go_on(warn)
    module = Tune(backbone, latents, learners)
    fit(module, [Validation(module, validation), *measures], report, stop)
    if left := [learner for learner in learners if not learner.is_done]:
        others = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise interrupted(f"{left[0].name}{others} at step {left[0].step} of {module.schedule.steps}")
    if (after := sha256_of(backbone)) != before:
        raise AssertionError(f"the frozen backbone changed while tuning: {before[:16]} became {after[:16]}")
    return [finished(learner, backbone, after) for learner in learners]


def finished(learner: Learner, backbone: TalkingHead, sha256: str) -> Tuned:
    """Writes the adapter file; its header names the folder, where the record is."""
    path, adapters, clock = learner.folder / "adapter.safetensors", learner.adapters, learner.clock
    write_atomically(path, lambda part: adapters.save(part, backbone, record=learner.folder.name))
    budget = adapters.budget(backbone)
    return Tuned(path, learner.curve, clock.wall_s, clock.cpu_s, budget, adapters.sees_emotion, sha256)


def fit(
    module: Tune,
    measures: Sequence[Measure],
    report: Callable[[int, int, str], object] | None,
    stop: Callable[[], bool],
) -> None:
    """Lightning takes the steps that are left."""
    progress: list[Callback] = [Reported(report)] if report else []
    callbacks = [
        Evaluated(module.schedule.evaluate_every, measures),
        Saved(module.schedule.save_every, stop),
        *progress,
    ]
    with quiet_lightning():
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=report is None,
            callbacks=callbacks,
            default_root_dir=module.learners[0].folder,
        )
        order = Order(module.learners[0].config, len(module.stream), module.step)
        try:
            trainer.fit(module, DataLoader(order, batch_size=None))
        except UserError as error:
            if error.code == ExitCode.DIVERGED:
                for learner in module.moved:
                    learner.save()
            raise


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without hints about loggers and loaders that do not apply here."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        yield
    log.setLevel(level)
