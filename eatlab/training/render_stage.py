"""Runs the re-enactment stage: processes, checkpoints, progress; a picture and figures each epoch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from safetensors.torch import save_file
from torch import Tensor

from eatlab.atomic import write_atomically, write_text
from eatlab.backbone.precision import fast
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.samples import Clip, FrameTable, stack, unit
from eatlab.data.tables import read_clips
from eatlab.errors import ExitCode, UserError
from eatlab.experts.judges import Teachers
from eatlab.objectives.reconstruction import Features, Reconstruction
from eatlab.preemption import interrupted, stop_signals
from eatlab.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eatlab.training.pairs import PairPool
from eatlab.training.pretrain import Pretrain, RenderConfig
from eatlab.training.threads import one_thread
from eatlab.training.tune import quiet_lightning

EPOCH = 250
"""Steps after which a picture is drawn and a checkpoint written."""
SHOWN_PEOPLE = 4


@dataclass(frozen=True)
class Overseer:
    """Who else looks on, where that is not a person at a terminal: a worker that does many things.

    report: told step, steps and a note; stop: asked after each step, in place of signals, which are its own.
    """

    report: Callable[[int, int, str], object]
    stop: Callable[[], bool]


class Epochs(Callback):
    """Every `every` steps and at the end the first process measures, draws and saves; told to stop, it saves.

    All processes leave together: one that is told to stop, or whose loss is not finite, tells the others.
    """

    def __init__(
        self, folder: Path, val: list[Clip], every: int = EPOCH, overseer: Overseer | None = None
    ) -> None:
        self.folder, self.val, self.every, self.overseer = folder, val, every, overseer
        self.told: Callable[[], bool] = overseer.stop if overseer else lambda: False
        self.signals = ExitStack()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock; takes the signals only here, since Lightning sets its own handlers before."""
        assert isinstance(pl_module, Pretrain)
        if self.overseer is None:
            self.told = self.signals.enter_context(stop_signals())
        pl_module.clock.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self.signals.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self.signals.close()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """A diverged model is not saved: the last checkpoint is a good one."""
        assert isinstance(pl_module, Pretrain)
        told = trainer.strategy.reduce_boolean_decision(self.told(), all=False)
        pl_module.diverged = trainer.strategy.reduce_boolean_decision(pl_module.diverged, all=False)
        trainer.should_stop = trainer.should_stop or told or pl_module.diverged
        if self.overseer is not None:
            self.overseer.report(pl_module.step, pl_module.config.steps, self.reached(pl_module))
        ends = pl_module.step % self.every == 0 or pl_module.step == pl_module.config.steps
        if not trainer.is_global_zero or pl_module.diverged or not (ends or told):
            return
        pl_module.clock.stop()
        if ends:
            self.measure(pl_module)
        save_checkpoint(self.folder / "checkpoints", pl_module.checkpoint())
        pl_module.clock.start()

    def reached(self, module: Pretrain) -> str:
        """What the last measuring found; empty before it."""
        if not module.curve:
            return ""
        row = module.curve[-1]
        return f"val PSNR {row['psnr']:.2f} dB, face {row['face_psnr']:.2f} dB"

    def measure(self, module: Pretrain) -> None:
        """A row of metrics.jsonl, a picture, and the averaged weights as average.safetensors."""
        picture = self.folder / f"step_{module.step:06d}.png"
        row = {"step": module.step} | module.clock.state() | module.last_terms
        row |= reenactment_figures(module.average, self.val, picture)
        module.curve.append({k: round(float(v), 5) for k, v in row.items()})
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in module.curve))
        weights = {k: v.contiguous() for k, v in module.average.state_dict().items()}
        write_atomically(self.folder / "average.safetensors", lambda part: save_file(weights, part))
        if self.overseer is None:
            done = f"{self.folder.name}: step {module.step} of {module.config.steps}"
            spent = f"{module.clock.wall_s:.0f} s"
            print(f"{done}, {spent}, {self.reached(module)}, {picture}", flush=True)  # a log shows no bar


def reenactment_figures(head: TalkingHead, val: list[Clip], picture: Path) -> dict[str, float]:
    """The means of `reenactment_psnr`; what they were taken of is drawn to `picture`."""
    decibel, _ = reenactment_psnr(head, val, picture)
    return {name: float(values.mean()) for name, values in decibel.items()}


