"""The puppets recipe: idempotent, the same bytes with any number of processes, mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_recipes.puppets import recipe
from data_recipes.puppets.recipe import PARTS, HostConfig, PuppetsConfig, prepare, run
from eatlab.data.puppets.corpus import PRESETS, scenes
from eatlab.data.shards import data_fingerprint, read_index, read_shards
from eatlab.errors import UserError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole tiny corpus, drawn in this process."""
    return prepare("tiny", folder=tmp_path_factory.mktemp("puppets"), workers=1)


def test_the_whole_tiny_corpus_comes_back_in_its_order(drawn: Path) -> None:
    for part in PARTS:
        keys = [clip.key for clip in read_shards(drawn, *part.split("/"))]
        assert keys == [scene.key for scene in scenes("tiny", *part.split("/"))], part


def test_several_processes_write_the_same_bytes_as_one(drawn: Path, tmp_path: Path) -> None:
    """Fresh processes, too: nothing hangs on the process that draws."""
    again = prepare("tiny", ["acted/val"], folder=tmp_path, workers=2)
    names = {path.name for path in again.iterdir()}
    assert names == {"acted-val-base-000000.tar", "acted-val.index.json"}
    for name in names:
        assert (again / name).read_bytes() == (drawn / name).read_bytes(), name
    assert data_fingerprint(again, "acted", "val") == data_fingerprint(drawn, "acted", "val")


def test_what_is_there_is_not_drawn_again(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("drawn again")

    before = {path.name: path.stat().st_mtime_ns for path in drawn.iterdir()}
    monkeypatch.setattr(recipe, "draw", fail)
    assert prepare("tiny", folder=drawn.parent) == drawn
    assert {path.name: path.stat().st_mtime_ns for path in drawn.iterdir()} == before


def test_only_missing_parts_are_drawn(drawn: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    for path in drawn.glob("acted-val*"):
        (tmp_path / "tiny" / path.name).write_bytes(path.read_bytes())
    asked: list[str] = []
    monkeypatch.setattr(recipe, "draw", lambda preset, parts, out, workers: asked.extend(parts))
    prepare("tiny", ["acted/val", "acted/test"], folder=tmp_path)
    assert asked == ["acted/test"]


def test_the_index_says_the_recipe_and_the_counts(drawn: Path) -> None:
    index = read_index(drawn, "acted", "test")
    assert (index["recipe"]["name"], index["recipe"]["preset"]["test"]) == ("puppets", PRESETS["tiny"].test)
    assert set(index["counts"]["emotion"].values()) == {6, 8}  # neutral: two portraits more
    assert index["samples"] == len(scenes("tiny", "acted", "test"))


def test_the_command_says_where_each_part_lies(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = PuppetsConfig(preset="tiny", parts=("acted/test",), host=HostConfig(folder=str(drawn.parent)))
    assert run(config) == 0
    said = capsys.readouterr().out
    assert str(drawn) in said
    assert data_fingerprint(drawn, "acted", "test") in said


@pytest.mark.parametrize(
    ("preset", "parts", "said"),
    [
        ("smal", PARTS, r"preset 'smal' is unknown; there are: small, tiny"),
        ("tiny", ("acted/tset",), r"part 'acted/tset' is unknown; there are: acted/train"),
        ("tiny", ("wild/test",), r"part 'wild/test' is unknown"),
    ],
)
def test_what_is_unknown_is_said_with_what_there_is(
    preset: str, parts: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        prepare(preset, parts, folder=tmp_path)
    assert not list(tmp_path.iterdir())
