"""Pairs of a portrait and a driving frame of one person: what re-enactment learns from (EAT, Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from eatlab.data.samples import FrameTable, join, stack
from eatlab.data.tables import read_clips
from eatlab.emotions import NEUTRAL


@dataclass(frozen=True)
class PairsConfig:
    """acted: share of pairs of acted clips, the others come from one wild clip.

    twin: share of the acted ones that go from a neutral twin to the same words and pose with emotion.
    calm: share of the rest with a neutral portrait.
    """

    BOUNDS: ClassVar = dict.fromkeys(("acted", "twin", "calm"), (0, 1))

    acted: float = 0.55
    twin: float = 0.25
    calm: float = 0.6


class PairPool:
    """All frames of pretraining, and who is in them."""

    def __init__(self, folder: Path, config: PairsConfig) -> None:
        self.config = config
        acted = [
            c
            for part in ("acted/train", "acted/pretrain")
            for c in read_clips(folder, part)
            if not c.is_portrait
        ]
        paired = [c for c in acted if c.twin_frames is not None]
        tables = [stack(acted), stack(paired, twins=True), stack(read_clips(folder, "wild/train"))]
        self.table: FrameTable = join(tables)
        n_acted, n_twins = len(tables[0].image), len(tables[1].image)
        who = np.array(self.table.identity)[self.table.clip.numpy()]
        calm = (self.table.emotion[self.table.clip] == NEUTRAL).numpy()
        rows = np.arange(n_acted + n_twins)
        names, person = np.unique(who[rows], return_inverse=True)
        self.people = [rows[person == i] for i in range(len(names))]
        self.calm = [mine[calm[mine]] for mine in self.people]
        first = {
            key: int(np.argmax(self.table.clip.numpy() == i))
            for i, key in enumerate(self.table.key[: len(acted)])
        }
        offsets = np.concatenate([np.arange(len(c.frames)) for c in paired])
        driving = np.repeat([first[c.key] for c in paired], [len(c.frames) for c in paired]) + offsets
        self.twins = np.stack([n_acted + np.arange(n_twins), driving], 1)
        wild = np.arange(n_acted + n_twins, len(self.table.image))
        clip = self.table.clip.numpy()[wild]
        self.wild = [wild[clip == i] for i in np.unique(clip)]

    def draw(self, n: int, g: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Rows (n,) of portraits and of driving frames in `table`."""
        pairs = np.array([self.pair(g) for _ in range(n)])
        return torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])

    def pair(self, g: np.random.Generator) -> tuple[int, int]:
        """One portrait and one driving frame."""
        c = self.config
        if g.random() >= c.acted:
            a, b = g.choice(self.wild[g.integers(len(self.wild))], 2, replace=False)
            return a, b
        if g.random() < c.twin:
            a, b = self.twins[g.integers(len(self.twins))]
            return a, b
        i = g.integers(len(self.people))
        portraits = self.calm[i] if g.random() < c.calm and len(self.calm[i]) else self.people[i]
        return g.choice(portraits), g.choice(self.people[i])


class PairStream(IterableDataset):
    """Batches of pairs for one rank, a pure function of (seed, step, rank), from `start` on."""

    def __init__(self, pool: PairPool, *, batch: int, seed: int, rank: int, start: int, steps: int) -> None:
        self.pool, self.batch, self.seed, self.rank = pool, batch, seed, rank
        self.start, self.steps = start, steps

    def __len__(self) -> int:
        return max(0, self.steps - self.start)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self.start, self.steps):
            g = np.random.default_rng((self.seed, 501, step, self.rank))
            portrait, driving = self.pool.draw(self.batch, g)
            yield {"portrait": portrait, "driving": driving, "step": torch.tensor(step)}
