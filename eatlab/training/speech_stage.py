"""Pretrains A2ET on speech without labels: first by the latent loss alone, then by all losses (EAT, Sec. 3.1.2, Eqs. 5-8)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from eatlab.backbone.a2et import Batch
from eatlab.backbone.pose import pose_vector
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.audio_features import SYNC_COLUMNS, sync_mel, sync_start
from eatlab.data.samples import FrameTable, unit
from eatlab.emotions import NEUTRAL
from eatlab.experts.judges import Teachers
from eatlab.objectives.latent import LatentLoss
from eatlab.objectives.reconstruction import Reconstruction, ReconstructionConfig, face_weights
from eatlab.objectives.sync import SyncLoss
from eatlab.training.latents import Latents, LatentsConfig, SetName, load_latents, read_tables
from eatlab.training.pretrain import warm_cosine

SAVED_EVERY = 100


@dataclass(frozen=True)
class SpeechConfig:
    """Adam (0.5, 0.999): `latent_steps` of `batch` clips × 5 frames, then `full_steps` of `full_batch` with rendering.

    Weights of the second phase after the paper (λ latent 100 : sync 10 : reconstruction 10); noise: on mel and speech bands.
    """

    latent_steps: int = 4000
    batch: int = 24
    lr: float = 1e-3
    full_steps: int = 300
    full_batch: int = 4
    full_lr: float = 1e-4
    noise: float = 0.05
    gain: float = 0.1
    latent: float = 10.0
    sync: float = 1.0
    reconstruction: float = 0.2
    seed: int = 0
    weights: ReconstructionConfig = field(default_factory=ReconstructionConfig)


@dataclass(frozen=True)
class SpeechPool:
    """Windows (w, 5) of rows into latents, and the frames of the same rows."""

    latents: Latents
    table: FrameTable
    rows: Tensor

    @classmethod
    def load(cls, head: TalkingHead, data: Path, part: str, cache: Path) -> SpeechPool:
        """A part "set/split": all of a wild one, the neutral clips of an acted one: no label is used but that."""
        name, split = part.split("/")
        source = SetName(data, name, split)
        latents, (table, _) = load_latents(head, source, LatentsConfig(), cache), read_tables(source)
        rows = latents.windows(5)
        emotion = latents.emotion[latents.clip[rows[:, 0]]]
        return cls(latents, table, rows[(emotion < 0) | (emotion == NEUTRAL)])

    def frames(self, chosen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Windows (n,) → true frames (n·5, 3, h, w) in -1..1 and their truth."""
        rows = self.rows[chosen].flatten()
        return unit(self.table.image[rows]), {k: v[rows] for k, v in self.table.truth.items()}

    def heard(self, chosen: Tensor) -> Tensor:
        """Windows (n,) → sync mel (n, 16, 80)."""
        first = self.rows[chosen][:, 0]
        mels = []
        for row in first.tolist():
            column = int(sync_start(int(self.latents.at[row])))
            mel = sync_mel(self.table.audio[int(self.latents.clip[row])])
            mels.append(torch.from_numpy(mel[column : column + SYNC_COLUMNS]))
        return torch.stack(mels)


def fit_statistics(head: TalkingHead, pools: list[SpeechPool]) -> float:
    """PCA of E and the scales of A2ET's inputs; returns the share of variance that the kept components hold."""
    a2et, latents = head.a2et, [p.latents for p in pools]
    a2et.mel_scale.fit(torch.cat([x.mel.flatten(0, 1) for x in latents]))
    a2et.speech_scale.fit(torch.cat([x.speech.flatten(0, 1) for x in latents]))
    a2et.pose_scale.fit(torch.cat([pose_vector(x.pose) for x in latents]))
    maps = torch.cat([x.face_map for x in latents])
    pixels = maps.permute(0, 2, 3, 1).flatten(0, 2)
    a2et.face_scale.fit(pixels[:, :, None, None])
    return a2et.pca.fit(torch.cat([x.expression for x in latents]))


