"""Audio-to-Expression Transformer: speech, pose, portrait → E (EAT, Sec. 3.1.2, Supp. A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eatlab.backbone.expression import ExpressionPCA
from eatlab.backbone.pose import CONVENTIONS, POSE_VECTOR
from eatlab.backbone.residual_down import FaceToken
from eatlab.backbone.sites import FROZEN, Backbone, Context, Linear, Site
from eatlab.backbone.sizes import A2ETConfig, build_part
from eatlab.backbone.transformer import Stack

CENTRE = 5
"""The token of a window's centre frame; prompts are appended, so it never moves."""
Batch = dict[str, Tensor]


class Standardise(nn.Module):
    """(x - mean) / deviation, learned once from data by `fit`; `shape` is that of the statistics."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """From (n, *shape)."""
        self.mean.copy_(x.float().mean(0))
        self.deviation.copy_(x.float().std(0) + 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Within ±6 deviations."""
        return ((x.float() - self.mean) / self.deviation).clamp(-6, 6)


class Unscaled(nn.Module):
    """In the place of Standardise where inputs are taken as they are, as in the release."""

    def __init__(self, *shape: int) -> None:
        super().__init__()

    def fit(self, x: Tensor) -> None:
        """Learns nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


class A2ET(Backbone):
    """Windows of speech, centre poses and the portrait's face map → expression deformations.

    batch: mel (clips, frames, 11, 80), speech (clips, frames, 11, …: a frame's features), pose
    (clips, frames, 7), face_map (clips, channels, side, side); pictures (clips, frames, 11, 64, 64) where the
    speech part reads pose pictures.  What was computed before may stand in their place: tokens
    (clips, frames, 11, width), see `frame_tokens`; face, see `adapted_face`.

    Result: E (clips, frames, 15, 3).
    """

    PREFIX = ("acoustic", "speech", "pose", "face_shrink")

    def __init__(self, config: A2ETConfig) -> None:
        super().__init__()
        c = self.config = config
        scale: type[Standardise] | type[Unscaled] = Standardise if c.standardises else Unscaled
        self.mel_scale, self.speech_scale = scale(c.mel), scale(*c.speech.statistics)
        self.pose_scale, self.face_scale = scale(POSE_VECTOR), scale(c.face_map, 1, 1)
        self.pose_vector = CONVENTIONS[c.pose].vector
        self.acoustic = build_part(c.acoustic, c)
        self.speech, self.pose = build_part(c.speech, c), Linear(POSE_VECTOR, c.width)
        self.face_shrink, self.face = Linear(c.face_map, c.face_channels), Site("features", c.face_channels)
        self.face_token = FaceToken(c.face)
        self.encoder, self.decoder = Stack(c), Stack(c, cross=True)
        self.coefficients = Linear(c.width, c.coefficients)
        self.pca = ExpressionPCA(c.coefficients, c.keypoints)
        self.expression = Site("features", 3 * c.keypoints)
        self.name_places()

    def frame_tokens(self, speech: Tensor, pictures: Tensor | None, context: Context = FROZEN) -> Tensor:
        """Each frame alone: speech (n, frames, …), pictures (n, frames, 64, 64) or None → (n, frames, width).

        A frame stands in eleven windows; encoding it once and gathering windows of tokens gives the same.
        """
        return self.speech.encode(self.speech_scale(speech), pictures, context)

    def prefix(self, batch: Batch, context: Context = FROZEN) -> Batch:
        """What no emotion touches unless a plan reaches into PREFIX; several adapter sets can share it.

        → speech tokens (clips·frames, 12, width); acoustic (clips·frames, 11, …), what is heard;
        pose (clips·frames, 1, width); shrunk (clips, channels, side, side), or face where it was given.
        """
        pose = self.pose(self.pose_scale(self.pose_vector(batch["pose"].flatten(0, 1))), context)[:, None]
        speech = self.window_tokens(batch, context)
        heard = self.acoustic(self.mel_scale(batch["mel"].flatten(0, 1)), context)
        found = {"speech": torch.cat([speech, pose], 1), "acoustic": heard, "pose": pose}
        if "face" in batch:
            return found | {"face": batch["face"]}
        return found | {"shrunk": self.shrunk(batch["face_map"], context)}

    def shrunk(self, face_map: Tensor, context: Context) -> Tensor:
        """The detector's logits (clips, 15 · depth, side, side) → (clips, channels, side, side)."""
        x = self.face_shrink(self.face_scale(face_map).permute(0, 2, 3, 1), context)
        return x.permute(0, 3, 1, 2)

    def adapted_face(self, face_map: Tensor, context: Context = FROZEN) -> Tensor:
        """The face map as the plan adapts it, (clips, channels, side, side): once a clip."""
        return self.face(self.shrunk(face_map, context), context)

    def window_tokens(self, batch: Batch, context: Context) -> Tensor:
        """(clips·frames, 11, width), given or encoded."""
        if "tokens" in batch:
            return batch["tokens"].flatten(0, 1)
        pictures = batch["pictures"].flatten(0, 1) if "pictures" in batch else None
        return self.frame_tokens(batch["speech"].flatten(0, 1), pictures, context)

    def suffix(self, prefix: Batch, context: Context = FROZEN) -> Tensor:
        """The transformer, the PCA head, and what a plan puts at `expression` → (clips, frames, 15, 3).

        Differs: Sec. 3.1.2 gives the pose token to the encoder; the release gives it to the decoder too.
        """
        face = prefix["face"] if "face" in prefix else self.face(prefix["shrunk"], context)
        context = context.with_portrait(face)
        memory = self.encoder(prefix["speech"], context)
        tokens = self.acoustic.join(prefix["acoustic"], prefix["pose"], face, self.face_token, context)
        centre = self.decoder(tokens, context, memory)[:, CENTRE]
        offsets = self.expression(self.pca(self.coefficients(centre, context)), context)
        return offsets.unflatten(0, (len(face), -1)).unflatten(-1, (-1, 3))

    def forward(self, batch: Batch, context: Context = FROZEN) -> Tensor:
        """→ E (clips, frames, 15, 3)."""
        return self.suffix(self.prefix(batch, context), context)
