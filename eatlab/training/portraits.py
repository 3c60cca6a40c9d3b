"""Which picture a clip is animated from: a neutral one of the same person (EAT, Sec. 4.2; data.md 1.2)."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from eatlab.data.samples import FrameTable
from eatlab.emotions import NEUTRAL

Candidates = dict[str, list[tuple[int, int]]]  # identity → (table, frame row)


def candidates(tables: tuple[FrameTable, ...]) -> Candidates:
    """Neutral frames of each person, as (table, row) pairs in the order of the tables; who has none lends
    every frame.
    """
    neutral: Candidates = defaultdict(list)
    every: Candidates = defaultdict(list)
    for t, table in enumerate(tables):
        for row, clip in enumerate(table.clip.tolist()):
            every[table.identity[clip]].append((t, row))
            if int(table.emotion[clip]) == NEUTRAL:
                neutral[table.identity[clip]].append((t, row))
    return {who: neutral[who] or frames for who, frames in every.items()}


def drawn_portraits(clips: FrameTable, extra: FrameTable | None, *, seed: int) -> list[tuple[int, int]]:
    """One random neutral frame of the same person for each clip: what tuning animates. Depends on the seed
    and the key.
    """
    tables = (clips,) if extra is None else (clips, extra)
    found, chosen = candidates(tables), []
    for key, who in zip(clips.key, clips.identity, strict=True):
        generator = np.random.default_rng([seed, *key.encode()])
        chosen.append(found[who][int(generator.integers(len(found[who])))])
    return chosen


def fixed_portraits(clips: FrameTable, extra: FrameTable | None) -> list[tuple[int, int]]:
    """The same picture for all clips of a person: what the test animates.

    A frame made to be a portrait comes first, else the first neutral clip that has other words. The neutral
    clip that would lend its own picture takes the next neutral clip, if the person has another.
    """
    tables = (clips,) if extra is None else (extra, clips)
    own, found, chosen = len(tables) - 1, candidates(tables), []
    for clip, who in enumerate(clips.identity):
        others = [(t, row) for t, row in found[who] if t != own or int(clips.clip[row]) != clip]
        chosen.append((others or found[who])[0])
    return [(0 if t == own else 1, row) for t, row in chosen]


def pictures(
    clips: FrameTable, extra: FrameTable | None, chosen: list[tuple[int, int]]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Each chosen picture once: images (p, 3, size, size) uint8, their true poses (p, 7) or None, and
    (clips,) which is whose.
    """
    tables = (clips,) if extra is None else (clips, extra)
    distinct = sorted(set(chosen))
    images = torch.stack([tables[t].image[row] for t, row in distinct])
    known = all("pose" in table.truth for table in tables)
    poses = torch.stack([tables[t].truth["pose"][row] for t, row in distinct]) if known else None
    return images, poses, torch.tensor([distinct.index(pair) for pair in chosen])
