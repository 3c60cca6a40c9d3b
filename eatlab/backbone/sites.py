"""Where adapters may act: sites, operators, and the immutable Context that carries emotion and plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.backbone.precision import exactly


@dataclass(frozen=True)
class Context:
    """What one forward pass is told; tensors have one row a clip.

    mix: (clips, 8) emotion shares, rows sum to 1; guidance: (clips, tokens, width); portrait: face map.
    plan: place → functions. Empty: the frozen backbone.
    """

    mix: Tensor | None = None
    guidance: Tensor | None = None
    portrait: Tensor | None = None
    plan: Mapping[str, tuple[Callable[..., Any], ...]] = field(default_factory=dict)

    def at(self, place: str) -> tuple[Callable[..., Any], ...]:
        """The functions of the plan at a place, in order."""
        return self.plan.get(place, ())

    def with_portrait(self, portrait: Tensor) -> Context:
        """The same context that also knows the adapted face map (clips, channels, h, w)."""
        return replace(self, portrait=portrait)

    def settled(self) -> Context:
        """The same with every `OfClip` of its plan evaluated: once a clip, not once a chunk of frames."""
        plan = {
            place: tuple(f.settled(self) if isinstance(f, OfClip) else f for f in functions)
            for place, functions in self.plan.items()
        }
        return replace(self, plan=plan)


@dataclass(frozen=True)
class OfClip:
    """A function for a feature site that adds what depends on the clip alone.

    fn: context → (clips, channels).
    """

    fn: Callable[[Context], Tensor]

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        """x (batch, channels) plus its clip's row."""
        return added(self.fn(context), x, context)

    def settled(self, context: Context) -> Callable[[Tensor, Context], Tensor]:
        """The same with its rows computed for this context's clips."""
        return partial(added, self.fn(context))


def added(rows: Tensor, x: Tensor, context: Context) -> Tensor:
    """x (batch, channels) plus rows (clips, channels)."""
    return x + spread(rows, len(x))


FROZEN = Context()
"""No emotion, no plan: the backbone as it was pretrained."""


