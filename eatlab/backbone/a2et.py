"""Audio-to-Expression Transformer: speech, pose, portrait → E (EAT, Sec. 3.1.2, Supp. A)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eatlab.backbone.audio import AcousticEncoder
from eatlab.backbone.expression import ExpressionPCA
from eatlab.backbone.pose import POSE_VECTOR, pose_vector
from eatlab.backbone.sites import (
    FROZEN,
    Backbone,
    BatchNorm2d,
    Context,
    Conv2d,
    LayerNorm,
    Linear,
    Site,
    spread,
)
from eatlab.backbone.sizes import A2ETConfig

CENTRE = 5
"""The token of a window's centre frame; prompts are appended, so it never moves."""
Batch = dict[str, Tensor]


class Attention(nn.Module):
    """Multi-head attention with own q, k, v, out; x (batch, queries, width), memory (batch, keys, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, context: Context) -> Tensor:
        """→ (batch, queries, width)."""
        projections = ((self.q, x), (self.k, memory), (self.v, memory))
        q, k, v = (op(t, context).unflatten(-1, (self.heads, -1)).transpose(1, 2) for op, t in projections)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), context)


class Layer(nn.Module):
    """Post-norm transformer layer; with `cross`, it attends to `memory` too."""

    def __init__(self, width: int, heads: int, hidden: int, cross: bool = False) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = Attention(width, heads), Attention(width, heads) if cross else None
        self.linear1, self.linear2 = Linear(width, hidden), Linear(hidden, width)
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.norm3 = LayerNorm(width) if cross else None

    def forward(self, x: Tensor, context: Context, memory: Tensor | None = None) -> Tensor:
        """x (batch, length, width) → the same shape."""
        x = self.norm1(x + self.self_attn(x, x, context), context)
        if self.cross_attn is not None:
            x = self.norm2(x + self.cross_attn(x, memory, context), context)
        last = self.norm2 if self.norm3 is None else self.norm3
        return last(x + self.linear2(F.relu(self.linear1(x, context)), context), context)


class Stack(nn.Module):
    """Layers with a token site before each; positions are added once, after the first site.

    The decoder (`cross`) ends in a norm.
    """

    def __init__(self, config: A2ETConfig, cross: bool = False) -> None:
        super().__init__()
        c = config
        self.before = nn.ModuleList(Site("tokens", c.width) for _ in range(c.layers))
        self.layers = nn.ModuleList(Layer(c.width, c.heads, c.hidden, cross) for _ in range(c.layers))
        self.norm = LayerNorm(c.width) if cross else None
        self.checkpointing = c.checkpointing

    def forward(self, x: Tensor, context: Context, memory: Tensor | None = None) -> Tensor:
        """x (batch, length, width) → (batch, length + prompts that stay, width)."""
        for index, (site, layer) in enumerate(zip(self.before, self.layers, strict=True)):
            x = site(x, context)
            x = x if index else x + positions(x)
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, context, memory, use_reentrant=False)
            else:
                x = layer(x, context, memory)
        return x if self.norm is None else self.norm(x, context)


def positions(x: Tensor) -> Tensor:
    """Sinusoid rows (length, width) for x: (batch, length, width)."""
    rate = torch.exp(torch.arange(0, x.shape[-1], 2, device=x.device) * (-math.log(10000.0) / x.shape[-1]))
    angle = torch.arange(x.shape[1], device=x.device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(x.dtype)


def split_in_proj(released: Batch) -> Batch:
    """Torch's attention keys → ours: `in_proj_weight|bias` (3·width rows) → q, k, v; `out_proj` → out."""
    ours = {key.replace("out_proj", "out"): value for key, value in released.items() if "in_proj_" not in key}
    for key, value in released.items():
        if "in_proj_" in key:
            parts = zip("qkv", value.chunk(3), strict=True)
            ours |= {key.replace("in_proj_", f"{name}."): part for name, part in parts}
    return ours


