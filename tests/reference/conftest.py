"""Prints network × score after the parity tests."""

from __future__ import annotations

from tests.reference.vectors import FOLDER, SCORES, TOLERANCE


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
