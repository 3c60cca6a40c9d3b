"""The stages of the EAT release as data: what each trains, how fast, by what loss (eat-networks.md 13, 15).

1a, 1b: A2ET (EAT, Sec. 3.1.2), without and with rendering; adaptation and editing by a text: Sec. 3.2. The
pretraining of keypoints and renderer, which comes before, was not released.
"""

from __future__ import annotations

from dataclasses import dataclass

from eatlab.objectives.released import STAGES as WEIGHTS
from eatlab.objectives.released import ReleasedWeights

ADAPTERS = "deep_prompt+edn+eam"
"""They start as the frozen model."""
RELEASED_START = "deep_prompt+edn(start=random)+eam(start=random)"
"""The same adapters as the release starts them: give `AdapterSet(RELEASED_START, head)`."""


@dataclass(frozen=True)
class Group:
    """A part that is trained, see `parts_of`, and Adam's rate.

    clip_norm: what the norm of the part's gradient is cut to; None: nothing.
    """

    part: str
    rate: float
    clip_norm: float | None = None


@dataclass(frozen=True)
class Stage:
    """What a stage trains and how; nothing but `trained` has gradients.

    trained: parts, see `parts_of`.  active: those in train mode (dropout).  learning: those of them whose
    batch norms use and follow the batch's statistics; all others go by their stored ones.
    adapters: spec of the fresh set; "": a trained one must be given.  one_domain: its mapper gives way to a
    new one that sees no emotion.
    decay: of the rates, each `decay_epochs` from the start of the stage; the release never gets there.
    num_clips, num_frames: of the release's batches, all devices together; ours may be of any size.
    """

    name: str
    weights: ReleasedWeights
    trained: tuple[Group, ...]
    active: tuple[str, ...]
    learning: tuple[str, ...]
    num_clips: int
    num_frames: int
    adapters: str = "none"
    one_domain: bool = False
    betas: tuple[float, float] = (0.5, 0.999)
    decay: float = 0.1
    decay_epochs: int = 180

    @property
    def draws(self) -> bool:
        """Whether a term counts that looks at frames."""
        return any(getattr(self.weights, term) for term in ("perceptual", "image_l1", "sync", "clip"))

    @property
    def trains_backbone(self) -> bool:
        """Whether a part of the head itself is trained, not adapters beside it."""
        return any(group.part == "a2et" for group in self.trained)


EAM_OF_A2ET = Group("eam.a2et", 1.5e-4, clip_norm=0.05)
BESIDE = (Group("mapper", 2e-4), Group("eam.renderer", 2e-4))
STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "1a",
            WEIGHTS["1a"],
            # Differs: the paper has 1.5e-4 for A2ET throughout.
            trained=(Group("a2et", 1.0e-4, clip_norm=0.05),),
            active=("a2et",),
            learning=("a2et",),
            num_clips=44,
            num_frames=10,
        ),
        Stage(
            "1b",
            WEIGHTS["1b"],
            trained=(Group("a2et", 1.5e-4, clip_norm=0.05),),
            active=("a2et",),
            learning=("a2et",),
            num_clips=4,
            num_frames=5,
        ),
        Stage(
            "adaptation",
            WEIGHTS["adaptation"],
            trained=(EAM_OF_A2ET, Group("edn", 2e-4, clip_norm=0.05), *BESIDE),
            active=("a2et", "edn"),
            learning=("edn",),
            num_clips=4,
            num_frames=5,
            adapters=ADAPTERS,
        ),
        Stage(
            "editing",
            WEIGHTS["editing"],
            # Differs: the paper finetunes the mapper; the release begins a new one of one domain.
            trained=(EAM_OF_A2ET, *BESIDE),
            active=("a2et", "edn"),
            learning=("a2et", "edn"),
            num_clips=1,
            num_frames=5,
            adapters="",
            one_domain=True,
        ),
    )
}
"""The keypoint detector and the renderer are frozen in all of them."""
