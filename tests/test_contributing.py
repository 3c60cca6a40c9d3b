"""CONTRIBUTING.md shows an adapter: it is run here as a newcomer would paste it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.registry import BUILTIN
from tests.adapters.toys import random_batch, stirred, talking_head

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def face_gain(monkeypatch: pytest.MonkeyPatch) -> str:
    """The spec of the guide's adapter, registered by the guide's own line."""
    text = GUIDE.read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    line = re.search(r'^ +"(\w+)": "([\w.]+):(\w+)",$', text, re.MULTILINE)
    assert code is not None
    assert line is not None
    module = ModuleType(line[2])
    monkeypatch.setitem(sys.modules, line[2], module)
    exec(compile(code[1], str(GUIDE), "exec"), module.__dict__)
    monkeypatch.setitem(BUILTIN, line[1], f"{line[2]}:{line[3]}")
    return line[1]


def test_the_adapter_of_the_guide_is_frozen_at_first_and_acts_when_trained(face_gain: str) -> None:
    backbone, batch, emotion = talking_head(), random_batch(2), torch.tensor([4, 6])
    frozen = backbone.a2et(batch)
    assert torch.equal(backbone.a2et(batch, AdapterSet(face_gain, backbone).context(emotion)), frozen)
    assert not torch.equal(backbone.a2et(batch, stirred(face_gain, backbone).context(emotion)), frozen)


def test_the_guides_other_spec_is_one(face_gain: str) -> None:
    spec = re.search(r"`(deep_prompt\+face_gain\(.*?\))`", GUIDE.read_text())
    assert spec is not None
    assert AdapterSet(spec[1], talking_head()).plan


def test_every_file_that_the_documents_name_exists() -> None:
    root = GUIDE.parent
    for page in (GUIDE, root / "README.md", *sorted((root / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
