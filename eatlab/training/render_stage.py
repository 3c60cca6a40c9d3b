"""Runs the re-enactment stage of pretraining: processes, checkpoints, progress, a picture and figures each epoch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from safetensors.torch import load_file, save_file

from eatlab.backbone.talking_head import TalkingHead, for_cpu
from eatlab.data.samples import Clip, stack, unit
from eatlab.data.tables import read_clips
from eatlab.errors import ExitCode, UserError
from eatlab.experts.perceptual import FaceTeacher, load_vgg19
from eatlab.objectives.reconstruction import Reconstruction
from eatlab.training.pairs import PairPool
from eatlab.training.pretrain import Pretrain, RenderConfig

EPOCH = 250
"""Steps after which a picture is drawn and a checkpoint written."""


@dataclass
class Epochs(Callback):
    """Every EPOCH steps on the first process: checkpoint, the averaged weights, figures on val people, a picture."""

    folder: Path
    val: list[Clip]
    steps: int
    began: float = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.began = time.time()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """All processes meet at the checkpoint; the first one draws."""
        step = trainer.global_step
        if step % EPOCH and step != self.steps:
            return
        trainer.save_checkpoint(self.folder / "last.ckpt.part")
        if trainer.is_global_zero and isinstance(pl_module, Pretrain):
            (self.folder / "last.ckpt.part").replace(self.folder / "last.ckpt")
            save_file(
                {k: v.contiguous() for k, v in pl_module.average.state_dict().items()},
                self.folder / "average.safetensors",
            )
            row = {"step": step, "wall_s": round(time.time() - self.began, 1)} | pl_module.last_terms
            row |= reenactment_figures(pl_module.average, self.val, self.folder / f"step_{step:06d}.png")
            with open(self.folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps({k: round(float(v), 5) for k, v in row.items()}) + "\n")


@torch.no_grad()
def reenactment_figures(head: TalkingHead, val: list[Clip], picture: Path) -> dict[str, float]:
    """PSNR of frames driven by their own E from the person's portrait (whole picture, face); rows truth / result drawn."""
    head.eval()
    portraits, clips = stack([c for c in val if c.is_portrait]), stack([c for c in val if not c.is_portrait])
    middle = torch.tensor([int(clips.rows_of(i)[2]) for i in range(len(clips.key))])
    who = torch.tensor([portraits.identity.index(i) for i in clips.identity])
    truth, pose = unit(clips.image[middle]), clips.truth["pose"][middle]
    drawn = []
    with torch.autocast("cpu", torch.bfloat16):
        portrait = head.portrait(unit(portraits.image), portraits.truth["pose"])
        for rows in torch.arange(len(middle)).split(48):
            expression, _ = head.estimate(truth[rows])
            drawn.append(head.render(portrait.rows(who[rows]), expression, pose[rows]).float())
    image = torch.cat(drawn).clamp(-1, 1)
    error, mask = ((image - truth) / 2).square().mean(1), clips.truth["mask"][middle].float()
    face = (error * mask).sum((1, 2)) / mask.sum((1, 2))
    pick = [
        24 * person + 3 * emotion + 2 for person in range(min(4, len(portraits.key))) for emotion in range(8)
    ]
    strips = [torch.cat(list(x[pick[a : a + 8]]), 2) for a in range(0, len(pick), 8) for x in (truth, image)]
    sheet = ((torch.cat(strips, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(picture), np.ascontiguousarray(sheet[..., ::-1]))
    decibel = {"psnr": error.mean((1, 2)), "face_psnr": face}
    return {name: float(-10 * torch.log10(e).mean()) for name, e in decibel.items()}


def train_renderer(
    head: TalkingHead,
    teacher: FaceTeacher,
    data: Path,
    folder: Path,
    config: RenderConfig,
    accelerator: str = "cpu",
) -> TalkingHead:
    """Re-enactment from scratch or from the last checkpoint in `folder`; returns the averaged head.

    With two processes on a CPU each has one thread: faster than one process with two. Raises UserError (75) when stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if config.processes > 1:
        torch.set_num_threads(1)
    pool = PairPool(data, config.pairs)
    features = None if config.perceptual == "teacher" else load_vgg19(config.perceptual)
    module = Pretrain(for_cpu(head), pool, Reconstruction(config.reconstruction, teacher, features), config)  # type: ignore[arg-type]
    module.warm_start(teacher)
    last = folder / "last.ckpt"
    module.start = int(torch.load(last, weights_only=True)["global_step"]) if last.exists() else 0
    trainer = Trainer(
        accelerator=accelerator,
        devices=config.processes,
        strategy="ddp" if config.processes > 1 else "auto",
        max_steps=config.steps,
        gradient_clip_val=config.clip_norm,
        callbacks=[
            Epochs(folder, read_clips(data, "acted/val"), config.steps),
            RichProgressBar(refresh_rate=5),
        ],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    trainer.fit(module, ckpt_path=str(last) if last.exists() else None)
    if trainer.global_step < config.steps:
        raise UserError(
            "pretraining interrupted", "saved", "run the same command to go on", code=ExitCode.INTERRUPTED
        )
    head.load_state_dict(load_file(folder / "average.safetensors"))
    return head
