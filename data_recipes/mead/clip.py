"""One clip of MEAD: from its files to samples of a shard, or to the reason why not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_recipes.mead.layout import Take
from data_recipes.mead.sound import Voice, choose_voice, find_voices, loudest_run
from data_recipes.mead.survey import Survey, check_landmarks, shoot, survey
from eatlab.data import crop, faces
from eatlab.data.faces import FaceFinder
from eatlab.data.media import FootageError, describe_video, picture, show
from eatlab.data.samples import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Clip

LICENCE = "MEAD: non-commercial research only, no redistribution of any portion (SenseTime's terms)"
SIZE_PX = 96
UNSPLIT = "unsplit"
"""The split of a sample until all clips are known."""


@dataclass(frozen=True)
class ClipOptions:
    """What decides the bytes of a clip. drawn: frames stored, where most is said (0: all).

    voice: a sound file for clips that have none, marked as foreign. Clips over `longest` frames keep their
    beginning.
    """

    crop: str = "auto"
    drawn: int = 25
    shortest: int = 25
    longest: int = 1024
    voice: str | None = None


def film_clip(
    take: Take, folder: Path, options: ClipOptions, finder: FaceFinder, *, sums: dict[str, str]
) -> list[Clip]:
    """The clip, and the portrait that its first frame with a face gives. sums: sha256 of its files, by name.

    FootageError: lfs_pointer, corrupt, no_video, too_short, no_audio, silent, av_mismatch, no_face,
    several_faces, cut, too_small, border, moved.
    """
    film = folder / take.path
    source = describe_video(film)
    check_length(
        round(source["frames"] * FRAME_RATE_HZ / max(source["fps"], 1e-3)) or options.shortest, options
    )
    voices = find_voices(take, folder, has_sound=source.pop("has_sound"), foreign=options.voice)
    surveyed = survey(film, finder, options.crop)
    check_length(surveyed.num_frames, options)
    voice, sound = choose_voice(voices, surveyed.num_frames)
    num_frames = min(surveyed.num_frames, options.longest)
    sound = sound[: SAMPLES_PER_FRAME * num_frames]
    drawn = min(options.drawn or num_frames, num_frames)
    start = loudest_run(sound, num_frames, drawn)
    places = range(start, start + drawn)
    shot = shoot(pictures(film, {*places, surveyed.first}), surveyed, finder, SIZE_PX)
    landmarks = np.stack([shot[place][1] for place in places])
    check_landmarks(landmarks, SIZE_PX)
    clip = Clip(
        key=take.key,
        identity=take.identity,
        split=UNSPLIT,
        emotion=take.emotion,
        level=take.level,
        intensity=0.0 if take.emotion == "neutral" else take.level / 3,
        num_frames=num_frames,
        at=np.array(places),
        frames=np.stack([shot[place][0] for place in places]),
        audio=sound,
        meta={
            **describe(take, source, voice, surveyed, landmarks, sums),
            "difference_hash": difference_hash(shot[places[drawn // 2]][0]),
        },
    )
    return [clip, portrait_of(clip, surveyed.first, shot)]


def portrait_of(clip: Clip, place: int, shot: dict[int, tuple[np.ndarray, np.ndarray]]) -> Clip:
    """The clip again, for the sake of one picture."""
    image, points = shot[place]
    landmarks = {**clip.meta["landmarks"], "points": rounded(points[None])}
    meta = {**clip.meta, "role": "portrait", "landmarks": landmarks}
    return replace(clip, key=f"{clip.key}_portrait", at=np.array([place]), frames=image[None], meta=meta)


def rounded(landmarks: np.ndarray) -> list[Any]:
    """(n, 68, 2) → lists with two decimals, None for a frame without landmarks."""
    return [None if np.isnan(points).any() else np.round(points, 2).tolist() for points in landmarks]


def check_length(num_frames: int, options: ClipOptions) -> None:
    """FootageError too_short."""
    if num_frames < options.shortest:
        raise FootageError(
            "too_short", f"{num_frames} frames at 25 a second", value=num_frames, limit=options.shortest
        )


def pictures(film: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(place, picture) of the wanted places."""
    last = max(wanted)
    for start, stop, frame in show(film):
        inside = wanted.intersection(range(start, stop))
        if inside:
            image = picture(frame)
            yield from ((place, image) for place in sorted(inside))
        if stop > last:
            return


def describe(
    take: Take,
    source: dict[str, Any],
    voice: Voice,
    surveyed: Survey,
    landmarks: np.ndarray,
    sums: dict[str, str],
) -> dict[str, Any]:
    """What the json says besides the clip's own fields: domain, crop, source, voice, measured landmarks."""
    box = surveyed.box
    return {
        "role": "clip",
        "domain": "real",
        "view": take.view,
        "clip": take.clip,
        "voice": voice.origin,
        "crop": {
            "recipe": surveyed.recipe,
            "box": box.corners,
            "share": round(box.share, 4),
            "jaw_widths": crop.PUPPET_JAW_WIDTHS,
            "scale": round(SIZE_PX / box.side, 4),
            "from_frame": surveyed.first,
            "framing": "the face as large and as high as in a puppet's picture",
            "finder": faces.MODEL,
        },
        "source": {
            **source,
            "path": take.path,
            "sha256": sums[take.path],
            "sound": voice.file,
            "sound_s": round(len(voice.sound) / SAMPLE_RATE_HZ, 4),
        },
        "landmarks": {
            "what": f"measured by {faces.MODEL}: not exact truth",
            "unit": "pixels of the crop",
            "points": rounded(landmarks),
        },
        "licence": LICENCE,
    }


def sums_of(take: Take, folder: Path) -> dict[str, str]:
    """name → sha256 of the clip's files: what its samples are made of."""
    return {
        name: sha256_of(folder / name) for name in (take.path, take.beside, take.foreign) if name is not None
    }


def sha256_of(path: Path) -> str:
    """64 hex digits of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def difference_hash(image: np.ndarray) -> str:
    """64 bits as 16 hex digits: is each of 8×9 grey cells lighter than its neighbour?"""
    grey = cv2.cvtColor(cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(
        int
    )
    return f"{int(''.join('1' if b else '0' for b in (grey[:, 1:] > grey[:, :-1]).ravel()), 2):016x}"


def options_of(options: ClipOptions) -> dict[str, Any]:
    """The options as the index says them: a voice by its checksum, not by its place on this machine."""
    voice = None if options.voice is None else sha256_of(Path(options.voice))[:16]
    return {**asdict(options), "voice": voice}
