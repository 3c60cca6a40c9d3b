"""Folders of networks: the zoo that ships, an import's, a user's own; and what mends a file of each."""

from __future__ import annotations

from pathlib import Path

ZOO = Path(__file__).parent
RECORD = "released.json"
"""What an import writes of the files that it was made of."""


def remedy(folder: Path) -> str:
    """What to do where a file of the folder is absent or damaged."""
    if (folder / RECORD).is_file():
        return "import the released files again with `eatlab import`, into a new folder"
    if folder.resolve() == ZOO.resolve():
        return "restore it with git, or train it anew with `make zoo`"
    return "train it anew with `make zoo`, or give another folder"
