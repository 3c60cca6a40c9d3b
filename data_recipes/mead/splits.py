"""Who is for training and who for testing: MEAD's lists if they fit, else the best that a folder allows.

The first rule that leaves clips on both sides, and every emotion of the test in training too:
"standard" (data.md 1.2: M003, M030, W009, W015 are test), "identity" (every fourth person), "clip" (not
identity-disjoint: the numbers then say less, and whoever prints them says so).
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eatlab.errors import UserError

FOLDER = Path(__file__).parent / "splits"
LISTED = ("standard", "eat")
RULES = ("auto", *LISTED, "identity", "clip")
TRAIN, VAL, TEST = "train", "val", "test"


@dataclass(frozen=True, order=True)
class Labelled:
    """What a split is decided from."""

    key: str
    identity: str
    emotion: str


@dataclass(frozen=True)
class Split:
    """rule: which one; of: key → split; warnings: what a reader of the numbers must know.

    lone: a key that is in training and test, since there is no other clip.
    """

    rule: str
    of: dict[str, str]
    warnings: tuple[str, ...] = ()
    lone: str = ""

    def has(self, key: str, split: str) -> bool:
        """Whether the clip is in this split."""
        return self.of.get(key) == split or (key == self.lone and split in (TRAIN, TEST))

    @property
    def identity_disjoint(self) -> bool:
        """Whether nobody of the test was trained on."""
        return self.rule != "clip"


def decide(clips: Sequence[Labelled], rule: str = "auto") -> Split:
    """The split of all accepted clips; by clip, or "auto", any one clip or more have one.

    UserError if the rule is unknown or leaves one side empty.
    """
    if rule not in RULES:
        raise UserError(f"split {rule!r} is unknown", f"there are: {', '.join(RULES)}")
    tried = ("standard", "identity", "clip") if rule == "auto" else (rule,)
    for name in tried:
        of = assign(clips, name)
        if is_usable(clips, of) or (name == tried[-1] and set(of.values()) >= {TRAIN, TEST}):
            return Split(name, of, warnings_of(clips, of, name))
    if len(clips) == 1 and tried[-1] == "clip":
        said = "split: only 1 clip is left; it is trained on and tested, so the numbers say nothing"
        return Split("clip", {clips[0].key: TEST}, (said,), lone=clips[0].key)
    people = sorted({clip.identity for clip in clips})
    raise UserError(
        f"split {rule} of {len(clips)} clips leaves nothing to train on or nothing to test on",
        f"there are identities: {', '.join(people[:12])}",
        "add clips (two of one emotion are the least), or take split=auto",
    )


def assign(clips: Sequence[Labelled], rule: str) -> dict[str, str]:
    """key → split by one rule; the keys of identities that a list does not know are left out."""
    if rule in LISTED:
        listed = read_list(rule)
        return {clip.key: listed[clip.identity] for clip in clips if clip.identity in listed}
    if rule == "identity":
        people = sorted(
            {clip.identity for clip in clips}, key=lambda name: hashlib.sha256(name.encode()).hexdigest()
        )
        held_out = set(people[: max(len(people) // 4, 1)])
        return {clip.key: TEST if clip.identity in held_out else TRAIN for clip in clips}
    return by_clip(clips)


def by_clip(clips: Sequence[Labelled]) -> dict[str, str]:
    """Of each emotion's clips every second (of ten or more: every fifth) is test; a single one is training.

    Which one starts changes from emotion to emotion, so that each person comes to stand on both sides.
    Where all are single the last clip is test, trained or not.
    """
    groups = defaultdict(list)
    for clip in sorted(clips):
        groups[clip.emotion].append(clip.key)
    of = {}
    for number, (_, keys) in enumerate(sorted(groups.items())):
        every = 1 if len(keys) == 1 else 2 if len(keys) < 10 else 5
        for place, key in enumerate(keys):
            of[key] = TEST if every > 1 and (place + number) % every == every - 1 else TRAIN
    if len(of) > 1 and TEST not in of.values():
        of[max(of)] = TEST
    return of


def is_usable(clips: Sequence[Labelled], of: dict[str, str]) -> bool:
    """Whether each clip has a split, both sides have clips, and no emotion is tested that was not trained."""
    emotions = defaultdict(set)
    for clip in clips:
        emotions[of.get(clip.key, "")].add(clip.emotion)
    return "" not in emotions and bool(emotions[TEST]) and emotions[TEST] <= emotions[TRAIN]


def warnings_of(clips: Sequence[Labelled], of: dict[str, str], rule: str) -> tuple[str, ...]:
    """What is said with every figure; nothing if no person is shared and all that is tested was trained."""
    people = len({clip.identity for clip in clips})
    warnings = []
    if rule == "clip":
        what = "1 identity" if people == 1 else f"{people} identities"
        warnings.append(f"split: not identity-disjoint ({what}, split by clip)")
    emotions = {side: {clip.emotion for clip in clips if of.get(clip.key) == side} for side in (TRAIN, TEST)}
    if untrained := sorted(emotions[TEST] - emotions[TRAIN]):
        warnings.append(f"split: tested but never trained: {', '.join(untrained)}")
    return tuple(warnings)


def read_list(name: str) -> dict[str, str]:
    """identity → split of a list that ships with the recipe."""
    with open(FOLDER / f"{name}.csv", newline="") as file:
        return {row["identity"]: row["split"] for row in csv.DictReader(file)}
