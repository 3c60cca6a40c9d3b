"""What metrics ask of the judges, and the refusal of a judge that stays under its gate (its card tells)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class SyncJudge(Protocol):
    """Two towers into one space of unit vectors (n, d)."""

    def video(self, crops: Tensor) -> Tensor:
        """crops: (n, 5, 40, 40) grey mouths in -1..1."""
        ...

    def audio(self, windows: Tensor) -> Tensor:
        """windows: (n, 16, 80) mel of the same 0.2 s."""
        ...


class Judges(Protocol):
    """The frozen networks that measure and are never in a loss. Images are (n, 3, 96, 96) in -1..1."""

    cards: Mapping[str, Mapping[str, Any]]

    @property
    def sync(self) -> SyncJudge: ...

    def emotion(self, images: Tensor) -> Tensor:
        """(n, 8) log-probabilities."""
        ...

    def landmarks(self, images: Tensor) -> Tensor:
        """(n, 68, 2) px."""
        ...

    def mouth_crops(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """(n, 40, 40) grey, upright."""
        ...


def refusal(judges: Judges, name: str) -> str | None:
    """Why a judge may not measure, or None. Its card's `gates` map a held-out figure to its value and bar.

    A gate is {"value": v, "at_least": bar} or {"value": v, "at_most": bar}; a judge without a card or a gate
    is refused too.
    """
    gates = judges.cards.get(name, {}).get("gates")
    if not gates:
        return f"judge {name} has no card with gates"
    failed = [text for figure, gate in gates.items() if (text := _failure(figure, gate))]
    return f"judge {name} under its gate: {', '.join(failed)}" if failed else None


def _failure(figure: str, gate: Mapping[str, float]) -> str:
    value, least, most = gate["value"], gate.get("at_least", float("-inf")), gate.get("at_most", float("inf"))
    if least <= value <= most:  # NaN fails too
        return ""
    bar = f"≥ {least:.3g}" if "at_least" in gate else f"≤ {most:.3g}"
    return f"{figure} {value:.3g}, needs {bar}"
