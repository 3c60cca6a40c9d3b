"""The packages stand in one order, and imports go only downwards (architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A package may import any to its left, never one to its right.
ORDER = (
    "eatlab.emotions",
    "eatlab.errors",
    "eatlab.meaning",
    "eatlab.preemption",
    "eatlab.atomic",
    "eatlab.data",
    "data_recipes",
    "eatlab.backbone",
    "eatlab.adapters",
    "eatlab.experts",
    "eatlab.zoo",
    "eatlab.objectives",
    "eatlab.metrics",
    "eatlab.training",
    "eatlab.zoo.build",  # the loaders of the zoo stand low, what trains its files stands here
    "eatlab.experiment",
    "eatlab.cli",
)


def modules() -> list[Path]:
    return [path for package in ("eatlab", "data_recipes") for path in sorted((ROOT / package).rglob("*.py"))]


def module_name(path: Path) -> str:
    """ "eatlab.adapters.prompts" of eatlab/adapters/prompts.py, "eatlab.adapters" of its __init__."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def rank(name: str) -> int:
    """The place in ORDER of the longest entry that `name` is or lies in; -1 for all else."""
    inside = [place for place in ORDER if name == place or name.startswith(f"{place}.")]
    return ORDER.index(max(inside, key=len)) if inside else -1


def imports(path: Path) -> Iterator[str]:
    """Every name that `path` imports anywhere, inside functions too, as "eatlab.data.shards.read_shards"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports_go_downwards(path: Path) -> None:
    own = module_name(path)
    upwards = [name for name in imports(path) if rank(name) > rank(own)]
    assert not upwards, f"{own} imports {upwards}, which stand above it"


def test_every_module_has_its_place_in_the_order() -> None:
    lost = [module_name(path) for path in modules() if rank(module_name(path)) < 0]
    assert lost == ["eatlab"]


def test_every_module_says_first_what_it_is() -> None:
    silent = [module_name(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent, f"without a docstring: {silent}"


def test_package_files_introduce_their_package_and_do_nothing_else() -> None:
    """The zoo's is the exception: its loaders are its face."""
    packages = [
        path for path in modules() if path.name == "__init__.py" and path.parent.name not in ("eatlab", "zoo")
    ]
    busy = [module_name(path) for path in packages if len(ast.parse(path.read_text()).body) > 1]
    assert not busy


def test_no_file_is_longer_than_400_lines() -> None:
    long = {module_name(path): num for path in modules() if (num := len(path.read_text().splitlines())) > 400}
    assert not long
