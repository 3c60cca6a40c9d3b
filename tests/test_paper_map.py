"""docs/paper-map.md leaves out no part of the paper, and every place and default that it names is there."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eatlab.backbone.sizes import SIZES

ROOT = Path(__file__).parents[1]
MAP = ROOT / "docs" / "paper-map.md"
SECTIONS = ("1", "2", "3", "3.1", "3.1.1", "3.1.2", "3.2", "3.3", "4", *(f"4.{n}" for n in range(1, 7)), "5")
PAPER = (
    *(f"Sec. {number}" for number in SECTIONS),
    *(f"Supp. {letter}" for letter in "ABCDE"),
    *(f"Eq. {number}" for number in range(1, 9)),
    *(f"Table {number}" for number in range(1, 9)),
    *(f"Figure {number}" for number in range(1, 16)),
)
"""What the paper and its supplement have."""
TOPICS = 25
"""Differences between paper and release that are known."""
PLACE = re.compile(r"`([\w/]+\.py):([\w.]+)`")
DIFFERS = re.compile(PLACE.pattern + r" \(Differs\)")
SWITCH = re.compile(r"`([\w.]+)\.(\w+)` = `([^`]+)`(?: at small, `([^`]+)` at paper)?")


def tables() -> list[list[list[str]]]:
    """The page's tables: rows of cells, without headings."""
    found: list[list[list[str]]] = []
    before = ""
    for line in MAP.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        before = line
    return [rows[2:] for rows in found]


PARTS = [row for rows in tables()[:2] for row in rows]
DIFFERENCES = tables()[2]
PLACES = sorted({place for row in (*PARTS, *DIFFERENCES) for place in PLACE.findall(row[-1])})
DIFFERING = sorted({place for row in DIFFERENCES for place in DIFFERS.findall(row[-1])})
SWITCHES = [switch for row in DIFFERENCES for switch in SWITCH.findall(row[-1])]


class Member(NamedTuple):
    """What a name stands for: the statements within, and the lines, with the string below a value."""

    body: list[ast.stmt]
    lines: slice


def members(body: list[ast.stmt]) -> Iterator[tuple[str, Member]]:
    """Names that a module or class defines."""
    for node, below in zip_longest(body, body[1:]):
        lines = slice(node.lineno - 1, node.end_lineno)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, Member(node.body if isinstance(node, ast.ClassDef) else [], lines)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                lines = slice(node.lineno - 1, below.end_lineno)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, Member([], lines)) for target in targets if isinstance(target, ast.Name))


@cache
def statements(file: str) -> list[ast.stmt] | None:
    """Of a module, or None if there is no such file; nothing is imported."""
    path = ROOT / file
    return ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else None


def member(file: str, symbol: str) -> Member | None:
    """What a file defines as a dotted symbol, if it does."""
    body, found = statements(file), None
    for name in symbol.split("."):
        found = None if body is None else dict(members(body)).get(name)
        body = None if found is None else found.body
    return found


def stands(file: str, symbol: str) -> bool:
    """Whether a file defines a dotted symbol."""
    return member(file, symbol) is not None


def text_of(file: str, symbol: str) -> str:
    """Its source."""
    found = member(file, symbol)
    assert found is not None, f"{file} has no {symbol}"
    return "\n".join((ROOT / file).read_text(encoding="utf-8").splitlines()[found.lines])


def find(name: str) -> Any:
    """The class or function of this name, possibly dotted, in the one file of eatlab that defines it."""
    first, *rest = name.split(".")
    files = [path.relative_to(ROOT) for path in sorted((ROOT / "eatlab").rglob("*.py"))]
    (file,) = [path for path in files if stands(str(path), first)]
    thing = getattr(importlib.import_module(".".join(file.with_suffix("").parts)), first)
    for part in rest:
        thing = getattr(thing, part)
    return thing


def configs_in(config: Any) -> Iterator[Any]:
    """A config dataclass, and all within it."""
    if dataclasses.is_dataclass(config):
        yield config
        for field in dataclasses.fields(config):
            yield from configs_in(getattr(config, field.name))


