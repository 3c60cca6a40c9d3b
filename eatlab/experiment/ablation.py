"""The main job: tune an adapter from several seeds, measure it between its baselines, tell it in a table.

`eatlab ablation adapter=deep_prompt`. Every part is kept as it is done, so that a second call goes on where
the first was stopped, or says at once that all is done.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from eatlab.atomic import disk_full, is_full, write_atomically
from eatlab.errors import ExitCode, UserError, refuse_unknown
from eatlab.experiment.corpora import source_fingerprint
from eatlab.experiment.record import Spending, num_cores, write_record
from eatlab.experiment.run import Run
from eatlab.meaning import meaning
from eatlab.objectives.weights import DRAWN, LossConfig
from eatlab.training.schedule import Schedule
from eatlab.training.subsets import LEAST_SHARE
from eatlab.zoo.folders import ZOO, remedy

BACKBONES = {"small": "backbone_small", "paper": "backbone"}
"""Size → name of its card: what the zoo ships, and what an import writes."""
ESTIMATOR = "estimator"
"""What reads E and pose of frames for a backbone of size paper, in an import's folder."""
RANDOM = "random weights"
HEARD = 5
"""Frames of a window that a teacher of sync takes (`experts.sync.FRAMES`, which needs torch)."""
JUDGES = ("judge_emotion", "judge_landmarks", "judge_sync")
TEACHERS = ("teacher_emotion", "teacher_face", "teacher_sync")


@dataclass(frozen=True)
class HostConfig:
    """Where and how, not what. workers: processes (0: one a core). json: also write the table there."""

    BOUNDS: ClassVar = {"workers": (0, 1024)}

    workers: int = 0
    runs: str = "runs"
    data: str = "data"
    json: str = ""
    report: bool = True
    track: bool = True


