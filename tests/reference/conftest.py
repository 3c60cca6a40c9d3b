"""Prints network × score after the parity tests."""

from __future__ import annotations

import os

import pytest
import torch

from tests.reference.vectors import FOLDER, SCORES, TOLERANCE


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def pytest_sessionstart(session):
    if os.environ.get("EATLAB_REFERENCE") and not list(FOLDER.glob("*.npz")):
        pytest.exit(f"{FOLDER} holds no reference vectors; give a folder of *.json and *.npz", returncode=2)


def pytest_terminal_summary(terminalreporter):
    if not SCORES:
        return
    write = terminalreporter.write_line
    write(
        f"reference vectors of {FOLDER}; score = largest difference / deviation, passes below {TOLERANCE:g}"
    )
    for name, scores in sorted(SCORES.items()):
        worst = max(scores, key=scores.get)
        write(f"  {name:<18} {scores[worst]:.1e}  worst of {len(scores):>2} tensors: {worst}")
