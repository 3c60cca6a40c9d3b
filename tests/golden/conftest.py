"""A golden file that cannot be read is said in one line."""

from __future__ import annotations

import json

import pytest

from tests.golden.cases import FILE, golden


def pytest_sessionstart(session: pytest.Session) -> None:
    try:
        golden()["cases"], golden()["arrays"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        pytest.exit(f"{FILE} is no golden file: {error!r}; give GOLDEN=path/of/metrics.json", returncode=2)
