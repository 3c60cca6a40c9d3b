"""What an adapter costs, counted without weights, against what real ones cost."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead
from eatlab.experiment.costs import FRAMES, costs_of, imagined, imagined_batch

SPECS = ("none", "deep_prompt", "lora", "full")


@pytest.fixture(scope="module")
def costs():
    return dict(zip(SPECS, costs_of(SPECS, "small"), strict=True))


@pytest.fixture(scope="module")
def real():
    torch.manual_seed(0)
    head = TalkingHead(SIZES["small"]()).requires_grad_(False).eval()
    shapes = imagined_batch(imagined("small"))
    return head, {name: torch.randn(value.shape) for name, value in shapes.items()}


@pytest.mark.parametrize("spec", SPECS)
def test_products_are_those_of_a_real_run(spec, costs, real):
    head, batch = real
    taken = []
    with torch.no_grad():
        for context in (None, AdapterSet(spec, head).context(torch.zeros(1, dtype=torch.long))):
            with FlopCounterMode(display=False) as counter:
                head.a2et(batch, *([] if context is None else [context]))
            taken.append(counter.get_total_flops())
    assert costs[spec].gflop * FRAMES * 1e9 == pytest.approx(taken[1] - taken[0])


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_kept_is_what_autograd_holds_in_a_real_step(spec, costs, real):
    head, batch = real
    adapters, held = AdapterSet(spec, head).train_at("a2et"), {}

    def keep(x):
        held[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = head.a2et(batch, adapters.context(torch.zeros(1, dtype=torch.long)))
    for x in (*head.parameters(), *head.buffers(), *adapters.parameters(), *batch.values()):
        held.pop(x.untyped_storage().data_ptr(), None)
    counted = sum(x.untyped_storage().nbytes() for x in held.values())
    assert result.requires_grad == (spec != "none")
    assert costs[spec].activations * FRAMES * 2**20 == pytest.approx(counted, rel=0.06)


def test_what_acts_late_keeps_little(costs):
    assert costs["none"].activations == 0
    assert 0 < costs["lora"].activations < costs["full"].activations


def test_a_set_that_cannot_see_the_emotion_says_so(costs):
    assert costs["full"].spec == "full (blind to emotion)"
    assert costs["lora"].spec == "lora"
