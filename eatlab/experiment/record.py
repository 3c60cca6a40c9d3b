"""The record of a run: everything that a reader needs to believe it and to repeat it (evaluation.md 11.4)."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import eatlab
from eatlab.atomic import write_json

PACKAGES = (
    "torch",
    "lightning",
    "numpy",
    "librosa",
    "webdataset",
    "safetensors",
    "torchmetrics",
    "scipy",
    "omegaconf",
    "wandb",
)
SPENT = "spent.json"


def environment() -> dict[str, Any]:
    """Versions, commit, command and machine: what `env.json` holds. Says nothing about who ran it."""
    return {
        "eatlab": eatlab.__version__,
        "commit": commit(),
        "command": " ".join(["eatlab", *sys.argv[1:]]),
        "python": platform.python_version(),
        "packages": {name: installed for name in PACKAGES if (installed := version_of(name))},
        "machine": machine(),
    }


def version_of(package: str) -> str:
    """Installed version, or an empty string."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """The source's git commit, with "+changes" if files differ from it; empty outside a git checkout."""
    folder = Path(eatlab.__file__).parent

    def git(*words: str) -> str:
        asked = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
        )
        return asked.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, memory, system, and the precision that it computes in."""
    from eatlab.backbone.precision import precision  # brings torch, which reading a record does without

    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor(),
        "cores": num_cores(),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "precision": precision("cpu"),
    }


def processor() -> str:
    """The processor's name as Linux tells it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    """record.json, written last: a folder that has one is done."""
    path = folder / "record.json"
    write_json(path, finite(record))
    return path


def finite(value: Any) -> Any:
    """The same with null for every number that is not finite: JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a finished run; None if there is none or it cannot be read."""
    try:
        return dict(json.loads((folder / "record.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


class Spending:
    """Wall and CPU seconds of a run over all its calls; children count once they have ended."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / SPENT
        self.began = (time.perf_counter(), cpu_seconds())
        try:
            self.before = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.before = {"wall_s": 0.0, "cpu_s": 0.0, "calls": 0}

    def so_far(self) -> dict[str, float]:
        """wall_s, cpu_s, calls."""
        return {
            "wall_s": round(self.before["wall_s"] + time.perf_counter() - self.began[0], 1),
            "cpu_s": round(self.before["cpu_s"] + cpu_seconds() - self.began[1], 1),
            "calls": self.before["calls"] + 1,
        }

    def save(self) -> None:
        write_json(self.path, self.so_far())


def cpu_seconds() -> float:
    """Of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in used)
