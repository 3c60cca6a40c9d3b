"""Adapters of weights against their formulas, and full tuning against fine-tuning a copy."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from eatlab.adapters.adapter_set import Adapted, AdapterSet
from eatlab.adapters.lora import DoRA, DoRAConfig, LoRA
from eatlab.backbone.sites import Context, LowRank
from eatlab.errors import UserError
from tests.adapters.toys import random_batch, stirred

QUERY = "a2et.encoder.layers.0.self_attn.q.weight"
SHARES = torch.tensor([[0.5, 0.25, 0.25, 0, 0, 0, 0, 0]])


def moved(adapter: torch.nn.Module) -> None:
    for parameter in adapter.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)


def one(spec: str, place: str, backbone) -> Tensor:
    """The changed weight of a stirred set for SHARES."""
    adapters = stirred(spec, backbone)
    return adapters.merged(backbone, adapters.context(SHARES))[place]


def test_lora_is_the_frozen_weight_plus_the_blend_of_its_scaled_products(backbone):
    adapters = stirred(f"lora(rank=3,alpha=6,targets={QUERY})", backbone)
    up, down = (
        dict(adapters.named_parameters())[f"adapters.0.{key}.{QUERY.replace('.', '/')}"]
        for key in ("up", "down")
    )
    wanted = backbone.reachable()[QUERY] + 2 * sum(s * up[k] @ down[k] for k, s in enumerate(SHARES[0]))
    torch.testing.assert_close(adapters.merged(backbone, adapters.context(SHARES))[QUERY], wanted)


def test_dora_gives_rows_of_a_learned_length_in_loras_direction(backbone):
    dora = DoRA(backbone, DoRAConfig(targets=(QUERY,)))
    moved(dora)
    weight, context = backbone.reachable()[QUERY], Context(SHARES)
    low = LoRA.delta(dora, QUERY, weight, context).built()[0]
    length = (1 + dora.gain.blend(QUERY, context)[0]) * weight.norm(dim=1)
    wanted = length[:, None] * torch.nn.functional.normalize(weight + low, dim=1)
    torch.testing.assert_close(weight + dora.delta(QUERY, weight, context)[0], wanted)


def test_the_length_of_a_dora_row_is_a_constant_in_its_gradient(backbone):
    dora, weight = DoRA(backbone, DoRAConfig(targets=(QUERY,))), backbone.reachable()[QUERY]
    dora.delta(QUERY, weight, Context(SHARES)).sum().backward()
    ours = dora.up.of(QUERY).grad[0]
    wanted = 2 * 0.5 * dora.down.of(QUERY)[0].sum(1).expand(len(weight), -1)  # alpha / rank, share
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-4)


def test_ia3_scales_what_a_layer_puts_out(backbone):
    place = "a2et.encoder.layers.0.linear1"
    adapters = stirred(f"ia3(targets={place}.*)", backbone)
    scale = 1 + (SHARES @ next(iter(adapters.parameters())))[0]
    merged, frozen = adapters.merged(backbone, adapters.context(SHARES)), backbone.state_dict()
    torch.testing.assert_close(merged[f"{place}.weight"], scale[:, None] * frozen[f"{place}.weight"])
    torch.testing.assert_close(merged[f"{place}.bias"], scale * frozen[f"{place}.bias"])


@pytest.mark.parametrize(
    ("spec", "moves"),
    [
        ("bitfit", lambda name: name.endswith(".bias") and ("encoder." in name or "decoder." in name)),
        ("norm", lambda name: "norm" in name and ("encoder." in name or "decoder." in name)),
        ("head", lambda name: name.startswith("a2et.coefficients")),
        ("last_k(k=2)", lambda name: ".layers.1." in name or ".layers.2." in name or "coefficients" in name),
        ("full", lambda name: name.startswith("a2et.")),
        ("full(targets=*)", lambda name: True),
    ],
)
def test_a_shift_moves_what_its_name_says(spec, moves, backbone):
    merged = stirred(spec, backbone).merged(backbone, Context(SHARES))
    names = backbone.reachable()
    acoustic = {n for n in names if n.startswith("a2et.acoustic")}
    found = {name for name, p in names.items() if not torch.equal(merged[name], p)}
    assert found == {name for name in names if moves(name) and ("full" in spec or name not in acoustic)}


def test_full_takes_the_steps_of_fine_tuning(backbone):
    backbone = backbone.double()  # in fp32 Adam makes steps of a gradient that is nothing but rounding
    native = copy.deepcopy(backbone).requires_grad_(True)
    adapters = AdapterSet("full", backbone).train_at("a2et").double()
    tuned, emotion = Adapted(backbone.a2et, adapters), torch.arange(4)
    ours = torch.optim.Adam([p for p in adapters.parameters() if p.requires_grad], 1e-3)
    theirs = torch.optim.Adam(native.a2et.parameters(), 1e-3)
    for _ in range(5):
        batch = {key: value.double() for key, value in random_batch(4).items()}
        for optimizer, y in ((ours, tuned(batch, emotion)), (theirs, native.a2et(batch))):
            optimizer.zero_grad()
            y.square().mean().backward()
            optimizer.step()
    merged, wanted = adapters.merged(backbone, adapters.context(emotion[:1])), native.state_dict()
    for name in backbone.reachable():
        torch.testing.assert_close(merged[name], wanted[name], atol=1e-9, rtol=1e-7)


def test_dropout_acts_in_training_alone(backbone):
    adapters, batch = stirred("lora(dropout=0.5)", backbone), random_batch(1)
    context = adapters.context(torch.tensor([1]))
    adapters.eval()
    assert torch.equal(backbone.a2et(batch, context), backbone.a2et(batch, context))
    adapters.train()
    assert not torch.equal(backbone.a2et(batch, context), backbone.a2et(batch, context))


def test_a_set_that_was_loaded_draws_nothing_at_random(backbone, tmp_path):
    stirred("lora(dropout=0.5)", backbone).save(tmp_path / "a.safetensors", backbone)
    loaded, batch = AdapterSet.load(tmp_path / "a.safetensors", backbone), random_batch(1)
    context = loaded.context(torch.tensor([1]))
    assert torch.equal(backbone.a2et(batch, context), backbone.a2et(batch, context))


@pytest.mark.parametrize(("spec", "builds"), [("lora", False), ("dora", True)])
def test_loras_factors_act_on_activations_and_doras_weight_is_built(spec, builds, backbone, monkeypatch):
    real, built = LowRank.built, []
    monkeypatch.setattr(LowRank, "built", lambda self: built.append(self) or real(self))
    adapters = stirred(spec, backbone)
    backbone.a2et(random_batch(8), adapters.context(torch.arange(8)))
    assert bool(built) == builds


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lora(targets=*.p.weight)", 'no parameter matches "\\*.p.weight"'),
        ("lora(rank=0)", "rank=0; a delta has at least rank 1"),
        ("lora(targets=a2et.*.bias)", "it is a vector"),
        ("lora(dropout=1)", "it is a share from 0 to below 1"),
        ("lora(dropout=0.1,targets=a2et.acoustic.convs.*.weight)", "the delta of a kernel is built"),
        ("dora(rank=-1)", "rank=-1"),
        ("last_k(k=0)", "this backbone's stacks have 3 layers; k from 1 to 3"),
        ("last_k(k=4)", "k from 1 to 3"),
        ("bottleneck(hidden=0)", "hidden=0; it is at least 1"),
        ("prefix(length=0)", "length=0; it is at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(spec, message, backbone):
    with pytest.raises(UserError, match=message) as error:
        AdapterSet(spec, backbone)
    assert "\n" not in str(error.value)
