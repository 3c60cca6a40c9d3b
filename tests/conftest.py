"""What all tests share: one thread, no W&B server, patience with busy machines, GPU tests only with a GPU.

At the end network × score is printed, from whichever process measured it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no deadlines. Examples are a function of the test, so a run repeats.
settings.register_profile(
    "patient", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wants_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not wants_gpu:
        return
    import torch

    if torch.cuda.is_available():
        return
    for item in wants_gpu:
        item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def scores() -> dict[str, dict[str, float]]:
    """Of the parity tests that this process has run: network → tensor → score."""
    vectors = sys.modules.get("tests.reference.vectors")
    return {} if vectors is None else vectors.SCORES


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["scores"] = scores()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    if found := getattr(node, "workeroutput", {}).get("scores"):
        from tests.reference.vectors import SCORES

        for name, of_tensors in found.items():
            SCORES.setdefault(name, {}).update(of_tensors)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not scores():
        return
    from tests.reference.vectors import FOLDER, TOLERANCE

    write = terminalreporter.write_line
    write(
        f"reference vectors of {FOLDER}; score = largest difference / deviation, passes below {TOLERANCE:g}"
    )
    for name, of_tensors in sorted(scores().items()):
        worst = max(of_tensors, key=of_tensors.__getitem__)
        write(f"  {name:<18} {of_tensors[worst]:.1e}  worst of {len(of_tensors):>2} tensors: {worst}")
