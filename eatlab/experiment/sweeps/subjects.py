"""What the rows of a grid are, in words: adapters that were tuned, or renderers that were pretrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Subject:
    """How a report speaks of rows. point: what one of the grid's points is. learned, learning: what they did.

    adapts: whether they learn from a share of the clips and add parameters to a frozen backbone. base: the
    row that the others are held against; empty: the first of the file. held: what it is called in a
    sentence, if not by its name. paper: the paper's table that is shown unfolded.
    """

    rows: str
    point: str
    learned: str
    learning: str
    adapts: bool
    base: str
    held: str
    paper: str


TUNINGS = Subject(
    "adapters",
    "one adapter tuned from one seed with one share of the data",
    "tuned",
    "tuning",
    True,
    "frozen",
    "the frozen backbone",
    "5",
)
PRETRAININGS = Subject(
    "renderers",
    "one renderer pretrained from one seed",
    "pretrained",
    "pretraining",
    False,
    "",
    "",
    "3",
)
SUBJECTS = {"tuning": TUNINGS, "pretraining": PRETRAININGS}
"""By the kind of a point's record."""


def reading_of(renders: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be known to read the rows of pretrainings, by their settings (`RenderConfig`, as dicts)."""
    trained = sorted({f"{r['steps']} steps of {r['batch']} pairs" for r in renders})
    said = [
        f"Renderers were pretrained for {', or '.join(trained)} in one process. Their rows re-enact the true "
        "frames: E is what each one's own estimator reads of them, the portrait is neutral, the pose true. "
        "The row reenactment is the same by the talking head of the zoo.",
    ]
    led = [name for name, told in LED.items() if all(told(render) for render in renders)]
    if led:
        why = "E is led to expression more than in the paper, whatever the rows vary."
        said.append(f"In all of them {', '.join(led)}: {why}")
    return said


LED: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "the estimator begins as the teacher's network of action units": lambda r: "estimator" in r["trained"],
    "action units are read from E in the loss (keypoints.probe)": lambda r: r["keypoints"]["probe"] > 0,
    "the teacher compares action units of the pictures (reconstruction.aus)": (
        lambda r: r["reconstruction"]["aus"] > 0
    ),
}
"""What leads E to expression, and whether a pretraining has it."""
