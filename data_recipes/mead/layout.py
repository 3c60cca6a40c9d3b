"""Where MEAD's clips lie and what their names say: the release's tree and other spellings (data.md 1.2)."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eatlab.emotions import EMOTIONS
from eatlab.errors import UserError

LABELS = {
    **{emotion: emotion for emotion in EMOTIONS},
    **{emotion[:3]: emotion for emotion in EMOTIONS},
    "anger": "angry",
    "disgust": "disgusted",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}
VIEWS = ("front", "down", "top", "left_30", "left_60", "right_30", "right_60")
FILMS = "mp4|mov|m4v|avi|mkv|webm|mpg|mpeg|ts|3gp|wmv|flv"
SOUNDS = "m4a|wav|mp3|flac|aac|ogg|aiff|w64|mov"

LED_OUT = "links that lead out of the folder, not followed: put the files there, or hard links"

_START = r"(?:.*/)?(?P<id>[MWP]\d{3,7})(?:_(?:video|audio))?/"
_LABEL = r"(?P<emotion>[A-Za-z]+)(?:/|_)level_(?P<level>\d+)/(?P<clip>\d{1,5})"
_FLAT = (
    r"(?:.*/)?(?P<id>[MWP]\d{3,7})_(?:(?P<view>" + "|".join(VIEWS) + r")_)?"
    r"(?P<emotion>[A-Za-z]+)_(?:level_?)?(?P<level>\d+)_(?P<clip>\d{1,5})"
)
FILM_LAYOUTS = {
    "<id>/video/<view>/<emotion>/level_<n>/<clip>.mp4": re.compile(
        _START + r"(?:video/)?(?:(?P<view>" + "|".join(VIEWS) + r")/)?" + _LABEL + rf"\.(?:{FILMS})",
        re.IGNORECASE,
    ),
    "<id>_<view>_<emotion>_level<n>_<clip>.mp4": re.compile(_FLAT + rf"\.(?:{FILMS})", re.IGNORECASE),
}
SOUND_LAYOUTS = {
    "<id>/audio/<emotion>/level_<n>/<clip>.m4a": re.compile(
        _START
        + r"(?:audio/)?(?:video/)?(?:(?:"
        + "|".join(VIEWS)
        + r")/)?"
        + _LABEL
        + rf"(?P<foreign>\.foreign)?\.(?:{SOUNDS})",
        re.IGNORECASE,
    ),
    "<id>_<view>_<emotion>_level<n>_<clip>.wav": re.compile(
        _FLAT + rf"(?P<foreign>\.foreign)?\.(?:{SOUNDS})", re.IGNORECASE
    ),
}


@dataclass(frozen=True, order=True)
class Take:
    """One recorded clip: what its name says, and its files, relative to the scanned folder.

    beside: the sound of this clip in a file of its own. foreign: somebody else's voice
    (`<clip>.foreign.wav`), put there only to carry a silent clip through the plumbing.
    """

    key: str
    path: str
    identity: str
    view: str
    emotion: str
    level: int
    clip: str
    beside: str | None = None
    foreign: str | None = None


@dataclass(frozen=True)
class Stray:
    """A file that fits a layout and yet cannot be a clip: the first line of the reject log."""

    path: str
    key: str
    reason: str
    detail: str
    value: str = ""


@dataclass(frozen=True)
class Scan:
    """What a folder holds: clips sorted by key, strays, and what was not taken.

    other_views: films of cameras that were not asked for.  others: files that fit no layout, by suffix.
    links: names of links that lead out of the folder, which are not followed.
    """

    takes: list[Take]
    strays: list[Stray]
    other_views: int
    others: Counter[str]
    links: tuple[str, ...] = ()

    def ignored(self) -> str:
        """What was not taken, for a user to read; empty if all was."""
        told = [f"{self.other_views} of other views"] if self.other_views else []
        told += [f"{suffix} {count}" for suffix, count in sorted(self.others.items())]
        if self.links:
            told.append(f"{len(self.links)} {LED_OUT} ({self.links[0]})")
        return ", ".join(told)


def scan(folder: Path, *, views: tuple[str, ...] = ("front",)) -> Scan:
    """Reads the names below `folder`, opens no file. UserError if nothing there fits a layout."""
    if not folder.is_dir():
        wrong = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {wrong}", do="give the folder that holds MEAD's M003, W009, …")
    names, links = list_files(folder)
    sounds = find_sounds(names)
    takes: dict[str, Take] = {}
    strays, others, other_views = [], Counter[str](), 0
    for name in names:
        found = match(name, FILM_LAYOUTS)
        if not is_text(name):
            others["names that are not UTF-8"] += 1
            continue
        if found is None:
            if match(name, SOUND_LAYOUTS):
                continue
            others[PurePosixPath(name).suffix.lower() or "no suffix"] += 1
            continue
        take = read_name(name, found, sounds)
        if isinstance(take, Stray):
            strays.append(take)
        elif take.view not in views:
            other_views += 1
        elif take.key in takes:
            strays.append(Stray(name, take.key, "duplicate", f"the same clip as {takes[take.key].path}"))
        else:
            takes[take.key] = take
    if not takes and not strays:
        raise UserError(
            f"no clip in MEAD layout in {folder}",
            f"tried: {', '.join(FILM_LAYOUTS)} (views {', '.join(views)}); "
            f"there are: {', '.join(names[:3]) or 'no files'}"
            + (f", and {len(links)} {LED_OUT} ({links[0]})" if links else ""),
            "see data_recipes/mead/README.md for the layouts",
        )
    return Scan([takes[key] for key in sorted(takes)], strays, other_views, others, links)


def list_files(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """Names below the folder, sorted, without hidden files and archives' leftovers; and links that lead out.

    Those are not followed: what a folder holds should not depend on what lies elsewhere.
    """
    root = Path(os.path.realpath(folder))
    names, links = [], []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
            continue
        # realpath, since resolve raises on a link to itself
        if not Path(os.path.realpath(path)).is_relative_to(root):
            links.append(name.as_posix())
        elif path.is_file():
            names.append(name.as_posix())
    return sorted(names), tuple(sorted(links))


def is_text(name: str) -> bool:
    """Whether a name can be written down: one from an old archive may be no UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def match(name: str, layouts: dict[str, re.Pattern[str]]) -> re.Match[str] | None:
    """The first layout that the whole name fits."""
    return next((found for layout in layouts.values() if (found := layout.fullmatch(name))), None)


