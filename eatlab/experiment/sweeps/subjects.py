"""What the rows of a grid are, in words: adapters that were tuned, or renderers that were pretrained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """How a report speaks of rows. point: what one of the grid's points is. learned, learning: what they did.

    adapts: whether they learn from a share of the clips and add parameters to a frozen backbone. base: the
    row that the others are held against; empty: the first of the file. held: what it is called in a
    sentence, if not by its name. paper: the paper's table that is shown unfolded. reading: what must be known
    to read the numbers.
    """

    rows: str
    point: str
    learned: str
    learning: str
    adapts: bool
    base: str
    held: str
    paper: str
    reading: tuple[str, ...] = ()


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
    "one renderer pretrained from nothing, from one seed",
    "pretrained",
    "pretraining",
    False,
    "",
    "",
    "3",
    (
        "Each row re-enacts the true frames: E is what its own estimator reads of them, the portrait is "
        "neutral, the pose is true. The row reenactment is the talking head that ships: it learned longer.",
        "In all rows action units, articulators and pose of the puppets stand in the loss (keypoints.probe, "
        "keypoints.pose): with the deformation prior and without, E is led more than in the paper.",
    ),
)
SUBJECTS = {"tuning": TUNINGS, "pretraining": PRETRAININGS}
"""By the kind of a point's record."""