@torch.no_grad()
def reenactment_psnr(
    head: TalkingHead, val: list[Clip], picture: Path | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """The middle frame of each clip, driven by its own E from the person's portrait.

    → "psnr" of the whole picture and "face_psnr", (clips,) in dB, and whose clips they are.
    """
    head.eval()
    portraits, clips = stack([c for c in val if c.is_portrait]), stack([c for c in val if not c.is_portrait])
    middle = clips.middle()
    truth, image = unit(clips.image[middle]), reenacted(head, portraits, clips, middle)
    error, mask = ((image - truth) / 2).square().mean(1), clips.truth["mask"][middle].float()
    face = (error * mask).sum((1, 2)) / mask.sum((1, 2))
    if picture is not None:
        people = range(min(SHOWN_PEOPLE, len(portraits.key)))
        draw_sheet([24 * p + 3 * e + 2 for p in people for e in range(8)], truth, image, picture)
    decibel = {"psnr": error.mean((1, 2)), "face_psnr": face}
    return {name: -10 * torch.log10(e) for name, e in decibel.items()}, clips.identity


def reenacted(head: TalkingHead, portraits: FrameTable, clips: FrameTable, rows: Tensor) -> Tensor:
    """Frames `rows` (n,), driven by their own E from their person's portrait → (n, 3, size, size)."""
    who = torch.tensor([portraits.identity.index(i) for i in clips.identity])[clips.clip[rows]]
    device, drawn = head.renderer.out.weight.device, []
    truth, pose = unit(clips.image[rows]).to(device), clips.truth["pose"][rows].to(device)
    with fast(device):
        portrait = head.portrait(unit(portraits.image).to(device), portraits.truth["pose"].to(device))
        for part in torch.arange(len(rows)).split(48):
            expression, _ = head.estimate(truth[part])
            image = head.render(portrait.rows(who[part].to(device)), expression, pose[part])
            drawn.append(image.float().cpu())
    return torch.cat(drawn).clamp(-1, 1)


def draw_sheet(pick: list[int], truth: Tensor, image: Tensor, picture: Path) -> None:
    """Frames `pick` in strips of eight: a row of truth above a row of results."""
    strips = [torch.cat(list(x[pick[a : a + 8]]), 2) for a in range(0, len(pick), 8) for x in (truth, image)]
    sheet = ((torch.cat(strips, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(picture), np.ascontiguousarray(sheet[..., ::-1]))


def train_renderer(
    head: TalkingHead,
    teachers: Teachers,
    data: Path,
    folder: Path,
    config: RenderConfig,
    accelerator: str = "cpu",
    features: Features | None = None,
    *,
    every: int = EPOCH,
    overseer: Overseer | None = None,
) -> TalkingHead:
    """Re-enactment from scratch or from the last whole checkpoint in `folder`; returns the averaged head.

    With two processes on a CPU each has one thread: faster than one process with two. In a process that only
    helps, what is returned means nothing. features: as of Reconstruction. every: steps between two looks at
    it, each with a checkpoint. Raises UserError: 75 when stopped (all is saved), 5 when diverged, 2 if there
    are fewer GPUs than processes.
    """
    refuse_missing_devices(config, accelerator)
    folder.mkdir(parents=True, exist_ok=True)
    found = load_checkpoint(folder / "checkpoints", lambda text: print(f"eatlab: {text}", file=sys.stderr))
    if found and found.step >= config.steps:  # nothing is left, so no pair needs decoding
        head.load_state_dict(averaged(found))
        return head
    objective = Reconstruction(config.reconstruction, teachers, features)
    module = Pretrain(head, PairPool(data, config.pairs), objective, config)
    if "estimator" in config.trained:
        module.warm_start(teachers.face)
    if found:
        module.resume(found)
    if fit(module, folder, read_clips(data, "acted/val"), accelerator, every=every, overseer=overseer):
        refuse_unfinished(module)
    head.load_state_dict(module.average.state_dict())
    return head


def averaged(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The averaged head's state in a checkpoint of `Pretrain`."""
    inside, tensors = "weights/average.", checkpoint.tensors
    return {k.removeprefix(inside): v for k, v in tensors.items() if k.startswith(inside)}


def refuse_missing_devices(config: RenderConfig, accelerator: str) -> None:
    """Raises UserError if a GPU is asked for each process and there are fewer."""
    there = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and there < config.processes:
        raise UserError(
            f"processes={config.processes} want a GPU each",
            f"there are {there}",
            "give a process a GPU, and each a larger batch, or take host.accelerator=cpu",
        )


def fit(
    module: Pretrain,
    folder: Path,
    val: list[Clip],
    accelerator: str,
    *,
    every: int = EPOCH,
    overseer: Overseer | None = None,
) -> bool:
    """Lightning takes the steps that are left; True in the process that speaks for all."""
    config, epochs = module.config, Epochs(folder, val, every, overseer)
    with quiet_lightning(), one_thread(config.processes > 1):
        trainer = Trainer(
            accelerator=accelerator,
            devices=config.processes,
            strategy="ddp" if config.processes > 1 else "auto",
            max_epochs=1,
            gradient_clip_val=config.clip_norm,
            callbacks=[epochs] if overseer else [epochs, RichProgressBar(refresh_rate=5)],
            enable_progress_bar=overseer is None,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        trainer.fit(module)
    return trainer.is_global_zero


def refuse_unfinished(module: Pretrain) -> None:
    """Raises UserError: 5 if the loss was not finite, 75 if steps are left."""
    what = f"pretraining of the renderer at step {module.step} of {module.config.steps}"
    if module.diverged:
        raise UserError(
            f"{what} diverged: the loss is not finite",
            "the last good checkpoint is kept",
            f"take render.lr below {module.config.lr:g}, in another folder",
            code=ExitCode.DIVERGED,
        )
    if module.step < module.config.steps:
        raise interrupted(what)
