"""What the parity tests share."""

from __future__ import annotations

import os

import pytest
import torch

from tests.reference.vectors import FOLDER


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def pytest_sessionstart(session):
    if os.environ.get("EATLAB_REFERENCE") and not list(FOLDER.glob("*.npz")):
        pytest.exit(f"{FOLDER} holds no reference vectors; give a folder of *.json and *.npz", returncode=2)
