"""The puppet corpus: which clips a preset holds, and how a clip is drawn with its exact truth.

Acted clips (person × emotion × level, like MEAD) serve the enhanced representation, tuning and measurement;
clips in the wild (unlabelled, moving, like VoxCeleb) serve pretraining.  No two splits share a person; val
and test share no sentence with any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from eatlab.data.puppets.head import Pose
from eatlab.data.puppets.identity import Array, Identity
from eatlab.data.puppets.performance import LEVELS, ClipSpec, perform
from eatlab.data.puppets.rendering import render
from eatlab.data.samples import Clip
from eatlab.emotions import EMOTIONS

SENTENCES = 60
CONDITIONS = tuple((emotion, level) for emotion in EMOTIONS for level in (1, 2, 3))
"""The 24 (emotion, level) of an acted person; neutral's three levels are three takes."""
FIRST_PERSON = {"train": 0, "pretrain": 500_000, "val": 1_000_000, "test": 2_000_000, "wild": 3_000_000}
FIRST_SENTENCE = {"train": 0, "pretrain": 0, "val": 1_000_000, "test": 2_000_000, "wild": 0}


@dataclass(frozen=True)
class Preset:
    """How much there is: people a split, takes a condition, frames drawn of each 48-frame clip."""

    size: int = 96
    num_frames: int = 48
    train: int = 36
    pretrain: int = 240
    val: int = 12
    test: int = 16
    wild: int = 480
    takes: int = 2
    drawn_train: int = 5
    drawn_val: int = 5
    drawn_test: int = 10


PRESETS = {
    "small": Preset(),
    "tiny": Preset(num_frames=36, train=2, pretrain=2, val=1, test=2, wild=3, takes=1),
}
SPLITS = {"acted": ("train", "pretrain", "val", "test"), "wild": ("train",)}


@dataclass(frozen=True)
class Scene:
    """A clip to draw: its spec, the frames of it that are drawn, and its place in the corpus."""

    spec: ClipSpec
    at: tuple[int, ...]
    split: str
    level: int | None
    with_twin: bool = False
    is_portrait: bool = False

    @property
    def key(self) -> str:
        """Unique name after MEAD's pattern."""
        s = self.spec
        emotion, level = ("wild", 0) if s.wild else (s.emotion, self.level)
        end = "_portrait" if self.is_portrait else ""
        return f"puppets_P{s.identity:07d}_front_{emotion}_{level}_{s.take:03d}{end}"


def scenes(preset: str, set_name: str, split: str) -> list[Scene]:
    """The scenes of one split, in order; `set_name` is "acted" or "wild"."""
    p = PRESETS[preset]
    if set_name == "wild":
        return list(wild_scenes(p))
    return list(paired_scenes(p) if split == "pretrain" else acted_scenes(p, split))


def wild_scenes(p: Preset) -> Iterator[Scene]:
    """Two clips a person, five frames early and five late: enough pose between them for re-enactment."""
    late = p.num_frames // 2
    for person in range(p.wild):
        g = np.random.default_rng((person, 401))
        for take in range(2):
            spec = clip_spec(p, "wild", person, take * 7, take)
            a, b = (int(g.integers(0, late - 6)), int(g.integers(late, p.num_frames - 4)))
            yield Scene(spec, (*range(a, a + 5), *range(b, b + 5)), "train", None)


def paired_scenes(p: Preset) -> Iterator[Scene]:
    """Each emotion once a person at a random level: three frames, and the same frames of the neutral twin."""
    gap = p.num_frames // 4 - 1
    for person in range(p.pretrain):
        g = np.random.default_rng((person, 402))
        for k, emotion in enumerate(EMOTIONS):
            level = int(g.integers(1, 4))
            spec = clip_spec(p, "pretrain", person, k, int(g.integers(2)), emotion, level)
            a = int(g.integers(4, p.num_frames - 2 * gap))
            yield Scene(spec, (a, a + gap, a + 2 * gap), "pretrain", level, with_twin=True)


