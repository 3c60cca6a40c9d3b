"""Pretrains keypoints, estimator and renderer by re-enactment: a portrait and a driving frame → that frame (EAT, Sec. 3.1).

Without the deformation prior, so that E may carry emotion; neutral → emotional pairs enhance it (EAT, Sec. 3.1.1).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from eatlab.backbone.sites import learning_statistics
from eatlab.backbone.talking_head import Portrait, TalkingHead
from eatlab.data.samples import unit
from eatlab.experts.perceptual import FaceTeacher
from eatlab.objectives.keypoints import (
    ExpressionProbe,
    KeypointsConfig,
    equivariance,
    pose_error,
    spread_penalty,
)
from eatlab.objectives.reconstruction import Reconstruction, ReconstructionConfig, face_weights
from eatlab.training.pairs import PairPool, PairsConfig, PairStream


@dataclass(frozen=True)
class RenderConfig:
    """AdamW with a warm-up and a cosine over `steps` of `batch` pairs a process; `average`: of weights, exponential.

    perceptual: "teacher", or the path of a user's VGG-19.  moved: rows of a batch that the equivariance term sees.
    """

    steps: int = 6000
    batch: int = 12
    processes: int = 2
    lr: float = 1.2e-3
    warm_up: int = 100
    weight_decay: float = 1e-3
    clip_norm: float = 2.0
    average: float = 0.998
    seed: int = 0
    moved: int = 3
    perceptual: str = "teacher"
    pairs: PairsConfig = field(default_factory=PairsConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    keypoints: KeypointsConfig = field(default_factory=KeypointsConfig)


def warm_cosine(step: int, *, warm_up: int, steps: int) -> float:
    """Share of the learning rate: linear up, then a cosine down to 2 %."""
    return min(1.0, (step + 1) / warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def truth_39(pool: PairPool, rows: Tensor) -> Tensor:
    """Action units and articulators (n, 39) of frames."""
    truth = pool.table.truth
    return torch.cat([truth["aus"][rows].flatten(1), truth["artic"][rows]], 1)


class Pretrain(LightningModule):
    """Re-enactment. `average` is the exponential mean of the weights: what the zoo ships."""

    def __init__(
        self, head: TalkingHead, pool: PairPool, objective: Reconstruction, config: RenderConfig
    ) -> None:
        super().__init__()
        self.head, self.config = head, config
        self.head.a2et.requires_grad_(False)
        self.probe = ExpressionProbe(head.config.keypoints)
        everything = torch.arange(len(pool.table.image))
        self.probe.deviation.copy_(truth_39(pool, everything).std(0) + 0.03)
        self.average = copy.deepcopy(head).requires_grad_(False)
        self._pool, self._objective = [pool], [objective]  # lists: neither is a part of the module
        self.start = 0
        self.last_terms: dict[str, float] = {}

    def warm_start(self, teacher: FaceTeacher) -> None:
        """The estimator's trunk begins as the teacher's: else E stays blind to expression for long."""
        for own, taught in zip(self.head.estimator.trunk, teacher.stages, strict=False):
            own.load_state_dict(taught.state_dict())
        self.average.load_state_dict(self.head.state_dict())

    def train_dataloader(self) -> DataLoader:
        """The pairs of this process, from the step on that the checkpoint reached."""
        c = self.config
        where = {"rank": self.global_rank, "start": self.start, "steps": c.steps}
        return DataLoader(PairStream(self._pool[0], batch=c.batch, seed=c.seed, **where), batch_size=None)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """All objectives of one batch of pairs."""
        g = torch.Generator().manual_seed(int(batch["step"]) * 1000 + self.global_rank + 7 * self.config.seed)
        pool, portrait_rows, driving_rows = self._pool[0], batch["portrait"].cpu(), batch["driving"].cpu()
        source, truth = (tinted(unit(pool.table.image[i]), g) for i in (portrait_rows, driving_rows))
        seen = tinted(truth, g) + 0.03 * torch.randn(truth.shape, generator=g)
        source, truth, seen = (layout(x.to(self.device)) for x in (source, truth, seen))
        pose = {
            k: pool.table.truth["pose"][i].to(self.device)
            for k, i in (("s", portrait_rows), ("d", driving_rows))
        }
        with learning_statistics(self.head), torch.autocast(self.device.type, torch.bfloat16):
            portrait = self.head.portrait(source, pose["s"])
            expression, estimated = self.head.estimator(seen)
            drawn = self.head.draw(portrait, expression, pose["d"])
            terms = self._objective[0].perceived(drawn.image, truth, g)
        with torch.autocast(self.device.type, torch.bfloat16):
            terms_k = self.keypoint_terms(portrait, expression, estimated, pose["d"], seen, g)
        where = face_weights(
            *(pool.table.truth[k][driving_rows].to(self.device) for k in ("mask", "landmarks"))
        )
        terms |= self._objective[0].pixels(drawn.image, drawn.warped, truth, where)
        terms_k["probe"] = self.probe(expression, truth_39(pool, driving_rows).to(self.device))
        weights = self.config.keypoints
        total = self._objective[0].total(terms)
        total = total + torch.stack([getattr(weights, k) * v for k, v in terms_k.items()]).sum()
        self.last_terms = (
            {k: float(v) for k, v in (terms | terms_k).items()} if index % 20 == 0 else self.last_terms
        )
        return total

    def keypoint_terms(
        self,
        portrait: Portrait,
        expression: Tensor,
        estimated: Tensor,
        pose: Tensor,
        seen: Tensor,
        g: torch.Generator,
    ) -> dict[str, Tensor]:
        """Equivariance of a few rows (by stored statistics: a moved frame is no data), spread, size of E, and the estimator's pose against puppets' truth."""
        few = slice(0, self.config.moved)
        shift = int(torch.randint(1, 5, (1,), generator=g)) * (1 if torch.rand((), generator=g) < 0.5 else -1)
        return {
            "equivariance": equivariance(
                self.head, portrait.canonical[few], expression[few], pose[few], seen[few], shift
            ),
            "spread": spread_penalty(portrait.canonical),
            "small": expression.square().mean(),
            "pose": pose_error(estimated, pose),
        }

    def configure_optimizers(self) -> dict:
        """AdamW (0.5, 0.999) over everything but A2ET, a warm cosine in steps."""
        c = self.config
        trained = [p for p in self.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, c.lr, betas=(0.5, 0.999), weight_decay=c.weight_decay)
        schedule = LambdaLR(optimiser, lambda step: warm_cosine(step, warm_up=c.warm_up, steps=c.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A gradient that is not finite is dropped: a NaN in grid_sample's grid would end the process."""
        finite = all(bool(p.grad.isfinite().all()) for p in self.parameters() if p.grad is not None)
        if not finite:
            optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def on_train_batch_end(self, outputs: object, batch: dict[str, Tensor], index: int) -> None:
        """Moves the average of the weights."""
        step = int(batch["step"])
        keep = min(self.config.average, (step + 1) / (step + 20))
        for mean, now in zip(
            self.average.state_dict().values(), self.head.state_dict().values(), strict=True
        ):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)


def tinted(x: Tensor, g: torch.Generator) -> Tensor:
    """Another gain and tint for each picture (n, 3, h, w) in -1..1."""
    gain = 0.85 + 0.3 * torch.rand(len(x), 1, 1, 1, generator=g)
    return (x * gain + 0.06 * torch.randn(len(x), 3, 1, 1, generator=g)).clamp(-1, 1)


def layout(x: Tensor) -> Tensor:
    """Channels last, as the convolutions want it."""
    return x.contiguous(memory_format=torch.channels_last)
