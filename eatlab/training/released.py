"""Takes the steps of the EAT release's training, in any of its stages (EAT, Sec. 3.3 and Supp. B)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.eam import EAM
from eatlab.adapters.edn import EDN
from eatlab.adapters.emotion import EmotionMapper
from eatlab.adapters.places import unescaped
from eatlab.backbone.sites import Context, learning_statistics
from eatlab.backbone.talking_head import Portrait, TalkingHead
from eatlab.errors import ExitCode, UserError
from eatlab.experts.clip import RANDOM
from eatlab.experts.syncnet import SyncNet
from eatlab.objectives.clip import ClipLoss
from eatlab.objectives.perceptual_pyramid import PerceptualPyramid
from eatlab.objectives.reconstruction import Features
from eatlab.objectives.released import ReleasedObjective, ReleasedWeights, Said, Truth
from eatlab.training.learner import TuneConfig, fresh_adapters, seed_of
from eatlab.training.released_clips import Clips
from eatlab.training.released_stages import ADAPTERS, Stage


@dataclass(frozen=True)
class Experts:
    """The frozen networks that a stage's losses ask; only those that count are needed.

    perceptual: Vgg19 or another feature network.  random: names of those that learned nothing; the log names
    their terms, and the loss, so.
    """

    perceptual: Features | None = None
    sync: SyncNet | None = None
    clip: ClipLoss | None = None
    random: tuple[str, ...] = ()

    def networks(self) -> list[nn.Module]:
        """All that must be frozen and moved to a device."""
        every = (self.perceptual, self.sync, None if self.clip is None else self.clip.clip)
        return [net for net in every if isinstance(net, nn.Module)]

    def learned_nothing(self) -> tuple[str, ...]:
        """`random`, and a CLIP that says so itself."""
        clip = ("clip",) if self.clip is not None and self.clip.clip.name == RANDOM else ()
        return tuple(dict.fromkeys((*self.random, *clip)))

    def objective(self, weights: ReleasedWeights, head: TalkingHead) -> ReleasedObjective:
        """Raises UserError if an expert that counts is lacking."""
        for net in self.networks():
            net.eval().requires_grad_(False)
        perceptual = None if self.perceptual is None else PerceptualPyramid(self.perceptual)
        return ReleasedObjective(
            weights, head.a2et.pca, perceptual=perceptual, sync=self.sync, clip=self.clip
        )


@dataclass(frozen=True)
class StepConfig:
    """seed: of dropout and of fresh adapters.

    frames_at_once: frames drawn together, None: all. Fewer than there are cost a second drawing in the
    backward pass, and only their memory.
    """

    seed: int = 0
    frames_at_once: int | None = None


class ReleasedTraining(LightningModule):
    """Takes the steps of a stage on any head that its adapters fit.

    Stages that train A2ET change the given head. The others read it: they share its weights, and what their
    batch norms learn stays in `self.head`.
    Raises UserError for a stage without the experts, the adapters, or the parts of them that it needs.
    """

    def __init__(
        self,
        stage: Stage,
        head: TalkingHead,
        experts: Experts,
        adapters: AdapterSet | None = None,
        config: StepConfig = StepConfig(),
    ) -> None:
        super().__init__()
        self.stage, self.config, self.experts = stage, config, experts
        adapters = fresh_set(stage, head, config.seed) if adapters is None else adapters
        self.head = head if stage.trains_backbone else with_own_statistics(head)
        self.adapters = for_text(adapters, head, config.seed) if stage.one_domain else adapters
        self.parts = parts_of(self.head, self.adapters)
        if lacking := [group.part for group in stage.trained if not len(self.parts[group.part])]:
            raise UserError(
                f"stage {stage.name} trains {', '.join(lacking)}",
                f'the adapters are "{self.adapters.spec}"',
                f'give "{ADAPTERS}"',
            )
        self.objective = experts.objective(stage.weights, self.head)
        self.requires_grad_(False)
        for group in stage.trained:
            self.parts[group.part].requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> ReleasedTraining:
        """What is not active stays in eval mode, whatever Lightning asks for."""
        super().train(False)
        for part in self.stage.active:
            self.parts[part].train(mode)
        self.training = mode
        return self

    def on_fit_start(self) -> None:
        """Experts are no part of the module: Lightning does not move them. It sets no mode either."""
        for net in self.experts.networks():
            net.to(self.device)
        self.train()

    def record(self) -> dict[str, Any]:
        """What decides a run besides its data."""
        return {
            "stage": asdict(self.stage),
            "seed": self.config.seed,
            "adapters": self.adapters.spec_in_full,
            "random_experts": self.experts.learned_nothing(),
        }

    def forward(self, clips: Clips) -> tuple[Said, Truth]:
        """What the networks say of clips, and what is true of them."""
        context = self.adapters.context(clips.emotion, latent=clips.latent)
        portrait = self.head.portrait(
            clips.portrait, clips.portrait_pose, context, expression=clips.portrait_expression
        )
        seen = {"face_map": portrait.face_map, "hull": portrait.hull}
        expression = self.head.speak(clips.heard() | seen, context)
        frames = self.draw(portrait, expression, clips.pose, context) if self.stage.draws else None
        said = Said(expression.flatten(2), self.coefficients(expression, portrait.hull), frames)
        true = clips.expression.flatten(2)
        return said, Truth(true, portrait.hull, clips.frames, clips.boxes, clips.sync_mel)

    def coefficients(self, expression: Tensor, hull: Tensor) -> Tensor:
        """E (b, n, 15, 3) → A2ET's coefficients (b, n, 32): components are orthonormal, so it is exact.

        With an EDN, those of the sum; no stage with an EDN weighs them.
        """
        pca = self.head.a2et.pca
        return pca.encode(expression.flatten(2) / hull[:, None, None] - pca.mean) / pca.deviation

    def draw(self, portrait: Portrait, expression: Tensor, pose: Tensor, context: Context) -> Tensor:
        """E (b, n, 15, 3), pose (b, n, 7) → frames (b, n, 3, size, size) in -1..1; no shift of keypoints."""
        shape = expression.shape[:2]
        whose = torch.arange(shape[0], device=expression.device).repeat_interleave(shape[1])

        def drawn(rows: Tensor, said: Tensor, turned: Tensor) -> Tensor:
            return self.head.render(portrait.rows(rows), said, turned, for_frames(context, rows))

        at_once = self.config.frames_at_once or len(whose)
        rows = (whose, expression.flatten(0, 1), pose.flatten(0, 1))
        chunks = zip(*(x.split(at_once) for x in rows), strict=True)
        if at_once >= len(whose) or not torch.is_grad_enabled():
            frames = [drawn(*chunk) for chunk in chunks]
        else:
            frames = [checkpoint(drawn, *chunk, use_reentrant=False) for chunk in chunks]
        return torch.cat(frames).unflatten(0, shape)

    def terms(self, clips: Clips, index: int = 0) -> dict[str, Tensor]:
        """The stage's losses, unweighted, by name; dropout depends on (seed, step, index) alone."""
        with self.randomness(index), self.learning():
            return self.objective.terms(*self(clips))

    def training_step(self, clips: Clips, index: int) -> Tensor:
        """→ the weighted sum (Eq. 5). Raises UserError (5) if it is not finite."""
        terms = self.terms(clips, index)
        loss = self.objective.total(terms)
        self.refuse_infinite("loss", loss)
        named = {self.label(name): value.detach() for name, value in (terms | {"loss": loss}).items()}
        self.log_dict(named, batch_size=len(clips.portrait))
        return loss

    def label(self, term: str) -> str:
        """A term's name in the log, which says so if it comes from an expert that learned nothing."""
        random = [name for name in self.experts.learned_nothing() if getattr(self.stage.weights, name)]
        return f"{term}_by_random_expert" if term in random or (term == "loss" and random) else term

    @contextmanager
    def randomness(self, index: int) -> Iterator[None]:
        """Within, what is drawn depends on (seed, process, step, index); the process's own state is kept."""
        purpose = f"dropout of process {self.global_rank}, batch {index}"
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_of(self.config.seed, purpose, self.global_step))
            yield

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Within, the batch norms of the stage's learning parts, and no others, learn their statistics.

        Differs: the release shares them between devices; here each process has those of its own clips.
        """
        with ExitStack() as stack:
            for part in self.stage.learning:
                stack.enter_context(learning_statistics(self.parts[part]))
            yield

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One Adam; each part is a group of it, with its rate and clip_norm."""
        groups = [asdict(group) | {"lr": group.rate} for group in self.stage.trained]
        for group in groups:
            group["params"] = list(self.parts[group["part"]].parameters())
        adam = torch.optim.Adam(groups, betas=self.stage.betas)
        decay = torch.optim.lr_scheduler.StepLR(adam, self.stage.decay_epochs, self.stage.decay)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": decay, "interval": "epoch"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Cuts each part's gradient by itself. Raises UserError (5) for one that is not finite."""
        norms = {}
        for group in optimizer.param_groups:
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            norm = norms[f"gradient_{group['part']}"] = nn.utils.get_total_norm(gradients)
            self.refuse_infinite(f"gradient of {group['part']}", norm)
            if group["clip_norm"] is not None:
                nn.utils.clip_grads_with_norm_(group["params"], group["clip_norm"], norm)
        self.log_dict(norms)

    def refuse_infinite(self, what: str, value: Tensor) -> None:
        """Raised before the step is taken: what is trained still is that of the last good step."""
        if not value.isfinite():
            raise UserError(
                f"stage {self.stage.name} diverged: the {what} of step {self.global_step} is {value.item()}",
                do="go on from the last checkpoint with lower rates",
                code=ExitCode.DIVERGED,
            )


