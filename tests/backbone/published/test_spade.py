"""SPADE blocks against the formula of eat-networks.md 8 written out, whatever a plan bends."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from eatlab.backbone.published.spade import Shortcut, SpadeBlock, SpadeDecoder, instance_norm
from eatlab.backbone.sites import FROZEN, Backbone, Context
from tests.backbone.toys import TINY_PUBLISHED

CIN, COUT, MODULATION, HIDDEN, FACTOR, SIDE = 4, 6, 3, 5, 2, 4
PARTS = {
    "shortcut": lambda: Shortcut(CIN, COUT, MODULATION, HIDDEN, FACTOR),
    "block": lambda: SpadeBlock(CIN, COUT, MODULATION, HIDDEN, FACTOR),
    "block that keeps its width": lambda: SpadeBlock(CIN, CIN, MODULATION, HIDDEN, FACTOR),
}
every_part = pytest.mark.parametrize("kind", PARTS)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, MAP = noise(2, CIN, FACTOR * SIDE, FACTOR * SIDE), noise(2, MODULATION, SIDE, SIDE, seed=1)


def built(kind: str) -> nn.Module:
    """A part of a backbone that calls it `part`."""
    torch.manual_seed(0)
    whole = Backbone()
    whole.part = PARTS[kind]()
    whole.name_places()
    return whole.part.requires_grad_(False)


def effective(part: nn.Module, deltas: dict[str, Tensor]) -> dict[str, Tensor]:
    """W + d, divided by u^T W v of the frozen W where there are u and v."""
    state = part.state_dict()
    found = {key: value + deltas.get(key, 0) for key, value in state.items()}
    for key in [key.removesuffix("_u") for key in state if key.endswith("_u")]:
        found[key] = found[key] / (state[f"{key}_u"] @ state[key].flatten(1) @ state[f"{key}_v"])
    return found


def conv(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def spade_norm(w: dict[str, Tensor], name: str, x: Tensor, modulation: Tensor) -> Tensor:
    hidden = F.relu(conv(w, f"{name}.shared", F.interpolate(modulation, size=x.shape[-2:])))
    return F.instance_norm(x) * (1 + conv(w, f"{name}.gain", hidden)) + conv(w, f"{name}.bias", hidden)


def literal(part: nn.Module, x: Tensor, modulation: Tensor, deltas: dict[str, Tensor]) -> Tensor:
    w = effective(part, deltas)
    if isinstance(part, Shortcut):
        return conv(w, "conv", spade_norm(w, "norm", x, modulation))
    dx = conv(w, "convs.0", F.leaky_relu(spade_norm(w, "norms.0", x, modulation), 0.2))
    dx = conv(w, "convs.1", F.leaky_relu(spade_norm(w, "norms.1", dx, modulation), 0.2))
    if part.shortcut is None:
        return x + dx
    return conv(w, "shortcut.conv", spade_norm(w, "shortcut.norm", x, modulation)) + dx


def ours(part: nn.Module, x: Tensor, modulation: Tensor, deltas: dict[str, Tensor]) -> Tensor:
    plan = {f"part.{key}": (lambda w, c, d=d: d,) for key, d in deltas.items()}
    x = instance_norm(x) if isinstance(part, Shortcut) else x  # which sees what its block has normalised
    return part(x, modulation, Context(plan=plan))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


@every_part
def test_it_is_the_formula(kind):
    part = built(kind)
    close(ours(part, X, MAP, {}), literal(part, X, MAP, {}))


@every_part
def test_it_is_the_formula_whichever_parameter_a_plan_changes(kind):
    part = built(kind)
    for key, p in part.named_parameters():
        shared, by_clip = {key: noise(*p.shape)}, noise(2, *p.shape)
        close(ours(part, X, MAP, shared), literal(part, X, MAP, shared))
        together = ours(part, X, MAP, {key: by_clip})
        for i, delta in enumerate(by_clip):
            close(together[i : i + 1], literal(part, X[i : i + 1], MAP[i : i + 1], {key: delta}))


def test_a_folded_shortcut_never_convolves_its_norms_biases():
    part = built("shortcut")
    called = []
    part.norm.bias.register_forward_hook(lambda *_: called.append("bias"))
    ours(part, X, MAP, {"norm.gain.weight": torch.zeros(())})
    assert not called
    ours(part, X, MAP, {"norm.bias.bias": torch.zeros(CIN)})
    assert called


@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 6), st.booleans())
def test_an_instance_norm_is_torchs_and_keeps_the_memory_format(batch, channels, side, channels_last):
    memory = torch.channels_last if channels_last else torch.contiguous_format
    x = 3 + 2 * noise(batch, channels, side, side).contiguous(memory_format=memory)
    y = instance_norm(x)
    close(y, F.instance_norm(x))
    assert y.is_contiguous(memory_format=memory)


def test_a_decoder_makes_pictures_four_times_the_side_and_each_alone():
    torch.manual_seed(0)
    decoder = SpadeDecoder(8, TINY_PUBLISHED.renderer).eval()
    features = noise(2, 8, SIDE, SIDE)
    pictures = decoder(features, FROZEN)
    assert pictures.shape == (2, 3, 4 * SIDE, 4 * SIDE)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    close(torch.cat([decoder(x, FROZEN) for x in features.split(1)]), pictures)