@dataclass(frozen=True)
class LayoutConfig:
    """How the result is also shown, as a table of the paper; no part of what is measured.

    rows: label → row of the table (a spec, or a reference row such as frozen). marks: heading → adapter that
    a row has or not. paper: label → column → its number; source: where those were measured.
    """

    title: str = ""
    rows: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ("psnr", "m_lmd", "f_lmd", "sync", "acc_emo")
    source: str = ""
    paper: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class AblationConfig:
    """adapter: a spec, or several with commas between; the first one is in question. compare: other specs
    beside them. data: a folder in MEAD layout; empty: puppets of that preset.

    size: of the backbone.  clips: how many test clips are measured, always the same ones; 0: all.
    share: of the training clips, which adapters learn from (training/subsets.py), in (0, 1].
    together: all specs of a seed learn in one process from one stream; the results are the same.
    zoo: a folder with backbone and judges, or an import's at size paper, which the shipped judges measure;
    empty: the ones that ship with eatlab, and random weights at size paper.
    """

    BOUNDS: ClassVar = {"clips": (0, math.inf), "share": (LEAST_SHARE, 1)}
    LATER: ClassVar = ("size", "clips", "share")

    adapter: str = "deep_prompt"
    compare: tuple[str, ...] = ("shallow_prompt",)
    seeds: tuple[int, ...] = (0, 1, 2)
    together: bool = False
    data: str = ""
    puppets: str = "small"
    size: str = "small"
    clips: int = 0
    share: float = 1.0
    zoo: str = ""
    schedule: Schedule = field(default_factory=Schedule)
    loss: LossConfig = field(default_factory=LossConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    host: HostConfig = field(default_factory=HostConfig)


@dataclass(frozen=True)
class Meaning:
    """What decides the identity of an ablation: what its files hold in place of where they lie."""

    config: dict[str, Any]
    networks: dict[str, str]
    clips: str


def run_ablation(config: AblationConfig) -> int:
    """Does what is left of the ablation and prints its table. Raises UserError (2, 3, 4, 5 or 75)."""
    console = Console()
    if config.layout.rows:
        from eatlab.experiment.layout import check_layout

        check_layout(config)
    run = Run.of(config, Path(config.host.runs), meant=meaning_of(config))
    record = run.record()
    if record is not None and ("report" in record["places"] or not config.host.report):
        console.print(f"done before: {run.folder}", markup=False, highlight=False)
    else:
        record = carry_out(config, run, console)
    tell(run, record, console, laid_out(config, run, record))
    if config.host.json:
        write_atomically(
            Path(config.host.json), lambda part: shutil.copyfile(run.folder / "table.json", part)
        )
    return int(ExitCode.DONE)


def meaning_of(config: AblationConfig) -> Meaning:
    """What is asked, checked. Raises UserError for no seeds, no such DATA, size or zoo, or another size's."""
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise UserError(
            f"seeds={list(config.seeds)} will not do",
            "each seed is one tuning",
            "give different ones, as in seeds=0,1,2",
        )
    said = meaning(config)
    for place in ("host", "data", "zoo", "together", "layout"):
        said.pop(place)
    own = [Path(config.host.runs), *(Path(config.host.data) / name for name in ("mead", "puppets"))]
    clips = source_fingerprint(Path(config.data), own) if config.data else "puppets"
    return Meaning(said, digests_of(config), clips)


def digests_of(config: AblationConfig) -> dict[str, str]:
    """sha256 of backbone and judges, and of teachers that the loss asks for, as their cards say.

    Raises UserError for a folder of another size, and for teachers of a size that there are none of.
    """
    refuse_unknown("size", config.size, BACKBONES)
    backbone, zoo = BACKBONES[config.size], Path(config.zoo) if config.zoo else ZOO
    check_size(zoo, config.size)
    if config.loss.draws and config.schedule.num_frames != HEARD:
        asked = f"losses of drawn frames hear windows of {HEARD} frames, not {config.schedule.num_frames}"
        raise UserError(asked, do=f"give schedule.num_frames={HEARD}")
    if config.size == "small":
        return network_digests(zoo, (backbone, *JUDGES, *(TEACHERS if config.loss.draws else ())))
    if config.loss.draws:
        asked = f"losses of drawn frames ({', '.join(DRAWN)}) at size {config.size}"
        raise UserError(asked, "the teachers are of size small", "leave their weights at 0")
    names = [backbone, ESTIMATOR]
    if config.zoo and not (zoo / f"{ESTIMATOR}.json").is_file():
        names.remove(ESTIMATOR)  # whoever loads it says what to import
    own = network_digests(zoo, tuple(names)) if config.zoo else dict.fromkeys(names, RANDOM)
    return own | network_digests(ZOO, JUDGES)


def check_size(zoo: Path, size: str) -> None:
    """Raises UserError if a folder that is asked for holds a backbone of another size only."""
    there = [name for name, card in BACKBONES.items() if (zoo / f"{card}.json").is_file()]
    if there and size not in there and zoo != ZOO:
        raise UserError(
            f"the backbone in {zoo} is of size {there[0]}",
            f"size={size} was asked for",
            f"say size={there[0]}, or give another folder",
        )


def network_digests(zoo: Path, names: tuple[str, ...]) -> dict[str, str]:
    """sha256 of the networks, as their cards say; the files are checked when they are loaded."""
    found = {}
    for name in names:
        try:
            found[name] = str(json.loads((zoo / f"{name}.json").read_text(encoding="utf-8"))["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"the zoo {zoo} has no card of {name}", str(error), remedy(zoo)) from error
    return found


def carry_out(config: AblationConfig, run: Run, console: Console) -> dict[str, Any]:
    """Everything that is not done yet, in processes; the record is written last."""
    from eatlab.experiment.crew import Crew
    from eatlab.experiment.plan import make_plan
    from eatlab.experiment.progress import Board

    try:
        spending = Spending(run.folder)
        plan = make_plan(config)
        run.begin()
        console.print(f"ablation of {plan.adapter} in {run.folder}", markup=False, highlight=False)
        try:
            workers = config.host.workers or num_cores()
            with Board(console, plan.num_jobs) as board, Crew(0 if workers == 1 else workers, board) as crew:
                outcome = plan.work(crew, run)
        finally:
            spending.save()
        return finish(config, outcome, spending, console)
    except OSError as error:
        raise disk_full(Path(error.filename or run.folder)) if is_full(error) else error from None


def finish(config: AblationConfig, outcome: Any, spending: Spending, console: Console) -> dict[str, Any]:
    """Table, report, tracked run, and the record that says that all is done."""
    from eatlab.experiment.outcome import conclude

    console.print("writing table and report", markup=False, highlight=False)
    record = conclude(outcome, report=config.host.report, tracked=config.host.track, spent=spending.so_far())
    write_record(outcome.run.folder, record)
    return record


def laid_out(config: AblationConfig, run: Run, record: dict[str, Any]) -> str:
    """The table as the paper prints it, written and as text; nothing if no layout was asked for."""
    if not config.layout.rows:
        return ""
    from eatlab.experiment.layout import lay_out

    return lay_out(config, run.folder, record)


def tell(run: Run, record: dict[str, Any], console: Console, layout: str) -> None:
    """The table, or its layout in its place; what must be said with it, and where everything lies."""
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    for line in record["data_warnings"]:
        say(line, style="bold yellow")
    print(layout or (run.folder / "table.txt").read_text(encoding="utf-8"))
    for bar in record["bars"]:
        mark = {True: "yes", False: "NO", None: "-"}[bar["holds"]]
        say(f"{mark:>4}  {bar['says']}: {bar['detail']}")
    say()
    places = record["places"] | ({"table": "table.txt", "layout": "layout.md"} if layout else {})
    for name, place in places.items():
        note = f" (seed {record['seeds'][0]})" if name == "adapter" else ""
        say(f"{name:>8}  {run.folder / place}{note}")
    if tracked := record.get("wandb"):
        say(f"{'W&B':>8}  {tracked['place'] or tracked['warning']}")
    spent = record["spent"]
    say(f"{'took':>8}  {spent['wall_s'] / 60:.1f} minutes, {spent['cpu_s'] / 60:.1f} minutes of CPU")
    sys.stdout.flush()
