"""The two sets of experts, which never mix: judges only measure, teachers may stand in losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from eatlab.experts.emotion import EmotionExpert
from eatlab.experts.landmarks import LandmarkJudge
from eatlab.experts.perceptual import FaceTeacher
from eatlab.experts.sync import SyncExpert, mouth_crops


@dataclass(frozen=True)
class Judges:
    """Independent networks that only measure.

    Images are (n, 3, 96, 96) in -1..1. cards: name → recipe, held-out figures, gate.
    """

    emotion_net: EmotionExpert
    landmark_net: LandmarkJudge
    sync: SyncExpert
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)

    @torch.no_grad()
    def emotion(self, images: Tensor) -> Tensor:
        """(n, 8) log-probabilities."""
        return self.emotion_net(images).float().log_softmax(1)

    @torch.no_grad()
    def landmarks(self, images: Tensor) -> Tensor:
        """(n, 68, 2) pixels."""
        return self.landmark_net(images)

    @staticmethod
    def mouth_crops(images: Tensor, landmarks: Tensor) -> Tensor:
        """(n, 40, 40) grey mouths for `sync.video`."""
        return mouth_crops(images, landmarks)

    def below_gate(self) -> dict[str, str]:
        """Judges that must not be used: name → why."""
        return below_gate(self.cards)


@dataclass(frozen=True)
class Teachers:
    """Networks for losses: features, landmarks and action units of faces; emotion; sync."""

    face: FaceTeacher
    emotion: EmotionExpert
    sync: SyncExpert
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)

    def below_gate(self) -> dict[str, str]:
        """Teachers that must not be learned from: name → why."""
        return below_gate(self.cards)


def below_gate(cards: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Of experts, name → card, those under their gate: name → why."""
    return {name: reason for name, card in cards.items() if (reason := failed_gate(card))}


def failed_gate(card: dict[str, Any]) -> str:
    """Why an expert is under its gate, or "" if it may be used; a gate is {figure: [">=" or "<=", bound]}."""
    for figure, (sense, bound) in card.get("gate", {}).items():
        value = card["held_out"][figure]
        if not (value >= bound if sense == ">=" else value <= bound):
            return f"{figure} is {value:.3f}; the gate is {sense} {bound}"
    return ""