def spread(value: Tensor, batch: int) -> Tensor:
    """(clips, ...) → (batch, ...): each window gets its clip's row; batches are clip-major.

    Raises ValueError if the batch is no multiple of the clips.
    """
    if batch % len(value):
        raise ValueError(f"a batch of {batch} is no multiple of the context's {len(value)} clips")
    return value if len(value) == batch else value.repeat_interleave(batch // len(value), 0)


class Site(nn.Module):
    """An identity that a plan may fill.

    kind: "features" (batch, channels, ...), "tokens" (batch, length, width), where prompts may join, or
    "rows" (batch, length, width), inside a layer.
    """

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind, self.channels, self.name = kind, channels, ""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x, changed by each function that the plan has for this site."""
        for change in context.at(self.name):
            x = change(x, context)
        return x


@dataclass(frozen=True)
class LowRank:
    """A weight delta Σ_k mix_k up_k down_k as factors.

    up (k, out, rank), down (k, rank, in), mix (clips, k) or None: the same for all clips; dropout: of what
    enters `down`, where the delta is applied to activations.
    """

    up: Tensor
    down: Tensor
    mix: Tensor | None = None
    dropout: float = 0.0

    def built(self) -> Tensor:
        """(clips, out, in); one row a factor pair when shared by all clips. In fp32 under autocast."""
        with exactly(self.up.device):
            every = self.up @ self.down
            return every if self.mix is None else torch.tensordot(self.mix, every, 1)

    def applied(self, x: Tensor) -> Tensor:
        """The delta times x: (batch, ..., in) → (batch, ..., out); never builds a weight."""
        x = F.dropout(x, self.dropout) if self.dropout else x
        hidden = F.linear(x, self.down.flatten(0, 1))
        if self.mix is not None:
            gate = spread(self.mix.repeat_interleave(self.up.shape[-1], 1), len(x))
            hidden = hidden * gate.view(len(x), *[1] * (x.dim() - 2), -1)
        return F.linear(hidden, self.up.transpose(0, 1).flatten(1))


class Operator(nn.Module):
    """Mixin for layers linear in their parameters: op(x; W + dW, b + db) = op(x; W, b) + op(x; dW, 0) + db.

    A delta shaped like its parameter is shared by the batch and added to it; one with a leading clips axis,
    or given as factors, is added to the result, clip by clip.
    """

    channel_dim, name = 1, ""
    weight: Tensor
    bias: Tensor | None

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The layer as a function of its parameters."""
        raise TypeError(f"{type(self).__name__} must say what it computes")

    def forward(self, x: Tensor, context: Context = FROZEN) -> Tensor:
        """The layer's result with the plan's deltas on its parameters."""
        now: dict[str, Tensor | None] = {"weight": self.weight, "bias": self.bias}
        by_clip: list[tuple[Callable[..., Tensor], Tensor | LowRank]] = []
        for key, frozen in (("weight", self.weight), ("bias", self.bias)):
            if frozen is None:
                continue
            for change in context.at(f"{self.name}.{key}"):
                delta = change(frozen, context)
                if isinstance(delta, LowRank) or delta.dim() > frozen.dim():
                    by_clip.append((self.of_weight if key == "weight" else self.of_bias, delta))
                else:
                    now[key] = now[key] + delta
        y = self.operate(x, now["weight"], now["bias"])  # type: ignore[arg-type]
        for term, delta in by_clip:
            y = y + term(x, y, delta)
        return y

    def is_touched(self, context: Context) -> bool:
        """Whether the plan changes a parameter of this layer."""
        return any(context.at(f"{self.name}.{key}") for key in ("weight", "bias"))

    def of_weight(self, x: Tensor, y: Tensor, delta: Tensor | LowRank) -> Tensor:
        """What a delta of the weight (clips, *weight.shape) adds to the result y."""
        full: Tensor = (
            delta.built().unflatten(-1, self.weight.shape[1:]) if isinstance(delta, LowRank) else delta
        )
        return torch.vmap(self.operate)(x.unflatten(0, (len(full), -1)), full).flatten(0, 1)

    def of_bias(self, x: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        """What a delta of the bias (clips, channels) adds to the result y."""
        shape = [len(y)] + [1] * (y.dim() - 1)
        shape[self.channel_dim] = -1
        return spread(delta, len(y)).view(shape)


class Linear(Operator, nn.Linear):  # type: ignore[misc]
    """nn.Linear that a plan may change."""

    channel_dim = -1

    def of_weight(self, x: Tensor, y: Tensor, delta: Tensor | LowRank) -> Tensor:
        """As Operator's, with factors applied to the activations."""
        return delta.applied(x) if isinstance(delta, LowRank) else super().of_weight(x, y, delta)

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x W^T + b."""
        return F.linear(x, weight, bias)


class Conv1d(Operator, nn.Conv1d):
    """nn.Conv1d (zero padding) that a plan may change."""

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """1-d convolution."""
        return F.conv1d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(Operator, nn.Conv2d):
    """nn.Conv2d (zero padding) that a plan may change."""

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """2-d convolution."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class SpectralConv2d(Conv2d):
    """Conv2d whose weight is divided by its spectral norm, u^T W v with stored u (out,) and v (in · k · k,).

    `weight` is the undivided one, as released. Differs: the release iterates u and v in training although the
    network is frozen; here they stay. Deltas are divided by the frozen weight's norm, so they add up.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, cin: int, cout: int, kernel: int, **options: Any) -> None:
        super().__init__(cin, cout, kernel, **options)
        matrix = self.weight.detach().flatten(1)
        v = F.normalize(torch.randn(matrix.shape[1]), dim=0)
        for _ in range(5):  # power iteration: u and v near the first singular pair
            u = F.normalize(matrix @ v, dim=0)
            v = F.normalize(matrix.T @ u, dim=0)
        self.register_buffer("weight_u", u)
        self.register_buffer("weight_v", v)

    def norm(self) -> Tensor:
        """u^T W v, a scalar, in fp32: autocast would round it, and with it the scale of every feature."""
        with exactly(self.weight.device):
            return self.weight_u @ (self.weight.flatten(1) @ self.weight_v)

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """2-d convolution with W / (u^T W v)."""
        return super().operate(x, weight / self.norm(), bias)


class Conv3d(Operator, nn.Conv3d):
    """nn.Conv3d that a plan may change.

    Flat kernels (1, k, k) run as 2-d ones with depth folded into the batch, others in fp32: on CPU the bf16
    gradients of channels-last 3-d convolutions are infinite at random (torch 2.15). Raises ValueError for
    strides, dilation or groups, which none of the networks has.
    """

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        if (self.stride, self.dilation, self.groups) != ((1, 1, 1), (1, 1, 1), 1):
            raise ValueError(f"{self} has strides, dilation or groups; this operator computes without")

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """3-d convolution, stride 1."""
        if self.kernel_size[0] == 1:
            flat, padding = x.transpose(1, 2).flatten(0, 1), self.padding[1:]
            y = F.conv2d(flat, weight[:, :, 0], bias, 1, padding)
            return y.unflatten(0, (len(x), -1)).transpose(1, 2)
        with exactly(x.device):
            b = None if bias is None else bias.float()
            return F.conv3d(x.float().contiguous(), weight.float(), b, 1, self.padding)


class LayerNorm(Operator, nn.LayerNorm):  # type: ignore[misc]
    """nn.LayerNorm that a plan may change."""

    channel_dim = -1

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Normalised over the last axis."""
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class GroupNorm(Operator, nn.GroupNorm):  # type: ignore[misc]
    """nn.GroupNorm that a plan may change."""

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Normalised over each group of channels and all that follows the channel axis."""
        return F.group_norm(x, self.num_groups, weight, bias, self.eps)


class BatchNorm(Operator):
    """Uses its stored statistics, in .train() too: samples stay independent and frozen stays frozen.

    Only inside `learning_statistics` (pretraining) does it use and follow those of the batch.
    """

    learns = False

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Normalised over all but the channel axis."""
        fresh = self.learns and self.training
        mean, variance = self.running_mean, self.running_var
        return F.batch_norm(x, mean, variance, weight, bias, fresh, 0.1, self.eps)  # type: ignore[arg-type]


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):  # type: ignore[misc]
    """Of (batch, channels, h, w)."""


class BatchNorm3d(BatchNorm, nn.BatchNorm3d):  # type: ignore[misc]
    """Of (batch, channels, depth, h, w)."""


@contextmanager
def learning_statistics(module: nn.Module) -> Iterator[None]:
    """Within, batch norms of a module in .train() learn their statistics: for pretraining only."""
    norms = [m for m in module.modules() if isinstance(m, BatchNorm)]
    for norm in norms:
        norm.learns = True
    try:
        yield
    finally:
        for norm in norms:
            norm.learns = False


class Backbone(nn.Module):
    """Base of what can be adapted; call `name_places()` at the end of __init__.

    Token sites of one stream stand in execution order.
    FIXED lists submodules that no adapter may change and that need no operators.
    """

    FIXED: tuple[str, ...] = ()

    def name_places(self) -> None:
        """Tells each site and operator its place: its dotted name in this module."""
        for name, module in self.named_modules():
            if isinstance(module, Site | Operator):
                module.name = name

    def sites(self) -> dict[str, Site]:
        """Sites by name, in the order in which they were made."""
        return {m.name: m for m in self.modules() if isinstance(m, Site)}

    def reachable(self) -> dict[str, nn.Parameter]:
        """Parameters of operators outside FIXED, by name.

        Raises ValueError if some other parameter belongs to no operator.
        """
        found = {
            f"{m.name}.{key}": p
            for m in self.modules()
            if isinstance(m, Operator)
            for key, p in m.named_parameters(recurse=False)
        }
        free = {name for name, _ in self.named_parameters() if not name.startswith(self.FIXED or ("\0",))}
        if missed := free - set(found):
            raise ValueError(
                f"parameters of no operator: {sorted(missed)}; build them from sites.Linear, Conv2d, …"
            )
        return {name: p for name, p in found.items() if name in free}


def sha256_of(module: nn.Module) -> str:
    """64 hex digits over names, dtypes, shapes and bytes of the state dict."""
    return sha256_of_tensors(module.state_dict())


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """As `sha256_of`, of tensors by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(module: nn.Module) -> str:
    """The first 16 hex digits of `sha256_of`: how adapter files name their backbone."""
    return sha256_of(module)[:16]
