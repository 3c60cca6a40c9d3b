"""Pretrains A2ET on speech, no labels: by the latent loss, then by all losses (EAT, Sec. 3.1.2, Eqs. 5-7)."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from eatlab.atomic import write_atomically, write_text
from eatlab.backbone.a2et import A2ET, Batch
from eatlab.backbone.pose import pose_vector
from eatlab.backbone.precision import fast
from eatlab.backbone.sites import learning_statistics
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.samples import unit
from eatlab.errors import ExitCode, UserError
from eatlab.experts.judges import Teachers
from eatlab.objectives.latent import LatentLoss
from eatlab.objectives.reconstruction import (
    Features,
    Reconstruction,
    ReconstructionConfig,
    face_weights,
)
from eatlab.objectives.sync import SyncLoss
from eatlab.preemption import interrupted, stop_signals
from eatlab.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eatlab.training.pretrain import give_moments, moments_of, warm_cosine
from eatlab.training.render_stage import draw_sheet
from eatlab.training.speech_pool import SpeechPool
from eatlab.training.threads import one_thread

SAVED_EVERY = 100
EPOCH = 200
"""Steps after which it is measured on val people, and a picture is drawn."""
SHOWN = 32
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("loss {task.fields[loss]:.3f}"),
    TimeRemainingColumn(),
)


@dataclass(frozen=True)
class SpeechConfig:
    """Adam (0.5, 0.999): `latent_steps` of `batch` clips x 5 frames; `full_steps` of `full_batch`, rendered.

    latent, sync, reconstruction: weights of the second phase. Differs: the paper has 100 : 10 : 10; ours
    were chosen by how well frozen mouths keep time (docs/zoo.md).  Batch norms learn their statistics in the
    first phase and keep them in the second. Differs: the release learns them in both, of more than 4 clips.
    noise, gain: deviations of what is added to each value, and to all of a clip, of mel and speech bands.
    """

    BOUNDS: ClassVar = dict.fromkeys(("latent_steps", "batch", "full_steps", "full_batch"), (1, math.inf))

    latent_steps: int = 4000
    batch: int = 24
    lr: float = 1e-3
    full_steps: int = 600
    full_batch: int = 4
    full_lr: float = 3e-4
    noise: float = 0.05
    gain: float = 0.1
    latent: float = 10.0
    sync: float = 100.0
    reconstruction: float = 0.2
    seed: int = 0
    weights: ReconstructionConfig = field(default_factory=ReconstructionConfig)


def fit_statistics(head: TalkingHead, pools: list[SpeechPool]) -> float:
    """PCA of E, scales of A2ET's inputs; returns the share of variance that the kept components hold."""
    a2et, latents = head.a2et, [p.latents for p in pools]
    a2et.mel_scale.fit(torch.cat([x.mel.flatten(0, 1) for x in latents]))
    a2et.speech_scale.fit(torch.cat([x.speech.flatten(0, 1) for x in latents]))
    a2et.pose_scale.fit(torch.cat([pose_vector(x.pose) for x in latents]))
    maps = torch.cat([x.face_map for x in latents])
    pixels = maps.permute(0, 2, 3, 1).flatten(0, 2)
    a2et.face_scale.fit(pixels[:, :, None, None])
    return a2et.pca.fit(torch.cat([x.expression for x in latents]))


