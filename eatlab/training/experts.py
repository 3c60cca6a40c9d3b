"""Trains the experts on puppets: three teachers and three judges, each with its own seed and network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.precision import fast
from eatlab.data.audio_features import SYNC_COLUMNS, sync_mel, sync_start
from eatlab.data.samples import FrameTable, unit
from eatlab.data.tables import read_tables
from eatlab.experts import emotion, landmarks, sync
from eatlab.experts.perceptual import FaceTeacher

TRAINING_PARTS = ("acted/train", "acted/pretrain", "wild/train")
ACTED_PARTS = TRAINING_PARTS[:2]
SOFTENED_PX = (40, 80)
SEEDS_APART = 1000
"""Between the seeds of two trainings of a recipe: more than between those of two recipes."""
DRAWINGS = 2000
TOLD_EVERY = 200
Figures = dict[str, tuple[Tensor, list[str]]]
"""Name → values (n,) whose mean is the figure, and whose they are: n identities."""


@dataclass(frozen=True)
class Recipe:
    """How one expert is trained.

    fit: trains what `build` made; figures: measures it on people and words never seen; gate: bounds of those
    without which the expert must not be used; not_for: what it must never be used for.  softened: share of
    batches that are shown with fewer pixels, so that sharpness, which PSNR and SSIM measure, decides little.
    chosen_on: which clips decided for this recipe, if several were tried.
    """

    build: Callable[[], nn.Module]
    fit: Callable[[nn.Module, Path, Recipe], None]
    figures: Callable[[nn.Module, Path], Figures]
    steps: int
    seed: int
    gate: dict[str, tuple[str, float]]
    not_for: str
    batch: int = 64
    lr: float = 2e-3
    softened: float = 0.0
    chosen_on: str = "none: no other recipe was measured"


def augment(x: Tensor, g: torch.Generator, shift: int) -> Tensor:
    """Gain, tint, noise, a little blur, and one shift for the batch of (b, 3, h, w) in -1..1."""
    n = len(x)
    x = x * (0.8 + 0.4 * torch.rand(n, 1, 1, 1, generator=g)) + 0.1 * torch.randn(n, 3, 1, 1, generator=g)
    if torch.rand((), generator=g) < 0.35:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = x + 0.03 * torch.randn(x.shape, generator=g)
    if shift:
        dy, dx = (int(v) for v in torch.randint(-shift, shift + 1, (2,), generator=g))
        x = x.roll((dy, dx), (2, 3))
    return x.contiguous(memory_format=torch.channels_last)


def optimise(net: nn.Module, recipe: Recipe, loss_of: Callable[[torch.Generator], Tensor], name: str) -> None:
    """AdamW with one cycle of the learning rate, in the CPU's precision; draws by the recipe's seed.

    Says how far it is in lines: experts are trained side by side, and their bars would overwrite each other.
    """
    net.train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, recipe.steps)
    g = torch.Generator().manual_seed(recipe.seed)
    began = time.time()
    for step in range(1, recipe.steps + 1):
        with fast("cpu"):
            loss = loss_of(g)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % TOLD_EVERY == 0:
            spent = time.time() - began
            print(f"{name}: step {step} of {recipe.steps}, {spent:.0f} s, loss {loss.item():.3f}", flush=True)
    net.eval().requires_grad_(False)


def face_truth(table: FrameTable) -> Tensor:
    """(N, 175): action units, articulators, landmarks / 48 - 1."""
    t = table.truth
    return torch.cat([t["aus"].flatten(1), t["artic"], t["landmarks"].flatten(1) / 48 - 1], 1)


def fit_face(net: nn.Module, data: Path, recipe: Recipe) -> None:
    """Smooth L1 on standardised truth: action units are sparse, plain L1 collapses to their median, 0."""
    table = read_tables(data, TRAINING_PARTS)
    truth = face_truth(table)
    mean = truth.mean(0)
    scale = torch.cat([truth[:, :39].std(0) + 0.03, torch.full((136,), 4 / 48)])

    def loss_of(g: torch.Generator) -> Tensor:
        i = torch.randint(len(truth), (recipe.batch,), generator=g)
        said = net(augment(unit(table.image[i]), g, 0))
        answer = torch.cat([said.aus, said.artic, said.landmarks], 1)
        far = F.smooth_l1_loss(answer, (truth[i] - mean) / scale, reduction="none", beta=0.5)
        return far[:, :39].mean() + far[:, 39:].mean()

    optimise(net, recipe, loss_of, "teacher_face")
    assert isinstance(net, FaceTeacher)
    last = net.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(scale[:, None])
        last.bias.mul_(scale).add_(mean)


@torch.no_grad()
def face_figures(net: nn.Module, data: Path) -> Figures:
    """R² of action units and articulators, landmark error in pixels, by frame."""
    table = read_tables(data, ("acted/val",))
    true = face_truth(table)
    read = map(net, unit(table.image).split(256))
    said = torch.cat([torch.cat([r.aus, r.artic, r.landmarks], 1) for r in read])
    r2 = 1 - (said - true).square() / true.var(0).clamp(min=1e-3)  # its mean over frames is R²
    far = ((said - true)[:, 39:] * 48).unflatten(1, (68, 2)).norm(dim=-1)
    who = people(table, table.clip)
    return {
        "au_r2": (r2[:, :34].mean(1), who),
        "artic_r2": (r2[:, 34:39].mean(1), who),
        "landmark_px": (far.mean(1), who),
    }


def people(table: FrameTable, clip: Tensor) -> list[str]:
    """Identities of clips (n,)."""
    return [table.identity[i] for i in clip.tolist()]


def soften(x: Tensor, side: int) -> Tensor:
    """Pictures (b, 3, h, w) as `side` pixels show them, at their own size."""
    fewer = F.interpolate(x, size=(side, side), mode="area")
    return F.interpolate(fewer, size=x.shape[-2:], mode="bilinear", align_corners=False)


def fit_emotion(net: nn.Module, data: Path, recipe: Recipe) -> None:
    """Cross-entropy of single frames, classes in equal shares."""
    table = read_tables(data, ACTED_PARTS)
    label = table.emotion[table.clip]
    share = 1 / torch.bincount(label, minlength=8).float()[label]

    def loss_of(g: torch.Generator) -> Tensor:
        i = torch.multinomial(share, recipe.batch, replacement=True, generator=g)
        x = augment(unit(table.image[i]), g, 4)
        mirrored = torch.rand(len(x), generator=g) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        if recipe.softened and torch.rand((), generator=g) < recipe.softened:
            x = soften(x, int(torch.randint(*SOFTENED_PX, (1,), generator=g)))
        return F.cross_entropy(net(x).float(), label[i], label_smoothing=0.05)

    optimise(net, recipe, loss_of, f"emotion ({sum(p.numel() for p in net.parameters()) // 1000} k)")


@torch.no_grad()
def emotion_figures(net: nn.Module, data: Path) -> Figures:
    """Share of val clips (mean log-probability over frames) and of single frames that are named right."""
    table = read_tables(data, ("acted/val",))
    said = torch.cat([net(x).float().log_softmax(1) for x in unit(table.image).split(256)])
    by_clip = torch.zeros(len(table.key), 8).index_add(0, table.clip, said)
    clips = (by_clip.argmax(1) == table.emotion).float()
    frames = (said.argmax(1) == table.emotion[table.clip]).float()
    who = people(table, table.clip)
    return {"clip_accuracy": (clips, table.identity), "frame_accuracy": (frames, who)}


def fit_landmarks(net: nn.Module, data: Path, recipe: Recipe) -> None:
    """L1 in pixels."""
    assert isinstance(net, landmarks.LandmarkJudge)
    table = read_tables(data, TRAINING_PARTS)
    net.mean.copy_(table.truth["landmarks"].mean(0))

    def loss_of(g: torch.Generator) -> Tensor:
        i = torch.randint(len(table.image), (recipe.batch,), generator=g)
        return (net(augment(unit(table.image[i]), g, 0)) - table.truth["landmarks"][i]).abs().mean()

    optimise(net, recipe, loss_of, "judge_landmarks")


@torch.no_grad()
def landmark_figures(net: nn.Module, data: Path) -> Figures:
    """Distance to the truth in pixels by frame: all 68 points, the mouth's 20."""
    table = read_tables(data, ("acted/val",))
    said = torch.cat([net(x) for x in unit(table.image).split(256)])
    far, who = (said - table.truth["landmarks"]).norm(dim=-1), people(table, table.clip)
    return {"landmark_px": (far.mean(1), who), "mouth_px": (far[:, 48:].mean(1), who)}


