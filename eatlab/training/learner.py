"""One adapter set on its way: its optimizer, step, clock, curve and checkpoint (EAT, Sec. 3.3 and 4.1).

Everything random is a function of (seed, purpose, step), so a tuning that was interrupted ends with the same
bits on a CPU as one that was not, and one among several with those it has alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.atomic import write_atomically
from eatlab.backbone.talking_head import TalkingHead
from eatlab.errors import ExitCode, UserError
from eatlab.objectives.latent import LatentLoss
from eatlab.objectives.weights import LossConfig
from eatlab.training.callbacks import Curve, TrainingClock
from eatlab.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eatlab.training.drawn import DrawnLoss
from eatlab.training.schedule import Schedule
from eatlab.training.stream import LatentStream
from eatlab.training.subsets import LEAST_SHARE


@dataclass(frozen=True)
class TuneConfig:
    """One tuning: which adapter, drawn from which seed, the schedule, and what the loss weighs.

    share: of the training clips, which it learns from (training/subsets.py), in (0, 1].
    """

    BOUNDS: ClassVar = {"share": (LEAST_SHARE, 1)}
    LATER: ClassVar = ("share",)

    adapter: str = "deep_prompt"
    seed: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    loss: LossConfig = field(default_factory=LossConfig)
    share: float = 1.0


def seed_of(seed: int, purpose: str, step: int = 0) -> int:
    """A named source of randomness: the same (seed, purpose, step) gives the same numbers anywhere."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose} {step}".encode()).digest()[:7], "little")


class Learner:
    """Trains one AdapterSet; `folder` is where its tuning leaves everything. drawn: the losses that need
    frames, where the config weighs any.
    """

    def __init__(
        self, backbone: TalkingHead, config: TuneConfig, folder: Path, drawn: DrawnLoss | None = None
    ) -> None:
        if config.loss.draws != (drawn is not None):
            raise ValueError("losses of drawn frames come with a config that weighs them, and only then")
        self.config, self.folder, self.drawn = config, folder, drawn
        self.adapters = fresh_adapters(config, backbone)
        self.loss = LatentLoss.of(backbone, config.loss)
        self.step, self.mean_loss = 0, math.nan
        self.curve: Curve = []
        self.clock = TrainingClock()
        rate = config.schedule.learning_rate
        self.optimizer = torch.optim.Adam(self.adapters.parameters(), rate, betas=(0.5, 0.999))

    @property
    def name(self) -> str:
        """How messages call this tuning."""
        return f'tuning "{self.config.adapter}" with seed {self.config.seed}'

    @property
    def is_done(self) -> bool:
        return self.step >= self.config.schedule.steps

    def is_due(self, every: int) -> bool:
        """Whether something is to be done that is done every so many steps, and at the last."""
        return self.step % every == 0 or self.is_done

    def take_step(
        self,
        stream: LatentStream,
        chosen: Tensor,
        backward: Callable[[Tensor], object],
        move: Callable[[], object],
    ) -> None:
        """One step on the windows `chosen` (batch,); `backward` and `move` are Lightning's.

        Raises UserError (5) before the step is taken if loss or gradient are not finite.
        """
        self.clock.start()
        with torch.random.fork_rng(devices=[]):  # what dropout draws, a stopped tuning draws again
            torch.manual_seed(seed_of(self.config.seed, "dropout", self.step))
            predicted = stream.predict(chosen, self.adapters)
            loss = self.loss(predicted, stream.true(chosen))
            if self.drawn is not None:
                few, seed = chosen[: self.config.loss.windows], seed_of(self.config.seed, "shift", self.step)
                context = stream.context(few, self.adapters)
                loss = loss + self.drawn(stream.rows[few], predicted[: len(few)], context, seed)
        value = float(loss.detach())
        self.refuse_infinite("loss", value)
        self.mean_loss = value if math.isnan(self.mean_loss) else 0.95 * self.mean_loss + 0.05 * value
        self.optimizer.zero_grad()
        backward(loss)
        norm = nn.utils.clip_grad_norm_(self.adapters.parameters(), self.config.schedule.clip)
        self.refuse_infinite("gradient", float(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.schedule.rate(self.step)
        move()
        self.step += 1
        self.clock.stop()

    def refuse_infinite(self, what: str, value: float) -> None:
        """The adapters still are those of the last good step; they are kept."""
        if math.isfinite(value):
            return
        state = {name: value.contiguous() for name, value in self.adapters.state_dict().items()}
        write_atomically(self.folder / "last_good.safetensors", lambda part: save_file(state, part))
        raise UserError(
            f"{self.name} diverged: the {what} of step {self.step} is {value}",
            "the last good adapter is kept as last_good.safetensors",
            f"try a learning_rate below {self.config.schedule.learning_rate:g}",
            code=ExitCode.DIVERGED,
        )

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def save(self) -> None:
        """A checkpoint of this step."""
        save_checkpoint(self.checkpoints, self.checkpoint())

    def go_on(self, warn: Callable[[str], object]) -> None:
        """From the newest whole checkpoint, if there is one."""
        if found := load_checkpoint(self.checkpoints, warn):
            self.resume(found)

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

    What acts outside of A2ET is not trained by the latent loss, which draws nothing. UserError if that is all
    of it.
    """
    networks = config.loss.networks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "adapters"))
        adapters = AdapterSet(config.adapter, backbone).train_at(*networks)
    if adapters.plan and not adapters.touches(networks):
        where = "A2ET and the renderer" if config.loss.draws else "A2ET"
        raise UserError(
            f'"{config.adapter}" acts outside of {where} only',
            f"the loss asks nothing beyond {where}, so it would learn nothing",
            "add an adapter of A2ET, such as deep_prompt",
        )
    return adapters
