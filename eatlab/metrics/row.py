"""One row of the table: a talking head's frames measured against the truth, clip by clip, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch
from torch import Tensor

from eatlab.atomic import write_bytes
from eatlab.data.samples import unit
from eatlab.emotions import EMOTIONS, NEUTRAL
from eatlab.errors import ExitCode, UserError
from eatlab.experts.judges import Judges
from eatlab.metrics import emotion, image, landmarks, sync
from eatlab.metrics.protocols import PROTOCOLS, Fingerprint, Protocol
from eatlab.metrics.truth import FRAMES_AT_ONCE, ClipFacts, TruthReading, read

NO_LABELS = "not measured: these clips have no such emotion labels"
NOTHING_ASKED = "not measured: no emotion is asked of this row"
BY_THE_TABLE = "not measured: a table reads it off its ground_truth"


@dataclass(frozen=True)
class RowReading:
    """What was measured of one row (one seed of it).

    values: metric → (M,) float64, NaN where a clip takes no part in it (a happy clip in `sync_neutral`); of
    a metric of the set (1,). extras: said (M,) emotion the judge says, -1 where it sees no face,
    log_probability (M, 8), sync_offset (M,) frames, sync_chance (M,), of films num_frames (M,), fid_images
    (1,). reasons: metric → why it is not in `values`, or of which clips.
    """

    protocol: Protocol
    fingerprint: Fingerprint
    clips: ClipFacts
    values: dict[str, np.ndarray]
    extras: dict[str, np.ndarray]
    reasons: dict[str, str]

    def mean(self, metric: str) -> float:
        """Mean over the clips that take part; NaN if the metric is not measured."""
        values = self.values.get(metric)
        return float("nan") if values is None else float(np.nanmean(values))

    def confusion(self) -> np.ndarray | None:
        """(8, 8) counts: row = label, column = what the judge says; None without a judge of emotions."""
        said = self.extras.get("said")
        return None if said is None else emotion.confusion(said, self.clips.emotion)

    def by_emotion(self) -> dict[str, float]:
        """Share of the clips of each emotion judged as it; emotions without clips are left out."""
        hits = self.values.get("acc_emo")
        if hits is None:
            return {}
        labels = np.where(np.isnan(hits), -1, self.clips.emotion)
        return {
            name: float(hits[labels == i].mean()) for i, name in enumerate(EMOTIONS) if (labels == i).any()
        }


def measure_row(
    frames: Tensor, truth: TruthReading, judges: Judges, asked: Tensor | None = None
) -> RowReading:
    """Measure generated frames.

    frames: (M·F, 3, side, side) uint8, or float in -1..1, in the order of the truth's.

    asked: (M,) long, the emotion asked of the adapter for each clip; None where none is asked.
    """
    frames = image.to_uint8(frames)
    if frames.shape != truth.images.shape:
        raise ValueError(
            f"frames have shape {tuple(frames.shape)}, the truth has {tuple(truth.images.shape)}"
        )
    seen = None if truth.landmarks is None else read(judges.landmarks, frames)
    spoken = None if truth.log_probability is None else read(judges.emotion, frames)
    return _measure(frames, seen, spoken, truth, judges, asked)


def ground_truth_row(truth: TruthReading, judges: Judges) -> RowReading:
    """The truth measured against itself by the same path; what the judges already read is not read again."""
    return _measure(truth.images, truth.landmarks, truth.log_probability, truth, judges, None)


def _measure(
    frames: Tensor,
    seen: Tensor | None,
    spoken: Tensor | None,
    truth: TruthReading,
    judges: Judges,
    asked: Tensor | None,
) -> RowReading:
    clips = truth.clips
    extras: dict[str, np.ndarray] = {}
    values = {
        "psnr": _per_clip(image.psnr(frames, truth.images), truth),
        "ssim": _per_clip(image.ssim(frames, truth.images), truth),
    }
    if seen is not None:
        values |= _landmark_values(seen, truth)
    if seen is not None and truth.sound is not None and truth.protocol.frames_per_clip >= sync.NUM_FRAMES:
        likeness = _likenesses(frames, seen, truth, judges)
        offsets = sync.best_offset(likeness)
        values["sync"] = sync.in_sync(offsets, truth.num_frames).numpy()
        extras |= {"sync_offset": offsets.numpy(), "sync_chance": sync.chance(likeness).double().numpy()}
    if spoken is not None:
        log_probability = emotion.clip_log_probability(
            spoken.view(len(clips.key), -1, spoken.shape[-1])
        ).numpy()
        said = emotion.said(log_probability)
        values |= _emotion_values(said, clips, asked)
        extras |= {"log_probability": log_probability, "said": said}
    for name in ("sync", "m_lmd"):
        if name in values:
            values[f"{name}_neutral"] = np.where(clips.emotion == NEUTRAL, values[name], np.nan)
    measured = {name: v for name, v in values.items() if not np.isnan(v).all()}
    reasons = {
        name: truth.reasons.get(name) or _why_empty(name, asked)
        for name in truth.protocol.metrics
        if name not in measured
    }
    return RowReading(truth.protocol, truth.fingerprint, clips, measured, extras, reasons)


def _why_empty(metric: str, asked: Tensor | None) -> str:
    if metric == "acc_asked" and asked is None:
        return NOTHING_ASKED
    if metric == "intensity_error":
        return BY_THE_TABLE
    short = f"not measured: clips of fewer than {sync.NUM_FRAMES} frames drawn or {sync.SHORTEST_CLIP} in all"
    return short if metric == "sync" else NO_LABELS


def _per_clip(frames: Tensor, truth: TruthReading) -> np.ndarray:
    return frames.view(len(truth.clips.key), -1).mean(1).numpy()


def _landmark_values(seen: Tensor, truth: TruthReading) -> dict[str, np.ndarray]:
    values = {}
    for suffix, reference in (("", truth.landmarks), ("_truth", truth.exact)):
        if reference is not None:
            values[f"m_lmd{suffix}"] = _per_clip(landmarks.mouth_distance(seen, reference), truth)
            values[f"f_lmd{suffix}"] = _per_clip(landmarks.face_distance(seen, reference), truth)
    return values


def _emotion_values(said: np.ndarray, clips: ClipFacts, asked: Tensor | None) -> dict[str, np.ndarray]:
    hits = emotion.hits(said, clips.emotion)
    values = {"acc_emo": hits}
    for level in (1, 2, 3):
        values[f"acc_level{level}"] = np.where(
            (clips.level == level) & (clips.emotion != NEUTRAL), hits, np.nan
        )
    if asked is not None:
        values["acc_asked"] = emotion.hits(said, asked.numpy())
    return values


@torch.no_grad()
def _likenesses(frames: Tensor, seen: Tensor, truth: TruthReading, judges: Judges) -> Tensor:
    """(M, 31) likeness of each clip's picture to its sound at each offset."""
    assert truth.sound is not None
    length = truth.protocol.frames_per_clip
    parts = zip(frames.split(FRAMES_AT_ONCE), seen.split(FRAMES_AT_ONCE), strict=True)
    crops = torch.cat([judges.mouth_crops(unit(part), marks) for part, marks in parts])
    windows = sync.picture_windows(crops.view(-1, length, *crops.shape[1:]))
    pictures = sync.embed(judges.sync.video, windows.flatten(0, 1)).view(*windows.shape[:2], -1)
    steps = torch.arange(windows.shape[1])
    each = zip(pictures, truth.starts, truth.sound, strict=True)
    return torch.stack([sync.likeness(picture, start + steps, sound) for picture, start, sound in each])


