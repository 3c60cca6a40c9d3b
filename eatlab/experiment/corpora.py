"""Where the clips of an ablation come from: puppets, drawn if absent, or a user's folder of real clips in
MEAD layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from eatlab.errors import UserError

FALLBACKS = {
    "train": ("train", "val", "test"),
    "val": ("val", "train", "test"),
    "test": ("test", "val", "train"),
}
"""What stands in for a split that a small folder does not have."""


def source_fingerprint(folder: Path, own: Sequence[Path] = ()) -> str:
    """16 hex digits of names, sizes, times of change below a folder: does a second call mean the same clips?

    Hidden files do not count, nor what lies in folders below it that are eatlab's `own`.

    Raises UserError if it is not there or no folder.
    """
    if not folder.is_dir():
        near = (
            sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
            if folder.parent.is_dir()
            else []
        )
        there = f"in {folder.parent} there are the folders: {', '.join(near[:12]) or 'none'}"
        kind = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"DATA {folder} {kind}", there, "give a folder in MEAD layout")
    inside = folder.resolve()
    written = [place for each in own if inside in (place := each.resolve()).parents]
    listing = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if any((inside / name).is_relative_to(place) for place in written):
            continue
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            status = path.stat()
            listing.append((str(name), status.st_size, status.st_mtime_ns))
    listing.sort()
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def stand_ins(there: set[str]) -> tuple[dict[str, str], list[str]]:
    """Role → split that plays it, and what must be said about it.

    Raises UserError if there is nothing at all.
    """
    if not there:
        raise UserError("no clip is left of DATA", "every one was rejected", "see the reject log")
    roles = {role: next(split for split in splits if split in there) for role, splits in FALLBACKS.items()}
    said = [
        f'there are no clips of split "{role}"; those of "{split}" stand in, so the people are not new'
        for role, split in roles.items()
        if split != role
    ]
    return roles, said