class SpeechTraining:
    """A2ET's two phases on pools of windows; steps are pure functions of (seed, phase, step)."""

    def __init__(
        self, head: TalkingHead, pools: list[SpeechPool], teachers: Teachers, config: SpeechConfig
    ) -> None:
        self.head, self.pools, self.config = head, pools, config
        self.loss = LatentLoss.of(head)
        self.sync = SyncLoss(teachers.sync)
        self.reconstruction = Reconstruction(config.weights, teachers.face)

    def choose(self, n: int, g: torch.Generator) -> tuple[SpeechPool, Tensor]:
        """A pool in proportion to its windows, and windows of it."""
        sizes = torch.tensor([len(p.rows) for p in self.pools], dtype=torch.float)
        pool = self.pools[int(torch.multinomial(sizes, 1, generator=g))]
        return pool, torch.randint(len(pool.rows), (n,), generator=g)

    def noisy(self, batch: Batch, g: torch.Generator) -> Batch:
        """Louder or softer, noisier sound."""
        for name in ("mel", "speech"):
            x = batch[name]
            gain = self.config.gain * torch.randn(len(x), 1, 1, 1, generator=g)
            batch[name] = x + gain + self.config.noise * torch.randn(x.shape, generator=g)
        return batch

    def latent_step(self, g: torch.Generator) -> Tensor:
        """The latent loss alone (Eq. 6): nothing is rendered."""
        pool, chosen = self.choose(self.config.batch, g)
        rows = pool.rows[chosen]
        predicted = self.head.a2et(self.noisy(pool.latents.batch(rows), g))
        return self.loss(predicted, pool.latents.expression[rows])

    def full_step(self, g: torch.Generator) -> Tensor:
        """Latent, sync and reconstruction losses through the frozen renderer (Eq. 8)."""
        c = self.config
        pool, chosen = self.choose(c.full_batch, g)
        rows, lat = pool.rows[chosen], pool.latents
        expression = self.head.a2et(self.noisy(lat.batch(rows), g))
        truth, known = pool.frames(chosen)
        picture = lat.portrait[lat.clip[rows[:, 0]]]
        with torch.autocast("cpu", torch.bfloat16):
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
        )  # Eq. 8

    def phase(
        self, name: str, step_of: Callable[[torch.Generator], Tensor], steps: int, lr: float, folder: Path
    ) -> float:
        """Runs or goes on with a phase; returns its seconds."""
        path, a2et = folder / f"{name}.pt", self.head.a2et
        optimiser = torch.optim.Adam(a2et.parameters(), lr, betas=(0.5, 0.999))
        start, seconds = 0, 0.0
        if path.exists():
            saved = torch.load(path, weights_only=True)
            a2et.load_state_dict(saved["a2et"])
            optimiser.load_state_dict(saved["optimiser"])
            start, seconds = saved["step"], saved["seconds"]
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as progress:
            task, smooth = (
                progress.add_task(name, total=steps, completed=start, loss=float("nan")),
                float("nan"),
            )
            for step in range(start, steps):
                began = time.time()
                for group in optimiser.param_groups:
                    group["lr"] = lr * warm_cosine(step, warm_up=50, steps=steps)
                loss = step_of(
                    torch.Generator().manual_seed(
                        1_000_003 * (self.config.seed + 1) + 7919 * len(name) + step
                    )
                )
                optimiser.zero_grad()
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(a2et.parameters(), 1.0)
                if norm.isfinite():
                    optimiser.step()
                seconds += time.time() - began
                smooth = loss.item() if smooth != smooth else 0.98 * smooth + 0.02 * loss.item()
                progress.update(task, completed=step + 1, loss=smooth)
                if (step + 1) % SAVED_EVERY == 0 or step + 1 == steps:
                    state = {"a2et": a2et.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
                    torch.save(state | {"seconds": seconds}, path.with_suffix(".part"))
                    path.with_suffix(".part").replace(path)
        return seconds


def train_speech(
    head: TalkingHead, teachers: Teachers, data: Path, folder: Path, config: SpeechConfig
) -> dict[str, float]:
    """PCA, both phases; fills head.a2et and returns figures: seconds, variance kept, share of E explained on val people."""
    folder.mkdir(parents=True, exist_ok=True)
    head.eval().requires_grad_(False)
    pools = [SpeechPool.load(head, data, part, folder) for part in ("wild/train", "acted/train")]
    torch.manual_seed(config.seed)
    kept = fit_statistics(head, pools)
    head.a2et.requires_grad_(True)
    run = SpeechTraining(head, pools, teachers, config)
    seconds = run.phase("A2ET, latent loss", run.latent_step, config.latent_steps, config.lr, folder)
    before = explained(head, data, folder)
    if config.full_steps:
        seconds += run.phase("A2ET, all losses", run.full_step, config.full_steps, config.full_lr, folder)
    head.a2et.requires_grad_(False)
    save_file({k: v.contiguous() for k, v in head.a2et.state_dict().items()}, folder / "a2et.safetensors")
    figures = {"wall_s": seconds, "pca_variance_kept": kept, "explained_after_latent_phase": before}
    return figures | {"explained": explained(head, data, folder)}


@torch.no_grad()
def explained(head: TalkingHead, data: Path, cache: Path) -> float:
    """Share of the variance of E that A2ET explains on neutral val clips."""
    pool = SpeechPool.load(head, data, "acted/val", cache)
    rows = pool.rows
    error, spread = [], []
    for part in rows.split(64):
        true = pool.latents.expression[part]
        error.append((head.a2et(pool.latents.batch(part)) - true).square().sum())
        spread.append((true - head.a2et.pca.mean.view(-1, 3)).square().sum())
    return float(1 - torch.stack(error).sum() / torch.stack(spread).sum())


def load_trained_speech(head: TalkingHead, folder: Path) -> None:
    """Fills head.a2et from a finished stage."""
    head.a2et.load_state_dict(load_file(folder / "a2et.safetensors"))
