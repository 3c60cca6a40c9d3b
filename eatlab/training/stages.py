"""`eatlab pretrain`: re-enactment, the polish of the renderer, then A2ET; every stage can be resumed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from data_recipes.puppets.recipe import prepare
from eatlab.atomic import sha256_of_file, write_atomically, write_json
from eatlab.backbone.sites import fingerprint
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead, for_cpu
from eatlab.data.shards import data_fingerprint
from eatlab.errors import ExitCode, UserError, refuse_unknown
from eatlab.experts.judges import Teachers
from eatlab.experts.perceptual import load_vgg19
from eatlab.meaning import meaning
from eatlab.training.origin import settle_origin
from eatlab.training.pretrain import RenderConfig, polish
from eatlab.training.render_stage import train_renderer
from eatlab.training.speech_stage import SpeechConfig, train_speech
from eatlab.zoo.folders import ZOO
from eatlab.zoo.networks import load_teachers

STAGES = ("render", "polish", "speech")
PARTS = ("acted/pretrain", "acted/train", "acted/val", "wild/train")
"""What is trained on, and the people that figures are of."""
GROUP = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What Lightning tells the processes of a group; one that goes on alone must not find it."""


@dataclass(frozen=True)
class PretrainHost:
    """Where it runs: work, data and teachers' folders ("" is the zoo), Lightning's accelerator."""

    folder: str = "runs/pretrain"
    data: str = "data/puppets"
    teachers: str = ""
    accelerator: str = "cpu"


@dataclass(frozen=True)
class PretrainConfig:
    """size: of the backbone.  puppets: preset of the corpus.

    perceptual: whose features the perceptual loss compares, "teacher" or the path of a user's VGG-19.

    stage: "all", or one of: "render" (keypoints, estimator, renderer), "polish" (the renderer alone),
    "speech" (A2ET). Each begins where the one before it ended.
    """

    size: str = "small"
    puppets: str = "small"
    stage: str = "all"
    perceptual: str = "teacher"
    render: RenderConfig = field(default_factory=RenderConfig)
    polish: RenderConfig = field(default_factory=polish)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    host: PretrainHost = field(default_factory=PretrainHost)


def run_pretrain(config: PretrainConfig) -> int:
    """Trains what is not trained yet; each stage leaves its files in the work folder."""
    if (head := pretrain(config)) is not None:
        print(f"stage {config.stage} done, weights {fingerprint(head)}: {config.host.folder}")
    return 0


def pretrain(config: PretrainConfig) -> TalkingHead | None:
    """The pretrained head, or None in a process that only helped to train it.

    Raises UserError for an unknown size or stage, a size without an estimator, a teacher under its gate, or a
    folder begun otherwise.
    """
    refuse_unknown("size", config.size, SIZES)
    if SIZES[config.size]().estimator is None:  # nothing would learn E of frames
        raise UserError(
            f"size {config.size} is not trained by `eatlab pretrain` on puppets",
            "the steps of its released stages are in eatlab/training/released.py",
            "take its weights by `eatlab import`, or say size=small",
        )
    if config.stage not in ("all", *STAGES):
        raise UserError(f"stage {config.stage!r} is unknown", f"there are: all, {', '.join(STAGES)}")
    folder, host = Path(config.host.folder), config.host
    wanted = STAGES if config.stage == "all" else (config.stage,)
    data = prepare(config.puppets, folder=Path(host.data))
    teachers = fit_teachers(Path(host.teachers) if host.teachers else ZOO)
    features = None if config.perceptual == "teacher" else load_vgg19(config.perceptual)
    torch.manual_seed(config.render.seed)
    head = TalkingHead(SIZES[config.size]())
    for_cpu(head)
    if "render" in wanted:
        settle_origin(folder / "render", origin(config, "render", data, teachers))
        train_renderer(head, teachers, data, folder / "render", config.render, host.accelerator, features)
        if not leave_group():
            return None
    if "polish" in wanted:
        load_renderer(head, folder / "render" / "average.safetensors", "render")
        settle_origin(folder / "polish", origin(config, "polish", data, teachers, head))
        train_renderer(head, teachers, data, folder / "polish", config.polish, host.accelerator, features)
        if not leave_group():
            return None
    if "speech" in wanted:
        load_renderer(head, folder / "polish" / "average.safetensors", "polish")
        settle_origin(folder / "speech", origin(config, "speech", data, teachers, head))
        figures = train_speech(head, teachers, data, folder / "speech", config.speech, features)
        write_json(folder / "speech" / "figures.json", figures)
        weights = {k: v.contiguous() for k, v in head.state_dict().items()}
        write_atomically(folder / "backbone.safetensors", lambda part: save_file(weights, part))
    return head.eval().requires_grad_(False)


def fit_teachers(folder: Path) -> Teachers:
    """Those of a zoo. Raises UserError for one under its gate."""
    teachers = load_teachers(folder)
    for name, why in teachers.below_gate().items():
        raise UserError(f"teacher_{name} must not be learned from", why, "train it anew with `make zoo`")
    return teachers


def origin(
    config: PretrainConfig, stage: str, data: Path, teachers: Teachers, start: TalkingHead | None = None
) -> dict[str, Any]:
    """All that decides what a stage becomes; start: the head of the stage before it."""
    features = config.perceptual
    return {
        "config": meaning(getattr(config, stage)),
        "size": config.size,
        "perceptual": features if features == "teacher" else sha256_of_file(Path(features)),
        "data": {part: data_fingerprint(data, *part.split("/")) for part in PARTS},
        "teachers": {name: teachers.cards[name]["sha256"] for name in heard(config, stage)},
        "start": fingerprint(start) if start is not None else "",
    }


def heard(config: PretrainConfig, stage: str) -> tuple[str, ...]:
    """Teachers that a stage's losses listen to; that of emotion only where it counts."""
    speech = stage == "speech"
    weights = config.speech.weights if speech else getattr(config, stage).reconstruction
    return ("face", *(("emotion",) if weights.emotion else ()), *(("sync",) if speech else ()))


def leave_group() -> bool:
    """Ends a group of processes, if there was one; True in the one that goes on alone."""
    goes_on = os.environ.get("LOCAL_RANK", "0") == "0"
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in GROUP:
        os.environ.pop(name, None)
    return goes_on


def load_renderer(head: TalkingHead, path: Path, stage: str) -> None:
    """Fills `head` from what a stage left. Raises UserError: 2 if it is absent, 4 if damaged."""
    remedy = f"run `eatlab pretrain stage={stage}` first"
    if not path.exists():
        raise UserError(f"{path} does not exist", do=remedy)
    try:
        head.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{path} is damaged", str(error), remedy, code=ExitCode.DATA_DAMAGED) from error
