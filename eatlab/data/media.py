"""Footage and sound as the networks want them: 25 frames a second by timestamps, 16 kHz mono (data.md 2.1).

Straight from the source by PyAV, one thread, no second encoding. Only files, and only container formats of
films and sounds, are opened: a playlist that names other files or addresses is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eatlab.data.samples import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    import av

MAX_SIDE_PX = 4096
MAX_SOUND_S = 3600
SILENT_DBFS = -50.0
LARGEST_GAP = 3200
"""Samples (0.2 s, 5 frames) by which sound and picture may differ in length."""
SILENT_CHANNEL = 1e-4
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,flv,wav,mp3,aac,flac,ogg,w64,aiff,asf"
)
WHOLE = 0.9
"""The share of the promised frames below which a film that breaks off is refused."""


class FootageError(ValueError):
    """A film or sound that cannot be used; `reason` is one of the closed list of data.md 5."""

    def __init__(self, reason: str, detail: str, *, value: float | str = "", limit: float | str = "") -> None:
        super().__init__(reason, detail, value, limit)
        self.reason, self.detail, self.value, self.limit = reason, detail, value, limit

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def open_media(path: Path) -> av.container.InputContainer:
    """The container, for `with`. FootageError: corrupt, lfs_pointer."""
    import av

    with open(path, "rb") as file:
        if file.read(26).startswith(b"version https://git-lfs"):
            raise FootageError(
                "lfs_pointer", "a pointer of git-lfs, not the file: run `git lfs pull` where it is from"
            )
    whitelist = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        return av.open(str(path.resolve()), container_options=whitelist, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise FootageError("corrupt", f"cannot be opened ({error.strerror})") from error


def describe_video(path: Path) -> dict[str, Any]:
    """What the first video stream says, without decoding: size, fps, frames, seconds, sound or not."""
    with open_media(path) as container:
        stream = video_stream(container)
        rate = stream.average_rate or stream.guessed_rate or Fraction(FRAME_RATE_HZ)
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        return {
            "size": [stream.width, stream.height],
            "fps": round(float(rate), 4),
            "frames": promised_frames(stream),
            "video_s": None if seconds is None else round(seconds, 4),
            "has_sound": bool(container.streams.audio),
        }


def video_stream(container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The first video stream, its declared size checked before anything is decoded."""
    if not container.streams.video:
        raise FootageError("no_video", "there is no video stream")
    stream = container.streams.video[0]
    if max(stream.width, stream.height) > MAX_SIDE_PX:
        raise FootageError("corrupt", f"it declares {stream.width} by {stream.height} px", limit=MAX_SIDE_PX)
    return stream


def show(path: Path) -> Iterator[tuple[int, int, av.VideoFrame]]:
    """(start, stop, frame): at 25 a second places [start, stop) show `frame`; the last stop is the length.

    Nearest frame by its timestamp, no blending, like ffmpeg's fps=25, but counted from the first frame,
    where the sound is made to start too (ffmpeg counts from zero). Frames that no place shows are left out.
    FootageError corrupt: nothing, or less than 90 % of the promised frames, could be decoded.
    """
    import av

    with open_media(path) as container:
        stream = video_stream(container)
        stream.codec_context.thread_count = 1
        step = 1 / float(stream.average_rate or FRAME_RATE_HZ)
        held: tuple[int, av.VideoFrame] | None = None
        origin = end = 0.0
        count, broken = 0, ""
        try:
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else end
                origin = time if count == 0 else origin
                count += 1
                end = time + frame_duration(frame, step)
                place = nearest(time - origin)
                if held is not None and place > held[0]:
                    yield held[0], place, held[1]
                if held is None or place >= held[0]:
                    held = (place, frame)
        except av.error.FFmpegError as error:
            broken = f" ({error.strerror})"
        promised = promised_frames(stream)
        if count == 0 or count < WHOLE * promised:
            detail = f"{count} of {promised} promised frames could be decoded{broken}"
            raise FootageError("corrupt", detail, value=count, limit=promised)
        whole = 0.0 if promised or not container.duration else container.duration / av.time_base
        if end < WHOLE * whole:  # streams of Matroska and WebM promise nothing, but the file tells its length
            detail = f"its picture breaks off at {end:.2f} of {whole:.2f} s{broken}"
            raise FootageError("corrupt", detail, value=round(end, 2), limit=round(whole, 2))
        if held is not None and nearest(end - origin) > held[0]:
            yield held[0], nearest(end - origin), held[1]


def promised_frames(stream: av.video.stream.VideoStream) -> int:
    """How many frames the header promises to show, else 0; edit lists show fewer than are stored."""
    if not (stream.duration and stream.time_base and stream.average_rate):
        return stream.frames
    shown = round(float(stream.duration * stream.time_base * stream.average_rate))
    return min(stream.frames, shown) if stream.frames else shown


def frame_duration(frame: av.VideoFrame, otherwise: float) -> float:
    """Seconds that the frame is meant to last."""
    duration = getattr(frame, "duration", None)
    return float(duration * frame.time_base) if duration and frame.time_base else otherwise


