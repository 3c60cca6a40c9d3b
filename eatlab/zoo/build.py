"""`eatlab zoo`: trains all that the zoo ships, writes files and cards, and goes on where it stopped."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_recipes.puppets.recipe import prepare
from eatlab.atomic import sha256_of_file, write_atomically, write_text
from eatlab.backbone.precision import precision
from eatlab.backbone.sites import fingerprint
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead, for_cpu
from eatlab.data.samples import Clip, stack, unit
from eatlab.data.shards import data_fingerprint
from eatlab.data.tables import read_clips
from eatlab.errors import UserError
from eatlab.experts.judges import Judges
from eatlab.preemption import left_to_the_parent
from eatlab.training.experts import RECIPES, drawn_anew, expert_card, held_out, spread_of, train_expert
from eatlab.training.origin import read_origin
from eatlab.training.render_stage import reenacted, reenactment_psnr
from eatlab.training.speech_pool import SpeechPool
from eatlab.training.speech_stage import unexplained
from eatlab.training.stages import PARTS, STAGES
from eatlab.zoo.folders import ZOO
from eatlab.zoo.networks import load_judges, load_network, read_card

BACKBONE = "backbone_small"
KEPT_EXACT = ("pca.", "_scale.")
"""Statistics that stay fp32; weights are stored as fp16."""


@dataclass(frozen=True)
class ZooHost:
    """Where it runs.

    zoo: the folder that is written to ("" is the package's).  work, data: folders.  workers: processes.
    """

    BOUNDS: ClassVar = {"workers": (1, 1024)}

    zoo: str = ""
    work: str = "runs/zoo"
    data: str = "data/puppets"
    workers: int = 2


@dataclass(frozen=True)
class ZooConfig:
    """only: names of experts or "backbone_small", to make just these; empty makes all.

    trainings: of each expert, by as many seeds; the first is kept, the others are for the card's spread.
    """

    BOUNDS: ClassVar = {"trainings": (1, math.inf)}

    only: tuple[str, ...] = ()
    trainings: int = 1
    host: ZooHost = field(default_factory=ZooHost)


def build_zoo(config: ZooConfig) -> int:
    """Teachers first, since the backbone learns from them; judges share nothing with either.

    Raises UserError for an unknown name, and for experts that failed when the others are in the zoo.
    """
    names = (*RECIPES, BACKBONE)
    if unknown := [name for name in config.only if name not in names]:
        raise UserError(f"{unknown[0]!r} is not in the zoo", f"there are: {', '.join(names)}")
    zoo, work = Path(config.host.zoo) if config.host.zoo else ZOO, Path(config.host.work)
    data = prepare("small", folder=Path(config.host.data))
    wanted = [name for name in names if name in (config.only or names)]
    experts = [name for name in wanted if name in RECIPES]
    failed = make_experts(experts, data, work, zoo, config)
    if failed:
        why = "; ".join(f"{name}: {error}" for name, error in failed.items())
        there = f"the others are in {zoo}" + (f"; {BACKBONE} waits for all" if BACKBONE in wanted else "")
        raise UserError(f"could not make {why}", there, "run the same command again to make the rest")
    if BACKBONE in wanted:
        make_backbone(work, zoo, config)
    return 0


def make_experts(names: list[str], data: Path, work: Path, zoo: Path, config: ZooConfig) -> dict[str, str]:
    """Makes what is not there, `workers` at a time, each into the zoo at once; → name: why it failed."""
    failed: dict[str, str] = {}
    with ending_pool(config.host.workers) as pool:
        with left_to_the_parent():
            jobs = {pool.submit(make_expert, name, data, work, config.trainings): name for name in names}
        for job in as_completed(jobs):
            name = jobs[job]
            try:
                card = job.result()
                tell(card)
                publish(name, work, zoo)
            except Exception as error:
                failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
                print(f"eatlab: {name} failed: {failed[name]}", file=sys.stderr, flush=True)
    return failed


@contextmanager
def ending_pool(workers: int) -> Iterator[Executor]:
    """Processes that are ended, with what they were at, when the caller is told to stop."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):  # Python 3.14 has terminate_workers for it
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def make_expert(name: str, data: Path, work: Path, trainings: int = 1) -> dict[str, Any]:
    """Trains an expert with one thread and measures it as its file holds it; goes on after earlier calls."""
    torch.set_num_threads(1)
    files = [name, *(f"{name}_training_{number}" for number in range(1, trainings))]
    for number, file in enumerate(files):
        if not (work / f"{file}.json").exists():
            net, card = train_expert(name, data, number)
            save_network(net, work, file, card)
    nets = [RECIPES[name].build() for _ in files]
    card, *_ = [load_network(net, file, work) for net, file in zip(nets, files, strict=True)]
    if card.get("trainings") != trainings:
        measured = held_out(name, nets, data) | {"trainings": trainings}
        card |= expert_card(name, nets[0]) | measured | provenance(data)
        write_card(card, work, name)
    return card


def tell(card: dict[str, Any]) -> None:
    """Prints how long a new network took, each of its figures, and whether the shipped card expected it.

    Expected is what lies in the spread that the shipped card states.
    """
    name, spent = card["name"], card["wall_s"]
    print(f"{name}: {sum(spent.values()) if isinstance(spent, dict) else spent:.0f} s", flush=True)
    stated = read_card(name)["spread"] if (ZOO / f"{name}.json").exists() else {}
    for figure, value in card["held_out"].items():
        low, high = stated.get(figure, (None, None))
        found = "" if low is None else "within" if low <= round(value, 4) <= high else "NOT within"
        against = f", {found} the card's {low:.4g} to {high:.4g}" if found else ""
        print(f"{name} {figure}: {value:.4g}{against}", flush=True)


def publish(name: str, work: Path, zoo: Path) -> None:
    """Copies a finished network and its card into the zoo, each whole or not at all."""
    for suffix in (".safetensors", ".json"):
        content = (work / f"{name}{suffix}").read_bytes()
        write_atomically(zoo / f"{name}{suffix}", partial(Path.write_bytes, data=content))


def make_backbone(work: Path, zoo: Path, config: ZooConfig) -> None:
    """Pretrains in a process of its own, whose helpers run the same command line; writes file and card.

    What was pretrained before is not done again, but refused if it was made otherwise.
    """
    judges = load_judges(zoo)  # before hours of training, not after
    folder = work / "pretrain"
    words = [f"host.folder={folder}", f"host.data={config.host.data}", f"host.teachers={zoo}"]
    done = subprocess.run([sys.executable, "-m", "eatlab.cli", "pretrain", *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    head = TalkingHead(SIZES["small"]())
    head.load_state_dict(load_file(folder / "backbone.safetensors"))
    card = backbone_card(head, judges, folder, Path(config.host.data) / "small")
    save_network(head, work, BACKBONE, card)
    tell(card)
    publish(BACKBONE, work, zoo)


def backbone_card(head: TalkingHead, judges: Judges, folder: Path, data: Path) -> dict[str, Any]:
    """What the backbone is, how it was trained, what it reached on val people, what it must not be taken for.

    folder: of the pretraining, with a folder a stage: origin.json, metrics.jsonl; and speech/figures.json.
    """
    stored, origins = rounded(head), {name: read_origin(folder / name) for name in STAGES}
    lines = {name: (folder / name / "metrics.jsonl").read_text().splitlines() for name in STAGES}
    curves = {name: [json.loads(line) for line in found] for name, found in lines.items()}
    speech = json.loads((folder / "speech" / "figures.json").read_text())
    spent = {name: curve[-1]["wall_s"] for name, curve in curves.items()} | {"speech": speech.pop("wall_s")}
    return (
        {
            "name": BACKBONE,
            "size": "small",
            "parameters": {name: sum(p.numel() for p in m.parameters()) for name, m in head.named_children()},
            "recipe": {name: made["config"] for name, made in origins.items()},
            "perceptual": origins["render"]["perceptual"],
            "teachers": {name: sha for made in origins.values() for name, sha in made["teachers"].items()},
            "seed": origins["render"]["config"]["seed"],
            "supervised_beyond_the_paper": BEYOND_THE_PAPER,
            "differs_from_the_release": DIFFERS,
            "curve": curves,
            "wall_s": spent,
            "chosen_on": CHOSEN_ON,
            "must_not_be_used_for": "real faces, beyond plumbing: it has seen puppets only",
            "domain": "puppets",
            "weights_fingerprint": fingerprint(stored),
        }
        | backbone_figures(stored, judges, speech, data, folder / "speech")
        | provenance(data)
    )


def backbone_figures(
    head: TalkingHead, judges: Judges, speech: dict[str, float], data: Path, cache: Path
) -> dict[str, Any]:
    """What the backbone reaches on val people, and how much that would differ on other people.

    speech: figures of its training that cannot be measured again; cache: of the latents.
    """
    val = read_clips(data, "acted/val")
    decibel, who = reenactment_psnr(head, val)
    drawn, true = named_right(head, judges, val)
    error, variance, speakers = unexplained(head, SpeechPool.load(head, data, "acted/val", cache))
    low, high = drawn_anew(error[None], speakers, variance)
    return {
        "held_out": speech
        | {name: float(values.mean()) for name, values in decibel.items()}
        | {"emotion_kept": float(drawn.sum() / true.sum())}
        | {"explained": float(1 - error.sum() / variance.sum())},
        "held_out_on": "puppets acted/val: re-enactment of a frame a clip from the one portrait; how "
        "many of these the judge names right, in shares of the true ones that it names right; the share "
        "of the variance of E that A2ET explains on neutral clips",
        "spread": {name: drawn_anew(values[None], who) for name, values in decibel.items()}
        | {"emotion_kept": drawn_anew(drawn[None], who, true)}
        | {"explained": [round(1 - high, 4), round(1 - low, 4)]}
        | {"of": spread_of(len(set(who)))},
    }


def named_right(head: TalkingHead, judges: Judges, val: list[Clip]) -> tuple[Tensor, Tensor]:
    """Of the middle frame of each clip: 1 if the judge names its emotion, else 0; re-enacted, and true."""
    portraits, clips = stack([c for c in val if c.is_portrait]), stack([c for c in val if not c.is_portrait])
    middle = clips.middle()
    frames = reenacted(head, portraits, clips, middle), unit(clips.image[middle])
    drawn, true = ((judges.emotion(x).argmax(1) == clips.emotion).float() for x in frames)
    return drawn, true


BEYOND_THE_PAPER = {
    "head pose": "K is composed with puppets' true pose; the estimator learns it too (keypoints.pose)",
    "probe": "action units and articulators are a linear reading of E (keypoints.probe)",
    "teacher": "losses read features, action units, landmarks by teacher_face; the estimator starts from it; "
    "the polish listens to teacher_emotion too",
}
CHOSEN_ON = (
    "acted/val, with three looks at acted/test: the polish's emotion loss, by how much emotion is kept; "
    "acted/val and acted/test: speech.sync, among four, by how well frozen mouths keep time"
)
DIFFERS = [
    "decoder gains and biases from E (renderer.film)",
    "frame blended with the warped portrait (renderer.blends_source)",
    "L1 counts the face 3 to 8 times and the rest once; a faint prior on E (keypoints.small)",
    "equivariance by shifts alone",
    "no hull scaling of E, a warped skip of half size, motion features in the decoder; see docs/sizes.md",
]


def provenance(data: Path) -> dict[str, Any]:
    """Data, machine and versions of a card."""
    return {
        "data": {part: data_fingerprint(data, *part.split("/")) for part in PARTS},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, {precision('cpu')}",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "licence": "Apache-2.0",
    }


def as_stored(net: nn.Module) -> dict[str, torch.Tensor]:
    """State as the file holds it: fp16, but for statistics."""
    state = {}
    for key, value in net.state_dict().items():
        exact = not value.is_floating_point() or any(part in key for part in KEPT_EXACT)
        state[key] = value.contiguous() if exact else value.contiguous().half()
    return state


def rounded(net: TalkingHead) -> TalkingHead:
    """The network as it will be loaded from its file."""
    other = TalkingHead(net.config)
    other.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in as_stored(net).items()})
    for_cpu(other).eval()
    return other


def save_network(net: nn.Module, folder: Path, name: str, card: dict[str, Any]) -> None:
    """Weights as fp16 safetensors, and the card with their sha256, each written whole or not at all."""
    state = as_stored(net)
    write_atomically(folder / f"{name}.safetensors", lambda part: save_file(state, part))
    write_card(card | {"stored_as": "fp16"}, folder, name)


def write_card(card: dict[str, Any], folder: Path, name: str) -> None:
    """Beside the network's file, whose sha256 it says."""
    card = card | {"sha256": sha256_of_file(folder / f"{name}.safetensors")}
    write_text(folder / f"{name}.json", json.dumps(card, indent=1, sort_keys=True) + "\n")
