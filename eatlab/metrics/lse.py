"""Lip sync as it is published: LSE-D, LSE-C and offset from distances at 31 shifts (evaluation.md 7).

Another test than sync.py's, which asks a judge of ours whether short clips are in sync.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eatlab.data.audio_features import SAMPLES_PER_FRAME, mfcc
from eatlab.errors import UserError
from eatlab.experts.lse_syncnet import COLUMNS, FRAMES, LseSyncNet
from eatlab.metrics.sync import MAX_OFFSET, embed
from eatlab.metrics.sync import SHORTEST_CLIP as SHORTEST_SCORED

COLUMNS_PER_FRAME = 4
SHORTEST_CLIP = FRAMES + 1  # frames: one window is left out, as published
EPSILON = 1e-6  # added to every component of a difference, as torch's pairwise_distance does
WINDOWS_AT_ONCE = 8

Padding = Literal["zeros", "valid"]


class Score(NamedTuple):
    """LSE-D (lower is better), LSE-C (higher is better), and the offset in frames.

    A positive offset: the matching sound is earlier than the picture. NaN, NaN, 0 where a clip is too short.
    """

    lse_d: float
    lse_c: float
    offset: int

    @property
    def is_scored(self) -> bool:
        """Whether the clip takes part in means."""
        return not np.isnan(self.lse_d)


TOO_SHORT = Score(float("nan"), float("nan"), 0)


def num_windows(num_frames: int, num_samples: int) -> int:
    """Windows of a clip: T - 5, one fewer than fit; T is the shorter of picture and 16 kHz sound in frames.

    Raises UserError where T is under 6.
    """
    shorter = min(num_frames, num_samples // SAMPLES_PER_FRAME)
    if shorter < SHORTEST_CLIP:
        raise UserError(
            f"lip sync of a clip of {shorter} frames with sound", f"SyncNet needs {SHORTEST_CLIP} or more"
        )
    return shorter - FRAMES


def picture_windows(frames: Tensor, count: int) -> Tensor:
    """Frames i…i + 4 for each i. frames: (T, 3, 224, 224) RGB → (count, 3, 5, 224, 224) BGR, a view."""
    return frames.flip(1).unfold(0, FRAMES, 1)[:count].movedim(-1, 2)


def sound_windows(sound: np.ndarray, count: int) -> Tensor:
    """MFCC columns 4i…4i + 19 for each i. sound: (samples,) int16 values at 16 kHz → (count, 1, 13, 20)."""
    columns = torch.from_numpy(mfcc(sound)).float()
    return columns.T.unfold(1, COLUMNS, COLUMNS_PER_FRAME)[:, :count].movedim(1, 0)[:, None]


def distances(video: Tensor, audio: Tensor, *, padding: Padding, max_offset: int = MAX_OFFSET) -> Tensor:
    """Mean distance of the windows at each shift of the sound by -15…15: (31,) float64.

    video, audio: (n, d). padding: outside the clip sound counts as a "zeros" vector (`eat`, which biases
    short clips), or only "valid" pairs count (`standard`; UserError unless every shift has one, n ≥ 16).
    """
    count = len(video)
    if padding == "valid" and count <= max_offset:
        raise UserError(
            f"lip sync of {count} windows without padding",
            f"every shift needs a pair: {max_offset + 1} windows",
        )
    padded = torch.nn.functional.pad(audio.double(), (0, 0, max_offset, max_offset))
    found = []
    for shift in range(-max_offset, max_offset + 1):
        shifted = padded[max_offset + shift :][:count]
        each = torch.linalg.vector_norm(video.double() - shifted + EPSILON, dim=1)
        inside = slice(max(0, -shift), count - max(0, shift)) if padding == "valid" else slice(None)
        found.append(each[inside].mean())
    return torch.stack(found)


def score(distances: Tensor) -> Score:
    """LSE-D the least of the 31 distances, LSE-C the middle one less the least (evaluation.md 7)."""
    least, at = distances.min(0)
    return Score(least.item(), (distances.median() - least).item(), len(distances) // 2 - int(at))


@torch.no_grad()
def clip_score(network: LseSyncNet, frames: Tensor, sound: np.ndarray, *, padding: Padding) -> Score:
    """The score of a clip; TOO_SHORT under 31 frames, in either protocol (evaluation.md 7).

    frames: (T, 3, 224, 224) uint8 RGB at 25 fps, of `alignment.sync_crop` under `eat`; sound: (samples,)
    int16 values at 16 kHz. State in the fingerprint where the crop comes from: it decides the value.
    """
    count = num_windows(len(frames), len(sound))
    if count + FRAMES < SHORTEST_SCORED:
        return TOO_SHORT
    video = embed(network.video, picture_windows(frames, count), batch=WINDOWS_AT_ONCE)
    audio = embed(network.audio, sound_windows(sound, count))
    return score(distances(video, audio, padding=padding))
