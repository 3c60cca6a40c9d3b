"""A clip as the members of a shard's sample: json, lossless frames, sound, exact truth (data.md 4.1).

Frames are a PNG strip, not H.264: at 96 pixels its chroma and blocks wipe out frown lines and teeth.
Nothing here can run code: JSON, PNG, PCM and .npy without pickles, each checked for its size before it is
decoded.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import wave
from typing import Any, NamedTuple

import cv2
import numpy as np

from eatlab.data.samples import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Clip
from eatlab.emotions import EMOTIONS

SCHEMA = 1
KEY = re.compile(r"[A-Za-z0-9_-]{1,72}")
"""data.md 4.1 allows 90 characters; 72 leave room for the longest suffix in the 100 bytes of a USTAR name."""
SUFFIX = re.compile(r"json|frames\.png|wav|twin\.png|(?:truth|twin)\.[a-z0-9_]{1,16}\.npy")
MAX_MEMBER_BYTES = 64 << 20
MAX_FRAMES = 4096
MAX_SIDE_PX = 4096
PNG_COMPRESSION = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
DTYPES = tuple(np.dtype(name) for name in ("b1", "u1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"))
CORE = (
    "schema", "set", "key", "identity", "split", "emotion", "level", "intensity",
    "num_frames", "at", "frame_rate_hz", "sample_rate_hz", "sha256",
)  # fmt: skip


class RefusedError(ValueError):
    """A member that no writer of ours makes: what it claims is not even tried."""


class DamagedError(ValueError):
    """A member that cannot be what was written: a wrong checksum, count or length."""


class Sample(NamedTuple):
    """An encoded clip, ready to be written: suffix → bytes. Workers pass these, not clips."""

    key: str
    members: dict[str, bytes]


def encode(clip: Clip, set_name: str) -> Sample:
    """The clip's members; the same clip gives the same bytes with the same OpenCV."""
    check_clip(clip)
    members = {"frames.png": encode_strip(clip.frames), "wav": encode_sound(clip.audio)}
    if clip.twin_frames is not None:
        members["twin.png"] = encode_strip(clip.twin_frames)
    members |= {f"truth.{name}.npy": encode_array(rows) for name, rows in clip.truth.items()}
    members |= {f"twin.{name}.npy": encode_array(rows) for name, rows in clip.twin_truth.items()}
    described = describe(clip, set_name, {suffix: sha256(data) for suffix, data in members.items()})
    members = {"json": described} | dict(sorted(members.items()))
    for suffix, data in members.items():
        if not SUFFIX.fullmatch(suffix) or len(data) > MAX_MEMBER_BYTES:
            raise ValueError(f"clip {clip.key}: member {suffix} of {len(data)} bytes cannot be stored")
    return Sample(clip.key, members)


def decode(sample: Sample, *, verify: bool = True) -> Clip:
    """Members → clip. RefusedError: what we never write. DamagedError: no longer what we wrote."""
    described = read_description(sample)
    if verify:
        check_sums(sample, described["sha256"])
    at = np.array(described["at"], np.int64)
    arrays = {s[:-4]: decode_array(data, s) for s, data in sample.members.items() if s.endswith(".npy")}
    twin = sample.members.get("twin.png")
    clip = Clip(
        key=sample.key,
        **{name: described[name] for name in ("identity", "split", "emotion", "level", "num_frames")},
        intensity=float(described["intensity"]),
        at=at,
        frames=decode_strip(sample.members["frames.png"], len(at)),
        audio=decode_sound(sample.members["wav"], described["num_frames"]),
        truth={name[6:]: rows for name, rows in arrays.items() if name.startswith("truth.")},
        twin_frames=None if twin is None else decode_strip(twin),
        twin_truth={name[5:]: rows for name, rows in arrays.items() if name.startswith("twin.")},
        meta={name: value for name, value in described.items() if name not in CORE},
    )
    try:
        check_clip(clip)
    except ValueError as error:
        raise DamagedError(str(error)) from error
    return clip


