"""Loads the networks of a folder: backbone, judges, teachers; each file has a card beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from eatlab.backbone.sites import fingerprint
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead, for_cpu
from eatlab.errors import ExitCode, UserError
from eatlab.experts import emotion, landmarks, perceptual, sync
from eatlab.experts.judges import Judges, Teachers
from eatlab.zoo.folders import ZOO, remedy


def read_card(name: str, folder: Path = ZOO) -> dict[str, Any]:
    """The card of a network. Raises UserError if it is absent or no JSON."""
    path = folder / f"{name}.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist", do=remedy(folder)) from error
    except ValueError as error:
        raise damaged(path, "is damaged", str(error)) from error


def damaged(path: Path, what: str, there: str) -> UserError:
    """The mistake of a file that is not what it was, with what mends its folder."""
    return UserError(f"{path} {what}", there, remedy(path.parent), code=ExitCode.DATA_DAMAGED)


def load_network(net: nn.Module, name: str, folder: Path = ZOO) -> dict[str, Any]:
    """Fills `net` (as fp32, eval, frozen) and returns its card.

    Raises UserError if the file is absent, damaged, or other than its card says.
    """
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise UserError(f"{path} does not exist", do=remedy(folder))
    card = read_card(name, folder)
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["sha256"]:
        raise damaged(path, "is not the file its card describes", "sha256 differs")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise damaged(path, "is damaged", str(error)) from error
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    for_cpu(net).eval().requires_grad_(False)
    return card


def load_backbone(name: str = "backbone_small", folder: Path = ZOO) -> TalkingHead:
    """The pretrained talking head, frozen."""
    size = read_card(name, folder)["size"]
    head = TalkingHead(SIZES[size]())
    load_network(head, name, folder)
    return head


def load_judges(folder: Path = ZOO) -> Judges:
    """Networks that only measure."""
    nets = {"emotion": emotion.judge(), "landmarks": landmarks.LandmarkJudge(), "sync": sync.judge()}
    cards = {name: load_network(net, f"judge_{name}", folder) for name, net in nets.items()}
    return Judges(nets["emotion"], nets["landmarks"], nets["sync"], cards)  # type: ignore[arg-type]


def load_teachers(folder: Path = ZOO) -> Teachers:
    """Networks that may stand in losses."""
    nets = {"face": perceptual.FaceTeacher(), "emotion": emotion.teacher(), "sync": sync.teacher()}
    cards = {name: load_network(net, f"teacher_{name}", folder) for name, net in nets.items()}
    return Teachers(nets["face"], nets["emotion"], nets["sync"], cards)  # type: ignore[arg-type]


def backbone_fingerprint(folder: Path = ZOO) -> str:
    """16 hex digits of the zoo's backbone."""
    return fingerprint(load_backbone(folder=folder))
