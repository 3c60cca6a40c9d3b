"""Splits of MEAD: as the paper lists them, else by person, else by clip with a warning."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from data_recipes.mead import splits
from data_recipes.mead.splits import Labelled, decide
from eatlab.emotions import EMOTIONS
from eatlab.errors import UserError


def people(*names: str, emotions: Sequence[str] = EMOTIONS, takes: int = 1) -> list[Labelled]:
    return [
        Labelled(f"mead_{n}_front_{e}_3_{t:03d}", n, e) for n in names for e in emotions for t in range(takes)
    ]


def sides(clips: list[Labelled], rule: str = "auto") -> dict[str, set[str]]:
    split = decide(clips, rule)
    return {
        side: {clip.identity for clip in clips if split.of.get(clip.key) == side}
        for side in ("train", "val", "test")
    }


def test_the_lists_are_those_of_the_paper_and_disjoint() -> None:
    for name in splits.LISTED:
        listed = splits.read_list(name)
        assert len(listed) == 48
        assert {who for who, side in listed.items() if side == "test"} == {"M003", "M030", "W009", "W015"}
    assert {who for who, side in splits.read_list("standard").items() if side == "val"} == {
        "M013",
        "M028",
        "W016",
        "W018",
    }


def test_known_people_are_split_as_listed() -> None:
    clips = people("M003", "M005", "W009", "W011", "M013")
    assert decide(clips).rule == "standard"
    assert decide(clips).warnings == ()
    assert sides(clips) == {"train": {"M005", "W011"}, "val": {"M013"}, "test": {"M003", "W009"}}


def test_other_people_are_split_by_person() -> None:
    clips = people("M901", "M902", "M903", "W904", "W905")
    split = decide(clips)
    assert (split.rule, split.identity_disjoint, split.warnings) == ("identity", True, ())
    found = sides(clips)
    assert len(found["test"]) == 1
    assert not found["test"] & found["train"]


def test_two_test_persons_alone_are_split_by_clip_with_a_warning() -> None:
    clips = people("M030", "W009")
    split = decide(clips)
    assert split.rule == "identity" or split.warnings == (
        "split: not identity-disjoint (2 identities, split by clip)",
    )
    assert set(split.of.values()) == {"train", "test"}


@pytest.mark.parametrize("takes", [1, 2, 3, 10, 12])
def test_one_person_is_split_by_clip_and_every_tested_emotion_is_trained(takes: int) -> None:
    clips = people("M030", emotions=EMOTIONS, takes=takes)
    split = decide(clips)
    assert split.rule == "clip"
    assert "not identity-disjoint (1 identity" in split.warnings[0]
    assert set(split.of.values()) == {"train", "test"}
    if takes > 1:
        assert len(split.warnings) == 1
    else:
        assert "never trained: surprised" in split.warnings[1]


def test_a_single_clip_is_on_both_sides_and_the_numbers_say_nothing() -> None:
    (clip,) = people("M030", emotions=["happy"])
    split = decide([clip])
    assert [side for side in ("train", "val", "test") if split.has(clip.key, side)] == ["train", "test"]
    assert not split.identity_disjoint
    assert "only 1 clip is left; it is trained on and tested" in split.warnings[0]


def test_a_rule_that_leaves_a_side_empty_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to train on or nothing to test on"):
        decide(people("M030", emotions=["happy"]), "standard")
    with pytest.raises(UserError, match="there are: auto"):
        decide(people("M030"), "even")