def check_clip(clip: Clip) -> None:
    """Raises ValueError where the parts of a clip do not fit one another or the grammar of data.md 4.1."""
    faults = [
        (not KEY.fullmatch(clip.key), f"the key must match {KEY.pattern}"),
        (clip.emotion is not None and clip.emotion not in EMOTIONS, f"emotion {clip.emotion!r} is unknown"),
        (clip.level not in (None, 1, 2, 3), f"level {clip.level!r} is not 1, 2, 3 or none"),
        (not 0 <= clip.intensity <= 1, f"intensity {clip.intensity} is not in 0…1"),
        (len(clip.frames) != len(clip.at), f"{len(clip.frames)} frames for {len(clip.at)} places"),
        (
            np.any((clip.at < 0) | (clip.at >= clip.num_frames)),
            f"places outside its {clip.num_frames} frames",
        ),
        (
            len(clip.audio) != SAMPLES_PER_FRAME * clip.num_frames,
            f"{len(clip.audio)} samples of sound for {clip.num_frames} frames of {SAMPLES_PER_FRAME}",
        ),
        (
            any(len(rows) != len(clip.at) for rows in clip.truth.values()),
            "truth rows and frames differ in number",
        ),
        (
            clip.twin_frames is not None
            and any(len(rows) != len(clip.twin_frames) for rows in clip.twin_truth.values()),
            "the twin's truth rows and frames differ in number",
        ),
        (bool(set(clip.meta) & set(CORE)), f"meta may not say {sorted(set(clip.meta) & set(CORE))}"),
    ]
    for wrong, what in faults:
        if wrong:
            raise ValueError(f"clip {clip.key}: {what}")


def describe(clip: Clip, set_name: str, sums: dict[str, str]) -> bytes:
    """The json member: sorted keys, no spaces, UTF-8."""
    core = {
        "schema": SCHEMA,
        "set": set_name,
        **{n: getattr(clip, n) for n in ("key", "identity", "split", "emotion", "level", "num_frames")},
        "intensity": float(clip.intensity),
        "at": clip.at.tolist(),
        "frame_rate_hz": FRAME_RATE_HZ,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "sha256": sums,
    }
    return canonical_json({**clip.meta, **core})


def canonical_json(value: Any) -> bytes:
    """One spelling for equal values; numpy numbers and arrays become plain ones."""
    plain = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    )
    return plain.encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written to a shard's json")


def read_description(sample: Sample) -> dict[str, Any]:
    """The json member as a dict whose core fields have their types."""
    try:
        described = json.loads(sample.members["json"])
        types = {"key": str, "identity": str, "split": str, "num_frames": int, "at": list, "sha256": dict}
        fits = all(isinstance(described[name], kind) for name, kind in types.items())
        fits &= described["schema"] == SCHEMA and described["key"] == sample.key
        fits &= all(isinstance(place, int) for place in described["at"]) and isinstance(
            described["intensity"], int | float
        )
        fits &= {"frames.png", "wav"} <= set(sample.members) and {"emotion", "level"} <= set(described)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"its json cannot be read ({error})") from error
    if not fits:
        raise DamagedError("its json or members are not those of one whole sample")
    if not 0 < described["num_frames"] <= MAX_FRAMES:
        raise RefusedError(f"it claims {described['num_frames']} frames; at most {MAX_FRAMES} are allowed")
    return described


def check_sums(sample: Sample, sums: dict[str, str]) -> None:
    """Each member against the checksum in the json."""
    if set(sums) != set(sample.members) - {"json"}:
        raise DamagedError(
            f"members {sorted(set(sums) ^ set(sample.members) - {'json'})} are missing or too many"
        )
    for suffix, wanted in sums.items():
        if sha256(sample.members[suffix]) != wanted:
            raise DamagedError(f"member {suffix} has another checksum than its json says")


