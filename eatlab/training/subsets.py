"""Shares of the training clips, for curves of quality against data (evaluation.md 11.8): nested, and thinned
alike for every person and emotion.

All clips stand in one line, and a share takes its beginning: so a smaller share lies in every larger one. The
line depends on the clips alone, not on a training seed: all adapters and seeds learn from the same clips.
Imports nothing heavy, so that configs can be read without torch.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eatlab.emotions import EMOTIONS

if TYPE_CHECKING:
    from eatlab.training.latents import SetName

LEAST_SHARE = 1e-3
"""A smaller one is taken for a slip: of the puppets it leaves a clip or two."""
UNLABELLED = -1


@dataclass(frozen=True)
class Labels:
    """M clips of a split, in the order of its latents. emotions: places in EMOTIONS, -1 unknown."""

    keys: tuple[str, ...]
    identities: tuple[str, ...]
    emotions: tuple[int, ...]

    def of_share(self, share: float) -> list[int]:
        """See `clips_of_share`."""
        return clips_of_share(self.keys, self.identities, self.emotions, share)


def clips_of_share(
    keys: Sequence[str], identities: Sequence[str], emotions: Sequence[int], share: float
) -> list[int]:
    """Rows of the clips that a share of them takes, ascending; at least one if any is labelled.

    keys, identities, emotions: (M,), as in `Labels`. Clips without a known emotion are in no share and count
    in none: the latent loss does not learn from them.
    Raises ValueError for a share outside (0, 1], lists of unequal length, or a key that comes twice.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share lies in (0, 1], not {share}")
    line = in_line(keys, identities, emotions)
    return sorted(line[: max(1, int(share * len(line) + 0.5))])


def in_line(keys: Sequence[str], identities: Sequence[str], emotions: Sequence[int]) -> list[int]:
    """Rows of the labelled clips, ordered so that each beginning is as balanced as whole clips allow.

    The next clip is of the emotion, then of its persons the one, of which the least share stands in line
    (Sainte-Laguë: places taken and a half, of all); an emotion that is not there yet comes first. Between
    equals the person with the least share decides, then sha256 of the names. With groups (person x emotion)
    of equal size, no two groups differ by more than one clip in any beginning.
    """
    if len(set(keys)) < len(keys):
        raise ValueError("a key comes twice")
    groups = waiting(keys, identities, emotions)
    sizes: Counter[Hashable] = Counter()
    for emotion, persons in groups.items():
        for person, rows in persons.items():
            sizes.update({emotion: len(rows), person: len(rows), (emotion, person): len(rows)})
    taken: Counter[Hashable] = Counter()

    def filled(group: Hashable) -> float:
        return (taken[group] + 0.5) / sizes[group]

    line = []
    while groups:
        emotion = min(groups, key=lambda e: (taken[e] > 0, filled(e), digest(str(e))))
        persons = groups[emotion]
        person = min(persons, key=lambda p: (filled((emotion, p)), filled(p), digest(f"{emotion} {p}")))
        line.append(persons[person].pop())
        taken.update([emotion, person, (emotion, person)])
        if not persons[person]:
            del persons[person]
        if not persons:
            del groups[emotion]
    return line


def waiting(
    keys: Sequence[str], identities: Sequence[str], emotions: Sequence[int]
) -> dict[int, dict[str, list[int]]]:
    """Emotion → person → rows, the next one last."""
    groups: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    clips = zip(keys, identities, emotions, range(len(keys)), strict=True)
    for _, person, emotion, row in sorted(clips, key=lambda clip: digest(clip[0])):
        if emotion != UNLABELLED:
            groups[emotion][person].append(row)
    return groups


def digest(name: str) -> bytes:
    """Orders names as if by lot, the same anywhere."""
    return hashlib.sha256(name.encode()).digest()


def labels_of(source: SetName) -> Labels:
    """What the shards of a split say of its clips, without their portraits; no picture is decoded.

    Raises UserError (3, 4) as `read_shards`, but for the checksums, which whoever reads the pictures checks.
    """
    from eatlab.data.members import DamagedError, RefusedError, read_description
    from eatlab.data.shards import ANEW, read_index, read_samples, refuse

    told = []
    for shard in read_index(source.folder, source.name, source.split)["shards"]:
        path = source.folder / shard["name"]
        try:
            told += [read_description(sample) for sample in read_samples(path, shard, verify=False)]
        except (RefusedError, DamagedError) as error:
            refuse(error, str(path), ANEW.format(folder=source.folder))
    clips = [each for each in told if each.get("role") != "portrait"]
    return Labels(
        keys=tuple(clip["key"] for clip in clips),
        identities=tuple(clip["identity"] for clip in clips),
        emotions=tuple(
            UNLABELLED if clip["emotion"] is None else EMOTIONS.index(clip["emotion"]) for clip in clips
        ),
    )
