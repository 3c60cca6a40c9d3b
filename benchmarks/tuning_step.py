"""One training step at paper size: each adapter against native full fine-tuning with all losses.

    python -m benchmarks.tuning_step                       # everything
    python -m benchmarks.tuning_step --times 1             # each step timed once
    python -m benchmarks.tuning_step --only deep_prompt lora --without-native     # seconds; no ratios

A step is forward, backward and Adam, always on the same clip of five frames, the fewest that SyncNet takes.
Native: A2ET and renderer themselves, 144 M parameters, are trained by all losses of the release's
adaptation; no adapter is there, the keypoint detector is frozen, all frames are drawn together. "eat, all
losses" is that stage as it is. All other rows draw nothing: they train what acts in A2ET, by the latent loss,
on given latents. Memory is what autograd keeps, and what is trained with its gradient and Adam's moments;
frozen weights and what a convolution needs in passing are left out of every row. Weights are random:
arithmetic costs the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.machine import best_in_turn, described, kept_bytes, peak_gib
from benchmarks.scene import scene, training_clips
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.registry import names
from eatlab.backbone.a2et import Batch
from eatlab.backbone.sites import Context
from eatlab.backbone.talking_head import TalkingHead
from eatlab.experts.perceptual import Vgg19
from eatlab.experts.syncnet import FRAMES, SyncNet
from eatlab.objectives.latent import LatentLoss
from eatlab.training.released import Experts, ReleasedTraining, with_own_statistics
from eatlab.training.released_clips import Clips
from eatlab.training.released_stages import STAGES, Group, Stage
from eatlab.training.stream import touches_prefix

SUMS = ("deep_prompt+edn", "eat", "eam(sites=face)", "full+deep_prompt+edn+eam")
SPECS = (*(name for name in names() if name != "none"), *SUMS)
ADAPTATION = STAGES["adaptation"]
NATIVE = replace(
    ADAPTATION,
    name="native",
    trained=(Group("a2et", 1.5e-4),),
    active=("a2et",),
    learning=(),
    adapters="none",
)
COLUMNS = ("time", "cached", "activations", "state", "memory")
TOGETHER = "all sets on one prefix"
MOST_TIME, MOST_MEMORY = 25, 60
MIB = 2**20
Rows = dict[str, dict[str, float]]


class Setting(NamedTuple):
    """What all steps share. batch: what A2ET is given of the clip."""

    head: TalkingHead
    clips: Clips
    batch: Batch
    latent: LatentLoss
    experts: Experts

    @torch.no_grad()
    def prefix(self) -> Batch:
        """What A2ET computes before emotion comes in."""
        return self.head.a2et.prefix(self.batch)

    def tensors(self) -> list[Tensor]:
        """Weights and data, which are there whatever is trained."""
        networks = [self.head, self.latent, *self.experts.networks()]
        weights = [x for net in networks for x in (*net.parameters(), *net.buffers())]
        return [*weights, *self.batch.values(), *(x for x in self.clips if x is not None)]


@dataclass
class Step:
    """One way to take a step. after: its loss when the prefix is given, if it leaves that alone."""

    name: str
    loss: Callable[[], Tensor]
    owner: nn.Module
    trained: list[nn.Parameter]
    after: Callable[[Batch], Tensor] | None = None

    def __post_init__(self) -> None:
        self.adam = torch.optim.Adam(self.trained, ADAPTATION.trained[0].rate, betas=ADAPTATION.betas)

    def take(self, loss: Callable[[], Tensor] | None = None) -> None:
        """Forward, backward, Adam."""
        with learning(self.trained):
            finite(self, (loss or self.loss)()).backward()
            self.adam.step()
            self.adam.zero_grad()

    def take_after(self, prefix: Batch) -> None:
        """The same with the prefix given."""
        assert self.after is not None
        self.take(partial(self.after, prefix))

    def weigh(self, known: Sequence[Tensor]) -> dict[str, float]:
        """MiB of a step, which also warms up, and proves that its gradients reach what is trained."""
        with learning(self.trained):
            loss, activations = kept_bytes(
                self.loss, (*known, *self.owner.parameters(), *self.owner.buffers())
            )
            finite(self, loss).backward()
            refuse_strays(self, known)
            self.adam.step()
            state = sum(x.nbytes for p in self.trained for x in (p, p.grad, *self.adam.state[p].values()))
            self.adam.zero_grad()
        found = {"activations": activations, "state": state, "memory": activations + state}
        return {name: value / MIB for name, value in found.items()}


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=2, help="rounds; the best of each step counts")
    parser.add_argument("--only", nargs="+", default=SPECS, metavar="SPEC")
    parser.add_argument("--without-native", action="store_true", help="nothing is drawn; no ratios")
    asked = parser.parse_args()
    print(f"{described('cpu')}; random weights; fp32; 1 clip x {FRAMES} frames; best of {asked.times}")
    setting = made_up()
    drawn = [] if asked.without_native else with_all_losses(setting)
    adapters = [tuned(spec, setting) for spec in asked.only]
    measured = measure([*drawn, native_latent(setting), *adapters], setting, asked.times)
    table("seconds, MiB", measured)
    if drawn:
        ratios = against(measured[drawn[0].name], measured)
        table("% of native", ratios)
        verdict({step.name: ratios[step.name] for step in adapters})
    if alone := [measured[step.name]["time"] for step in adapters if step.after]:
        gain = sum(alone) / measured[TOGETHER]["time"]
        print(f"\n{len(alone)} sets on one prefix: {gain:.2f} x faster than one by one")
    print(f"peak memory of the whole run: {peak_gib('cpu'):.1f} GiB")


def made_up() -> Setting:
    """The random head, a clip of noise, experts that learned nothing."""
    given = scene(FRAMES)
    clips, experts = training_clips(given), Experts(Vgg19(), SyncNet(), random=("perceptual", "sync"))
    with torch.no_grad():
        portrait = given.head.portrait(given.image, given.pose, expression=given.expression)
    batch = clips.heard() | {"face_map": portrait.face_map}
    return Setting(given.head, clips, batch, LatentLoss.of(given.head), experts)


def measure(steps: Sequence[Step], setting: Setting, times: int) -> Rows:
    """Step → column → seconds or MiB. `cached` is there where the prefix is left alone."""
    measured = {step.name: step.weigh(setting.tensors()) for step in steps}
    prefix, sharing = setting.prefix(), [step for step in steps if step.after]

    def together() -> None:
        once = setting.prefix()
        for step in sharing:
            step.take_after(once)

    whole = {(step.name, "time"): step.take for step in steps}
    cached = {(step.name, "cached"): partial(step.take_after, prefix) for step in sharing}
    several = {(TOGETHER, "time"): together} if sharing else {}
    for (name, column), took in best_in_turn(whole | cached | several, times).items():
        measured.setdefault(name, {})[column] = took
    return measured


def with_all_losses(setting: Setting) -> list[Step]:
    """Native full tuning, which all is measured against, and the release's adaptation as it is."""
    native = [*setting.head.a2et.parameters(), *setting.head.renderer.parameters()]
    return [
        drawing("native, all losses", NATIVE, setting, native),
        drawing("eat, all losses", ADAPTATION, setting),
    ]


