"""Loads the zoo's networks: the backbone at `small`, the judges, the teachers; each file has a card beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from eatlab.backbone.sites import fingerprint
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead, for_cpu
from eatlab.errors import ExitCode, UserError
from eatlab.experts import emotion, landmarks, perceptual, sync
from eatlab.experts.judges import Judges, Teachers

ZOO = Path(__file__).parent
KEPT_EXACT = ("pca.", "_scale.")
"""Statistics that stay fp32; weights are stored as fp16."""


def save_network(net: nn.Module, folder: Path, name: str, card: dict[str, Any]) -> None:
    """Weights as fp16 safetensors, and the card with their sha256, written whole or not at all."""
    from eatlab.training.atomic import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for key, value in net.state_dict().items():
        exact = not value.is_floating_point() or any(part in key for part in KEPT_EXACT)
        state[key] = value.contiguous() if exact else value.contiguous().half()
    path = folder / f"{name}.safetensors"
    write_atomically(path, lambda temporary: save_file(state, temporary))
    card = card | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "stored_as": "fp16"}
    text = json.dumps(card, indent=1, sort_keys=True) + "\n"
    write_atomically(folder / f"{name}.json", lambda temporary: Path(temporary).write_text(text))


def read_card(name: str, folder: Path = ZOO) -> dict[str, Any]:
    """The card of a network."""
    return json.loads((folder / f"{name}.json").read_text())


def load_network(net: nn.Module, name: str, folder: Path = ZOO) -> dict[str, Any]:
    """Fills `net` (as fp32, eval, frozen) and returns its card.

    Raises UserError if the file is absent, damaged, or other than its card says.
    """
    path = folder / f"{name}.safetensors"
    remedy = "restore it with git, or train it anew with `make zoo`"
    if not path.exists():
        raise UserError(f"{path} does not exist", do=remedy)
    card = read_card(name, folder)
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["sha256"]:
        raise UserError(
            f"{path} is not the file its card describes", "sha256 differs", remedy, code=ExitCode.DATA_DAMAGED
        )
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged", str(error), remedy, code=ExitCode.DATA_DAMAGED) from error
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


def cast_like_stored(net: nn.Module) -> None:
    """Rounds a network to what its file will hold, so that figures measured now are those of the loaded file."""
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.is_floating_point() and not any(part in key for part in KEPT_EXACT):
                value.copy_(value.half().float())
