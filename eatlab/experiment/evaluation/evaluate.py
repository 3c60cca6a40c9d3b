"""`eatlab evaluate`: anybody's films beside their truth, by a protocol, as a table and a record.

Films are matched by name. Beside them stand the truth against itself, its first frame repeated, and (where
lip sync is measured) the films with the sound of another clip (evaluation.md 11.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from eatlab.atomic import sha256_of_file, write_json, write_text
from eatlab.data.faces import MODEL
from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError, refuse_unknown
from eatlab.experiment.crew import Crew, Job
from eatlab.experiment.evaluation.film_clips import FAILED, TRUTH, Tools, clip_file, measure_clip, read_clip
from eatlab.experiment.evaluation.films import Films, digests_of, find_films, label_of, person
from eatlab.experiment.progress import Board
from eatlab.experiment.record import Spending, environment, num_cores, write_record
from eatlab.experiment.run import Run
from eatlab.experts.inception import FILES, NUM_FEATURES
from eatlab.meaning import as_dict
from eatlab.metrics import emotion, reference
from eatlab.metrics.coding import recoded
from eatlab.metrics.frechet import NUM_FULL_RANK, Moments, frechet_distance
from eatlab.metrics.notes import INCOMPLETE
from eatlab.metrics.protocols import METRICS, VIDEOS, Fingerprint, Protocol, sha256
from eatlab.metrics.row import NO_LABELS, RowReading, save_reading
from eatlab.metrics.table import Table, build_table
from eatlab.metrics.truth import ClipFacts
from eatlab.metrics.videos import CHAINS, ClipMeasured

CROPS = {"syncnet": "224 by landmarks", "emotion": "224 by landmarks", "identity": "112 by landmarks"}
WEIGHTS = ("syncnet", "inception", "emotion", "identity")


@dataclass(frozen=True)
class EvaluateHost:
    """workers: processes (0: one a core). json: also write the table there."""

    BOUNDS: ClassVar = {"workers": (0, 1024)}

    workers: int = 0
    runs: str = "runs"
    json: str = ""


@dataclass(frozen=True)
class EvaluateConfig:
    """videos: a folder of films to measure. truth: a folder of the true ones, of the same names.

    protocol: "standard", frames as they are, or "eat", aligned and coded as its paper's (docs/evaluation.md).
    syncnet, inception, emotion, identity: files of weights for lip sync, FID, accuracy of emotions and
    likeness of persons; what has none is not measured.
    """

    videos: str
    truth: str
    protocol: str = "standard"
    syncnet: str = ""
    inception: str = ""
    emotion: str = ""
    identity: str = ""
    host: EvaluateHost = field(default_factory=EvaluateHost)

    @property
    def tools(self) -> Tools:
        """What it is measured with."""
        return Tools(self.protocol, **{name: getattr(self, name) for name in WEIGHTS})


def run_evaluate(config: EvaluateConfig) -> int:
    """Measures what is not measured yet and prints the table. Raises UserError (2, 3, 4 or 75)."""
    refuse_unknown("protocol", config.protocol, VIDEOS)
    films, console = find_films(Path(config.videos), Path(config.truth)), Console()
    run = Run.of(config, Path(config.host.runs), meant=meaning_of(config, films))
    spending = Spending(run.folder)
    run.begin()
    rows = rows_of(config, films)
    console.print(f"evaluation of {config.videos} in {run.folder}", markup=False, highlight=False)
    try:
        measured = measure(config, films, run.folder, rows, console)
    finally:
        spending.save()
    sets = {row: fid_of(config, run.folder, row, films.names) for row in measured}
    table = table_of(config, films, run.folder, measured, sets)
    finish(config, films, run, table, measured, sets, spending.so_far())
    tell(console, run, failures(measured))
    return int(ExitCode.DONE)


@dataclass(frozen=True)
class Meaning:
    """What decides the identity of an evaluation: contents, not places."""

    config: dict[str, Any]
    films: dict[str, dict[str, str]]
    measured: dict[str, str]


def meaning_of(config: EvaluateConfig, films: Films) -> Meaning:
    """What is asked, by contents."""
    said = as_dict(config)
    for place in ("host", "videos", "truth", *WEIGHTS):
        said.pop(place)
    digests = {side: digests_of(paths) for side, paths in asdict(films).items()}
    return Meaning(said, digests, dict(fingerprint_of(config, films).facts))


def weights_of(config: EvaluateConfig) -> dict[str, str]:
    """sha256 of the files of weights that are given. Raises UserError for one that is not there."""
    found = {}
    for name in WEIGHTS:
        path = Path(getattr(config, name))
        if getattr(config, name):
            if not path.is_file():
                raise UserError(f"{name}={path} is no file", do="give its weights, or leave it out")
            found[name] = sha256_of_file(path)
    return found


def rows_of(config: EvaluateConfig, films: Films) -> tuple[str, ...]:
    """The films' row, named after their folder, and the reference rows that can be measured."""
    own = Path(config.videos).resolve().name
    own = f"{own} (videos)" if own in reference.ROWS else own
    heard = ("shuffled_audio",) if config.syncnet and len(films.names) > 1 else ()
    return ("source_copy", own, *heard, TRUTH)