@dataclass(frozen=True)
class SyncPairs:
    """Runs of five frames.

    crops (n, 5, 40, 40) int8, ±127; start (n,) first frame; sound (n,) row of mel (clips, columns, 80).
    last_start: the last frame that a run can start at in every clip.
    """

    crops: Tensor
    start: Tensor
    sound: Tensor
    mel: Tensor
    last_start: int

    def heard(self, rows: Tensor, starts: Tensor) -> Tensor:
        """Sync mel windows (n, k, 16, 80) of runs `rows` (n,) at first frames `starts` (n, k)."""
        columns = torch.from_numpy(sync_start(starts.numpy()))[..., None] + torch.arange(SYNC_COLUMNS)
        return self.mel[self.sound[rows][:, None, None], columns]


def sync_pairs(table: FrameTable) -> SyncPairs:
    """All runs of five consecutive drawn frames of a table, mouths found by the true landmarks."""
    mouths = sync.mouth_crops(unit(table.image), table.truth["landmarks"])
    mouths = (mouths * 127).round().to(torch.int8)
    first = torch.arange(len(table.image) - sync.FRAMES + 1)
    last = first + sync.FRAMES - 1
    whole = (table.clip[first] == table.clip[last]) & (table.at[last] - table.at[first] == sync.FRAMES - 1)
    first = first[whole]
    mel = torch.from_numpy(np.stack([sync_mel(a) for a in table.audio]))
    last_start = min(len(a) for a in table.audio) // 640 - sync.FRAMES
    crops = mouths[first[:, None] + torch.arange(sync.FRAMES)]
    return SyncPairs(crops, table.at[first], table.clip[first], mel, last_start)


