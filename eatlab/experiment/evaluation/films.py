"""Folders of films, a generated and a true one: which film is which clip, and whose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eatlab.atomic import sha256_of_file
from eatlab.emotions import EMOTIONS
from eatlab.errors import UserError

FILMS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
MEAD_NAME = re.compile(r"(?:[MW]\d{3}_)?([MW]\d{3})_(\w+)")
"""A clip of MEAD; in EAT's names the identity of the portrait stands before it."""
LABEL = re.compile(r"(?:^|_)[MW]\d{3}_([a-z]{3})_([123])(?:_|$)")
SHORT = {emotion[:3]: label for label, emotion in enumerate(EMOTIONS)}
"""How MEAD's names say an emotion → its label."""


@dataclass(frozen=True)
class Films:
    """Clips by name: their films, and those of the truth."""

    videos: dict[str, Path]
    truth: dict[str, Path]

    @property
    def names(self) -> tuple[str, ...]:
        """Every clip of the truth, in order of name."""
        return tuple(sorted(self.truth))


def find_films(videos: Path, truth: Path) -> Films:
    """Films by name. Raises UserError for a folder that is not there or empty, and a film without truth."""
    ours, theirs = folder_of_films("videos", videos), folder_of_films("truth", truth)
    named, wanted = by_clip(ours), by_clip(theirs)
    if unknown := sorted(named.keys() - wanted.keys()):
        raise UserError(
            f"{named[unknown[0]]} has no truth ({len(unknown)} of {len(named)} films)",
            f"in {truth} there are: {', '.join(sorted(wanted)[:6])}",
            "give each film the name of its true clip",
        )
    return Films(named, wanted)


def by_clip(films: Mapping[str, Path]) -> dict[str, Path]:
    """Clip → film. Raises UserError for two films of one clip."""
    found: dict[str, Path] = {}
    for name, path in films.items():
        if (clip := clip_name(name)) in found:
            raise UserError(
                f"{found[clip].name} and {path.name} are both of clip {clip}",
                f"in {path.parent}",
                "measure one portrait at a time",
            )
        found[clip] = path
    return found


def folder_of_films(key: str, folder: Path) -> dict[str, Path]:
    """Name without suffix → film."""
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is no folder", do="give a folder of films")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in FILMS:
            if path.stem in found:
                raise UserError(f"two films of {folder} are called {path.stem}", do="keep one of them")
            found[path.stem] = path
    if not found:
        raise UserError(f"{key}={folder} holds no film", f"films end in: {', '.join(FILMS)}")
    return found


def clip_name(stem: str) -> str:
    """What a film and its truth have in common: of MEAD's names without the portrait's identity."""
    found = MEAD_NAME.fullmatch(stem)
    return f"{found[1]}_{found[2]}" if found else stem


def person(name: str) -> str:
    """Whose clip it is, where the name says so; else each clip stands for itself."""
    found = re.search(r"(?:^|_)([MW]\d{3})_", name)
    return found[1] if found else name


def label_of(name: str) -> tuple[int, int]:
    """Emotion and level of a clip, where its name says them as MEAD's do; else -1 and 0."""
    found = LABEL.search(name)
    return (SHORT[found[1]], int(found[2])) if found and found[1] in SHORT else (-1, 0)


def digests_of(paths: Mapping[str, Path]) -> dict[str, str]:
    """Name → sha256."""
    return {name: sha256_of_file(path) for name, path in sorted(paths.items())}