def drawing(name: str, stage: Stage, setting: Setting, trained: list[nn.Parameter] | None = None) -> Step:
    """A step with the renderer in the graph. trained: instead of what the stage trains."""
    # A stage sets its head's mode, dropout with it: that of the other steps stays as it is.
    module = ReleasedTraining(stage, with_own_statistics(setting.head), setting.experts)
    module.requires_grad_(False)
    if trained is None:
        trained = [p for group in stage.trained for p in module.parts[group.part].parameters()]
    return Step(name, lambda: module.objective.total(module.terms(setting.clips)), module, trained)


def native_latent(setting: Setting) -> Step:
    """A2ET itself by the latent loss: what leaving out the renderer saves without any adapter."""
    a2et = setting.head.a2et

    def loss() -> Tensor:
        return setting.latent(a2et(setting.batch), setting.clips.expression)

    return Step("native a2et, latent loss", loss, a2et, list(a2et.parameters()))


def tuned(spec: str, setting: Setting) -> Step:
    """A set by the latent loss, as a tuning takes its steps."""
    head, true = setting.head, setting.clips.expression
    adapters = AdapterSet(spec, head).train_at("a2et")
    trained = [p for p in adapters.parameters() if p.requires_grad]

    def context() -> Context:
        return adapters.context(setting.clips.emotion)

    def whole() -> Tensor:
        return setting.latent(head.a2et(setting.batch, context()), true)

    def after(prefix: Batch) -> Tensor:
        return setting.latent(head.a2et.suffix(prefix, context()), true)

    if touches_prefix(adapters, head):
        return Step(spec, whole, adapters, trained)
    return Step(spec, lambda: after(setting.prefix()), adapters, trained, after)


@contextmanager
def learning(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within, these and no others have gradients: all steps share one head."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)


def finite(step: Step, loss: Tensor) -> Tensor:
    """The loss, if it is."""
    if not loss.isfinite():
        raise AssertionError(f"{step.name}: the loss is {loss.item()}")
    return loss


def refuse_strays(step: Step, known: Sequence[Tensor]) -> None:
    """Raises AssertionError unless exactly what is trained has a gradient."""
    reached = {id(p) for p in (*known, *step.owner.parameters()) if p.is_leaf and p.grad is not None}
    if reached != {id(p) for p in step.trained}:
        raise AssertionError(f"{step.name}: {len(reached)} gradients for {len(step.trained)} parameters")


def against(native: dict[str, float], measured: Rows) -> Rows:
    """Percent of native, whose prefix is never given: it is trained."""
    whole = native | {"cached": native["time"]}
    return {
        name: {key: 100 * value / whole[key] for key, value in row.items()} for name, row in measured.items()
    }


def table(title: str, rows: Rows) -> None:
    """Prints a line for each step."""
    print(f"\n{title:28}" + "".join(f"{column:>12}" for column in COLUMNS))
    for name, row in rows.items():
        cells = (f"{row[column]:12.2f}" if column in row else f"{'-':>12}" for column in COLUMNS)
        print(f"{name:28}" + "".join(cells))


def verdict(ratios: Rows) -> None:
    """Prints which sets keep both bounds."""
    print(f"\nlatent loss: at most {MOST_TIME} % of native's time and {MOST_MEMORY} % of its memory?")
    for name, row in ratios.items():
        print(f"{name:28}{'yes' if row['time'] <= MOST_TIME and row['memory'] <= MOST_MEMORY else 'NO':>12}")


if __name__ == "__main__":
    main()
