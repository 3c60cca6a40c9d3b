"""Coding loss: frames go through a codec and come back, as the result files of EAT did (evaluation.md 2).

What comes back depends on the build of the codec: measured and stored, never asserted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from eatlab.data.media import picture, show
from eatlab.data.samples import FRAME_RATE_HZ
from eatlab.errors import UserError, refuse_unknown


def recoded(frames: Iterator[np.ndarray], codec: str) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) uint8 RGB, as many as went in, after one pass at 25 fps through a file.

    codec: "h264" by x264 with its default settings (the transcoded film); "mpeg4" as OpenCV writes mp4v (the
    aligned one). Raises UserError where this machine cannot write it.
    """
    refuse_unknown("codec", codec, WRITERS)
    first = next(frames, None)
    if first is None:
        return
    height, width = first.shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        count = WRITERS[codec](path, chain([first], frames), (height + height % 2, width + width % 2))
        for start, stop, frame in show(path):
            for _ in range(start, min(stop, count)):
                yield picture(frame)[:height, :width]


def write_h264(path: Path, frames: Iterator[np.ndarray], size: tuple[int, int]) -> int:
    """Writes a film of size (height, width); → its number of frames."""
    import av
    from av.video.stream import VideoStream

    if "libx264" not in av.codecs_available:
        raise unwritten("H.264", "this PyAV has no libx264")
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE_HZ)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(padded(frame, size), format="rgb24")))
            count += 1
        container.mux(stream.encode())
    return count


def write_mpeg4(path: Path, frames: Iterator[np.ndarray], size: tuple[int, int]) -> int:
    """As `write_h264`, by OpenCV, whose bitrate is what the release's files have."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAME_RATE_HZ, size[::-1])
    if not writer.isOpened():
        raise unwritten("MPEG-4", "this OpenCV cannot write mp4v")
    count = 0
    for frame in frames:
        writer.write(cv2.cvtColor(padded(frame, size), cv2.COLOR_RGB2BGR))
        count += 1
    writer.release()
    return count


def padded(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame with its last row and column repeated up to size (height, width): chroma comes in pairs."""
    missing = [(0, full - side) for full, side in zip(size, frame.shape[:2], strict=True)]
    return np.ascontiguousarray(np.pad(frame, (*missing, (0, 0)), mode="edge"))


def unwritten(what: str, why: str) -> UserError:
    """The mistake of a machine that lacks a codec of the protocol."""
    return UserError(f"protocol eat codes frames in {what}", why, "install it, or measure with standard")


WRITERS = {"h264": write_h264, "mpeg4": write_mpeg4}
