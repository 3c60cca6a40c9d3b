"""The table as people read it."""

from __future__ import annotations

import pytest

from eatlab.metrics.table import Cost
from eatlab.metrics.table_text import thousands
from tests.metrics.test_table import made_up, story, table_of


def test_it_fits_the_width_asked_for() -> None:
    costs = Cost(1_452_000, 25.1, (10.5, 11.6, 10.7))
    lines = table_of(deep_prompt=costs, shallow_prompt=costs).to_text(132).splitlines()
    assert max(map(len, lines)) <= 132


def test_no_number_is_cut_in_a_narrow_terminal() -> None:
    assert "…" not in table_of().to_text(60).replace("48…67", "")


def test_every_row_and_column_is_there() -> None:
    text = table_of(deep_prompt=Cost(452_000, 25.1, (0.5,)), frozen=Cost(0, 0)).to_text()
    for word in (
        *story(),
        "PSNR↑",
        "SSIM↑",
        "M-LMD↓",
        "F-LMD↓",
        "Sync↑",
        "Acc_emo↑",
        "L1↑",
        "L3↑",
        "asked",
        "params",
        "min",
    ):
        assert word in text
    for word in ("M-LMD exact↓", "F-LMD exact↓", "Sync neutral↑", "452 k", "25.1 %", "∞", "\N{EN DASH}"):
        assert word in text


def test_the_notes_say_what_the_numbers_cannot() -> None:
    text = " ".join(table_of().to_text().split())
    for words in (
        "puppets, not people",
        "96 clips of 12 persons",
        "Acc_emo saturates",
        "Sync by chance: 0.10",
        "always saying the most frequent label: 0.12",
        "not centred: stricter than the paper's",
        "adapters' ceiling in PSNR and LMD, not in Acc_emo",
        "puppets-small/1",
    ):
        assert words in text


def test_few_persons_are_called_few() -> None:
    two = made_up()
    object.__setattr__(two.clips, "identity", ("A", "B") * 48)
    assert "2 persons (few" in table_of({"frozen": [two]}).notes[0]


def test_plain_text_has_no_colour_and_colour_has() -> None:
    assert "\x1b[" not in table_of().to_text()
    assert "\x1b[" in table_of().to_text(color=True)


def test_markdown_is_one_table() -> None:
    lines = table_of(deep_prompt=Cost(452_000, 25.1, (0.5,))).to_markdown().splitlines()
    assert len(lines) == 2 + len(story())
    assert len({line.count("|") for line in lines}) == 1
    deep = next(line for line in lines if line.startswith("| deep_prompt"))
    assert "452 k, 25.1 %" in deep
    assert "[" in deep
    assert next(line for line in lines if line.startswith("| ground_truth")).split(" | ")[1] == "∞"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (452_311, "452 k"), (1_452_000, "1.45 M")]
)
def test_counts_are_short(count: int, text: str) -> None:
    assert thousands(count) == text


def test_a_row_that_cannot_see_the_emotion_says_so():
    blind = "deep_prompt: blind to emotion, what was tuned is one for all"
    assert blind in table_of(deep_prompt=Cost(452_000, 25.1, (0.5,), sees_emotion=False)).to_text(200)
    assert "blind" not in table_of(deep_prompt=Cost(452_000, 25.1, (0.5,))).to_text(200)