def default_of(owner: str, name: str) -> Any:
    """A config's field, or an argument of a class or function, where nothing is given."""
    thing = find(owner)
    if dataclasses.is_dataclass(thing):
        return getattr(thing(), name)  # type: ignore[operator]
    return inspect.signature(thing).parameters[name].default


def told(value: Any) -> str:
    """A value as the page writes it."""
    return value.__name__ if inspect.isfunction(value) else repr(value).replace("'", '"')


def test_every_part_of_the_paper_has_a_row() -> None:
    labels = [row[0].split(",")[0] for row in PARTS]
    assert set(labels) == set(PAPER)
    whole = [row[0] for row in PARTS]
    assert len(whole) == len(set(whole))


@pytest.mark.parametrize(("file", "symbol"), PLACES)
def test_every_place_exists(file: str, symbol: str) -> None:
    assert stands(file, symbol), f"{file} has no {symbol}"


def test_a_misspelled_place_would_be_found() -> None:
    assert stands("eatlab/adapters/eam.py", "EAM.modulate")
    wrong = (("eam.py", "EAM.modulates"), ("eam.py", "EAN"), ("eam.py", "head.hidden"), ("ean.py", "EAM"))
    assert not any(stands(f"eatlab/adapters/{file}", symbol) for file, symbol in wrong)


def test_whatever_looks_like_a_place_or_a_switch_is_read_as_one() -> None:
    for row in (*PARTS, *DIFFERENCES):
        assert row[-1].count(".py") == len(PLACE.findall(row[-1])), row
        assert row[-1].count("` = ") == len(SWITCH.findall(row[-1])), row


def test_a_row_without_a_place_says_not_yet() -> None:
    for row in (*PARTS, *DIFFERENCES):
        assert len(row) == 3, row
        assert PLACE.search(row[-1]) or SWITCH.search(row[-1]) or "not yet: " in row[-1], row


@pytest.mark.parametrize(("file", "symbol"), DIFFERING)
def test_a_place_that_is_said_to_say_so_does(file: str, symbol: str) -> None:
    assert "Differs: " in text_of(file, symbol), f"{symbol} does not say what differs"


def test_a_text_is_that_of_its_place_alone() -> None:
    keypoints = "eatlab/backbone/keypoints.py"
    assert "Differs" not in text_of(keypoints, "pixel_centres")
    assert "Differs" in text_of("eatlab/backbone/pose.py", "RELEASED_PI")
    assert "Differs" not in text_of("eatlab/backbone/pose.py", "FIRST_BIN_DEGREES")


def test_a_difference_is_a_switch_or_is_said_where_it_is_made() -> None:
    for row in DIFFERENCES:
        agree, absent = "both agree" in row[0], row[-1].startswith("not yet: ")
        assert agree or absent or SWITCH.search(row[-1]) or DIFFERS.search(row[-1]), row


def test_every_mark_stands_behind_a_place() -> None:
    text = MAP.read_text(encoding="utf-8")
    assert len(DIFFERS.findall(text)) == sum(row[-1].count("(Differs)") for row in DIFFERENCES)
    assert DIFFERING


def test_every_known_difference_has_a_row() -> None:
    assert len({row[0] for row in DIFFERENCES}) == len(DIFFERENCES) == TOPICS


@pytest.mark.parametrize(("owner", "name", "default", "at_paper"), SWITCHES)
def test_every_switch_has_the_default_that_is_stated(
    owner: str, name: str, default: str, at_paper: str
) -> None:
    assert told(default_of(owner, name)) == default
    for size, stated in (("small", default), ("paper", at_paper or default)):
        configs = [config for config in configs_in(SIZES[size]()) if type(config).__name__ == owner]
        assert all(told(getattr(config, name)) == stated for config in configs)
        assert configs or not at_paper, f"{owner} is no config of a backbone, so it has one default"
