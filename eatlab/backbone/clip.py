"""One clip, frame by frame: what is heard and where the head goes, gathered into A2ET's windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from eatlab.backbone.a2et import A2ET, CENTRE, Batch
from eatlab.backbone.sites import Context
from eatlab.errors import UserError

ENCODED_AT_ONCE = 64


class Speech(NamedTuple):
    """A clip's sound, a row a frame at 25 fps: mel (n, 80); features (n, …) for A2ET's speech part."""

    mel: Tensor
    features: Tensor


class Driving(NamedTuple):
    """Where the head goes, a row a frame: pose (t, 7); pictures (n, 64, 64) of it, where they are read."""

    pose: Tensor
    pictures: Tensor | None = None


class Padding(NamedTuple):
    """What stands in a window outside the clip: mel (80,), features (…)."""

    mel: Tensor
    features: Tensor


def silence() -> Padding:
    """The release's features of silence (eat-networks.md 14, step 2).

    Differs: the paper does not say; the release pads with silence in its demo and MEAD test, with zeros in
    training and on LRW.
    """
    from eatlab.backbone.published.constants import released_constants

    constants = released_constants()
    return Padding(constants.silence_mel, constants.silence_speech)


def zeros(speech: Speech) -> Padding:
    """Zeros: the release pads with them in training and in its LRW script (eat-networks.md 15)."""
    return Padding(*(x.new_zeros(x.shape[1:]) for x in speech))


@dataclass(frozen=True)
class Frames:
    """A clip's frames with one of padding before and one behind.

    mel (n + 2, 80), tokens (n + 2, width): every frame encoded once.  pose (t, 7): of the t frames to draw.
    """

    mel: Tensor
    tokens: Tensor
    pose: Tensor

    @classmethod
    def of(
        cls,
        a2et: A2ET,
        speech: Speech,
        driving: Driving,
        padding: Padding,
        context: Context,
        *,
        spare: int = 2,
    ) -> Frames:
        """Step 1 of the released inference and the padding of step 2 (eat-networks.md 14).

        n is the shortest of mel, features and pictures. A driving video may be up to `spare` frames longer
        (its windows are padded); what is longer than that is cut to n.
        Raises UserError for a clip without a frame, or without pose pictures where they are read.
        """
        known, asked = shortest(a2et, speech, driving), len(driving.pose)
        mel, features = (
            torch.cat([pad.to(x)[None], x[:known], pad.to(x)[None]])
            for x, pad in ((speech.mel, padding.mel), (speech.features, padding.features))
        )
        pictures = driving.pictures if a2et.speech.reads_pictures else None
        if pictures is not None:  # outside the clip the first or the last picture stands
            pictures = torch.cat([pictures[:1], pictures[:known], pictures[known - 1 : known]])
        pose = driving.pose if asked <= known + spare else driving.pose[:known]
        return cls(mel, encoded(a2et, features, pictures, context), pose)

    def windows(self, frames: Tensor) -> Batch:
        """Frames' numbers (f,) → mel (1, f, 11, 80), tokens (1, f, 11, width), pose (1, f, 7)."""
        reach = torch.arange(-CENTRE, CENTRE + 1, device=frames.device)
        rows = (frames[:, None] + reach + 1).clamp(0, len(self.mel) - 1)
        return {
            "mel": self.mel[rows][None],
            "tokens": self.tokens[rows][None],
            "pose": self.pose[frames][None],
        }


def shortest(a2et: A2ET, speech: Speech, driving: Driving) -> int:
    """Frames that all of a clip's inputs know. Raises UserError if one of them is empty or missing."""
    pictures = driving.pictures if a2et.speech.reads_pictures else None
    if a2et.speech.reads_pictures and pictures is None:
        raise UserError(
            "a clip without pose pictures", "this backbone reads them", "draw them from the poses"
        )
    lengths = {"mel columns": len(speech.mel), "speech features": len(speech.features)}
    lengths |= {"pose pictures": len(pictures)} if pictures is not None else {}
    if not all(lengths.values()) or not len(driving.pose):
        told = ", ".join(f"{count} {what}" for what, count in {**lengths, "poses": len(driving.pose)}.items())
        raise UserError(f"a clip of {told}", "none of them may be empty")
    return min(lengths.values())


def encoded(a2et: A2ET, features: Tensor, pictures: Tensor | None, context: Context) -> Tensor:
    """(n, …) → (n, width), some frames at a time; exact, for a frame's token sees that frame alone."""
    parts = [
        a2et.frame_tokens(x[None], None if seen is None else seen[None], context)[0]
        for x, seen in zip(
            features.split(ENCODED_AT_ONCE),
            [None] * len(features) if pictures is None else pictures.split(ENCODED_AT_ONCE),
            strict=False,
        )
    ]
    return torch.cat(parts)