def measure(
    config: EvaluateConfig, films: Films, folder: Path, rows: Sequence[str], console: Console
) -> dict[str, dict[str, ClipMeasured]]:
    """Row → clip → what was measured; what an earlier call measured is read."""
    _ = config.tools.instruments  # a wrong file is told before any work, and a codec that is not here
    for codec in CHAINS[config.protocol].codings:
        list(recoded(iter([np.zeros((16, 16, 3), np.uint8)]), codec))
    jobs, order = [], []
    for row in rows:
        for name in films.names:
            if not clip_file(folder, row, name).exists():
                options = {"tools": config.tools, "films": films, "folder": folder, "row": row, "name": name}
                jobs.append(Job(f"{row}: {name}", measure_clip, options))
            order.append((row, name))
    workers = min(config.host.workers or num_cores(), max(len(jobs), 1))
    with Board(console, len(jobs)) as board, Crew(0 if workers == 1 else workers, board) as crew:
        crew.run(jobs)
    found: dict[str, dict[str, ClipMeasured]] = {row: {} for row in rows}
    for row, name in order:
        found[row][name] = replace(read_clip(clip_file(folder, row, name)), features=None)
    return found


def table_of(
    config: EvaluateConfig,
    films: Films,
    folder: Path,
    measured: Mapping[str, Mapping[str, ClipMeasured]],
    sets: Mapping[str, Mapping[str, Any]],
) -> Table:
    """The table of all rows; each row's reading is kept beside. sets: row → `fid_of` it."""
    protocol, fingerprint = VIDEOS[config.protocol], fingerprint_of(config, films)
    readings = {
        row: [reading_of(protocol, fingerprint, of_row, sets[row])] for row, of_row in measured.items()
    }
    for row, (reading,) in readings.items():
        save_reading(folder / "readings" / f"{row}.safetensors", reading)
    return build_table(readings)


def reading_of(
    protocol: Protocol,
    fingerprint: Fingerprint,
    of_row: Mapping[str, ClipMeasured],
    fid: Mapping[str, Any],
) -> RowReading:
    """A row's numbers clip by clip; NaN where a clip has none, and the row's number then says incomplete."""
    names, clips = tuple(of_row), list(of_row.values())
    labels, levels = np.array([label_of(name) for name in names]).T
    hits, extras = emotions_of(clips, labels)
    values, reasons = {}, {}
    for metric in (name for name in protocol.metrics if not METRICS[name].of_set):
        each = np.array([clip.values.get(metric, np.nan) for clip in clips], np.float64)
        taking_part = np.full(len(each), True)
        if metric == "acc_emo":
            each, taking_part = hits, labels >= 0
        missing = int(np.isnan(each[taking_part]).sum())
        if np.isnan(each).all():
            reasons[metric] = why_empty(metric, clips, labelled=bool(taking_part.any()))
        else:
            values[metric] = each
            reasons |= {metric: f"{INCOMPLETE}: {missing} of {taking_part.sum()} clips"} if missing else {}
    if "value" in fid:
        values["fid"], extras["fid_images"] = np.array([fid["value"]]), np.array([fid["n_images"]])
    if "reason" in fid:
        reasons["fid"] = fid["reason"]
    facts = ClipFacts(names, tuple(map(person, names)), labels, levels)
    extras["num_frames"] = np.array([clip.num_frames for clip in clips], np.float64)
    return RowReading(protocol, fingerprint, facts, values, extras, reasons)


def why_empty(metric: str, clips: Sequence[ClipMeasured], *, labelled: bool) -> str:
    """Why no clip of a row has a number."""
    if told := [clip.reasons[metric] for clip in clips if metric in clip.reasons]:
        return told[0]
    if all(FAILED in clip.reasons for clip in clips):
        return "the clips failed"
    return "not measured" if labelled else NO_LABELS


