"""The adapter of CONTRIBUTING.md, installed as a package of its own, passes the properties as ours do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[project]
name = "face-gain"
version = "1"

[project.entry-points."eatlab.adapters"]
face_gain = "face_gain:FaceGain"

[tool.setuptools]
py-modules = ["face_gain"]
"""
CHOSEN = "face_gain and (not compose or deep_prompt)"


def run(*words: str | Path, path: Path | None = None) -> str:
    """A Python command in the project's folder, with `path` before its packages; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_example_of_contributing_is_an_adapter_of_another_package(tmp_path):
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    example = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert example
    (source / "face_gain.py").write_text(example[1])
    (source / "pyproject.toml").write_text(PYPROJECT)
    run(
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        installed,
        source,
    )
    suite = ROOT / "tests" / "adapters"
    said = run(
        *("pytest", "-q", "-p", "no:cacheprovider", "-k", CHOSEN),
        suite / "test_adapter_set.py",
        path=installed,
    )
    assert int(re.search(r"(\d+) passed", said)[1]) >= 15
