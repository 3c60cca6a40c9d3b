"""Weights & Biases: one run per point, logged by a child process that can neither stop nor slow the point.

The child is this module run as a program: `python -m eatlab.experiment.tracking REQUEST`. It reads one file
and leaves one; what wandb prints goes to a log beside them. W&B is offline unless `WANDB_MODE=online` is set.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODES = ("offline", "online", "disabled")
CURVE_KEYS = ("adapter", "seed", "minutes")
INIT_TIMEOUT_S = 30
LIFE_S = 600
"""After that a child whose parent is gone ends itself."""
POLL_S = 0.05
VIDEO_SUFFIXES = frozenset({".mp4"})
PICTURE_SUFFIXES = frozenset({".png", ".jpg"})
QUIET = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""Nothing is printed, no source or diff is taken along; the run's config already says which commit it is."""


@dataclass(frozen=True)
class TrackedRun:
    """What W&B gets to know. identity: the point's 8 hex digits, its id at W&B. folder: the run folder.

    curve: rows of {"minutes", metric: value …}, with "adapter" and "seed" if there are several.
    table: as `--json` writes it; low and high may be missing.  media: name → PNG or MP4; files of other sorts
    are left out.  group: what W&B shows together; empty: nothing.
    """

    identity: str
    name: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[Mapping[str, Any], ...] = ()
    table: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, Path] = field(default_factory=dict)
    group: str = ""
    project: str = "eatlab"


@dataclass(frozen=True)
class Tracked:
    """place: the offline run's folder or the online run's address. warning: one line, if all is not well."""

    place: str | None
    warning: str | None = None


class Tracker:
    """A tracking child at work on a run, or the answer that made one needless."""

    def __init__(
        self, run: TrackedRun, mode: str, *, warning: str = "", ready: Tracked | None = None, nice: int = 0
    ) -> None:
        self.run, self.mode, self.nice = run, mode, nice
        self.reasons = [warning] if warning else []
        self.ready = ready
        self.answer = _answer_of(run.folder, run.identity)
        self.num_tries = 2 if mode == "online" else 1
        self.child: subprocess.Popen[bytes] | None = None
        if ready is None:
            self._begin(mode)

    def wait(self, limit_s: float = 60.0) -> Tracked:
        """What became of it, after at most `limit_s`; raises nothing of W&B's."""
        while (found := self.look(limit_s)) is None:
            time.sleep(POLL_S)
        return found

    def look(self, limit_s: float) -> Tracked | None:
        """What became of it; None while the child is at work, and was started less than `limit_s` ago.

        Online gets half of the time: if it fails or hangs, the run is written offline in the other half.
        """
        if self.ready is None and (failure := self._failure(limit_s / self.num_tries)) is not None:
            if not failure:
                found = _read_answer(self.answer)
                self.ready = Tracked(found.place if found else None, "; ".join(self.reasons) or None)
            elif self.mode == "online":
                self.reasons.append(f"W&B online {failure}: written offline, `wandb sync` sends it")
                self._begin("offline")
            else:
                log = _log_of(self.answer)
                self.ready = Tracked(None, f"W&B {failure}: left out, the run is not affected; see {log}")
        return self.ready

    def grant(self) -> None:
        """Counts a child's time from now."""
        self.began = time.monotonic()

    def _begin(self, mode: str) -> None:
        self.mode = mode
        self.child = _start(self.run, self.answer, mode, self.nice)
        self.grant()

    def _failure(self, limit_s: float) -> str | None:
        """How it failed, "" if it did not, None while it is at work; ends a child that is late."""
        if self.child is None:
            return "could not be started"
        is_late = time.monotonic() - self.began >= limit_s
        if self.child.poll() is None and not is_late:
            return None
        has_ended = self.child.returncode is not None
        _end(self.child)
        if not has_ended:
            return f"did not answer within {limit_s:.0f} s"
        return "" if _read_answer(self.answer) else f"failed ({_last_line(_log_of(self.answer))})"


def track(run: TrackedRun, *, limit_s: float = 60.0) -> Tracked:
    """Start and wait: what became of it, after at most `limit_s` seconds."""
    return start_tracking(run).wait(limit_s)


def start_tracking(run: TrackedRun, *, nice: int = 0) -> Tracker:
    """Starts the child and returns at once. A point that was tracked in this mode is not tracked again.

    nice: by how much the child gives way to other processes, 0..19.
    """
    mode, warning = asked_mode()
    if mode == "disabled":
        return Tracker(run, mode, ready=Tracked(None))
    ready = tracked_before(run.folder, run.identity)
    return Tracker(run, mode, warning=warning, ready=ready, nice=nice)


def asked_mode() -> tuple[str, str]:
    """One of MODES, by WANDB_MODE; and a warning if it says something else."""
    asked = os.environ.get("WANDB_MODE") or "offline"
    if asked in MODES:
        return asked, ""
    return "offline", f"WANDB_MODE={asked} is unknown, there are {', '.join(MODES)}: taken as offline"


def tracked_before(folder: Path, identity: str) -> Tracked | None:
    """Where the run of a run folder is that was logged in the mode that is asked; None if there is none."""
    return _read_answer(_answer_of(folder, identity), mode=asked_mode()[0])


def _answer_of(folder: Path, identity: str) -> Path:
    return folder / "wandb" / f"{identity}.json"


def _log_of(answer: Path) -> Path:
    return answer.with_suffix(".log")


