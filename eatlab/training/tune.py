"""Tuning: adapters learn emotion by the latent loss while the backbone is frozen (EAT, Sec. 3.3 and 4.1).

Everything random is a function of (seed, purpose, step), so a tuning that was interrupted ends with the same
bits on a CPU as one that was not.
"""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.budget import Budget
from eatlab.atomic import write_atomically
from eatlab.backbone.sites import sha256_of
from eatlab.backbone.talking_head import TalkingHead
from eatlab.errors import ExitCode, UserError
from eatlab.objectives.latent import LatentLoss
from eatlab.objectives.weights import LatentLossConfig
from eatlab.preemption import interrupted
from eatlab.training.callbacks import Clocked, Curve, Evaluated, Reported, Saved, TrainingClock
from eatlab.training.checkpoint import Checkpoint, load_checkpoint
from eatlab.training.latents import Latents
from eatlab.training.schedule import Schedule
from eatlab.training.stream import LatentStream, touches_prefix

Measure = Callable[[AdapterSet], dict[str, float]]


@dataclass(frozen=True)
class TuneConfig:
    """One tuning: which adapter, drawn from which seed, the schedule, and what the loss weighs."""

    adapter: str = "deep_prompt"
    seed: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    loss: LatentLossConfig = field(default_factory=LatentLossConfig)


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


def told(config: TuneConfig) -> str:
    """How messages call a tuning."""
    return f'tuning "{config.adapter}" with seed {config.seed}'


