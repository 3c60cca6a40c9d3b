"""The documents say what is so: the guide's adapter runs, links lead somewhere, the tree is the tree."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.registry import BUILTIN
from eatlab.experiment.ablation import AblationConfig
from eatlab.experiment.config import resolve
from tests.adapters.toys import random_batch, stirred, talking_head

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "CONTRIBUTING.md"


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


def test_every_file_that_the_documents_link_to_exists() -> None:
    for page in (GUIDE, ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def drawn_tree() -> Iterator[str]:
    """Every Python file in the tree of docs/architecture.md, as a path from the root.

    A line is `folder/ file.py file.py …`; its folder lies in the last one drawn with less indent.
    """
    tree = re.search(r"```tree\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)
    assert tree is not None
    folders: list[tuple[int, str]] = []
    for line in tree[1].splitlines():
        indent = len(line) - len(line.lstrip())
        words = line.split("  #")[0].split()
        if words[0].endswith("/"):
            folders = [*((i, name) for i, name in folders if i < indent), (indent, words.pop(0))]
        folder = "".join(name for _, name in folders)
        yield from (f"{folder}{word}" for word in words)


def test_the_tree_of_the_architecture_page_is_the_tree() -> None:
    drawn = list(drawn_tree())
    packages = (path for package in ("eatlab", "data_recipes") for path in (ROOT / package).rglob("*.py"))
    there = {str(path.relative_to(ROOT)) for path in packages if path.name != "__init__.py"}
    assert len(drawn) == len(set(drawn))
    assert set(drawn) - there == set(), "drawn, but not there"
    assert there - set(drawn) == set(), "there, but not drawn"


def test_the_ablation_file_says_what_the_defaults_say() -> None:
    assert resolve(AblationConfig, file=ROOT / "experiments" / "ablation.yaml") == AblationConfig()