def save_reading(path: Path, reading: RowReading) -> None:
    """Write a reading as safetensors, whole or not at all."""
    arrays = {f"values.{k}": v for k, v in reading.values.items()} | {
        f"extras.{k}": v for k, v in reading.extras.items()
    }
    arrays |= {"clips.emotion": reading.clips.emotion, "clips.level": reading.clips.level}
    words = {
        "fingerprint": dict(reading.fingerprint.facts),
        "key": reading.clips.key,
        "identity": reading.clips.identity,
        "reasons": reading.reasons,
    }
    content = safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        {"reading": json.dumps(words, ensure_ascii=False)},
    )
    write_bytes(path, content)


def load_reading(path: Path) -> RowReading:
    """Read a reading back, bit for bit. Raises UserError (data damaged) on a file that is not one."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            words = json.loads(file.metadata()["reading"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        clips = ClipFacts(
            tuple(words["key"]), tuple(words["identity"]), arrays["clips.emotion"], arrays["clips.level"]
        )
        values, extras = (
            {n.removeprefix(part): a for n, a in arrays.items() if n.startswith(part)}
            for part in ("values.", "extras.")
        )
        fingerprint = Fingerprint(words["fingerprint"])
        protocol = PROTOCOLS[fingerprint.facts["protocol"]]
        return RowReading(protocol, fingerprint, clips, values, extras, words["reasons"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a whole row reading",
            str(error),
            "delete it and run again",
            code=ExitCode.DATA_DAMAGED,
        ) from error
