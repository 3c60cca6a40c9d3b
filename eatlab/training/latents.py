"""What the frozen backbone says about a set, computed once: E of every frame, speech windows, the portraits'
face maps.

The latent-loss phase reads only this (EAT, Sec. 3.2: the enhanced representation is frozen when adapters are
tuned), so it never decodes a picture and never renders one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eatlab.atomic import sha256_of_file, write_atomically, write_text
from eatlab.backbone.clip import silence
from eatlab.backbone.picture import as_many_pixels, resized
from eatlab.backbone.pose import bins_of
from eatlab.backbone.published.pose_picture import pose_pictures
from eatlab.backbone.sites import fingerprint
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.audio_features import WINDOW_FRAMES, a2et_mel, speech_bands, windows
from eatlab.data.samples import FrameTable, stack, unit
from eatlab.data.shards import data_fingerprint, read_shards
from eatlab.errors import UserError
from eatlab.metrics.protocols import PUPPETS
from eatlab.metrics.truth import cut_windows
from eatlab.training.portraits import drawn_portraits, fixed_portraits, pictures

VERSION = 1
PICTURES = 120
"""That go through a network at once, at 96 px."""


@dataclass(frozen=True)
class SetName:
    """A split of a set of shards."""

    folder: Path
    name: str
    split: str

    def fingerprint(self) -> str:
        return data_fingerprint(self.folder, self.name, self.split)


@dataclass(frozen=True)
class LatentsConfig:
    """portraits: "drawn" (a random neutral frame a clip, for tuning) or "fixed" (one a person, for
    measuring).

    cut: 0, or how many consecutive frames of each clip count; clips that have fewer are left out.
    """

    portraits: str = "drawn"
    portrait_seed: int = 5
    cut: int = 0


@dataclass(frozen=True)
class Latents:
    """N frames of M clips, and P portraits.

    expression (N, 15, 3); pose (N, 7); mel (N, 11, 80); speech (N, 11, 64); clip, at (N,); portrait (M,) rows
    of the portraits; emotion (M,), -1 unknown; intensity, level (M,); face_map (P, 30, h, w); portrait_image
    (P, 3, size, size) uint8; portrait_pose (P, 7); portrait_expression (P, 15, 3).
    Where the backbone reads them, as at `paper`: pictures (N, 64, 64) of poses, in 0..255; hull (P,), the
    volume of the portraits' canonical keypoints.
    """

    expression: Tensor
    pose: Tensor
    mel: Tensor
    speech: Tensor
    clip: Tensor
    at: Tensor
    portrait: Tensor
    emotion: Tensor
    intensity: Tensor
    level: Tensor
    face_map: Tensor
    portrait_image: Tensor
    portrait_pose: Tensor
    portrait_expression: Tensor
    pictures: Tensor | None = None
    hull: Tensor | None = None

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """What A2ET reads for frames `rows` (clips, frames), all of a row from one clip."""
        portrait = self.portrait[self.clip[rows[:, 0]]]
        inputs = {name: getattr(self, name)[rows] for name in ("mel", "speech", "pose")}
        inputs |= {} if self.pictures is None else {"pictures": self.pictures[self.around(rows)]}
        of_portraits = {"face_map": self.face_map, "hull": self.hull}
        return inputs | {name: value[portrait] for name, value in of_portraits.items() if value is not None}

    def around(self, rows: Tensor) -> Tensor:
        """rows (…,) → (…, 11): the frames of a window; for one that is not drawn, the clip's next one."""
        stride = int(self.at.max()) + 2 * WINDOW_FRAMES
        places = self.clip * stride + self.at
        wanted = places[rows][..., None] + torch.arange(WINDOW_FRAMES) - WINDOW_FRAMES // 2
        found = torch.searchsorted(places, wanted).clamp(max=len(places) - 1)
        inside = self.clip[found] == self.clip[rows][..., None]
        return torch.where(inside, found, found - 1)

    def hulls(self, rows: Tensor) -> Tensor | None:
        """(clips,) of frames `rows` (clips, frames), where there are any."""
        return None if self.hull is None else self.hull[self.portrait[self.clip[rows[:, 0]]]]

    def windows(self, num_frames: int) -> Tensor:
        """(windows, num_frames) rows: the clips cut into stretches of successive frames; a shorter rest is
        left out.
        """
        follows = (self.clip[1:] == self.clip[:-1]) & (self.at[1:] == self.at[:-1] + 1)
        starts = [0, *(torch.nonzero(~follows)[:, 0] + 1).tolist(), len(self.at)]
        cut = [range(first, last - num_frames + 1, num_frames) for first, last in pairwise(starts)]
        first = torch.tensor([row for stretch in cut for row in stretch], dtype=torch.long)
        return first[:, None] + torch.arange(num_frames)

    def by_length(self) -> list[Tensor]:
        """(clips, frames) rows of whole clips, those with equally many frames together."""
        counts = torch.bincount(self.clip, minlength=len(self.portrait))
        starts = counts.cumsum(0) - counts
        return [
            starts[counts == n][:, None] + torch.arange(int(n)) for n in counts.unique().tolist() if n > 0
        ]