class ResidualDown(nn.Module):
    """(Norm, LReLU, conv) twice plus a shortcut, halved: (batch, cin, h, w) → (batch, cout, h/2, w/2)."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        middle = min(cin, cout)
        self.norms = nn.ModuleList([BatchNorm2d(cin), BatchNorm2d(middle)])
        self.convs = nn.ModuleList([Conv2d(cin, middle, 3, padding=1), Conv2d(middle, cout, 3, padding=1)])
        self.shortcut = nn.ModuleList([BatchNorm2d(cin), Conv2d(cin, cout, 1)] if cin != cout else [])

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """eat-networks.md 1, "Residual-down block"."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.leaky_relu(norm(y, context), 0.2), context)
        for op in self.shortcut:
            x = op(x, context)
        return F.avg_pool2d(x + y, 2)


class FaceToken(nn.ModuleList):
    """Face map (batch, channels, h, w) → one token (batch, width)."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__(ResidualDown(a, b) for a, b in pairwise(channels))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Halved by each block, then averaged."""
        for block in self:
            x = block(x, context)
        return x.mean((2, 3))


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


class A2ET(Backbone):
    """Windows of speech, centre poses and the portrait's face map → expression deformations.

    batch: mel (clips, frames, 11, 80), speech (clips, frames, 11, 64), pose (clips, frames, 7),
    face_map (clips, 30, side, side).  Result: E (clips, frames, 15, 3).
    """

    PREFIX = ("acoustic", "speech", "pose", "face_shrink")

    def __init__(self, config: A2ETConfig) -> None:
        super().__init__()
        c = self.config = config
        self.mel_scale, self.speech_scale = Standardise(c.mel), Standardise(c.speech)
        self.pose_scale, self.face_scale = Standardise(POSE_VECTOR), Standardise(c.face_map, 1, 1)
        self.acoustic = AcousticEncoder(c.acoustic, c.width)
        self.speech, self.pose = Linear(c.speech, c.width), Linear(POSE_VECTOR, c.width)
        self.face_shrink, self.face = Linear(c.face_map, c.face[0]), Site("features", c.face[0])
        self.face_token = FaceToken(c.face)
        self.encoder, self.decoder = Stack(c), Stack(c, cross=True)
        self.coefficients = Linear(c.width, c.coefficients)
        self.pca = ExpressionPCA(c.coefficients, c.keypoints)
        self.expression = Site("features", 3 * c.keypoints)
        self.name_places()

    def prefix(self, batch: Batch, context: Context = FROZEN) -> Batch:
        """What no emotion touches unless a plan reaches into PREFIX; several adapter sets can share it.

        → speech and acoustic tokens (clips·frames, 12, width), face (clips, channels, side, side).
        """
        pose = self.pose(self.pose_scale(pose_vector(batch["pose"].flatten(0, 1))), context)[:, None]
        speech = self.speech(self.speech_scale(batch["speech"].flatten(0, 1)), context)
        acoustic = self.acoustic(self.mel_scale(batch["mel"].flatten(0, 1)), context)
        face = self.face_shrink(self.face_scale(batch["face_map"]).permute(0, 2, 3, 1), context)
        return {
            "speech": torch.cat([speech, pose], 1),
            "acoustic": torch.cat([acoustic, pose], 1),
            "face": face.permute(0, 3, 1, 2),
        }

    def suffix(self, prefix: Batch, context: Context = FROZEN) -> Tensor:
        """The transformer, the PCA head, and what a plan puts at `expression` → (clips, frames, 15, 3)."""
        face = self.face(prefix["face"], context)
        context = context.with_portrait(face)
        memory = self.encoder(prefix["speech"], context)
        token = spread(self.face_token(face, context), len(memory))
        centre = self.decoder(prefix["acoustic"] + token[:, None], context, memory)[:, CENTRE]
        offsets = self.expression(self.pca(self.coefficients(centre, context)), context)
        return offsets.unflatten(0, (len(face), -1)).unflatten(-1, (-1, 3))

    def forward(self, batch: Batch, context: Context = FROZEN) -> Tensor:
        """→ E (clips, frames, 15, 3)."""
        return self.suffix(self.prefix(batch, context), context)