class TextMapper(EmotionMapper):
    """Guidance tokens for one text (EAT, Sec. 3.2, zero-shot editing): one domain, whatever the emotion."""

    def __init__(self, num_tokens: int, width: int, hidden: int) -> None:
        super().__init__(num_tokens, width, hidden, domains=1)

    def forward(self, latent: Tensor, mix: Tensor) -> Tensor:
        """latent (clips, 16); the shares are not looked at → (clips, num_tokens, width)."""
        return super().forward(latent, latent.new_ones(len(latent), 1))


def fresh_set(stage: Stage, head: TalkingHead, seed: int) -> AdapterSet:
    """The stage's adapters as the seed draws them. Raises UserError if it goes on with trained ones."""
    if not stage.adapters:
        raise UserError(f"stage {stage.name} goes on with trained adapters", do="give the adaptation's")
    return fresh_adapters(TuneConfig(stage.adapters, seed), head)


def for_text(adapters: AdapterSet, head: TalkingHead, seed: int) -> AdapterSet:
    """A copy with a new TextMapper, as the seed draws it. Raises UserError if the set has no mapper."""
    if adapters.mapper is None:
        raise UserError(f'"{adapters.spec}" has no mapper that a text could replace', do=f'give "{ADAPTERS}"')
    edited, config = copy.deepcopy(adapters), head.config.a2et
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "text mapper"))
        edited.mapper = TextMapper(adapters.mapper.num_tokens, config.width, config.mapper_hidden)
    return edited