def fit_sync(net: nn.Module, data: Path, recipe: Recipe) -> None:
    """Contrast: the own sound against other clips' and against three other times of the same clip."""
    assert isinstance(net, sync.SyncExpert)
    pairs = sync_pairs(read_tables(data, ("acted/train", "wild/train"), twins=False))
    offsets = torch.tensor([o for o in range(-15, 16) if abs(o) > 1])
    n = recipe.batch
    own = torch.arange(n) * 4

    def loss_of(g: torch.Generator) -> Tensor:
        i = torch.randint(len(pairs.start), (n,), generator=g)
        start = pairs.start[i][:, None]
        other = (start + offsets[torch.randint(len(offsets), (n, 3), generator=g)]).clamp(0, pairs.last_start)
        other = torch.where((other - start).abs() <= 1, (other + 8) % (pairs.last_start + 1), other)
        mel = pairs.heard(i, torch.cat([start, other], 1)).flatten(0, 1)
        crops = pairs.crops[i].float() / 127 + 0.06 * torch.randn(n, 1, 1, 1, generator=g)
        alike = net.scale.exp() * net.video(crops) @ net.audio(mel).T
        return F.cross_entropy(alike, own) + 0.5 * F.cross_entropy(alike[:, own].T, torch.arange(n))

    optimise(net, recipe, loss_of, f"sync ({sum(p.numel() for p in net.parameters()) // 1000} k)")


@torch.no_grad()
def sync_figures(net: nn.Module, data: Path) -> Figures:
    """Share of five-frame windows of val clips whose best of 31 offsets lies within one frame."""
    assert isinstance(net, sync.SyncExpert)
    table = read_tables(data, ("acted/val",), twins=False)
    pairs = sync_pairs(table)
    starts = torch.arange(pairs.last_start + 1)
    seen = torch.cat([net.video(c.float() / 127) for c in pairs.crops.split(256)])
    hits = []
    for i in range(len(seen)):
        heard = net.audio(pairs.heard(torch.tensor([i]), starts[None])[0])
        near = (starts - pairs.start[i]).abs() <= 15
        best = (heard @ seen[i]).masked_fill(~near, -9).argmax()
        hits.append(bool((starts[best] - pairs.start[i]).abs() <= 1))
    who = people(table, pairs.sound)
    return {"window_hit": (torch.tensor(hits).float(), who), "chance": (torch.full((len(who),), 3 / 31), who)}


