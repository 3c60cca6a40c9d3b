"""Outlines: a file's values as JSON and back, and files that would outgrow them."""

from __future__ import annotations

import json
from collections import OrderedDict

import pytest
import torch

from eatlab.errors import ExitCode, UserError
from eatlab.zoo.released_file import Leftovers, read_checkpoint, rebuilt
from tests.zoo.synthetic import difference

VALUES = {
    "numbers": [0, -1, 2**80, 0.1, -0.0, float("inf"), float("nan"), True, False, None],
    "texts": ["", "é", "used", "\ud800"],
    "nested": {"a": [(), [()], {}], 3: {None: (1, [2])}, ("t", 1): 0},
    "like an outline": ["kept", "x"],
    "ordered": OrderedDict([("b", 1), ("a", OrderedDict())]),
    "tensors": [torch.ones(2, dtype=t) for t in (torch.int64, torch.bool, torch.bfloat16)]
    + [torch.tensor(3.0)],
    "learning": torch.nn.Parameter(torch.ones(2)),
    "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_through_json(name):
    leftovers = Leftovers()
    text = json.dumps(leftovers.outline(VALUES[name], {}))
    found = rebuilt(json.loads(text), lambda kind, place, where: leftovers.tensors[place])
    assert difference(VALUES[name], found) == ""


def test_what_a_file_of_ours_has_is_not_kept_twice():
    leftovers = Leftovers()
    outline = leftovers.outline({"net": {"w": torch.ones(1)}}, {("net", "w"): "backbone"})
    assert leftovers.tensors == {}
    asked = []
    rebuilt(outline, lambda *about: asked.append(about) or torch.ones(1))
    assert asked == [("used", "backbone", ("net", "w"))]


def test_tensors_of_one_storage_are_kept_apart():
    leftovers = Leftovers()
    whole = torch.arange(6.0)
    leftovers.outline([whole[:4], whole[2:], whole], {})
    assert len({x.untyped_storage().data_ptr() for x in leftovers.tensors.values()}) == 3


def doubled(times: int) -> list:
    """Two to the power of `times` values in as many lists, for they refer to one another twice."""
    found: list = [0]
    for _ in range(times):
        found = [found, found]
    return found


@pytest.mark.parametrize("value", [doubled(40), [doubled(15)] * 64], ids=["deep", "many"])
def test_a_file_that_outgrows_its_bytes_is_refused(value):
    with pytest.raises(UserError, match="nested deeper than 16 or holds too much") as caught:
        Leftovers().outline(value, {})
    assert caught.value.code == ExitCode.DATA_DAMAGED


@pytest.mark.parametrize("value", [torch.ones(2).to_sparse(), torch.ones(1, dtype=torch.complex64)], ids=str)
def test_a_tensor_that_safetensors_cannot_hold_is_refused(value):
    with pytest.raises(UserError, match="epoch is no plain tensor"):
        Leftovers().outline({"epoch": value}, {})


@pytest.mark.parametrize("value", [doubled(40), [doubled(15)] * 64], ids=["deep", "many"])
def test_a_file_that_outgrows_its_bytes_is_not_read(tmp_path, value):
    torch.save({"epoch": value}, tmp_path / "file")
    with pytest.raises(UserError, match="nested deeper than 16 or holds too much"):
        read_checkpoint(tmp_path / "file")


@pytest.mark.parametrize(
    "hidden",
    [
        lambda tensor: [({"deep": (tensor,)},)],
        lambda tensor: {tensor: 0},
        lambda tensor: attributed(OrderedDict(), tensor),
        lambda tensor: torch.nn.Parameter(tensor),
    ],
    ids=["deep", "key", "attribute", "parameter"],
)
def test_no_tensor_is_out_of_sight(tmp_path, hidden):
    torch.save({"epoch": hidden(torch.ones(2, device="meta"))}, tmp_path / "file")
    with pytest.raises(UserError, match=r"no plain tensor; it is .*, on meta") as caught:
        read_checkpoint(tmp_path / "file")
    assert caught.value.code == ExitCode.DATA_DAMAGED


def attributed(table: OrderedDict, tensor: torch.Tensor) -> OrderedDict:
    table._metadata = tensor  # type: ignore[attr-defined]
    return table


def test_a_negated_view_is_no_plain_tensor(tmp_path):
    torch.save({"epoch": torch.ones(2, dtype=torch.complex64).conj().imag}, tmp_path / "file")
    with pytest.raises(UserError, match=r"epoch of .* is no plain tensor"):
        read_checkpoint(tmp_path / "file")


@pytest.mark.parametrize("outline", [["x"], {"a": 1}, ["dict", 3], ["tuple", [["kept", 3]]]], ids=str)
def test_what_is_no_outline_is_an_error(outline):
    with pytest.raises(ValueError, match="no outline"):
        rebuilt(outline, lambda *_: torch.ones(1))
