"""One clip of one row of an evaluation: which film meets which truth, and where its numbers are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch

from eatlab.atomic import write_atomically
from eatlab.data.faces import FaceFinder
from eatlab.data.media import FootageError
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.crew import Desk
from eatlab.experiment.evaluation.films import Films
from eatlab.experts.emotion_fan import BETA_IN_NUMERATOR, load_emotion_fan
from eatlab.experts.face_identity import load_face_identity
from eatlab.experts.inception import load_inception
from eatlab.experts.lse_syncnet import load_lse_syncnet
from eatlab.metrics.videos import CHAINS, ClipMeasured, Instruments, frames_of, measure_film

TRUTH = "ground_truth"
FAILED = "failed"
"""The reason of a clip that was not measured at all."""


@dataclass(frozen=True)
class Tools:
    """What an evaluation measures with: its protocol, and files of weights (empty: not measured)."""

    protocol: str
    syncnet: str = ""
    inception: str = ""
    emotion: str = ""
    identity: str = ""

    @property
    def instruments(self) -> Instruments:
        """Loaded once a process. Raises UserError for a file that is no such network."""
        return instruments_of(self)


@lru_cache(1)
def instruments_of(tools: Tools) -> Instruments:
    """Faces are looked for by mediapipe, where it is installed."""
    cv2.setNumThreads(1)  # as torch's in a crew, which has a process for each core
    try:
        faces: FaceFinder | None = FaceFinder()
    except UserError:
        faces = None
    emotion = None
    if tools.emotion:
        form = BETA_IN_NUMERATOR[tools.protocol]
        emotion = partial(load_emotion_fan(tools.emotion).log_probability, beta_in_numerator=form)
    return Instruments(
        faces,
        load_lse_syncnet(tools.syncnet) if tools.syncnet else None,
        load_inception(tools.protocol, tools.inception) if tools.inception else None,  # type: ignore[arg-type]
        emotion,
        load_face_identity(tools.identity) if tools.identity else None,
    )


def clip_file(folder: Path, row: str, name: str) -> Path:
    """Where a clip's numbers are kept."""
    return folder / "clips" / row / f"{name}.safetensors"


def measure_clip(desk: Desk, tools: Tools, films: Films, folder: Path, row: str, name: str) -> None:
    """One clip of one row; a clip that cannot be measured is kept with its reason."""
    desk.go_on(0, 1)
    chain, truth, sound = CHAINS[tools.protocol], films.truth[name], None
    try:
        film: Path | np.ndarray | None = films.videos.get(name)
        if row == TRUTH:
            film = truth
        elif row == "source_copy":
            film = next(frames_of(truth))
        elif row == "shuffled_audio":
            sound = films.truth[films.names[(films.names.index(name) + 1) % len(films.names)]]
        if film is None:
            raise UserError("there is no film of this clip")
        found = measure_film(film, truth, chain, tools.instruments, sound=sound)
    except (UserError, FootageError, ValueError) as error:  # the latter of a face that is all one point, say
        found = ClipMeasured({}, reasons={FAILED: str(error)})
    write_clip(clip_file(folder, row, name), found)


def write_clip(path: Path, found: ClipMeasured) -> None:
    """As safetensors: features, and the rest as JSON in its header."""
    tensors = {} if found.features is None else dict(zip(("ours", "theirs"), found.features, strict=True))
    told = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "features"}
    header = {"clip": json.dumps(told)}
    content = {name: x.contiguous() for name, x in tensors.items()} or {"none": torch.zeros(1)}
    write_atomically(path, lambda part: safetensors.torch.save_file(content, part, header))


def read_clip(path: Path) -> ClipMeasured:
    """As it was written. Raises UserError (4) for a damaged file."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["clip"])
            names = [name for name in file.keys() if name != "none"]  # noqa: SIM118 - not a dict
            features = (file.get_tensor("ours"), file.get_tensor("theirs")) if names else None
            return ClipMeasured(**told, features=features)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a whole measurement",
            str(error),
            "delete it and run again",
            code=ExitCode.DATA_DAMAGED,
        ) from error
