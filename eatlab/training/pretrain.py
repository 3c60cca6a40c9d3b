"""Pretrains keypoints, estimator, renderer by re-enactment, portrait → driving frame (EAT, Sec. 3.1).

Without the deformation prior of OSFV (a faint one is left, `keypoints.small`), so that E may carry emotion;
neutral → emotional pairs enhance it (Sec. 3.1.1).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eatlab.backbone.precision import fast
from eatlab.backbone.sites import learning_statistics
from eatlab.backbone.talking_head import Portrait, TalkingHead
from eatlab.data.samples import unit
from eatlab.experts.perceptual import FaceTeacher
from eatlab.objectives.keypoints import (
    ExpressionProbe,
    KeypointsConfig,
    deformation_prior,
    equivariance,
    pose_error,
    spread_penalty,
)
from eatlab.objectives.reconstruction import Reconstruction, ReconstructionConfig, face_weights
from eatlab.training.callbacks import TrainingClock
from eatlab.training.checkpoint import Checkpoint
from eatlab.training.pairs import PairPool, PairsConfig, PairStream


@dataclass(frozen=True)
class RenderConfig:
    """AdamW for `steps` of `batch` pairs a process, with a warm-up and a cosine to the last step.

    trained: parts of the head that learn; the others stay as they are, their batch norms too.
    average: what the exponential mean of the weights keeps of itself a step.  moved: rows of a batch that the
    equivariance term sees.
    """

    BOUNDS: ClassVar = {
        **dict.fromkeys(("steps", "batch", "processes", "warm_up", "moved"), (1, math.inf)),
        "average": (0, 1),
    }

    steps: int = 6500
    trained: tuple[str, ...] = ("keypoints", "estimator", "renderer")
    batch: int = 12
    processes: int = 2
    lr: float = 1.2e-3
    warm_up: int = 100
    weight_decay: float = 1e-3
    clip_norm: float = 2.0
    average: float = 0.998
    seed: int = 0
    moved: int = 3
    pairs: PairsConfig = field(default_factory=PairsConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    keypoints: KeypointsConfig = field(default_factory=KeypointsConfig)


def polish() -> RenderConfig:
    """What follows re-enactment: the renderer alone, by stronger expression losses, on mostly acted pairs.

    E stays as it is; a classifier reads more emotion from it than the renderer drew. So the emotion teacher's
    reading counts here, and portraits are neutral, as they will be when it is used.
    """
    return RenderConfig(
        steps=2400,
        trained=("renderer",),
        processes=1,
        lr=6e-4,
        warm_up=50,
        seed=1,
        pairs=PairsConfig(acted=0.8, calm=1.0),
        reconstruction=ReconstructionConfig(aus=5.0, emotion=0.5),
        keypoints=KeypointsConfig(equivariance=0, spread=0, small=0, pose=0, probe=0),
    )


def warm_cosine(step: int, *, warm_up: int, steps: int) -> float:
    """Share of the learning rate: linear up, then a cosine down to 2 %."""
    return min(1.0, (step + 1) / warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def truth_39(pool: PairPool, rows: Tensor) -> Tensor:
    """Action units and articulators (n, 39) of frames."""
    truth = pool.table.truth
    return torch.cat([truth["aus"][rows].flatten(1), truth["artic"][rows]], 1)


class Pretrain(LightningModule):
    """Re-enactment. `average` is the exponential mean of the weights: what the zoo ships.

    step: how many are done; clock: what they took; curve: a row of figures an epoch; diverged: a loss was not
    finite.
    """

    def __init__(
        self, head: TalkingHead, pool: PairPool, objective: Reconstruction, config: RenderConfig
    ) -> None:
        super().__init__()
        self.head, self.config = head, config
        self.head.requires_grad_(False)
        for part in config.trained:
            self.head.get_submodule(part).requires_grad_(True)
        if not config.keypoints.pose:
            head.estimator.pose.requires_grad_(False)  # DDP waits for every gradient
        self.probe = ExpressionProbe(head.config.keypoints).requires_grad_(bool(config.keypoints.probe))
        everything = torch.arange(len(pool.table.image))
        self.probe.deviation.copy_(truth_39(pool, everything).std(0) + 0.03)
        self.average = copy.deepcopy(head).requires_grad_(False)
        self._pool, self._objective = [pool], [objective]  # lists: neither is a part of the module
        self.step, self.diverged, self.clock = 0, False, TrainingClock()
        self.curve: list[dict[str, float]] = []
        self.last_terms: dict[str, float] = {}
        self.resumed_moments: dict[str, Tensor] = {}

    def warm_start(self, teacher: FaceTeacher) -> None:
        """The estimator's trunk begins as the teacher's: else E stays blind to expression for long."""
        for own, taught in zip(self.head.estimator.trunk, teacher.stages, strict=False):
            own.load_state_dict(taught.state_dict())
        self.average.load_state_dict(self.head.state_dict())

    def on_fit_start(self) -> None:
        """What guides the losses is no part of the module, so Lightning does not move it to the device."""
        self.move_guides(self.device)

    def on_fit_end(self) -> None:
        """The next stage finds them where this one did."""
        self.move_guides(torch.device("cpu"))

    def move_guides(self, device: torch.device) -> None:
        """Teachers and features."""
        objective = self._objective[0]
        for net in (objective.teachers.face, objective.teachers.emotion, objective.features):
            if isinstance(net, nn.Module):
                net.to(device)

    def train_dataloader(self) -> DataLoader:
        """The pairs of this process, from the step on that the checkpoint reached."""
        c = self.config
        where = {"rank": self.global_rank, "start": self.step, "steps": c.steps}
        return DataLoader(PairStream(self._pool[0], batch=c.batch, seed=c.seed, **where), batch_size=None)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """All objectives of pairs, rows "portrait" and "driving" (batch,) of the pool → scalar."""
        step = int(batch["step"])
        g = torch.Generator().manual_seed(step * 1000 + self.global_rank + 7 * self.config.seed)
        pool, portrait_rows, driving_rows = self._pool[0], batch["portrait"].cpu(), batch["driving"].cpu()
        source, truth = (unit(pool.table.image[i]) for i in (portrait_rows, driving_rows))
        lit = tint(len(source), g)
        source, truth = lit(source), lit(truth)
        seen = tint(len(truth), g)(truth) + 0.03 * torch.randn(truth.shape, generator=g)
        source, truth, seen = (layout(x.to(self.device)) for x in (source, truth, seen))
        pose = {
            k: pool.table.truth["pose"][i].to(self.device)
            for k, i in (("s", portrait_rows), ("d", driving_rows))
        }
        with self.learning(), fast(self.device):
            portrait = self.head.portrait(source, pose["s"])
            expression, estimated = self.head.estimator(seen)
            drawn = self.head.draw(portrait, expression, pose["d"])
            terms = self._objective[0].perceived(drawn.image, truth, g)
        with fast(self.device):
            terms_k = self.keypoint_terms(portrait, expression, estimated, pose["d"], seen, g)
        where = face_weights(
            *(pool.table.truth[k][driving_rows].to(self.device) for k in ("mask", "landmarks"))
        )
        terms |= self._objective[0].pixels(drawn.image, drawn.warped, truth, where)
        weights, total = self.config.keypoints, self._objective[0].total(terms)
        if weights.probe:
            terms_k["probe"] = self.probe(expression, truth_39(pool, driving_rows).to(self.device))
        if terms_k:
            total = total + torch.stack([getattr(weights, k) * v for k, v in terms_k.items()]).sum()
        value = float(total.detach())
        self.diverged = not math.isfinite(value)
        self.log("loss", value, prog_bar=True, batch_size=self.config.batch)
        if step % 20 == 0:
            self.last_terms = {k: float(v.detach()) for k, v in (terms | terms_k).items()}
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
        """Equivariance of a few rows, spread, size of E by its square and by the prior, and the estimator's
        pose against puppets' truth.

        Batch norms go by their stored statistics here: a moved frame is no data.
        """
        weights, few = self.config.keypoints, slice(0, self.config.moved)
        shift = int(torch.randint(1, 5, (1,), generator=g)) * (1 if torch.rand((), generator=g) < 0.5 else -1)
        terms: dict[str, Callable[[], Tensor]] = {
            "equivariance": lambda: equivariance(
                self.head, portrait.canonical[few], expression[few], pose[few], seen[few], shift
            ),
            "spread": lambda: spread_penalty(portrait.canonical),
            "small": lambda: expression.square().mean(),
            "prior": lambda: deformation_prior(expression),
            "pose": lambda: pose_error(estimated, pose),
        }
        return {name: term() for name, term in terms.items() if getattr(weights, name)}

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Within, the batch norms of the trained parts, and of no other, learn their statistics."""
        with ExitStack() as stack:
            for part in self.config.trained:
                stack.enter_context(learning_statistics(self.head.get_submodule(part)))
            yield

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW (0.5, 0.999) over the trained parts."""
        c = self.config
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, c.lr, betas=(0.5, 0.999), weight_decay=c.weight_decay)
        if self.resumed_moments:
            give_moments(self.optimiser, self.resumed_moments)
        return self.optimiser

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The rate of this step. A gradient that is not finite is dropped: it would reach grid_sample's grid.

        A NaN there ends the process on a CPU.
        """
        c = self.config
        for group in optimizer.param_groups:
            group["lr"] = c.lr * warm_cosine(self.step, warm_up=c.warm_up, steps=c.steps)
        finite = all(bool(p.grad.isfinite().all()) for p in self.parameters() if p.grad is not None)
        if not finite:
            optimizer.zero_grad(set_to_none=True)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step, and the average moves with it, before any callback may save."""
        super().optimizer_step(*args, **kwargs)
        self.move_average()
        self.step += 1

    @torch.no_grad()
    def move_average(self) -> None:
        """Young averages forget faster."""
        keep = min(self.config.average, (self.step + 1) / (self.step + 20))
        averaged, current = self.average.state_dict().values(), self.head.state_dict().values()
        for mean, now in zip(averaged, current, strict=True):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        weights = {f"weights/{name}": value for name, value in self.state_dict().items()}
        meta = {"clock": self.clock.state(), "curve": self.curve}
        return Checkpoint(weights | moments_of(self.optimiser), meta, self.step)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from there, bit for bit; call it before the fit."""
        named = {
            k.removeprefix("weights/"): v for k, v in checkpoint.tensors.items() if k.startswith("weights/")
        }
        self.load_state_dict(named)
        self.resumed_moments = {k: v for k, v in checkpoint.tensors.items() if k.startswith("moments/")}
        before = {
            "wall_s": checkpoint.meta.get("seconds", 0.0)
        }  # of checkpoints from before there was a clock
        self.step = checkpoint.step
        self.clock = TrainingClock(**checkpoint.meta.get("clock", before))
        self.curve = checkpoint.meta["curve"]


def moments_of(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What Adam remembers, as "moments/<parameter>/<name>"."""
    state = optimiser.state_dict()["state"]
    return {f"moments/{i}/{k}": torch.as_tensor(v) for i, kept in state.items() for k, v in kept.items()}


def give_moments(optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """The inverse of `moments_of`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in moments.items():
        _, index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def tint(n: int, g: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Another gain and tint for each of n pictures (n, 3, h, w) in -1..1: a function that lays them on."""
    gain = 0.85 + 0.3 * torch.rand(n, 1, 1, 1, generator=g)
    bias = 0.06 * torch.randn(n, 3, 1, 1, generator=g)
    return lambda x: (x * gain + bias).clamp(-1, 1)


def layout(x: Tensor) -> Tensor:
    """Channels last, as the convolutions want it."""
    return x.contiguous(memory_format=torch.channels_last)
