"""The transformer of A2ET and EDN: attention, post-norm layers, stacks with token sites (Supp. A)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eatlab.backbone.sites import Context, LayerNorm, Linear, Site
from eatlab.backbone.sizes import A2ETConfig


class Attention(nn.Module):
    """Multi-head attention with own q, k, v, out; x (batch, queries, width), memory (batch, keys, width).

    Sites stand after the projections of keys and values, where rows may be appended, and after `out`.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.out = (Linear(width, width) for _ in range(4))
        self.keys, self.values, self.result = (Site("rows", width) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor, context: Context) -> Tensor:
        """→ (batch, queries, width)."""
        keys, values = (
            self.keys(self.k(memory, context), context),
            self.values(self.v(memory, context), context),
        )
        each = (self.q(x, context), keys, values)
        q, k, v = (rows.unflatten(-1, (self.heads, -1)).transpose(1, 2) for rows in each)
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.result(self.out(attended.transpose(1, 2).flatten(2), context), context)


class Layer(nn.Module):
    """Post-norm transformer layer; with `cross`, it attends to `memory` too."""

    def __init__(
        self, width: int, heads: int, hidden: int, cross: bool = False, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, dropout)
        self.cross_attn = Attention(width, heads, dropout) if cross else None
        self.linear1, self.linear2 = Linear(width, hidden), Linear(hidden, width)
        self.fed = Site("rows", width)
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.norm3 = LayerNorm(width) if cross else None
        # Without dropout nothing is drawn, so the process's randomness stays where it was.
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor, context: Context, memory: Tensor | None = None) -> Tensor:
        """x (batch, length, width) → the same shape."""
        x = self.norm1(x + self.drop(self.self_attn(x, x, context)), context)
        if self.cross_attn is not None:
            x = self.norm2(x + self.drop(self.cross_attn(x, memory, context)), context)
        last = self.norm2 if self.norm3 is None else self.norm3
        hidden = self.drop(F.relu(self.linear1(x, context)))
        return last(x + self.drop(self.fed(self.linear2(hidden, context), context)), context)


class Stack(nn.Module):
    """Layers with a token site before each; positions are added once, after the first site.

    The decoder (`cross`) ends in a norm.
    """

    def __init__(self, config: A2ETConfig, cross: bool = False) -> None:
        super().__init__()
        c = config
        self.before = nn.ModuleList(Site("tokens", c.width) for _ in range(c.layers))
        self.layers = nn.ModuleList(
            Layer(c.width, c.heads, c.hidden, cross, dropout=c.dropout) for _ in range(c.layers)
        )
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


def split_in_proj(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """Torch's attention keys → ours: `in_proj_weight|bias` (3·width rows) → q, k, v; `out_proj` → out."""
    ours = {key.replace("out_proj", "out"): value for key, value in released.items() if "in_proj_" not in key}
    for key, value in released.items():
        if "in_proj_" in key:
            parts = zip("qkv", value.chunk(3), strict=True)
            ours |= {key.replace("in_proj_", f"{name}."): part for name, part in parts}
    return ours
