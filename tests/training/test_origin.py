"""A stage goes on only with what it was begun with."""

from __future__ import annotations

import pytest

from eatlab.errors import ExitCode, UserError
from eatlab.training.origin import read_origin, settle_origin

ORIGIN = {"config": {"lr": 0.1, "parts": ("a", "b")}, "data": {"acted/val": "ab12"}}


def test_the_same_origin_goes_on_and_can_be_read_back(tmp_path):
    for _ in range(2):
        settle_origin(tmp_path / "stage", ORIGIN)
    assert read_origin(tmp_path / "stage") == {"config": {"lr": 0.1, "parts": ["a", "b"]}} | {
        "data": {"acted/val": "ab12"}
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": {"lr": 0.2, "parts": ("a", "b")}}, "config.lr is 0.1 there and 0.2 here"),
        ({"data": {"acted/val": "cd34"}}, "data.acted/val is ab12 there and cd34 here"),
        ({"start": "0123"}, "start is None there and 0123 here"),
    ],
)
def test_another_origin_is_refused_and_the_difference_named(tmp_path, change, says):
    settle_origin(tmp_path, ORIGIN)
    with pytest.raises(UserError, match=says) as caught:
        settle_origin(tmp_path, ORIGIN | change)
    assert caught.value.code == ExitCode.BAD_INPUT
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checkpoints_of_unknown_origin_are_not_gone_on_from(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"nobody knows of what; give another host.folder, or remove"):
        settle_origin(tmp_path, ORIGIN)


def test_a_damaged_origin_is_one_line(tmp_path):
    (tmp_path / "origin.json").write_text("{half")
    with pytest.raises(UserError, match=r"origin\.json is damaged") as caught:
        settle_origin(tmp_path, ORIGIN)
    assert caught.value.code == ExitCode.DATA_DAMAGED
