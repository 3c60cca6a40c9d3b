"""MEAD's clips → shards: `eatlab data mead source=FOLDER`, and what `eatlab ablation data=FOLDER` calls.

The sources are only read. Packing is single and pure: the same clips give the same bytes, whatever the
number of workers or interruptions. Every identity has one portrait in each split that it is in, a neutral
frame if there is one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_recipes.mead.clip import LICENCE, ClipOptions, options_of
from data_recipes.mead.layout import Scan, Take, scan
from data_recipes.mead.report import REJECTS, REPORT, by_reason, write_rejects, write_report
from data_recipes.mead.sheet import MOST_CLIPS
from data_recipes.mead.sound import FOREIGN
from data_recipes.mead.splits import Labelled, Split, decide
from data_recipes.mead.work import (
    RECIPE_VERSION,
    SET_NAME,
    Job,
    Outcome,
    Reject,
    described,
    do_all,
    read_work,
    tool_versions,
)
from eatlab.data import members
from eatlab.data.faces import HOW_TO_INSTALL
from eatlab.data.members import Sample
from eatlab.data.shards import data_fingerprint, has_shards, read_index, write_shards
from eatlab.errors import UserError

PER_SHARD = 64
SPLITS = ("train", "val", "test")
CROPS = ("auto", "eat", "framed", "none")


@dataclass(frozen=True)
class HostConfig:
    """What may differ between machines without changing a byte: folder, worker processes (0: one a core)."""

    BOUNDS: ClassVar = {"workers": (0, 1024)}

    folder: str = "data/mead"
    workers: int = 0


@dataclass(frozen=True)
class MeadConfig:
    """source: a folder in MEAD layout.  split: see splits.py.  views: cameras.  limit: clips (0: all).

    crop, drawn, shortest, longest: see clip.py.  voice: a sound file lent to clips that have none, marked
    as foreign.
    """

    BOUNDS: ClassVar = {
        "drawn": (0, members.MAX_FRAMES),
        "shortest": (1, members.MAX_FRAMES),
        "longest": (1, members.MAX_FRAMES),
        "limit": (0, math.inf),
    }

    source: str = ""
    split: str = "auto"
    views: tuple[str, ...] = ("front",)
    crop: str = "auto"
    drawn: int = 25
    shortest: int = 25
    longest: int = 1024
    voice: str = ""
    limit: int = 0
    host: HostConfig = field(default_factory=HostConfig)


@dataclass(frozen=True)
class Accepted:
    """A clip that will be in a shard: what is decided by, and where its samples wait."""

    label: Labelled
    level: int
    voice: str
    tar: Path


def run(config: MeadConfig) -> int:
    """`eatlab data mead`: prints what was found, kept and refused, and where it lies."""
    if not config.source:
        raise UserError("eatlab data mead needs a folder", do="eatlab data mead source=FOLDER")
    folder = prepare(
        Path(config.source),
        Path(config.host.folder),
        split=config.split,
        views=config.views,
        limit=config.limit,
        workers=config.host.workers,
        options=ClipOptions(config.crop, config.drawn, config.shortest, config.longest, config.voice or None),
    )
    for split in SPLITS:
        if has_shards(folder, SET_NAME, split):
            print(f"{SET_NAME}/{split}: {folder} ({data_fingerprint(folder, SET_NAME, split)})")
    return 0


def prepare(
    folder: Path,
    out: Path = Path("data/mead"),
    *,
    options: ClipOptions | None = None,
    split: str = "auto",
    views: Sequence[str] = ("front",),
    limit: int = 0,
    workers: int = 0,
    console: Console | None = None,
) -> Path:
    """The folder with the shards of set "mead" (train, test, perhaps val), made from `folder` if absent.

    What a reader of figures must know is in `read_index(...)["recipe"]["warnings"]`.
    UserError: no such folder, nothing in MEAD layout there, every clip rejected, mediapipe missing.
    """
    options, console = options or ClipOptions(), console or Console()
    check_options(options)
    found = scan(Path(folder), views=tuple(views))
    found = replace(found, takes=found.takes[: limit or None])
    target = Path(out) / name_of(Path(folder), found, options, split)
    if all(has_shards(target, SET_NAME, side) for side in ("train", "test")) and (target / REPORT).is_file():
        console.print(f"{folder}: done before, nothing to do ({target})", markup=False)
    else:
        make(Path(folder), found, target, options, split, workers or os.cpu_count() or 1, console)
    tell(target, console)
    return target


def check_options(options: ClipOptions) -> None:
    """UserError for a crop that is unknown, a voice that is not there, or a missing mediapipe."""
    if options.crop not in CROPS:
        raise UserError(f"crop {options.crop!r} is unknown", f"there are: {', '.join(CROPS)}")
    if options.voice is not None and not Path(options.voice).is_file():
        raise UserError(f"voice {options.voice} does not exist", do="give a sound file")
    if find_spec("mediapipe") is None:
        raise UserError("faces are found with mediapipe 0.10.14", "it is not installed", HOW_TO_INSTALL)


def make(
    folder: Path, found: Scan, target: Path, options: ClipOptions, rule: str, workers: int, console: Console
) -> None:
    """Films, decides, packs, reports."""
    strays = [Reject(s.path, s.key, s.reason, s.detail, s.value) for s in found.strays]
    jobs = [Job(take, folder, options, target.parent / "work") for take in found.takes]
    accepted, rejects = accept(film(jobs, workers, console))
    rejects += strays
    log = write_rejects(target, rejects)
    if not accepted:
        raise UserError(
            f"nothing is left of {folder}",
            f"{len(found.takes) + len(strays)} clips were looked at, all rejected: {by_reason(rejects)}",
            f"the reasons clip by clip: {log}",
        )
    chosen = decide([clip.label for clip in accepted], rule)
    absent = [clip for clip in accepted if clip.label.key not in chosen.of]
    write_rejects(target, rejects + [not_in_split(clip, chosen) for clip in absent])
    kept = [clip for clip in accepted if clip.label.key in chosen.of]
    pack(target, kept, chosen, options, rejects, found.ignored())


def film(jobs: list[Job], workers: int, console: Console) -> list[Outcome]:
    """All jobs, under a bar that counts what was accepted and rejected."""
    bars = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    count = {True: 0, False: 0}
    with Progress(*bars, console=console, transient=True) as progress:
        task = progress.add_task("finding faces", total=len(jobs))

        def advance(outcome: Outcome) -> None:
            count[outcome.reject is None] += 1
            told = f"finding faces: {count[True]} accepted, {count[False]} rejected"
            progress.update(task, advance=1, description=told)

        return do_all(jobs, min(workers, len(jobs)) or 1, advance)


def accept(outcomes: Sequence[Outcome]) -> tuple[list[Accepted], list[Reject]]:
    """The clips that were filmed, less those that show the same as an earlier one, and all rejects."""
    accepted, rejects = [], []
    seen: dict[tuple[str, ...], str] = {}
    for outcome in outcomes:
        if outcome.tar is None:
            rejects += [outcome.reject] if outcome.reject else []
            continue
        json_ = described(read_work(outcome.tar)[0])
        marks: set[tuple[str, ...]] = {("film", json_["source"]["sha256"])}
        if json_["voice"] != FOREIGN:
            marks.add(("scene", json_["sha256"]["wav"], json_["difference_hash"]))
        twin = next((seen[mark] for mark in sorted(marks) if mark in seen), None)
        if twin is not None:
            rejects.append(duplicate(outcome.take, twin, json_["source"]["sha256"]))
            continue
        seen.update(dict.fromkeys(marks, outcome.take.key))
        label = Labelled(outcome.take.key, outcome.take.identity, outcome.take.emotion)
        accepted.append(Accepted(label, outcome.take.level, json_["voice"], outcome.tar))
    return accepted, rejects


def duplicate(take: Take, twin: str, sha256: str) -> Reject:
    """The line for a clip that shows and says what an earlier one does."""
    return Reject(
        take.path, take.key, "duplicate", f"the same film, or sound and picture, as {twin}", sha256=sha256
    )


def not_in_split(clip: Accepted, chosen: Split) -> Reject:
    """The line for a clip of somebody whom the list of the split does not name."""
    source = described(read_work(clip.tar)[0])["source"]
    detail = f"identity {clip.label.identity} is not in {chosen.rule}.csv"
    return Reject(
        source["path"], clip.label.key, "not_in_split", detail, clip.label.identity, sha256=source["sha256"]
    )


def pack(
    target: Path,
    accepted: list[Accepted],
    chosen: Split,
    options: ClipOptions,
    rejects: Sequence[Reject],
    ignored: str,
) -> None:
    """Writes the shards of each split, then the report."""
    warnings = [*chosen.warnings, *warnings_of(accepted), *passing(rejects, target)]
    recipe = {
        "name": SET_NAME,
        "version": RECIPE_VERSION,
        "options": options_of(options),
        "split": {"rule": chosen.rule, "identity_disjoint": chosen.identity_disjoint},
        "domain": "real",
        "licence": LICENCE,
        "tools": tool_versions(),
        "warnings": warnings,
    }
    for split in SPLITS:
        here = [clip for clip in accepted if chosen.has(clip.label.key, split)]
        if here:
            samples = in_order(here, portraits_for(here, accepted), split)
            write_shards(target, SET_NAME, split, samples, per_shard=PER_SHARD, recipe=recipe)
    summary = {"split": recipe["split"], "warnings": warnings, "licence": LICENCE, "ignored": ignored}
    told = [described(read_as(clip.tar, chosen.of[clip.label.key])[0]) for clip in accepted]
    shown = [
        accepted[i] for i in np.linspace(0, len(accepted) - 1, min(len(accepted), MOST_CLIPS)).astype(int)
    ]
    sheet = [members.decode(read_as(clip.tar, chosen.of[clip.label.key])[0]) for clip in shown]
    write_report(target, summary, told, sheet, rejects)


def warnings_of(accepted: Sequence[Accepted]) -> list[str]:
    """What else must be said of these clips."""
    warnings = []
    foreign = sum(clip.voice == FOREIGN for clip in accepted)
    if foreign:
        warnings.append(
            f"voice: {FOREIGN} in {foreign} of {len(accepted)} clips; their sync and mouths mean nothing"
        )
    people = {clip.label.identity for clip in accepted}
    neutral = {clip.label.identity for clip in accepted if clip.label.emotion == "neutral"}
    if people - neutral:
        warnings.append(
            f"portrait: not neutral, for want of a neutral clip: {', '.join(sorted(people - neutral))}"
        )
    return warnings


def passing(rejects: Sequence[Reject], target: Path) -> list[str]:
    """What must be said of clips that another run may accept."""
    number = sum(reject.passing for reject in rejects)
    what = f"failed: {number} clips, perhaps for want of memory or by a fault of the disk"
    return [f"{what}; remove {target} to try them again"] if number else []


def portraits_for(here: Sequence[Accepted], accepted: Sequence[Accepted]) -> list[Accepted]:
    """For each identity of a split the clip of its portrait: neutral if there is one, else the mildest."""
    portraits = []
    for identity in sorted({clip.label.identity for clip in here}):
        own = [clip for clip in accepted if clip.label.identity == identity]
        portraits.append(
            min(own, key=lambda clip: (clip.label.emotion != "neutral", clip.level, clip.label.key))
        )
    return portraits


def in_order(here: Sequence[Accepted], portraits: Sequence[Accepted], split: str) -> Iterator[Sample]:
    """Portraits by identity, then clips by the sha256 of their keys: each shard is a mix (data.md 4.2)."""
    for clip in portraits:
        yield read_as(clip.tar, split)[1]
    for clip in sorted(here, key=lambda one: hashlib.sha256(one.label.key.encode()).hexdigest()):
        yield read_as(clip.tar, split)[0]


def read_as(tar: Path, split: str) -> list[Sample]:
    """The samples of a finished job, told which split they are in."""
    told = []
    for sample in read_work(tar):
        json_ = members.canonical_json({**described(sample), "split": split})
        told.append(Sample(sample.key, {**sample.members, "json": json_}))
    return told


def name_of(folder: Path, found: Scan, options: ClipOptions, split: str) -> str:
    """8 hex digits of the files (name, size, time of change) and the options."""
    files = []
    for take in found.takes:
        for name in (take.path, take.beside, take.foreign):
            status = (folder / name).stat() if name else None
            files.append([name, status and status.st_size, status and status.st_mtime_ns])
    strays = [asdict(stray) for stray in found.strays]
    made_from = [RECIPE_VERSION, files, strays, options_of(options), split, tool_versions()]
    return hashlib.sha256(members.canonical_json(made_from)).hexdigest()[:8]


def tell(target: Path, console: Console) -> None:
    """The two lines that a user reads, and every warning."""
    summary = json.loads((target / REPORT).read_bytes())
    reasons = ", ".join(f"{reason} {number}" for reason, number in summary["rejected_by_reason"].items())
    console.print(
        f"real clips: {summary['accepted']} accepted ({', '.join(summary['by_identity'])}), "
        f"{summary['rejected']} rejected" + (f" ({reasons}; see {target / REJECTS})" if reasons else ""),
        markup=False,
        soft_wrap=True,
    )
    if ignored := summary.get("ignored"):
        console.print(f"ignored: {ignored}", markup=False, soft_wrap=True)
    for warning in read_index(target, SET_NAME, "test")["recipe"]["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