def seed_of(seed: int, purpose: str, step: int = 0) -> int:
    """A named source of randomness: the same (seed, purpose, step) gives the same numbers anywhere."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose} {step}".encode()).digest()[:7], "little")


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
    """Trains an AdapterSet on cached latents by the latent loss; nothing here renders."""

    def __init__(self, backbone: TalkingHead, latents: Latents, config: TuneConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone.requires_grad_(False).eval()
        self.adapters = fresh_adapters(config, backbone)
        self.loss = LatentLoss.of(backbone, config.loss)
        self.stream = LatentStream(
            backbone, latents, config.schedule.num_frames, shared=not touches_prefix(self.adapters, backbone)
        )
        self.step, self.mean_loss = 0, math.nan
        self.curve: Curve = []
        self.clock = TrainingClock()
        self.optimizer = torch.optim.Adam(
            self.adapters.parameters(), config.schedule.learning_rate, betas=(0.5, 0.999)
        )

    def train(self, mode: bool = True) -> Tune:
        """The backbone stays in eval mode, whatever Lightning asks for."""
        super().train(mode)
        self.backbone.eval()
        return self

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def training_step(self, chosen: Tensor, index: int) -> Tensor:
        """chosen: (batch,) windows → the latent loss (EAT, Eq. 6)."""
        with torch.random.fork_rng(devices=[]):  # what dropout draws, a stopped tuning draws again
            torch.manual_seed(seed_of(self.config.seed, "dropout", self.step))
            predicted = self.stream.predict(chosen, self.adapters)
        loss = self.loss(predicted, self.stream.true(chosen))
        value = float(loss.detach())
        self.refuse_infinite("loss", value)
        self.mean_loss = value if math.isnan(self.mean_loss) else 0.95 * self.mean_loss + 0.05 * value
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        norm = nn.utils.clip_grad_norm_(self.adapters.parameters(), self.config.schedule.clip)
        self.refuse_infinite("gradient", float(norm))
        for group in optimizer.param_groups:
            group["lr"] = self.config.schedule.rate(self.step)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.step += 1

    def refuse_infinite(self, what: str, value: float) -> None:
        """Raised before the step is taken, so the adapters still are those of the last good step."""
        if not math.isfinite(value):
            raise UserError(
                f"{told(self.config)} diverged: the {what} of step {self.step} is {value}",
                "the last good adapter is kept as last_good.safetensors",
                f"try a learning_rate below {self.config.schedule.learning_rate:g}",
                code=ExitCode.DIVERGED,
            )

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        tensors = {f"adapters/{name}": value for name, value in self.adapters.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
        meta = {"clock": self.clock.state(), "curve": self.curve, "mean_loss": self.mean_loss}
        return Checkpoint(tensors, meta, self.step)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from there, bit for bit."""
        kept: dict[str, dict[Any, Any]] = {"adapters": {}, "adam": {}}
        for name, value in checkpoint.tensors.items():
            kind, _, rest = name.partition("/")
            kept[kind][rest] = value
        self.adapters.load_state_dict(kept["adapters"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in kept["adam"].items():
            index, _, key = name.partition("/")
            moments.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step, self.mean_loss = checkpoint.step, checkpoint.meta["mean_loss"]
        self.curve, self.clock = checkpoint.meta["curve"], TrainingClock(**checkpoint.meta["clock"])


def fresh_adapters(config: TuneConfig, backbone: TalkingHead) -> AdapterSet:
    """Adapters as the seed draws them; the process's own randomness is left as it was.

    What acts outside of A2ET is not trained: the latent loss draws nothing. UserError if that is all of it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "adapters"))
        adapters = AdapterSet(config.adapter, backbone).train_at("a2et")
    if adapters.plan and not adapters.touches(("a2et",)):
        raise UserError(
            f'"{config.adapter}" acts outside of A2ET only',
            "the latent loss draws no frames, so it would learn nothing",
            "add an adapter of A2ET, such as deep_prompt",
        )
    return adapters


class Validation:
    """Latent loss on clips of other people, and the share of the variance of their E that is explained."""

    def __init__(self, tune: Tune, latents: Latents) -> None:
        self.tune = tune
        self.stream = LatentStream(
            tune.backbone, latents, tune.config.schedule.num_frames, shared=tune.stream.prefix is not None
        )

    @torch.no_grad()
    def __call__(self, adapters: AdapterSet) -> dict[str, float]:
        parts = [
            (self.stream.predict(rows, adapters), self.stream.true(rows)) for rows in self.stream.everything()
        ]
        predicted, true = (torch.cat(side) for side in zip(*parts, strict=True))
        mean = self.tune.backbone.a2et.pca.mean.view(true.shape[-2:])
        explained = 1 - (predicted - true).square().mean() / (true - mean).square().mean()
        return {"val_loss": float(self.tune.loss(predicted, true)), "val_explained": float(explained)}


def tune(
    backbone: TalkingHead,
    latents: Latents,
    validation: Latents,
    config: TuneConfig,
    folder: Path,
    *,
    measures: Sequence[Measure] = (),
    report: Callable[[int, int, str], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], object] = warnings.warn,
) -> Tuned:
    """Tunes in `folder`, going on from its newest whole checkpoint, and leaves adapter.safetensors and
    metrics.csv there.

    `measures` add columns to the tuning curve, off the clock. Raises UserError: code 5 if the loss is not
    finite (the last good adapter is kept), 75 if `stop()` became true (all is saved).
    """
    before = sha256_of(backbone)
    module = Tune(backbone, latents, config)
    if found := load_checkpoint(folder / "checkpoints", warn):
        module.resume(found)
    fit(module, [Validation(module, validation), *measures], folder, report, stop)
    if module.step < config.schedule.steps:
        raise interrupted(f"{told(config)} at step {module.step} of {config.schedule.steps}")
    if (after := sha256_of(backbone)) != before:
        raise AssertionError(f"the frozen backbone changed while tuning: {before[:16]} became {after[:16]}")
    path = folder / "adapter.safetensors"
    write_atomically(path, lambda part: module.adapters.save(part, backbone))
    adapters, clock = module.adapters, module.clock
    budget = adapters.budget(backbone)
    return Tuned(path, module.curve, clock.wall_s, clock.cpu_s, budget, adapters.sees_emotion, after)


def fit(
    module: Tune,
    measures: Sequence[Measure],
    folder: Path,
    report: Callable[[int, int, str], object] | None,
    stop: Callable[[], bool],
) -> None:
    """Lightning takes the steps that are left."""
    schedule = module.config.schedule
    progress: list[Callback] = [Reported(report)] if report else []
    callbacks = [
        Clocked(),
        Evaluated(schedule.evaluate_every, measures, folder / "metrics.csv"),
        Saved(schedule.save_every, folder / "checkpoints", stop),
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
            default_root_dir=folder,
        )
        order = Order(module.config, len(module.stream), module.step)
        try:
            trainer.fit(module, DataLoader(order, batch_size=None))
        except UserError as error:
            if error.code == ExitCode.DIVERGED:
                keep_last_good(module, folder)
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


def keep_last_good(module: Tune, folder: Path) -> None:
    """The adapters as they were before the step that diverged."""
    state = {name: value.contiguous() for name, value in module.adapters.state_dict().items()}
    write_atomically(folder / "last_good.safetensors", lambda part: save_file(state, part))
