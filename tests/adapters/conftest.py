"""Fixtures of the adapter tests: the test-only adapters are registered, and a tiny frozen talking head."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings

from eatlab.adapters.registry import BUILTIN
from eatlab.backbone.talking_head import TalkingHead
from tests.adapters.toys import TOYS, talking_head

# A busy machine is no failure: no deadlines. The fixtures here are the same for each example.
settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def registered_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, place in TOYS.items():
        monkeypatch.setitem(BUILTIN, name, place)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def backbone() -> TalkingHead:
    return talking_head()


@pytest.fixture(scope="session")
def same_backbone() -> TalkingHead:
    """For tests that change nothing of it."""
    return talking_head()