def load_latents(
    backbone: TalkingHead,
    source: SetName,
    config: LatentsConfig,
    cache: Path,
    report: Callable[[int, int], object] = lambda done, total: None,
) -> Latents:
    """The latents of a set, from the cache if it was made by this backbone from these shards with this
    config.
    """
    name = cache_name(backbone, source, config)
    found = read_cache(cache / name)
    if found is None:
        found = compute(backbone, source, config, report)
        write_cache(cache / name, found)
    return found


def cache_name(backbone: TalkingHead, source: SetName, config: LatentsConfig) -> str:
    """A file name that changes with the backbone, the data, the options and the meaning of the content."""
    told = [VERSION, fingerprint(backbone), source.fingerprint(), asdict(config)]
    told += [backbone.read_by_sha256] if backbone.read_by_sha256 else []
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
    return f"latents-{source.name}-{source.split}-{config.portraits}-{digest}.safetensors"


def read_cache(path: Path) -> Latents | None:
    """None if there is no file or it is not what was written."""
    sum_path = path.with_suffix(".sha256")
    if not path.exists() or not sum_path.exists() or sha256_of_file(path) != sum_path.read_text().strip():
        return None
    try:
        with safe_open(path, "pt") as file:
            return Latents(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, TypeError):
        return None


def write_cache(path: Path, latents: Latents) -> None:
    found = {field.name: getattr(latents, field.name) for field in fields(Latents)}
    tensors = {name: value.contiguous() for name, value in found.items() if value is not None}
    write_atomically(path, lambda part: save_file(tensors, part))
    write_text(path.with_suffix(".sha256"), sha256_of_file(path) + "\n")


@torch.no_grad()
def compute(
    backbone: TalkingHead, source: SetName, config: LatentsConfig, report: Callable[[int, int], object]
) -> Latents:
    """Reads the shards and asks the backbone, whose size the pictures are scaled to."""
    clips, extra = read_tables(source, config.cut)
    chosen = (
        fixed_portraits(clips, extra)
        if config.portraits == "fixed"
        else drawn_portraits(clips, extra, seed=config.portrait_seed)
    )
    image, true_pose, portrait = pictures(clips, extra, chosen)
    total = len(clips.image) + len(image)
    expression, pose = estimate(
        backbone, clips.image, clips.truth.get("pose"), lambda done: report(done, total)
    )
    of_portrait, portrait_pose = estimate(
        backbone, image, true_pose, lambda done: report(len(clips.image) + done, total)
    )
    mel, speech = heard(backbone, clips)
    face_map, hull = faces(backbone, image)
    return Latents(
        expression=expression,
        pose=pose,
        mel=mel,
        speech=speech,
        clip=clips.clip,
        at=clips.at,
        portrait=portrait,
        emotion=clips.emotion,
        intensity=clips.intensity.float(),
        level=clips.level,
        face_map=face_map,
        portrait_image=image,
        portrait_pose=portrait_pose,
        portrait_expression=of_portrait,
        pictures=pictures_of(pose) if backbone.a2et.speech.reads_pictures else None,
        hull=hull if backbone.config.scales_by_hull else None,
    )


