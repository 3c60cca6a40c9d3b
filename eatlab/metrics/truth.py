"""The ground truth of a test set as the judges read it: once per run, shared by every row of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eatlab.data.audio_features import SAMPLES_PER_FRAME, sync_mel
from eatlab.data.samples import Clip, FrameTable, unit
from eatlab.errors import UserError
from eatlab.experts.judges import Judges, failed_gate
from eatlab.metrics import sync
from eatlab.metrics.protocols import METRICS, Fingerprint, Protocol, sha256

FRAMES_AT_ONCE = 60


@dataclass(frozen=True)
class ClipFacts:
    """What a test clip is, per clip (M,): key, identity, emotion (-1 unknown), level (0 none)."""

    key: tuple[str, ...]
    identity: tuple[str, ...]
    emotion: np.ndarray
    level: np.ndarray


@dataclass(frozen=True)
class TruthReading:
    """M clips of F frames with what the judges see and hear in them.

    images (M·F, 3, side, side) uint8; starts (M,) first frame in the clip; num_frames (M,) of the whole clip;
    landmarks (M·F, 68, 2) px by the judge; exact (M·F, 68, 2) or None; log_probability (M·F, 8);
    sound: per clip (start frames, d) embeddings. A refused judge leaves None.
    reasons: metric → why it cannot be measured here.
    """

    protocol: Protocol
    fingerprint: Fingerprint
    clips: ClipFacts
    images: Tensor
    starts: Tensor
    num_frames: Tensor
    landmarks: Tensor | None
    exact: Tensor | None
    log_probability: Tensor | None
    sound: list[Tensor] | None
    reasons: dict[str, str]


def cut_windows(clips: Sequence[Clip], protocol: Protocol) -> tuple[list[Clip], dict[str, str]]:
    """Each clip cut to its first run of frames of the protocol's length; the others, with a reason."""
    kept, left_out = [], {}
    for clip in clips:
        if (first := _first_run(clip.at, protocol.frames_per_clip)) is None:
            left_out[clip.key] = f"has no {protocol.frames_per_clip} consecutive frames"
        else:
            kept.append(_cut(clip, slice(first, first + protocol.frames_per_clip)))
    return kept, left_out


def _first_run(at: np.ndarray, length: int) -> int | None:
    for first in range(len(at) - length + 1):
        if (
            at[first + length - 1] - at[first] == length - 1
            and (np.diff(at[first : first + length]) == 1).all()
        ):
            return first
    return None


def _cut(clip: Clip, window: slice) -> Clip:
    truth = {name: rows[window] for name, rows in clip.truth.items()}
    return replace(
        clip, at=clip.at[window], frames=clip.frames[window], truth=truth, twin_frames=None, twin_truth={}
    )


def read_truth(table: FrameTable, judges: Judges, protocol: Protocol, *, data: str) -> TruthReading:
    """Let the judges read the test clips.

    table: clips as `cut_windows` cuts them; data: fingerprint of the data set.

    Raises UserError on clips of another length or frame size.
    """
    _check(table, protocol)
    reasons = _unmeasured(table, judges, protocol)
    refused = {judge for judge in ("landmarks", "sync", "emotion") if refusal(judges, judge)}
    num_frames = torch.tensor([len(audio) // SAMPLES_PER_FRAME for audio in table.audio])
    facts = ClipFacts(tuple(table.key), tuple(table.identity), table.emotion.numpy(), table.level.numpy())
    return TruthReading(
        protocol=protocol,
        fingerprint=_fingerprint(table, judges, protocol, data),
        clips=facts,
        images=table.image,
        starts=table.at[:: protocol.frames_per_clip],
        num_frames=num_frames,
        landmarks=None if "landmarks" in refused else read(judges.landmarks, table.image),
        exact=table.truth.get("landmarks"),
        log_probability=None if "emotion" in refused else read(judges.emotion, table.image),
        sound=None if "sync" in refused else _read_sound(table, judges, num_frames),
        reasons=reasons,
    )


@torch.no_grad()
def read(judge: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """A judge's reading of many frames, in batches. images: (n, 3, side, side) uint8 → (n, ...)."""
    return torch.cat([judge(unit(part)) for part in images.split(FRAMES_AT_ONCE)])


@torch.no_grad()
def _read_sound(table: FrameTable, judges: Judges, num_frames: Tensor) -> list[Tensor]:
    heard = []
    for audio, length in zip(table.audio, num_frames.tolist(), strict=True):
        windows = sync.sound_windows(sync_mel(audio), length)
        heard.append(judges.sync.audio(windows))
    return heard


def _check(table: FrameTable, protocol: Protocol) -> None:
    length, side = protocol.frames_per_clip, protocol.side
    if not table.key:
        raise UserError(f"protocol {protocol.id} was given no clips", "the test split is empty")
    if tuple(table.image.shape[-2:]) != (side, side):
        raise UserError(
            f"protocol {protocol.id} measures frames of {side} x {side}",
            f"there are {tuple(table.image.shape[-2:])}",
        )
    whole = torch.equal(table.clip, torch.arange(len(table.key)).repeat_interleave(length))
    if not whole or (table.at.view(-1, length).diff(dim=1) != 1).any():
        raise UserError(
            f"protocol {protocol.id} measures {length} consecutive frames of each clip",
            "these clips have others",
        )


def refusal(judges: Judges, name: str) -> str | None:
    """Why a judge may not measure, or None: it has no card, or its card says that it stays under its gate."""
    card = judges.cards.get(name)
    if not card:
        return f"judge {name} has no card"
    return f"judge {name} under its gate: {failed}" if (failed := failed_gate(card)) else None


def _unmeasured(table: FrameTable, judges: Judges, protocol: Protocol) -> dict[str, str]:
    reasons = {}
    for metric in map(METRICS.__getitem__, protocol.metrics):
        refusals = [reason for judge in metric.judges if (reason := refusal(judges, judge))]
        if refusals:
            reasons[metric.name] = f"not measured: {'; '.join(refusals)}"
        elif metric.name.endswith("_truth") and "landmarks" not in table.truth:
            reasons[metric.name] = "not measured: these clips have no exact landmarks"
    return reasons


def _fingerprint(table: FrameTable, judges: Judges, protocol: Protocol, data: str) -> Fingerprint:
    windows = [
        f"{key}@{start}"
        for key, start in zip(table.key, table.at[:: protocol.frames_per_clip].tolist(), strict=True)
    ]
    networks = {f"judge {name}": str(card.get("sha256", "no hash")) for name, card in judges.cards.items()}
    return Fingerprint(
        {
            **protocol.facts(),
            "data": data,
            "clips": sha256("\n".join(windows).encode()),
            "truth frames": sha256(table.image.contiguous().numpy().tobytes()),
            "landmark source": "judge",
            **networks,
        }
    )