class SpeechTraining:
    """The losses of A2ET's two phases on pools of windows; all that is random comes from the generator."""

    def __init__(
        self,
        head: TalkingHead,
        pools: list[SpeechPool],
        teachers: Teachers,
        config: SpeechConfig,
        features: Features | None = None,
    ) -> None:
        self.head, self.pools, self.config = head, pools, config
        self.loss = LatentLoss.of(head)
        self.sync = SyncLoss(teachers.sync)
        self.reconstruction = Reconstruction(config.weights, teachers, features)

    def choose(self, n: int, g: torch.Generator) -> tuple[SpeechPool, Tensor]:
        """A pool in proportion to its windows, and n windows of it."""
        sizes = torch.tensor([len(p.rows) for p in self.pools], dtype=torch.float)
        pool = self.pools[int(torch.multinomial(sizes, 1, generator=g))]
        return pool, torch.randint(len(pool.rows), (n,), generator=g)

    def noisy(self, batch: Batch, g: torch.Generator) -> Batch:
        """Louder or softer, noisier sound, in place: mel and speech (clips, frames, 11, bands)."""
        for name in ("mel", "speech"):
            x = batch[name]
            gain = self.config.gain * torch.randn(len(x), 1, 1, 1, generator=g)
            batch[name] = x + gain + self.config.noise * torch.randn(x.shape, generator=g)
        return batch

    def latent_step(self, g: torch.Generator) -> Tensor:
        """The latent loss alone (Eq. 6): nothing is rendered."""
        pool, chosen = self.choose(self.config.batch, g)
        rows = pool.rows[chosen]
        with learning_statistics(self.head.a2et):
            predicted = self.head.a2et(self.noisy(pool.latents.batch(rows), g))
        return self.loss(predicted, pool.latents.expression[rows])

    def full_step(self, g: torch.Generator) -> Tensor:
        """Latent, sync and reconstruction losses through the frozen renderer (Eq. 5)."""
        c = self.config
        pool, chosen = self.choose(c.full_batch, g)
        rows, lat = pool.rows[chosen], pool.latents
        expression = self.head.a2et(self.noisy(lat.batch(rows), g))
        truth, known = pool.frames(chosen)
        picture = lat.portrait[lat.clip[rows[:, 0]]]
        with fast("cpu"):
            with torch.no_grad():
                portrait = self.head.portrait(unit(lat.portrait_image[picture]), lat.portrait_pose[picture])
            each = torch.arange(len(rows)).repeat_interleave(rows.shape[1])
            drawn = self.head.draw(portrait.rows(each), expression.flatten(0, 1), known["pose"])
            terms = self.reconstruction.perceived(drawn.image, truth, g)
            synced = self.sync(drawn.image.float(), known["landmarks"], pool.heard(chosen))
        terms |= self.reconstruction.pixels(
            drawn.image, drawn.warped, truth, face_weights(known["mask"], known["landmarks"])
        )
        latent = self.loss(expression, lat.expression[rows])
        return (
            c.latent * latent + c.sync * synced + c.reconstruction * self.reconstruction.total(terms)
        )  # Eq. 5


@dataclass(frozen=True)
class Phase:
    """`steps` steps down `loss_of`, which draws a batch by the generator that it is given."""

    name: str
    loss_of: Callable[[torch.Generator], Tensor]
    steps: int
    lr: float

    def generator(self, seed: int, step: int) -> torch.Generator:
        """All that is random in a step: a pure function of (seed, phase, step)."""
        return torch.Generator().manual_seed(1_000_003 * (seed + 1) + 7919 * len(self.name) + step)