RECIPES: dict[str, Recipe] = {
    "teacher_face": Recipe(FaceTeacher, fit_face, face_figures, 2000, 1, {"au_r2": (">=", 0.6)}, "measuring"),
    "teacher_emotion": Recipe(
        emotion.teacher, fit_emotion, emotion_figures, 900, 2, {"clip_accuracy": (">=", 0.6)}, "measuring"
    ),
    "teacher_sync": Recipe(
        sync.teacher, fit_sync, sync_figures, 1200, 3, {"window_hit": (">=", 0.35)}, "measuring", 56
    ),
    "judge_emotion": Recipe(
        emotion.judge,
        fit_emotion,
        emotion_figures,
        2400,
        101,
        {"clip_accuracy": (">=", 0.85)},
        "losses",
        softened=0.6,
        chosen_on="acted/test: the best of three by how much emotion it reads of re-enacted clips",
    ),
    "judge_landmarks": Recipe(
        landmarks.LandmarkJudge,
        fit_landmarks,
        landmark_figures,
        2400,
        202,
        {"landmark_px": ("<=", 1.0)},
        "losses",
    ),
    "judge_sync": Recipe(
        sync.judge, fit_sync, sync_figures, 1800, 303, {"window_hit": (">=", 0.45)}, "losses", 56
    ),
}


def train_expert(name: str, data: Path, training: int = 0) -> tuple[nn.Module, dict[str, Any]]:
    """A trained expert and its card: recipe, held-out figures, gate, what it must not be used for.

    training: 0 is the one that the zoo ships; another number is the same recipe by another seed.
    """
    recipe = replace(RECIPES[name], seed=RECIPES[name].seed + SEEDS_APART * training)
    torch.manual_seed(recipe.seed)
    net = recipe.build()
    began, cpu = time.time(), time.process_time()
    recipe.fit(net, data, recipe)
    card = expert_card(name, net) | held_out(name, [net], data)
    spent = {"wall_s": round(time.time() - began, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    return net, card | spent


def expert_card(name: str, net: nn.Module) -> dict[str, Any]:
    """What is known of an expert before it is measured."""
    recipe = RECIPES[name]
    optimiser = {"optimiser": "AdamW, one cycle", "softened": recipe.softened}
    return {
        "name": name,
        "recipe": {"steps": recipe.steps, "batch": recipe.batch, "lr": recipe.lr} | optimiser,
        "seed": recipe.seed,
        "parameters": sum(p.numel() for p in net.parameters()),
        "gate": {k: list(v) for k, v in recipe.gate.items()},
        "must_not_be_used_for": recipe.not_for,
        "domain": "puppets",
        "chosen_on": recipe.chosen_on,
    }


def held_out(name: str, nets: Sequence[nn.Module], data: Path) -> dict[str, Any]:
    """Figures of the first network on val people, and how much another drawing of people would change them.

    Further networks are other trainings of the same recipe: the spread tells of these too.
    """
    found = [RECIPES[name].figures(net, data) for net in nets]
    spread: dict[str, Any] = {
        figure: drawn_anew(torch.stack([each[figure][0] for each in found]), who)
        for figure, (_, who) in found[0].items()
    }
    num_people = len(set(next(iter(found[0].values()))[1]))
    return {
        "held_out": {figure: float(values.mean()) for figure, (values, _) in found[0].items()},
        "held_out_on": "puppets acted/val: people and sentences of no training split",
        "spread": spread | {"of": spread_of(num_people, len(nets))},
    }


def spread_of(people: int, trainings: int = 1) -> str:
    """What a card's spread is over."""
    if trainings == 1:
        return f"95 % over {people} people drawn anew; one training, one seed"
    return f"95 % over {people} people and {trainings} trainings, each of another seed, drawn anew"


def drawn_anew(values: Tensor, who: list[str], weights: Tensor | None = None) -> list[float]:
    """95 % interval of the mean of values (trainings, n), had other people, or seeds, been drawn.

    A drawing takes one of the trainings, and as many people as there are, each with all that is theirs.
    With weights (n,), of the sum of the values over the sum of the weights.
    """
    _, person = np.unique(who, return_inverse=True)
    weight = np.bincount(person, None if weights is None else weights.double().numpy())
    total = np.stack([np.bincount(person, each.double().numpy()) for each in values])
    random = np.random.default_rng(0)
    people = random.integers(len(weight), size=(DRAWINGS, len(weight)))
    training = random.integers(len(total), size=(DRAWINGS, 1))
    means = total[training, people].sum(1) / weight[people].sum(1)
    return [round(float(v), 4) for v in np.percentile(means, (2.5, 97.5))]
