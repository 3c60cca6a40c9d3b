"""A wandb of our making in the way of tracking children; what they call is written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RECORDING = """
import json, os, pathlib, types

log = pathlib.Path(os.environ["FAKE_LOG"])

def note(*what):
    with log.open("a") as file:
        file.write(json.dumps(what, default=str) + "\\n")

class Summary(dict):
    def update(self, values):
        note("summary", values)

class Run:
    summary = Summary()
    url = "https://wandb.example/run"

    def __init__(self, folder):
        self.dir = str(folder / "files")
        (folder / "files").mkdir(parents=True, exist_ok=True)

    def define_metric(self, *a, **k):
        note("define", a, k)

    def log(self, row):
        note("log", row)

    def finish(self):
        note("finish")

def Settings(**k):
    return k

def Table(columns, data, **k):
    return {"columns": columns, "data": data}

def Image(path):
    return "image " + path

def Video(path, format):
    return "video " + path

def init(**k):
    note("init", k)
    note("nice", os.nice(0))
    print("wandb: noise")
    if k["mode"] == os.environ.get("FAKE_REFUSES"):
        raise RuntimeError("no account")
    return Run(pathlib.Path(k["dir"]) / "wandb" / f"offline-run-{k['id']}")
"""


class FakeWandb:
    """Put into `folder`, and found by every child from then on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.package, self.log = folder / "fake" / "wandb", folder / "calls.jsonl"
        self.package.mkdir(parents=True)
        monkeypatch.setenv("PYTHONPATH", str(self.package.parent))
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        monkeypatch.delenv("WANDB_MODE", raising=False)
        self.is_(RECORDING)

    def is_(self, code: str) -> None:
        (self.package / "__init__.py").write_text(code)

    def calls(self, kind: str) -> list:
        """The arguments of each call of that kind, in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [call[1:] for call in map(json.loads, lines) if call[0] == kind]