def read_tables(source: SetName, cut: int = 0) -> tuple[FrameTable, FrameTable | None]:
    """The clips of a split, and the samples that are there only for their picture.

    Raises UserError if no clip is left.
    """
    everything = list(read_shards(source.folder, source.name, source.split))
    clips, only_pictures = ([c for c in everything if c.is_portrait is wanted] for wanted in (False, True))
    clips = cut_windows(clips, replace(PUPPETS, frames_per_clip=cut))[0] if cut else clips
    if not clips:
        raise UserError(
            f"{source.name}-{source.split} has no clip that can be used",
            f"{len(everything)} samples are there; a clip needs {max(cut, 1)} consecutive frames",
        )
    return stack(clips), stack(only_pictures) if only_pictures else None


def estimate(
    backbone: TalkingHead, image: Tensor, pose: Tensor | None, report: Callable[[int], object]
) -> tuple[Tensor, Tensor]:
    """image (n, 3, side, side) uint8 → E (n, 15, 3), pose (n, 7).

    The pose is the given one, a puppet's truth, if the backbone has that convention; else the estimated one.
    """
    pose = pose if backbone.config.pose == "puppets" else None
    expressions, poses = [], []
    for rows in at_once(backbone, image):
        e, p = backbone.estimate(shown(backbone, image[rows]))
        expressions.append(e)
        poses.append(p)
        report(int(rows[-1]) + 1)
    return torch.cat(expressions).contiguous(), (torch.cat(poses) if pose is None else pose).contiguous()


def faces(backbone: TalkingHead, image: Tensor) -> tuple[Tensor, Tensor]:
    """Of portraits (p, 3, side, side) uint8: face maps (p, 30, h, w) and hulls (p,)."""
    found = [backbone.face(shown(backbone, image[rows]))[1:] for rows in at_once(backbone, image)]
    face_map, hull = (torch.cat(part).contiguous() for part in zip(*found, strict=True))
    return face_map, hull


def at_once(backbone: TalkingHead, image: Tensor) -> tuple[Tensor, ...]:
    """Rows of pictures in portions of equally many pixels at every size."""
    return torch.arange(len(image)).split(as_many_pixels(PICTURES, backbone.config.size))


def shown(backbone: TalkingHead, image: Tensor) -> Tensor:
    """uint8 pictures (n, 3, side, side) as the backbone takes them: -1..1, at its size."""
    return resized(unit(image), backbone.config.size)


def heard(backbone: TalkingHead, clips: FrameTable) -> tuple[Tensor, Tensor]:
    """(N, 11, 80) mel and (N, 11, …) speech windows around every frame.

    A recogniser's features are not computed here: its backbone hears the released features of silence.
    """
    mel, speech = [], []
    for clip, audio in enumerate(clips.audio):
        at = clips.at[clips.rows_of(clip)].numpy()
        mel.append(windows(a2et_mel(audio), at))
        speech.append(speech_windows(backbone, audio, at))
    return torch.from_numpy(np.concatenate(mel)), torch.from_numpy(np.concatenate(speech))


def speech_windows(backbone: TalkingHead, audio: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n, 11, …) features around frames `at` (n,) of a sound, see `heard`."""
    if backbone.config.a2et.speech.statistics == speech_bands(audio).shape[1:]:
        return windows(speech_bands(audio), at)
    silent = silence().features.numpy()
    return np.broadcast_to(silent, (len(at), WINDOW_FRAMES, *silent.shape)).copy()


def pictures_of(pose: Tensor) -> Tensor:
    """Poses (n, 7) → the pictures of them that A2ET sees (n, 64, 64), in 0..255."""
    return pose_pictures(torch.cat([bins_of(pose[:, :3]), pose[:, 3:6]], 1))