def nearest(seconds: float) -> int:
    """The place at 25 frames a second, halves upwards."""
    return int(np.floor(seconds * FRAME_RATE_HZ + 0.5))


def picture(frame: av.VideoFrame) -> np.ndarray:
    """(height, width, 3) uint8 RGB, upright, with square pixels."""
    image: np.ndarray = frame.to_ndarray(format="rgb24")
    aspect = getattr(frame, "sample_aspect_ratio", None)
    if aspect and aspect != 1 and 0.1 < aspect < 10:
        image = cv2.resize(
            image, (round(image.shape[1] * float(aspect)), image.shape[0]), interpolation=cv2.INTER_AREA
        )
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns))


def start_of_video(path: Path) -> float:
    """Seconds at which the first frame is shown."""
    with open_media(path) as container:
        stream = video_stream(container)
        return float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0


def read_sound(path: Path, *, picture_starts_s: float | None = None) -> np.ndarray:
    """(samples,) float32 in -1..1, 16 kHz, the mean of the channels that are not silent.

    `picture_starts_s`: when the film's first frame is shown, for sound from the same file: the sound is
    shifted to it. FootageError: no_audio, corrupt.
    """
    import av

    with open_media(path) as container:
        if not container.streams.audio:
            raise FootageError("no_audio", "there is no audio stream")
        stream = container.streams.audio[0]
        pieces, start, length = [], None, 0
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE_HZ)
        try:
            for frame in container.decode(stream):
                start = (frame.time or 0.0) if start is None else start
                more = [piece.to_ndarray() for piece in resampler.resample(frame)]
                pieces += more
                length += sum(piece.shape[1] for piece in more)
                if length > MAX_SOUND_S * SAMPLE_RATE_HZ:
                    raise FootageError(
                        "corrupt", f"its sound is longer than {MAX_SOUND_S} s", limit=MAX_SOUND_S
                    )
            pieces += [piece.to_ndarray() for piece in resampler.resample(None)]
        except av.error.FFmpegError as error:
            if not pieces:
                raise FootageError("corrupt", f"its sound cannot be decoded ({error.strerror})") from error
    if not pieces:
        raise FootageError("no_audio", "the audio stream is empty")
    alike = groupby(pieces, key=len)  # channels may change midway
    sound = np.concatenate([downmix(np.concatenate(list(group), axis=1)) for _, group in alike])
    if picture_starts_s is not None:
        sound = shift(sound, round(((start or 0.0) - picture_starts_s) * SAMPLE_RATE_HZ))
    return np.clip(sound, -1, 1)


def downmix(channels: np.ndarray) -> np.ndarray:
    """(channels, samples) → (samples,): the mean of those that are not silent."""
    loud = np.sqrt((channels**2).mean(axis=1)) > SILENT_CHANNEL
    return (channels[loud] if loud.any() else channels).mean(axis=0).astype(np.float32)


def shift(sound: np.ndarray, samples: int) -> np.ndarray:
    """Later by `samples` (zeros in front), or earlier (cut) if negative."""
    return np.concatenate([np.zeros(max(samples, 0), np.float32), sound[max(-samples, 0) :]])


def fit_sound(sound: np.ndarray, num_frames: int) -> np.ndarray:
    """Cut or zero-padded to 640 samples a frame, never stretched. FootageError av_mismatch beyond 0.2 s."""
    needed = SAMPLES_PER_FRAME * num_frames
    gap = len(sound) - needed
    if abs(gap) > LARGEST_GAP:
        sound_s, picture_s = len(sound) / SAMPLE_RATE_HZ, num_frames / FRAME_RATE_HZ
        detail = f"the sound lasts {sound_s:.2f} s, the picture {picture_s:.2f} s"
        raise FootageError("av_mismatch", detail, value=round(gap / SAMPLE_RATE_HZ, 3), limit=0.2)
    return np.pad(sound[:needed], (0, max(-gap, 0)))


def repeat_sound(sound: np.ndarray, num_frames: int) -> np.ndarray:
    """Cut or repeated to 640 samples a frame: for a voice that is not the speaker's anyway."""
    needed = SAMPLES_PER_FRAME * num_frames
    return np.resize(sound, needed).astype(np.float32)


def loudest_dbfs(sound: np.ndarray) -> float:
    """Level of the loudest half second, dB relative to full scale (RMS of a full-scale square is 0)."""
    window = min(SAMPLE_RATE_HZ // 2, len(sound))
    if window == 0:
        return -np.inf
    energy = np.concatenate([[0.0], np.cumsum(np.asarray(sound, np.float64) ** 2)])
    power = (energy[window:] - energy[:-window]).max() / window
    return float(10 * np.log10(power)) if power > 1e-20 else -np.inf


def check_audible(sound: np.ndarray) -> None:
    """FootageError silent below -50 dBFS in its loudest half second."""
    level = loudest_dbfs(sound)
    if level < SILENT_DBFS:
        told = "digital silence" if level == -np.inf else f"{level:.0f} dBFS"
        raise FootageError("silent", f"its loudest half second is {told}", value=told, limit=SILENT_DBFS)
