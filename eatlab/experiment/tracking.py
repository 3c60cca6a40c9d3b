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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODES = ("offline", "online", "disabled")
CURVE_KEYS = ("adapter", "seed", "minutes")
INIT_TIMEOUT_S = 30
LIFE_S = 600
"""After that a child whose parent is gone ends itself."""
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

    curve: rows of {"adapter", "seed", "minutes", metric: value …}.  table: as `--json` writes it.
    media: name → PNG or MP4; files of other sorts are left out.
    """

    identity: str
    name: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[Mapping[str, Any], ...] = ()
    table: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, Path] = field(default_factory=dict)
    project: str = "eatlab"


@dataclass(frozen=True)
class Tracked:
    """place: the offline run's folder or the online run's address. warning: one line, if all is not well."""

    place: str | None
    warning: str | None = None


class Tracker:
    """A tracking child at work on a run, or the answer that made one needless."""

    def __init__(
        self, run: TrackedRun, mode: str, *, warning: str = "", ready: Tracked | None = None
    ) -> None:
        self.run = run
        self.mode = mode
        self.warning = warning
        self.ready = ready
        self.answer = _answer_of(run)
        self.child = _start(run, self.answer, mode) if ready is None else None

    def wait(self, limit_s: float = 60.0) -> Tracked:
        """What became of it, after at most `limit_s`; raises nothing of W&B's.

        Online gets half of the time: if it fails or hangs, the run is written offline in the other half.
        """
        if self.ready is None:
            self.ready = self._outcome(limit_s)
        return self.ready

    def _outcome(self, limit_s: float) -> Tracked:
        reasons = [self.warning] if self.warning else []
        if self.mode == "online":
            failure = self._finish(limit_s / 2)
            if not failure:
                return _read_answer(self.answer) or Tracked(None)
            reasons.append(f"W&B online {failure}: written offline, `wandb sync` sends it")
            limit_s /= 2
            self.child = _start(self.run, self.answer, "offline")
        failure = self._finish(limit_s)
        if failure:
            return Tracked(
                None, f"W&B {failure}: left out, the run is not affected; see {_log_of(self.answer)}"
            )
        found = _read_answer(self.answer)
        return Tracked(found.place if found else None, "; ".join(reasons) or None)

    def _finish(self, limit_s: float) -> str:
        """Waits for the child and ends it; "" or how it failed."""
        if self.child is None:
            return "could not be started"
        try:
            self.child.wait(limit_s)
        except subprocess.TimeoutExpired:
            return f"did not answer within {limit_s:.0f} s"
        finally:
            _end(self.child)
        return "" if _read_answer(self.answer) else f"failed ({_last_line(_log_of(self.answer))})"


def track(run: TrackedRun, *, limit_s: float = 60.0) -> Tracked:
    """Start and wait: what became of it, after at most `limit_s` seconds."""
    return start_tracking(run).wait(limit_s)


def start_tracking(run: TrackedRun) -> Tracker:
    """Starts the child and returns at once. A point that was tracked in this mode is not tracked again."""
    asked = os.environ.get("WANDB_MODE") or "offline"
    mode = asked if asked in MODES else "offline"
    if mode == "disabled":
        return Tracker(run, mode, ready=Tracked(None))
    warning = (
        ""
        if mode == asked
        else f"WANDB_MODE={asked} is unknown, there are {', '.join(MODES)}: taken as offline"
    )
    return Tracker(run, mode, warning=warning, ready=_read_answer(_answer_of(run), mode=mode))


def _answer_of(run: TrackedRun) -> Path:
    return run.folder / "wandb" / f"{run.identity}.json"


def _log_of(answer: Path) -> Path:
    return answer.with_suffix(".log")


def _start(run: TrackedRun, answer: Path, mode: str) -> subprocess.Popen[bytes] | None:
    """The child, or None if files or processes cannot be made."""
    try:
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.unlink(missing_ok=True)
        request = answer.with_suffix(".request.json")
        media = {name: str(Path(path).resolve()) for name, path in run.media.items()}
        content = {**vars(run), "folder": str(run.folder.resolve()), "media": media, "mode": mode}
        request.write_text(json.dumps(content, default=str), encoding="utf-8")
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
    run = _open_run(asked)
    run.define_metric("tuning/*", step_metric="tuning/minutes")
    for row in _curve_rows(asked["curve"]):
        run.log(row)
    _log_tables(run, asked)
    _log_media(run, asked["media"])
    place = run.url if asked["mode"] == "online" else str(Path(run.dir).parent)
    run.finish()
    answer = request.with_name(request.name.replace(".request", ""))
    draft = answer.with_suffix(".part")
    draft.write_text(json.dumps({"place": place, "mode": asked["mode"]}), encoding="utf-8")
    draft.replace(answer)
    request.unlink()


def _open_run(asked: Mapping[str, Any]) -> Any:
    import wandb

    return wandb.init(
        project=asked["project"],
        id=asked["identity"],
        name=asked["name"],
        dir=asked["folder"],
        config=asked["config"],
        mode=asked["mode"],
        resume="allow" if asked["mode"] == "online" else None,
        settings=wandb.Settings(
            silent=True, console="off", init_timeout=INIT_TIMEOUT_S, x_disable_stats=True
        ),
    )


def _curve_rows(curve: list[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    """{"tuning/minutes": …, "tuning/<adapter>/seed <n>/<metric>": …}, in the order of the clock."""
    for row in sorted(curve, key=lambda row: row["minutes"]):
        place = f"tuning/{row['adapter']}/seed {row['seed']}"
        values = {f"{place}/{name}": value for name, value in row.items() if name not in CURVE_KEYS}
        yield {"tuning/minutes": row["minutes"], **values}


def _log_tables(run: Any, asked: Mapping[str, Any]) -> None:
    """The table as one W&B table (columns for mean, low, high), and each mean in the run's summary."""
    import wandb

    rows = asked["table"].get("rows", {})
    metrics = list(dict.fromkeys(name for values in rows.values() for name in values))
    columns = ["row", *(f"{name}{end}" for name in metrics for end in ("", " low", " high"))]
    data = []
    for row, values in rows.items():
        cells = [values.get(name) or {} for name in metrics]
        data.append([row, *(cell.get(key) for cell in cells for key in ("mean", "low", "high"))])
        means = {f"{row}/{name}": (values.get(name) or {}).get("mean") for name in metrics}
        run.summary.update({key: mean for key, mean in means.items() if mean is not None})
    if data:
        run.log({"table": wandb.Table(columns=columns, data=data, allow_mixed_types=True)})


def _log_media(run: Any, media: Mapping[str, str]) -> None:
    import wandb

    for name, file in media.items():
        suffix = Path(file).suffix
        if suffix in PICTURE_SUFFIXES:
            run.log({f"media/{name}": wandb.Image(file)})
        elif suffix in VIDEO_SUFFIXES:
            run.log({f"media/{name}": wandb.Video(file, format="mp4")})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
