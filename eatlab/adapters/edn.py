"""Emotional Deformation Network: ΔE from portrait and emotion, beside A2ET (EAT, Sec. 3.2, Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eatlab.adapters.attachments import Adapter, Features
from eatlab.backbone.residual_down import FaceToken, ResidualDown
from eatlab.backbone.sites import FROZEN, Backbone, Context, Linear, OfClip
from eatlab.backbone.transformer import Stack
from eatlab.errors import refuse_unknown


@dataclass(frozen=True)
class EDNConfig:
    """init: "encoder" (A2ET's own weights) or "random" (Table 8).

    start: the head's; "zero" (ΔE = 0) or "random".
    Differs: the release starts at random; zero starts as the frozen model.
    """

    init: str = "encoder"
    start: str = "zero"

    def __post_init__(self) -> None:
        refuse_unknown("init of edn", self.init, ("encoder", "random"))
        refuse_unknown("start of edn", self.start, ("zero", "random"))


class EDN(Adapter):
    """E' = E + ΔE(face, e0, e1 …) (Eq. 2); ΔE is one row a clip, in the units of the PCA's E.

    Differs: Eq. 2 has ΔE_i of each frame; the release's, and ours, is constant over a clip. Where the hull
    scales E, it scales ΔE too.
    """

    source = "EAT, Sec. 3.2, Eq. 2"
    formula = "A2ET's encoder and face token again, a head, and the emotion mapper of 1 + layers tokens"

    def __init__(self, backbone: Backbone, config: EDNConfig) -> None:
        super().__init__()
        self.starts_exact = config.start == "zero"
        a2et: Any = backbone.a2et
        c = a2et.config
        self.guidance_tokens = 1 + c.layers
        self.face, self.encoder = FaceToken((c.face_channels, *c.face[1:])), Stack(c)
        self.head = Linear(c.width, 3 * c.keypoints)
        if config.init == "encoder":
            copy_face_token(a2et.face_token, self.face)
            self.encoder.load_state_dict(a2et.encoder.state_dict())
        if config.start == "zero":
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def attachments(self) -> list[Features]:
        return [Features("a2et.expression", OfClip(self.deformation))]

    def deformation(self, context: Context) -> Tensor:
        """ΔE (clips, 45). Nothing adapts the adapter's own layers: they run frozen of any plan."""
        assert context.guidance is not None
        assert context.portrait is not None
        face = self.face(context.portrait, FROZEN)[:, None]
        tokens = torch.cat([face, context.guidance], 1)
        return self.head(self.encoder(tokens, FROZEN)[:, 1:].mean(1))


@torch.no_grad()
def copy_face_token(source: FaceToken, own: FaceToken) -> None:
    """A2ET's face-token weights; of its first block the face's channels, which are the last ones it reads."""
    copy_last_channels(source[0], own[0])  # type: ignore[arg-type]
    for theirs, ours in list(zip(source, own, strict=True))[1:]:
        ours.load_state_dict(theirs.state_dict())


def copy_last_channels(source: ResidualDown, own: ResidualDown) -> None:
    """What both blocks have; input channels are taken from the end (eat-networks.md 3)."""
    theirs = source.state_dict()
    for key, ours in own.state_dict().items():
        value = theirs[key]
        for dim, count in enumerate(ours.shape[:2]):
            value = value.narrow(dim, value.shape[dim] - count, count)
        ours.copy_(value)
