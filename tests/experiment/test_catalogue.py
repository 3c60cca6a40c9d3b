"""`eatlab adapters`: every adapter, with what a reader must know to choose it."""

from __future__ import annotations

import json

import pytest

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.registry import names
from eatlab.adapters.specs import canonical
from eatlab.errors import UserError
from eatlab.experiment.catalogue import CatalogueConfig, catalogue, first_sentence, run_catalogue, summary
from eatlab.experiment.config import resolve
from eatlab.experiment.costs import imagined


@pytest.fixture(scope="module")
def entries():
    return {entry["name"]: entry for entry in catalogue("small")}


def test_every_adapter_tells_what_it_does_where_and_from_where(entries):
    assert list(entries) == names()
    for name, entry in entries.items():
        assert entry["does"]
        assert entry["formula"]
        assert bool(entry["source"]) == (name != "none")
        assert (entry["places"] == "none") == (name == "none")
        assert canonical(entry["spec"]) == name


def test_what_it_says_is_what_a_set_says(entries):
    import torch

    head = imagined("small")
    for name, entry in entries.items():
        with torch.device("meta"):
            alone = AdapterSet(name, head)
        assert entry["parameters"] == alone.budget(head)["total"]
        assert entry["starts_exact"] == alone.starts_exact
        assert entry["sees_emotion"] == alone.sees_emotion
        assert entry["merges"] == alone.merges


def test_it_is_printed_and_written(tmp_path, capsys, entries):
    path = tmp_path / "adapters.json"
    assert run_catalogue(resolve(CatalogueConfig, [f"host.json={path}"])) == 0
    said = capsys.readouterr().out
    assert json.loads(path.read_text()) == [*entries.values()]
    assert all(f"\n{name}\n" in f"\n{said}" for name in entries)


def test_an_unknown_size_is_one_line():
    with pytest.raises(UserError, match='size "smal" is unknown'):
        catalogue("smal")


def test_numbered_places_are_told_together():
    assert summary(["a.0.x", "a.1.x", "b"]) == "2 × a.*.x, b"
    many = [f"net.part.{letter}" for letter in "abcdefg"] + ["net.other.a"]
    assert summary(many) == "8 places: 7 in net.part, 1 in net.other"
    assert summary([]) == "none"


def test_the_first_sentence_of_a_docstring_is_on_one_line():
    assert first_sentence("W' = W + d;\nD begins. More.") == "W' = W + d"
    assert first_sentence("Adds a row\nto x: the baseline.\n\nMore.") == "Adds a row to x: the baseline"