def for_every_emotion(edited: AdapterSet, head: TalkingHead) -> AdapterSet:
    """A copy of an edited set as its file holds it: the text's one branch stands at each emotion."""
    copied, config = copy.deepcopy(edited), head.config.a2et
    if not isinstance(edited.mapper, TextMapper):
        return copied
    copied.mapper = EmotionMapper(edited.mapper.num_tokens, config.width, config.mapper_hidden)
    copied.mapper.shared.load_state_dict(edited.mapper.shared.state_dict())
    for branch in copied.mapper.branches:
        branch.load_state_dict(edited.mapper.branches[0].state_dict())
    return copied


def with_own_statistics(head: TalkingHead) -> TalkingHead:
    """A copy that shares the parameters and has buffers of its own.

    Moving the copy to another device moves the shared parameters, and leaves the given head's buffers.
    """
    return copy.deepcopy(head, {id(parameter): parameter for parameter in head.parameters()})


def parts_of(head: TalkingHead, adapters: AdapterSet) -> dict[str, nn.ModuleList]:
    """What a stage can train, by name; empty where the adapters lack it."""
    modules = list(adapters.modules())
    heads = [(unescaped(k), m) for eam in modules if isinstance(eam, EAM) for k, m in eam.heads.items()]
    found: dict[str, list[nn.Module]] = {
        "a2et": [head.a2et],
        "mapper": [] if adapters.mapper is None else [adapters.mapper],
        "edn": [module for module in modules if isinstance(module, EDN)],
        "eam.a2et": [layers for place, layers in heads if place.startswith("a2et.")],
        "eam.renderer": [layers for place, layers in heads if place.startswith("renderer.")],
    }
    return {name: nn.ModuleList(several) for name, several in found.items()}


def for_frames(context: Context, rows: Tensor) -> Context:
    """The same context with a row for each frame: rows (n,) says of which clip it is."""
    known = {name: getattr(context, name) for name in ("mix", "guidance")}
    return replace(context, **{name: x[rows] for name, x in known.items() if x is not None})
