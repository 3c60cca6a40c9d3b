"""Reads shards into tables: parts of a corpus and their neutral twins, without the portraits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eatlab.data.samples import Clip, FrameTable, join, stack
from eatlab.data.shards import read_shards


def read_clips(folder: Path, part: str) -> list[Clip]:
    """All clips of a part "set/split", portraits included."""
    return list(read_shards(folder, *part.split("/")))


def read_tables(folder: Path, parts: Sequence[str], *, twins: bool = True) -> FrameTable:
    """The clips of several parts as one table, without portraits; twins follow as neutral clips."""
    tables = []
    for part in parts:
        clips = [c for c in read_clips(folder, part) if not c.is_portrait]
        tables.append(stack(clips))
        paired = [c for c in clips if c.twin_frames is not None]
        if twins and paired:
            tables.append(stack(paired, twins=True))
    return join(tables)
