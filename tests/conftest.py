"""What all tests share: one thread, no W&B server, patience with busy machines, GPU tests only with a GPU.

At the end network × score, and golden case × error × tolerance, are printed, from whichever process measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
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


def golden_table() -> dict[str, tuple[str, float, float]]:
    """Of the golden cases that this process has run: case → worst value, error, tolerance."""
    cases = sys.modules.get("tests.golden.cases")
    return {} if cases is None else cases.TABLE


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput |= {"scores": scores(), "golden": golden_table()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    if found := getattr(node, "workeroutput", {}).get("scores"):
        from tests.reference.vectors import SCORES

        for name, of_tensors in found.items():
            SCORES.setdefault(name, {}).update(of_tensors)
    if found := getattr(node, "workeroutput", {}).get("golden"):
        from tests.golden.cases import TABLE

        TABLE.update({name: tuple(line) for name, line in found.items()})


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if scores():
        write_scores(terminalreporter.write_line)
    if golden_table():
        write_golden(terminalreporter.write_line)


def write_golden(write: Callable[[str], None]) -> None:
    from tests.golden.cases import FILE

    write(f"golden metrics of {FILE}; each case's worst value")
    write(f"  {'case':<24} {'error':>8} {'tolerance':>10}  value")
    for name, (worst, error, tolerance) in golden_table().items():
        late = "" if error <= tolerance else "  FAILS"
        write(f"  {name:<24} {error:8.1e} {tolerance:10.1e}  {worst}{late}")


def write_scores(write: Callable[[str], None]) -> None:
    from tests.reference.vectors import FOLDER, TOLERANCE

    write(
        f"reference vectors of {FOLDER}; score = largest difference / deviation, passes below {TOLERANCE:g}"
    )
    for name, of_tensors in sorted(scores().items()):
        worst = max(of_tensors, key=of_tensors.__getitem__)
        write(f"  {name:<18} {of_tensors[worst]:.1e}  worst of {len(of_tensors):>2} tensors: {worst}")