def sha256(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def encode_strip(frames: np.ndarray) -> bytes:
    """frames (n, size, size, 3) uint8 RGB → PNG of (n·size, size), the frames one below the other."""
    if (
        frames.ndim != 4
        or frames.shape[1] != frames.shape[2]
        or frames.shape[3] != 3
        or frames.dtype != np.uint8
    ):
        raise ValueError(f"frames must be (n, size, size, 3) uint8, not {frames.shape} {frames.dtype}")
    strip = np.ascontiguousarray(frames.reshape(-1, frames.shape[2], 3)[..., ::-1])
    done, data = cv2.imencode(".png", strip, PNG_COMPRESSION)
    if not done:
        raise ValueError(f"OpenCV cannot write a picture of {strip.shape}")
    return data.tobytes()


def decode_strip(data: bytes, num_frames: int | None = None) -> np.ndarray:
    """PNG strip → (n, size, size, 3) uint8 RGB; its declared size is checked before it is decoded."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 33:
        raise RefusedError("its frames are no PNG")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    count = height // max(width, 1)
    if (
        not 0 < width <= MAX_SIDE_PX
        or count * width != height
        or not 0 < count <= MAX_FRAMES
        or (depth, colour) != (8, 2)
    ):
        raise RefusedError(f"its frames claim {width} by {height} px, {depth} bit, colour type {colour}")
    if width * height * 3 > 16 * MAX_MEMBER_BYTES:
        raise RefusedError(f"its frames would take {width * height * 3 >> 20} MiB")
    if num_frames is not None and count != num_frames:
        raise DamagedError(f"{count} frames are stored, {num_frames} are listed")
    strip = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if strip is None or strip.shape != (height, width, 3):
        raise DamagedError("its frames cannot be decoded")
    return strip.reshape(count, width, width, 3)


def encode_sound(audio: np.ndarray) -> bytes:
    """audio (samples,) in -1..1 → PCM16 wav, round(32768 x): what was read is written again to the bit."""
    if audio.ndim != 1 or not np.isfinite(audio).all():
        raise ValueError(f"sound must be (samples,) of finite numbers, not {audio.shape}")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", "not compressed"))
        sound.writeframes(np.clip(np.round(audio * 32768.0), -32768, 32767).astype("<i2").tobytes())
    return stream.getvalue()


def decode_sound(data: bytes, num_frames: int) -> np.ndarray:
    """PCM16 wav → (640·num_frames,) float32."""
    try:
        with wave.open(io.BytesIO(data), "rb") as sound:
            if sound.getparams()[:3] != (1, 2, SAMPLE_RATE_HZ):
                raise RefusedError(f"its sound is not 16 kHz mono PCM16 but {sound.getparams()[:3]}")
            count = sound.getnframes()
            if count != SAMPLES_PER_FRAME * num_frames:
                raise DamagedError(
                    f"{count} samples of sound are stored, {SAMPLES_PER_FRAME * num_frames} are needed"
                )
            return np.frombuffer(sound.readframes(count), "<i2").astype(np.float32) / 32768
    except (wave.Error, EOFError) as error:
        raise DamagedError(f"its sound cannot be read ({error})") from error


def encode_array(rows: np.ndarray) -> bytes:
    """An array of plain numbers → .npy."""
    rows = np.ascontiguousarray(rows)
    if rows.dtype not in DTYPES:
        raise ValueError(f"an array of {rows.dtype} cannot be stored; allowed: {', '.join(map(str, DTYPES))}")
    stream = io.BytesIO()
    np.save(stream, rows, allow_pickle=False)
    return stream.getvalue()


def decode_array(data: bytes, suffix: str) -> np.ndarray:
    """.npy → array; type and size are checked in its header first, and pickles are never opened."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise RefusedError(f"{suffix} is .npy version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except ValueError as error:
        raise (
            error if isinstance(error, RefusedError) else DamagedError(f"{suffix} is no array ({error})")
        ) from error
    if dtype not in DTYPES or fortran or len(shape) > 5:
        raise RefusedError(f"{suffix} is an array of {dtype}, {shape}")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size != len(data) - stream.tell():
        raise DamagedError(f"{suffix} claims {size} bytes and has {len(data) - stream.tell()}")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).copy()