def _start(run: TrackedRun, answer: Path, mode: str, nice: int) -> subprocess.Popen[bytes] | None:
    """The child, or None if files or processes cannot be made."""
    try:
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.unlink(missing_ok=True)
        request = answer.with_suffix(".request.json")
        media = {name: str(Path(path).resolve()) for name, path in run.media.items()}
        content = {**vars(run), "folder": str(run.folder.resolve()), "media": media}
        how = {"mode": mode, "nice": nice}
        request.write_text(json.dumps(content | how, default=str), encoding="utf-8")
        with _log_of(answer).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "eatlab.experiment.tracking", str(request.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **QUIET, "WANDB_MODE": mode, "PYTHONPATH": _search_path()},
                start_new_session=True,
            )
    except (OSError, TypeError, ValueError):
        return None


def _search_path() -> str:
    """PYTHONPATH under which the child finds this package, installed or not."""
    return os.pathsep.join(
        filter(None, (os.environ.get("PYTHONPATH"), str(Path(__file__).resolve().parents[2])))
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of the child's own process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_line(log: Path) -> str:
    """What the child said last, at most 160 characters."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.strip()[:160] for line in reversed(lines) if line.strip()), "it said nothing")


def _read_answer(answer: Path, *, mode: str | None = None) -> Tracked | None:
    """What a finished child wrote; None if there is nothing, of another mode, or its folder is gone."""
    try:
        content = json.loads(answer.read_text(encoding="utf-8"))
        found = Tracked(content["place"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if mode is not None and (content.get("mode") != mode or not _is_there(found.place)):
        return None
    return found


def _is_there(place: str | None) -> bool:
    return place is not None and (place.startswith("https://") or Path(place).is_dir())


# -------------------------------------------------------------------------------- inside the child


def main(request: Path) -> None:
    """Logs what the file `request` asks for, and writes the answer beside it last."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    signal.alarm(LIFE_S)
    os.nice(asked["nice"])
    run = _open_run(asked)
    log_content(run, asked)
    place = run.url if asked["mode"] == "online" else str(Path(run.dir).parent)
    run.finish()
    answer = request.with_name(request.name.replace(".request", ""))
    draft = answer.with_suffix(".part")
    draft.write_text(json.dumps({"place": place, "mode": asked["mode"]}), encoding="utf-8")
    draft.replace(answer)
    request.unlink()


def log_content(run: Any, told: Mapping[str, Any]) -> None:
    """Curve, table and media, as a TrackedRun has them, into an open run of W&B's."""
    run.define_metric("tuning/*", step_metric="tuning/minutes")
    for row in _curve_rows(told["curve"]):
        run.log(row)
    _log_tables(run, told["table"].get("rows", {}))
    _log_media(run, told["media"])


def _open_run(asked: Mapping[str, Any]) -> Any:
    import wandb

    return wandb.init(
        project=asked["project"],
        id=asked["identity"],
        name=asked["name"],
        group=asked["group"] or None,
        dir=asked["folder"],
        config=asked["config"],
        mode=asked["mode"],
        resume="allow" if asked["mode"] == "online" else None,
        settings=wandb.Settings(
            silent=True, console="off", init_timeout=INIT_TIMEOUT_S, x_disable_stats=True
        ),
    )


def _curve_rows(curve: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    """{"tuning/minutes": …, "tuning/<adapter>/seed <n>/<metric>": …}, in the order of the clock; plainly
    "tuning/<metric>" in a run of one tuning, so that W&B lays such runs over each other.
    """
    for row in sorted(curve, key=lambda row: row["minutes"]):
        place = f"tuning/{row['adapter']}/seed {row['seed']}" if "adapter" in row else "tuning"
        values = {f"{place}/{name}": value for name, value in row.items() if name not in CURVE_KEYS}
        yield {"tuning/minutes": row["minutes"], **values}


def _log_tables(run: Any, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """The rows as one W&B table (columns for mean, low, high), and each mean in the run's summary."""
    import wandb

    metrics = dict.fromkeys(name for values in rows.values() for name in values)
    there = {(name, end) for values in rows.values() for name, cell in values.items() for end in cell or ()}
    columns = [(name, end) for name in metrics for end in ("mean", "low", "high") if (name, end) in there]
    data = []
    for row, values in rows.items():
        data.append([row, *(_shown(values.get(name) or {}, end) for name, end in columns)])
        means = {f"{row}/{name}": (cell or {}).get("mean") for name, cell in values.items()}
        run.summary.update({key: mean for key, mean in means.items() if mean is not None})
    if data:
        heads = ["row", *(name if end == "mean" else f"{name} {end}" for name, end in columns)]
        run.log({"table": wandb.Table(columns=heads, data=data, allow_mixed_types=True)})


def _shown(cell: Mapping[str, Any], end: str) -> Any:
    """A number, or in the place of a mean the reason why there is none."""
    return cell.get("reason") if end == "mean" and cell.get("mean") is None else cell.get(end)


def _log_media(run: Any, media: Mapping[str, str | Path]) -> None:
    import wandb

    for name, file in media.items():
        suffix = Path(file).suffix
        if suffix in PICTURE_SUFFIXES:
            run.log({f"media/{name}": wandb.Image(str(file))})
        elif suffix in VIDEO_SUFFIXES:
            run.log({f"media/{name}": wandb.Video(str(file), format="mp4")})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