def find_sounds(names: list[str]) -> dict[tuple[str, str, int, int, bool], str]:
    """(identity, emotion, level, clip, whether foreign) → name, for the sounds in files of their own."""
    sounds: dict[tuple[str, str, int, int, bool], str] = {}
    for name in names:
        found = None if match(name, FILM_LAYOUTS) else match(name, SOUND_LAYOUTS)
        if found is not None and found["emotion"].lower() in LABELS:
            sounds.setdefault((*sort_of(found), found["foreign"] is not None), name)
    return sounds


def sort_of(found: re.Match[str]) -> tuple[str, str, int, int]:
    """(identity, emotion, level, clip) that a name says."""
    return found["id"].upper(), LABELS[found["emotion"].lower()], int(found["level"]), int(found["clip"])


def read_name(
    name: str, found: re.Match[str], sounds: dict[tuple[str, str, int, int, bool], str]
) -> Take | Stray:
    """The clip of a name, or a stray with reason bad_label."""
    label, level = found["emotion"].lower(), int(found["level"])
    identity, view, clip = found["id"].upper(), (found["view"] or "front").lower(), found["clip"]
    key = f"mead_{identity}_{view}_{LABELS.get(label, label)}_{level}_{clip}"
    if label not in LABELS:
        return Stray(name, key, "bad_label", f'emotion "{label}" is none of {", ".join(EMOTIONS)}', label)
    if level not in (1, 2, 3):
        return Stray(name, key, "bad_label", f"level {level} is none of 1, 2, 3", str(level))
    kind = sort_of(found)
    beside, foreign = sounds.get((*kind, False)), sounds.get((*kind, True))
    return Take(key, name, identity, view, LABELS[label], level, clip, beside, foreign)
