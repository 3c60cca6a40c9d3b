"""Toy sounds have a toy mel; a test of real sound says so itself."""

from __future__ import annotations

import pytest

from tests.metrics.toys import use_toy_mel


@pytest.fixture(autouse=True)
def toy_mel_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    use_toy_mel(monkeypatch)
