"""The talking head: portrait, speech, head pose → frames; composes the backbone's networks (EAT, Fig. 2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import tee
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eatlab.backbone.a2et import A2ET, Batch
from eatlab.backbone.clip import Driving, Frames, Padding, Speech
from eatlab.backbone.keypoints import compose
from eatlab.backbone.motion import Motion, clip_shift
from eatlab.backbone.picture import refuse_size
from eatlab.backbone.precision import drawing, exactly
from eatlab.backbone.published.hull import hull_volume
from eatlab.backbone.renderer import Drawn
from eatlab.backbone.sites import FROZEN, Backbone, Context, sha256_of
from eatlab.backbone.sizes import BackboneConfig, build_part
from eatlab.errors import UserError


class Portrait(NamedTuple):
    """Everything of the source picture, b rows.

    canonical keypoints (b, 15, 3); face_map (b, 15 · depth, side, side), the detector's logits;
    expression (b, 15, 3); keypoints (b, 15, 3) in the source's pose; appearance: what the renderer keeps;
    hull (b,): what E from speech is multiplied by.
    """

    canonical: Tensor
    face_map: Tensor
    expression: Tensor
    keypoints: Tensor
    appearance: Any
    hull: Tensor

    def rows(self, index: Tensor) -> Portrait:
        """The portrait of each frame: index (n,) → n rows."""
        appearance = type(self.appearance)(*(x[index] for x in self.appearance))
        canonical, face_map, expression, keypoints = (x[index] for x in self[:4])
        return Portrait(canonical, face_map, expression, keypoints, appearance, self.hull[index])


class TalkingHead(Backbone):
    """K = s R Kc + t + E (EAT, Eq. 1); E from speech by A2ET, or from a frame by the estimator.

    Pictures are (b, 3, size, size) in -1..1. No adapter may change what E and Kc mean, so FIXED names both.
    """

    FIXED = ("keypoints.", "estimator.")

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.read_by_sha256 = ""
        self.keypoints = build_part(config.detector, config)
        self.estimator: Any = None if config.estimator is None else build_part(config.estimator, config)
        self.a2et, self.renderer = A2ET(config.a2et), build_part(config.renderer, config)
        self.name_places()

    def portrait(
        self, image: Tensor, pose: Tensor, context: Context = FROZEN, *, expression: Tensor | None = None
    ) -> Portrait:
        """image (b, 3, size, size), its pose (b, 7). Once a portrait, never once a frame.

        expression (b, 15, 3): what the estimator says of the image; None: it is asked.
        Raises UserError for pictures of another size.
        """
        canonical, face_map, hull = self.face(image)
        image = image.contiguous(memory_format=torch.channels_last)
        expression = self.estimate(image)[0] if expression is None else expression
        keypoints = self.compose(canonical, pose, expression)
        found = self.renderer.encode(image, context)
        return Portrait(canonical, face_map, expression, keypoints, found, hull)

    def face(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """image (b, 3, size, size) → what A2ET knows of a portrait: canonical, face_map, hull of `Portrait`.

        Raises UserError for pictures of another size.
        """
        refuse_size(image, self.config.size, f'the backbone "{self.config.name}"')
        canonical, logits = self.keypoints(image.contiguous(memory_format=torch.channels_last))
        hull = hull_volume(canonical) if self.config.scales_by_hull else torch.ones_like(canonical[:, 0, 0])
        return canonical, logits.flatten(1, 2), hull

    def compose(self, canonical: Tensor, pose: Tensor, expression: Tensor) -> Tensor:
        """K = s R Kc + t + E (Eq. 1) in this backbone's pose convention; shapes as `keypoints.compose`."""
        return compose(canonical, pose, expression, convention=self.config.pose)

    def read_by(self, estimator: nn.Module) -> TalkingHead:
        """Lets a network beside the head read E and pose from frames, as in the release (eat-networks.md 7).

        It is no part of the head: state dict, fingerprint and adapter files stay as they are. What is made of
        frames depends on it; `read_by_sha256` tells.
        """
        self.estimator = estimator.requires_grad_(False).eval().forward  # a method is no submodule
        self.read_by_sha256 = sha256_of(estimator)
        return self

    def estimate(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Frames → E (b, 15, 3), pose (b, 7)."""
        if self.estimator is None:
            raise UserError(
                f'the backbone "{self.config.name}" reads no E and pose from frames',
                do="give what its estimator says of them",
            )
        refuse_size(image, self.config.size, f'the backbone "{self.config.name}"')
        return self.estimator(image.contiguous(memory_format=torch.channels_last))

    def speak(self, batch: Batch, context: Context = FROZEN) -> Tensor:
        """Windows of speech, poses and face maps (see A2ET) → E (clips, frames, 15, 3).

        Where E is scaled by hulls, batch also has hull (clips,).
        Differs: Eq. 8 has E = PE U^T + M; the release multiplies it, and the EDN's ΔE, by the hull.
        """
        return self.scaled(self.a2et(batch, context), batch.get("hull"))

    def scaled(self, expression: Tensor, hull: Tensor | None) -> Tensor:
        """What A2ET says, (clips, frames, 15, 3), with hull (clips,) → E."""
        if not self.config.scales_by_hull:
            return expression
        if hull is None:
            raise ValueError(f'the backbone "{self.config.name}" scales E by the hull, which was not given')
        return expression * hull[:, None, None, None]

    def draw(self, portrait: Portrait, expression: Tensor, pose: Tensor, context: Context = FROZEN) -> Drawn:
        """portrait: a row for each frame; expression (n, 15, 3), pose (n, 7)."""
        driving = self.compose(portrait.canonical, pose, expression)
        return self.draw_at(portrait, driving, expression, context)

    def draw_at(
        self, portrait: Portrait, driving: Tensor, expression: Tensor, context: Context = FROZEN
    ) -> Drawn:
        """`draw` with the driving keypoints (n, 15, 3) given."""
        keypoints, expressions = (portrait.keypoints, driving), (portrait.expression, expression)
        return self.renderer(portrait.appearance, keypoints, expressions, context)

    def render(
        self, portrait: Portrait, expression: Tensor, pose: Tensor, context: Context = FROZEN
    ) -> Tensor:
        """The frames of `draw`: (n, 3, size, size) in -1..1."""
        return self.draw(portrait, expression, pose, context).image


@torch.no_grad()
def animate(
    head: TalkingHead,
    portrait: Portrait,
    speech: Speech,
    driving: Driving,
    padding: Padding,
    context: Context = FROZEN,
    *,
    motion: Motion = clip_shift,
    heard_at_once: int = 5,
    drawn_at_once: int = 1,
    precision: str = "fp32",
) -> Iterator[Tensor]:
    """The released inference of one clip (steps of eat-networks.md 14) → frames (n, 3, size, size).

    Frames are in -1..1. portrait: one row, made with the same context (step 3), which holds the guidance
    tokens (step 4). motion: `clip_shift` (demo, MEAD), `relative_to_first` (LRW) or `streaming_shift`.
    precision: "fp32", or "bf16" for what is drawn; keypoints and E are always fp32.
    Raises UserError for more than one portrait or row of the context: clips are animated one by one.
    Memory does not grow with the clip, but for its inputs and keypoints. How many frames are heard and drawn
    at once does not change them: on a CPU one at a time is drawn fastest, a GPU wants more.
    """
    refuse_several(portrait, context)
    device = portrait.canonical.device
    with exactly(device):
        clip = Frames.of(head.a2et, speech, driving, padding, context)  # steps 1 and 2
        face = head.a2et.adapted_face(portrait.face_map, context)
        context = context.with_portrait(face).settled()  # what sees no frame is computed once a clip

    def spoken() -> Iterator[tuple[Tensor, Tensor]]:
        for frames in torch.arange(len(clip.pose), device=device).split(heard_at_once):
            batch = clip.windows(frames) | {"face": face, "hull": portrait.hull}
            canonical = portrait.canonical.expand(len(frames), -1, -1)
            with exactly(device):
                expression = head.speak(batch, context)[0]  # steps 5 and 6: E = (PE U^T + M + ΔE) · hull
                keypoints = head.compose(canonical, clip.pose[frames], expression)  # step 7: Eq. 1
            yield expression, keypoints

    expressions, driven = tee(spoken())
    moved = motion((keypoints for _, keypoints in driven), portrait.keypoints[0])  # step 8
    for (expression, _), keypoints in zip(expressions, moved, strict=True):
        for e, k in zip(expression.split(drawn_at_once), keypoints.split(drawn_at_once), strict=True):
            rows = portrait.rows(torch.zeros(len(k), dtype=torch.long, device=k.device))
            with drawing(precision, k.device):
                image = head.draw_at(rows, k, e, context).image  # step 9
            yield image


def refuse_several(portrait: Portrait, context: Context) -> None:
    """Raises UserError unless there is one portrait, and one row of shares and guidance."""
    rows = {"portraits": portrait.canonical, "emotions": context.mix, "rows of guidance": context.guidance}
    for what, value in rows.items():
        if value is not None and len(value) != 1:
            raise UserError(f"a clip with {len(value)} {what}", do="animate clips one by one")


def for_cpu(module: nn.Module) -> nn.Module:
    """Channels-last 2-d weights: a CPU's training step in bf16 takes half the time; values stay."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            m.to(memory_format=torch.channels_last)
    return module


def compile_drawing(head: TalkingHead, backend: str = "inductor") -> TalkingHead:
    """torch.compile of what runs once a frame, in place; the state dict keeps its keys."""
    head.renderer.compile(backend=backend, dynamic=False)
    return head