def emotions_of(
    clips: Sequence[ClipMeasured], labels: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(clips,) 1 where a clip is judged as its label, NaN where it takes no part; and what the judge says.

    A clip without any face says nothing, and counts as wrong (evaluation.md 8).
    """
    judged = np.array([clip.log_probability is not None for clip in clips])
    nothing = [np.nan] * len(EMOTIONS)
    spoken = np.array([clip.log_probability or nothing for clip in clips])
    said = np.where(np.isnan(spoken).any(1), -1, emotion.said(spoken))
    hits = np.where(judged, emotion.hits(said, labels), np.nan)
    return hits, {"said": said, "log_probability": spoken} if judged.any() else {}


def fingerprint_of(config: EvaluateConfig, films: Films) -> Fingerprint:
    """What must be equal for two evaluations to stand in one table (evaluation.md 11.5)."""
    protocol, weights = VIDEOS[config.protocol], weights_of(config)
    faces = config.tools.instruments.faces
    return Fingerprint(
        {
            "protocol": protocol.id,
            "clips": sha256("".join(f"{name}\n" for name in films.names).encode()),
            "truth": sha256("".join(digests_of(films.truth).values()).encode()),
            "chain": str(asdict(CHAINS[config.protocol])),
            "landmark source": MODEL if faces is not None else "none",
            "sync crop": CROPS["syncnet"] if config.syncnet else "none",
            **{f"{name} crop": CROPS[name] for name in ("emotion", "identity") if name in weights},
            **{f"weights of {name}": digest for name, digest in weights.items()},
        }
    )


def failures(measured: Mapping[str, Mapping[str, ClipMeasured]]) -> dict[str, dict[str, str]]:
    """Row → clip → why it was not measured, or lacks what other clips of the row have."""
    return {row: dict(failed(of_row)) for row, of_row in measured.items()}


def failed(of_row: Mapping[str, ClipMeasured]) -> Iterator[tuple[str, str]]:
    """The clips of a row to be named. What no clip has, its cell explains."""
    known = {metric for clip in of_row.values() for metric in clip.values}
    for name, clip in of_row.items():
        lacking = [why for metric, why in clip.reasons.items() if metric in known]
        if why := clip.reasons.get(FAILED) or "; ".join(dict.fromkeys(lacking)):
            yield name, why


def fid_of(config: EvaluateConfig, folder: Path, row: str, names: Sequence[str]) -> dict[str, Any]:
    """FID of a row: its value, the images of each side, and a warning; or the reason why there is none.

    A value has a reason too where clips failed: it is of the rest.
    """
    if not config.inception:
        return {"reason": f"not measured: give inception=FILE, {FILES[config.protocol]}"}
    ours, theirs, missing = Moments(NUM_FEATURES), Moments(NUM_FEATURES), 0
    for name in names:
        if (features := read_clip(clip_file(folder, row, name)).features) is None:
            missing += 1
        else:
            ours.add(features[0])
            theirs.add(features[1])
    num = min(ours.num_samples, theirs.num_samples)
    if num < 2:
        return {"reason": "not measured: fewer than two frames could be looked at"}
    value = frechet_distance(ours.gaussian(), theirs.gaussian())
    found = {"value": value, "n_images": num, "rank_deficient": num < NUM_FULL_RANK}
    return found | ({"reason": f"{INCOMPLETE}: {missing} of {len(names)} clips"} if missing else {})


def finish(
    config: EvaluateConfig,
    films: Films,
    run: Run,
    table: Table,
    measured: Mapping[str, Mapping[str, ClipMeasured]],
    sets: Mapping[str, Mapping[str, Any]],
    spent: Mapping[str, float],
) -> None:
    """Writes table and record (evaluation.md 11.4)."""
    plain = table.to_json()
    write_json(run.folder / "table.json", plain)
    write_text(run.folder / "table.txt", table.to_text(132))
    write_text(run.folder / "table.md", table.to_markdown() + "\n")
    if config.host.json:
        write_json(Path(config.host.json), plain)
    record = {
        "kind": "evaluation",
        "identity": run.name,
        "config": as_dict(replace(config, host=EvaluateHost())),
        "table": plain,
        "details": table.details(),
        "fid": dict(sets),
        "confusion": {
            row: None if (counts := readings[0].confusion()) is None else counts.tolist()
            for row, readings in table.readings.items()
        },
        "failed": failures(measured),
        "clips": list(films.names),
        "per_clip": {
            row: {
                name: dict(zip(readings[0].clips.key, map(none_of_nan, values), strict=True))
                for name, values in readings[0].values.items()
                if not METRICS[name].of_set
            }
            for row, readings in table.readings.items()
        },
        "num_frames": each(measured, lambda clip: clip.num_frames),
        "frames_dropped": each(measured, lambda clip: clip.dropped),
        "reasons": each(measured, lambda clip: clip.reasons),
        "weights": weights_of(config),
        "films": digests_of(films.videos),
        "truth": digests_of(films.truth),
        "spent": dict(spent),
        "environment": environment(),
    }
    write_record(run.folder, record)


def each(
    measured: Mapping[str, Mapping[str, ClipMeasured]], told: Callable[[ClipMeasured], Any]
) -> dict[str, dict[str, Any]]:
    """Row → clip → what is told of it."""
    return {row: {name: told(clip) for name, clip in of_row.items()} for row, of_row in measured.items()}


def none_of_nan(value: float) -> float | str | None:
    """JSON has neither NaN nor infinity."""
    return None if np.isnan(value) else "inf" if np.isinf(value) else float(value)


def tell(console: Console, run: Run, said: Mapping[str, Mapping[str, str]]) -> None:
    """The table, which clips failed, and where everything lies."""
    for row, of_row in said.items():
        for name, why in of_row.items():
            console.print(f"{row}: {name}: {why}", markup=False, style="bold yellow")
    print((run.folder / "table.txt").read_text(encoding="utf-8"))
    print(f"\n  record  {run.folder / 'record.json'}")