def acted_scenes(p: Preset, split: str) -> Iterator[Scene]:
    """Each condition (twice in train), a run of frames each; before them a person's one neutral portrait."""
    people, drawn = {
        "train": (p.train, p.drawn_train),
        "val": (p.val, p.drawn_val),
        "test": (p.test, p.drawn_test),
    }[split]
    for person in range(people):
        g = np.random.default_rng((FIRST_PERSON[split] + person, 403))
        yield Scene(clip_spec(p, split, person, 59, 9), (1,), split, 1, is_portrait=True)
        for k, (emotion, level) in enumerate(CONDITIONS):
            for take in range(p.takes if split == "train" else 1):
                spec = clip_spec(p, split, person, 2 * k + take, 3 * take + level - 1, emotion, level)
                a = int(g.integers(3, p.num_frames - drawn - 2))
                yield Scene(spec, tuple(range(a, a + drawn)), split, level)


def clip_spec(
    p: Preset, split: str, person: int, k: int, take: int, emotion: str = "neutral", level: int = 1
) -> ClipSpec:
    """The spec of a person's k-th clip."""
    return ClipSpec(
        identity=FIRST_PERSON[split] + person,
        sentence=FIRST_SENTENCE[split] + (person * 17 + k * 7) % SENTENCES,
        take=take,
        emotion=emotion,
        intensity=0.0 if emotion == "neutral" else LEVELS[level - 1],
        wild=split == "wild",
        frames=p.num_frames,
        size=p.size,
        locked=split != "wild",
    )


class Surroundings(NamedTuple):
    """backdrop: a seed; busy: 0 a plain studio, 1 a room; light: the lamp, -1 (left) to 1 (right)."""

    backdrop: int
    busy: float
    light: float


def surroundings(spec: ClipSpec) -> Surroundings:
    """A studio looks the same in all takes of a person: its backdrop and lamp must not tell the emotion."""
    g = np.random.default_rng((spec.identity, spec.take if spec.wild else 0, 310))
    backdrop = int(g.integers(2**31))
    busy = float(g.uniform(0.4, 1)) if spec.wild else 0.0
    return Surroundings(backdrop, busy, float(g.uniform(-1, 1)))


def draw(spec: ClipSpec, at: tuple[int, ...] | None = None) -> tuple[Array, Array, dict[str, Array]]:
    """Frames (n, size, size, 3) uint8 RGB, the whole sound (640 T,) float32, and the frames' exact truth.

    at: which frames are drawn; all if None.
    """
    cv2.setNumThreads(1)
    who, played, around = Identity.from_seed(spec.identity), perform(spec), surroundings(spec)
    i = np.arange(spec.frames) if at is None else np.array(at)
    pose = Pose(played.rotations()[i], played.pose[i, 3:6], played.pose[i, 6])
    drawn = render(
        who,
        played.aus[i],
        played.artic[i],
        played.gaze[i],
        pose,
        size=spec.size,
        backdrop=around.backdrop,
        busy=around.busy,
        light=around.light,
    )
    truth = {
        "pose": played.pose[i].astype(np.float32),
        "landmarks": drawn.landmarks.astype(np.float32),
        "aus": played.aus[i].astype(np.float32),
        "artic": played.artic[i].astype(np.float32),
        "mask": drawn.mask,
    }
    return drawn.frames, played.audio, truth


def shoot(scene: Scene) -> Clip:
    """The clip of a scene, with its twin if it has one."""
    s = scene.spec
    frames, audio, truth = draw(s, scene.at)
    twin = draw(s.twin(), scene.at) if scene.with_twin and s.emotion != "neutral" else None
    return Clip(
        key=scene.key,
        identity=f"P{s.identity:07d}",
        split=scene.split,
        emotion=None if s.wild else str(s.emotion),
        level=scene.level,
        intensity=0.0 if s.wild else s.intensity,
        num_frames=s.frames,
        at=np.array(scene.at),
        frames=frames,
        audio=audio,
        truth=truth,
        twin_frames=None if twin is None else twin[0],
        twin_truth={} if twin is None else twin[2],
        meta={
            "role": "portrait" if scene.is_portrait else "clip",
            "domain": "puppets",
            "sentence": s.sentence,
        },
    )
