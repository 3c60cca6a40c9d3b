"""torch.compile takes the adapted model whole, and one compiled backbone serves several sets and none."""

from __future__ import annotations

import pytest
import torch

from eatlab.adapters.adapter_set import Adapted
from eatlab.backbone.sites import FROZEN
from eatlab.backbone.talking_head import TalkingHead
from tests.adapters.toys import TOGETHER, random_batch, stirred, talking_head

EMOTION = torch.tensor([1, 6])


@pytest.fixture
def backbone() -> TalkingHead:
    """Of one layer: dynamo is slow, and a second layer is traced as the first."""
    return talking_head(layers=1)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_torch_compile_takes_the_adapted_model_whole(backend, backbone):
    adapters = stirred(TOGETHER, backbone).train_at("a2et")
    batch, model = random_batch(2), Adapted(backbone.a2et, adapters)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    grads = []
    for run in (model, compiled):
        model.zero_grad()
        run(batch, EMOTION, 0.5).square().sum().backward()
        grads.append([p.grad.clone() for p in model.adapters.parameters() if p.requires_grad])
    torch.testing.assert_close(
        compiled(batch, EMOTION, 0.5), model(batch, EMOTION, 0.5), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-3)


def test_one_compiled_backbone_serves_several_sets_and_none(backbone):
    batch, compiled = random_batch(2), torch.compile(backbone.a2et, fullgraph=True, backend="aot_eager")
    specs = ("deep_prompt", "deep_prompt", "toy_factors")
    contexts = [stirred(spec, backbone, seed).context(EMOTION) for seed, spec in enumerate(specs)] + [FROZEN]
    for context in contexts * 2:
        torch.testing.assert_close(
            compiled(batch, context), backbone.a2et(batch, context), atol=1e-5, rtol=1e-4
        )
