"""Reads a golden file, and says how far a case's values are from what it expects.

EATLAB_GOLDEN names another file of the same form (`make test-metrics GOLDEN=file`); its arrays lie beside it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
FILE = Path(os.environ.get("EATLAB_GOLDEN") or HERE / "metrics.json")
TABLE: dict[str, tuple[str, float, float]] = {}
"""case → its worst value, error, tolerance, as far as the tests have run; printed at the end."""

PIXELS = re.compile(r"<=(\d+) levels? on <=([\d.]+)% of values")


class Far(NamedTuple):
    """How far one value is, and how far it may be."""

    error: float
    tolerance: float

    @property
    def share(self) -> float:
        """1 and less passes; NaN, of a value that is none, does not."""
        if self.tolerance:
            return self.error / self.tolerance
        return 0.0 if self.error == 0 else np.inf


@cache
def golden() -> dict[str, Any]:
    """The file."""
    return json.loads(FILE.read_text())


def case(name: str) -> dict[str, Any]:
    """The case of an id."""
    return next(each for each in golden()["cases"] if each["id"] == name)


@cache
def arrays() -> Mapping[str, np.ndarray]:
    """The arrays that cases name."""
    return np.load(FILE.parent / golden()["arrays"], allow_pickle=False)


def beside(name: str) -> Path:
    """A further file of the golden folder, or the one shipped."""
    return next(path for path in (FILE.parent / name, HERE / name) if path.is_file())


def check(name: str, got: Any, expected: Any, tolerance: Any) -> None:
    """Fails unless every expected value was computed and is near enough; notes the worst in TABLE."""
    wanted, found = dict(leaves(expected)), dict(leaves(got))
    missing = wanted.keys() - found.keys()
    assert not missing, f"{name}: not computed: {sorted(missing)}"
    scale = max((float(np.abs(v).max()) for v in wanted.values() if is_real(v)), default=0.0)
    far = {k: v for key in wanted for k, v in distance(key, found[key], wanted[key], tolerance, scale)}
    worst = max(far, key=lambda key: (np.isnan(far[key].share), far[key].share, far[key].error))
    TABLE[name] = (
        worst,
        float(far[worst].error),
        float(far[worst].tolerance),
    )  # plain: it leaves the process
    wrong = {key: tuple(value) for key, value in far.items() if not value.share <= 1}
    assert not wrong, f"{name}: error, tolerance: {wrong}"


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Values by dotted name; a name of an array stands for the array."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    elif (
        isinstance(value, list) and value and isinstance(value[0], list) and len({len(v) for v in value}) > 1
    ):
        yield from leaves(dict(enumerate(value)), name)
    else:
        yield name or "value", np.asarray(arrays()[value] if isinstance(value, str) else value)


def is_real(value: np.ndarray) -> bool:
    """A measured number; whole numbers are counts, indices, levels."""
    return np.issubdtype(value.dtype, np.floating)


def distance(
    key: str, got: np.ndarray, wanted: np.ndarray, tolerance: Any, scale: float
) -> Iterator[tuple[str, Far]]:
    """By name, how far a value is, by the kind of tolerance that its case states."""
    assert wanted.ndim == 0 or got.shape == wanted.shape, f"{key} has shape {got.shape}, not {wanted.shape}"
    if wanted.dtype == np.float32:
        got = got.astype(np.float32)  # what is stored was rounded, by more than some tolerances allow
    alike = (got == wanted) | ((got != got) & (wanted != wanted))
    with np.errstate(invalid="ignore"):
        off = np.where(alike, 0.0, np.abs(got.astype(np.float64) - wanted.astype(np.float64)))
    error = float(off.max()) if off.size else 0.0
    if isinstance(tolerance, Mapping) and "pixel" in tolerance and not key.startswith("matrix"):
        levels, share = (float(number) for number in PIXELS.fullmatch(tolerance["pixel"]).groups())
        if key == "mean":
            yield key, Far(error, levels * share / 100)
        else:
            yield f"{key} levels", Far(error, levels)
        if key == "array":
            yield f"{key} share", Far(float((off > 0).mean()), share / 100)
    elif not is_real(wanted):
        yield key, Far(error, 0.0)
    else:
        yield key, Far(error, allowed(key, tolerance, scale))


def allowed(key: str, tolerance: Any, scale: float) -> float:
    """The absolute tolerance of a real value."""
    match tolerance:
        case {"rel": share}:
            return share * scale
        case {"exact": exact, "ci": interval}:
            return interval if "_ci" in key else exact
        case {"matrix": matrix}:
            return matrix
    return float(tolerance)
