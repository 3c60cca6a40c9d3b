"""Which sound belongs to a clip: its film's own, a file beside it or, marked, a foreign voice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_recipes.mead.layout import Take
from eatlab.data.media import (
    FootageError,
    check_audible,
    fit_sound,
    read_sound,
    repeat_sound,
    start_of_video,
)

FOREIGN = "foreign (plumbing)"
"""What the json says of a voice that is not the speaker's: sync and mouth figures mean nothing then."""


@dataclass(frozen=True)
class Voice:
    """A sound (samples,) that may go with a clip; origin "own", "beside" or FOREIGN; its file."""

    origin: str
    file: str
    sound: np.ndarray

    def fitted(self, num_frames: int) -> np.ndarray:
        """(640·num_frames,) float32. FootageError av_mismatch; a foreign voice is cut or repeated instead."""
        if self.origin == FOREIGN:
            return repeat_sound(self.sound, num_frames)
        return fit_sound(self.sound, num_frames)


def find_voices(take: Take, folder: Path, *, has_sound: bool, foreign: str | None) -> list[Voice]:
    """The audible sounds of a clip, the best first; a foreign one only if there is no other.

    FootageError of the first sound (no_audio, silent, corrupt) if none can be heard.
    """
    film = folder / take.path
    readers: list[tuple[str, str, Callable[[], np.ndarray]]] = []
    if has_sound:
        readers.append(("own", take.path, lambda: read_sound(film, picture_starts_s=start_of_video(film))))
    if take.beside is not None:
        beside = folder / take.beside
        readers.append(("beside", take.beside, lambda: read_sound(beside)))
    voices, faults = listen(readers)
    if not voices and (take.foreign or foreign):
        path = folder / take.foreign if take.foreign else Path(str(foreign))
        voices, more = listen([(FOREIGN, take.foreign or path.name, lambda: read_sound(path))])
        faults = more or faults
    if not voices:
        raise faults[0] if faults else FootageError("no_audio", "no audio stream, and no sound beside it")
    return voices


def listen(
    readers: list[tuple[str, str, Callable[[], np.ndarray]]],
) -> tuple[list[Voice], list[FootageError]]:
    """Reads each sound; those that can be heard, and what is wrong with the others."""
    voices, faults = [], []
    for origin, file, read in readers:
        try:
            sound = read()
            check_audible(sound)
            voices.append(Voice(origin, file, sound))
        except FootageError as fault:
            faults.append(fault)
    return voices, faults


def choose_voice(voices: list[Voice], num_frames: int) -> tuple[Voice, np.ndarray]:
    """The first voice whose length fits the picture, and its fitted sound. FootageError av_mismatch."""
    faults = []
    for voice in voices:
        try:
            return voice, voice.fitted(num_frames)
        except FootageError as fault:
            faults.append(fault)
    raise faults[0]


def loudest_run(sound: np.ndarray, num_frames: int, drawn: int) -> int:
    """The first of the `drawn` consecutive frames in which most is said; 0 if all are drawn."""
    energy = (sound.reshape(num_frames, -1).astype(np.float64) ** 2).mean(axis=1)
    sums = np.convolve(energy, np.ones(drawn), "valid")
    return int(sums.argmax())