class PhaseRun:
    """A phase under way on an A2ET; `fit` takes the steps that are left, and it goes on exactly."""

    def __init__(self, a2et: A2ET, phase: Phase, seed: int, folder: Path) -> None:
        self.a2et, self.phase, self.seed = a2et, phase, seed
        self.optimiser = torch.optim.Adam(a2et.parameters(), phase.lr, betas=(0.5, 0.999))
        self.step, self.seconds, self.mean_loss = 0, 0.0, math.nan
        self.folder = folder / "checkpoints" / phase.name.replace(", ", "-").replace(" ", "-")
        if found := load_checkpoint(self.folder, lambda text: print(f"eatlab: {text}", file=sys.stderr)):
            self.resume(found)

    def fit(self, stop: Callable[[], bool], watch: Callable[[PhaseRun], None] = lambda run: None) -> float:
        """→ seconds of its steps; `watch` is called each epoch.

        Raises UserError: 75 when told to stop (all is saved), 5 when diverged.
        """
        phase = self.phase
        self.a2et.train()
        with Progress(*COLUMNS) as progress:
            task = progress.add_task(phase.name, total=phase.steps, completed=self.step, loss=self.mean_loss)
            while self.step < phase.steps:
                self.take_step()
                progress.update(task, completed=self.step, loss=self.mean_loss)
                told = stop()
                if self.step % EPOCH == 0 or self.step == phase.steps:
                    watch(self)  # first: a step that is saved is never taken again
                if told or self.step % SAVED_EVERY == 0 or self.step == phase.steps:
                    save_checkpoint(self.folder, self.checkpoint())
                if told and self.step < phase.steps:
                    raise interrupted(f"pretraining ({phase.name}) at step {self.step} of {phase.steps}")
        self.a2et.eval()
        return self.seconds

    def take_step(self) -> None:
        """One step of Adam; a gradient that is not finite is dropped, a loss that is not is an error."""
        began = time.perf_counter()
        for group in self.optimiser.param_groups:
            group["lr"] = self.phase.lr * warm_cosine(self.step, warm_up=50, steps=self.phase.steps)
        loss = self.phase.loss_of(self.phase.generator(self.seed, self.step))
        value = loss.item()
        self.refuse_infinite(value)
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.a2et.parameters(), 1.0)
        if norm.isfinite():
            self.optimiser.step()
        self.mean_loss = value if math.isnan(self.mean_loss) else 0.98 * self.mean_loss + 0.02 * value
        self.step += 1
        self.seconds += time.perf_counter() - began

    def refuse_infinite(self, loss: float) -> None:
        """Raises UserError (5) before the step is taken."""
        if not math.isfinite(loss):
            raise UserError(
                f"pretraining ({self.phase.name}) diverged: the loss of step {self.step} is {loss}",
                "the last good checkpoint is kept",
                f"run it in another folder with a rate below {self.phase.lr:g}",
                code=ExitCode.DIVERGED,
            )

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        weights = {f"weights/{name}": value for name, value in self.a2et.state_dict().items()}
        mean_loss = None if math.isnan(self.mean_loss) else self.mean_loss
        meta = {"seconds": self.seconds, "mean_loss": mean_loss}
        return Checkpoint(weights | moments_of(self.optimiser), meta, self.step)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from there, bit for bit."""
        named = {k: v for k, v in checkpoint.tensors.items() if k.startswith("weights/")}
        self.a2et.load_state_dict({k.removeprefix("weights/"): v for k, v in named.items()})
        give_moments(self.optimiser, {k: v for k, v in checkpoint.tensors.items() if k not in named})
        self.step, self.seconds = checkpoint.step, checkpoint.meta["seconds"]
        self.mean_loss = math.nan if checkpoint.meta["mean_loss"] is None else checkpoint.meta["mean_loss"]


class Epochs:
    """Each epoch of both phases: a row of metrics.jsonl, a picture, a line; of neutral clips of val people.

    A row that a run repeats after an interruption takes the place of the old one.
    """

    def __init__(self, head: TalkingHead, val: SpeechPool, folder: Path) -> None:
        self.head, self.val, self.folder = head, val, folder

    def __call__(self, run: PhaseRun) -> None:
        """Measured in .eval(), as it will be used; the next step finds it in .train() again."""
        run.a2et.eval()
        name, done = run.phase.name, f"{run.phase.name}: step {run.step} of {run.phase.steps}"
        measured = {"loss": run.mean_loss, "explained": explained(self.head, self.val), "wall_s": run.seconds}
        path, picture = self.folder / "metrics.jsonl", self.folder / f"{run.folder.name}_{run.step:06d}.png"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        rows = [row for row in rows if (row["phase"], row["step"]) != (name, run.step)]
        rows.append({"phase": name, "step": run.step} | {k: round(v, 5) for k, v in measured.items()})
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
        draw_speech(self.head, self.val, picture)
        reached = f"loss {run.mean_loss:.4f}, explains {measured['explained']:.3f} of val E"
        run.a2et.train()
        print(f"{done}, {run.seconds:.0f} s, {reached}, {picture}", flush=True)  # a log shows no bar


@torch.no_grad()
def draw_speech(head: TalkingHead, val: SpeechPool, picture: Path) -> None:
    """A frame of some windows, truth above what A2ET says of the sound, drawn with the true pose."""
    chosen = torch.linspace(0, len(val.rows) - 1, SHOWN).long()
    rows, lat = val.rows[chosen], val.latents
    middle = rows.shape[1] // 2
    frames, known = val.frames(chosen)
    seen = lat.portrait[lat.clip[rows[:, 0]]]
    portrait = head.portrait(unit(lat.portrait_image[seen]), lat.portrait_pose[seen])
    expression = head.a2et(lat.batch(rows))[:, middle]
    image = head.render(portrait, expression, known["pose"].unflatten(0, rows.shape)[:, middle])
    truth = frames.unflatten(0, rows.shape)[:, middle]
    draw_sheet(list(range(SHOWN)), truth, image.float().clamp(-1, 1), picture)


def train_speech(
    head: TalkingHead,
    teachers: Teachers,
    data: Path,
    folder: Path,
    config: SpeechConfig,
    features: Features | None = None,
) -> dict[str, float]:
    """PCA, both phases; fills head.a2et. features: as of Reconstruction.

    Returns figures: seconds, variance kept by the PCA, share of E explained on val people after each phase.
    Raises UserError: 75 when stopped (all is saved), 5 when diverged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    head.eval().requires_grad_(False)
    pools = [SpeechPool.load(head, data, part, folder) for part in ("wild/train", "acted/train")]
    val = SpeechPool.load(head, data, "acted/val", folder)
    torch.manual_seed(config.seed)
    kept = fit_statistics(head, pools)
    head.a2et.requires_grad_(True)
    run, watch = SpeechTraining(head, pools, teachers, config, features), Epochs(head, val, folder)
    latent = Phase("A2ET, latent loss", run.latent_step, config.latent_steps, config.lr)
    full = Phase("A2ET, all losses", run.full_step, config.full_steps, config.full_lr)
    with stop_signals() as stop, one_thread():  # two take twice as long
        seconds = PhaseRun(head.a2et, latent, config.seed, folder).fit(stop, watch)
        before = explained(head, val)
        seconds += PhaseRun(head.a2et, full, config.seed, folder).fit(stop, watch)
    head.a2et.requires_grad_(False)
    weights = {k: v.contiguous() for k, v in head.a2et.state_dict().items()}
    write_atomically(folder / "a2et.safetensors", lambda part: save_file(weights, part))
    figures = {"wall_s": seconds, "pca_variance_kept": kept, "explained_after_latent_phase": before}
    return figures | {"explained": explained(head, val)}


def explained(head: TalkingHead, pool: SpeechPool) -> float:
    """Share of the variance of E that A2ET explains on the pool's clips."""
    error, spread, _ = unexplained(head, pool)
    return float(1 - error.sum() / spread.sum())


@torch.no_grad()
def unexplained(head: TalkingHead, pool: SpeechPool) -> tuple[Tensor, Tensor, list[str]]:
    """Of each window of the pool: squared error, squared distance of E from its mean, whose."""
    error, spread = [], []
    for part in pool.rows.split(64):
        true = pool.latents.expression[part]
        error.append((head.a2et(pool.latents.batch(part)) - true).square().sum((1, 2, 3)))
        spread.append((true - head.a2et.pca.mean.view(-1, 3)).square().sum((1, 2, 3)))
    clips = pool.latents.clip[pool.rows[:, 0]]
    return torch.cat(error), torch.cat(spread), [pool.table.identity[i] for i in clips.tolist()]


def load_trained_speech(head: TalkingHead, folder: Path) -> None:
    """Fills head.a2et from a finished stage."""
    head.a2et.load_state_dict(load_file(folder / "a2et.safetensors"))
