"""Anybody's film against its truth, frame by frame: what the protocols `eat` and `standard` do with it.

Definitions: evaluation.md 2 to 8. Every quirk of `eat` (its section 12) is a field of `Chain`. Of a clip are
kept landmarks and crops of 128 and 224 pixels, never whole frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eatlab.data.faces import FaceFinder
from eatlab.data.media import FootageError, picture, read_sound, show, start_of_video
from eatlab.errors import UserError
from eatlab.experts.face_identity import WIDTH, FaceIdentity
from eatlab.experts.lse_syncnet import LseSyncNet
from eatlab.metrics import image, landmarks, lse
from eatlab.metrics.alignment import (
    align_face,
    align_matrix,
    emotion_crop,
    identity_crop,
    sync_crop,
    sync_matrices,
    sync_points,
)
from eatlab.metrics.coding import recoded
from eatlab.metrics.pairing import Lengths, Undetected, fid_frames, frame_pairs, kept_frames

NO_FACES = "not measured: faces are found with mediapipe, which is not installed"
NO_SYNCNET = "not measured: SyncNet's weights are not here; give syncnet=FILE"
NO_EMOTION = "not measured: Emotion-FAN's weights are not here; give emotion=FILE"
NO_IDENTITY = "not measured: ArcFace's weights are not here; give identity=FILE"
TOO_FEW = "not measured: too few frames in which both sides have a face"
FACELESS = "not measured: the film has no face in any frame, so nothing can be aligned"
NO_SOUND = "not measured: the truth has no sound"


@dataclass(frozen=True)
class Chain:
    """What is done to the frames of both sides before they are compared (evaluation.md 2, 12).

    codings: codecs that the generated film goes through, one after the other; the true one only the last.
    aligned: frames are cut to 128×128 by their landmarks. The rest are switches of the functions named so.
    """

    lengths: Lengths
    undetected: Undetected
    aligned: bool
    codings: tuple[str, ...]
    window: image.Window
    padding: lse.Padding


CHAINS = {
    "eat": Chain("stretch", "drop", True, ("h264", "mpeg4"), "uniform", "zeros"),
    "standard": Chain("cut", "fail", False, (), "gaussian", "valid"),
}


@dataclass(frozen=True)
class Instruments:
    """What reads frames; None where it is not here, and what it would measure has the reason for it.

    emotion: all faces of a clip, (n, 3, 224, 224) uint8 → (8,) log-probabilities in the order of EMOTIONS.
    """

    faces: FaceFinder | None = None
    syncnet: LseSyncNet | None = None
    inception: Callable[[Tensor], Tensor] | None = None
    emotion: Callable[[Tensor], Tensor] | None = None
    identity: FaceIdentity | None = None


class Seen(NamedTuple):
    """One side of a clip after the chain.

    whole: (frames, 68, 2) px of whole frames, NaN without a face.  crops: (n, 3, 128, 128) uint8 of those
    with one, None without any; landmarks: (n, 68, 2) px in them.  persons: (n, d) embeddings of those
    faces, before they were cut.  dropped: frames that are gone.
    """

    whole: np.ndarray
    landmarks: np.ndarray
    crops: Tensor | None
    persons: np.ndarray
    dropped: int
    detect_rate: float


@dataclass(frozen=True)
class ClipMeasured:
    """values: metric → number.  reasons: metric → why there is none.  num_frames: compared pairs.

    dropped: frames of either side that are gone, as no face was found.  features: of the generated and the
    true frames that FID looks at, (n, 2048) each, where its network is here.  log_probability: of each of
    EMOTIONS, empty if no frame has a face, None where nothing judged.
    """

    values: dict[str, float]
    num_frames: int = 0
    dropped: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    features: tuple[Tensor, Tensor] | None = None
    log_probability: list[float] | None = None


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """(height, width, 3) uint8 RGB at 25 fps, upright. Raises FootageError for a film that cannot be read."""
    for start, stop, frame in show(path):
        shown = picture(frame)
        for _ in range(start, stop):
            yield shown


@torch.no_grad()
def measure_film(
    film: Path | np.ndarray, truth: Path, chain: Chain, instruments: Instruments, *, sound: Path | None = None
) -> ClipMeasured:
    """A film, or the truth's first frame repeated, against the truth.

    That frame is not compared with itself, but where frames are aligned and coded, which leave it apart.
    sound: the film whose sound is heard; that of the truth if not given. Raises UserError for films of
    another size or length than the chain allows, FootageError for one that cannot be read.
    """
    if chain.aligned:
        return _measure_aligned(film, truth, chain, instruments, sound or truth)
    return _measure_whole(film, truth, chain, instruments, sound or truth)


def repeated(film: Path | np.ndarray, truth: Path) -> Iterator[np.ndarray]:
    """The frames of a film; of a picture as many as the truth has."""
    if isinstance(film, Path):
        yield from frames_of(film)
    else:
        for _ in frames_of(truth):
            yield film


def _measure_whole(
    film: Path | np.ndarray, truth: Path, chain: Chain, instruments: Instruments, sound: Path
) -> ClipMeasured:
    """Frames as they are, one pair at a time."""
    psnr, ssim, ours, theirs = [], [], [], []
    persons: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    longer = {"ours": 0, "theirs": 0}
    features: list[list[Tensor]] = []
    pairs = zip_longest(repeated(film, truth), frames_of(truth))
    for a, b in pairs if isinstance(film, Path) else islice(pairs, 1, None):
        if a is None or b is None:
            longer["theirs" if a is None else "ours"] += 1
            continue
        _refuse_other_size(a, b)
        pair = [torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b)]
        psnr.append(image.psnr(*pair))
        ssim.append(image.ssim(*pair, window=chain.window))
        if instruments.inception is not None:  # every frame of every clip (evaluation.md 5)
            features.append([instruments.inception(x) for x in pair])
        ours.append(_landmarks(a, instruments))
        theirs.append(_landmarks(b, instruments))
        for side, frame, points in zip(persons, (a, b), (ours[-1], theirs[-1]), strict=True):
            side.append(_person(frame, points, instruments))
    if not psnr:
        raise UserError("a clip without a frame to compare")
    lengths = (len(psnr) + longer["ours"], len(psnr) + longer["theirs"])
    frame_pairs(*lengths, lengths=chain.lengths)  # refuses what differs by too much
    values = {"psnr": _mean(torch.cat(psnr)), "ssim": _mean(torch.cat(ssim))}
    reasons: dict[str, str] = {}
    found = np.stack(ours)
    if instruments.faces is None:
        reasons |= dict.fromkeys(("m_nme", "f_nme", "f_nme_uncentred", "jitter", "detect_rate"), NO_FACES)
    else:
        values |= _distances(found, np.stack(theirs), chain)
    alike, no_person = _identity(np.stack(persons[0]), np.stack(persons[1]), instruments)
    heard, no_sync = _lip_sync(film, truth, found, chain, instruments, sound)
    shown, no_emotion = _emotion(film, truth, found, instruments)
    stacked = tuple(map(torch.cat, zip(*features, strict=True))) if features else None
    reasons |= no_person | no_sync | no_emotion
    return told(values | alike | heard, reasons, len(psnr), 0, stacked, shown)  # type: ignore[arg-type]


def _distances(ours: np.ndarray, theirs: np.ndarray, chain: Chain) -> dict[str, float]:
    """Landmark distances of a clip in percent of the eyes (evaluation.md 6, `standard`)."""
    found = torch.from_numpy(np.isfinite(ours).all((1, 2)))
    valid = found & torch.from_numpy(np.isfinite(theirs).all((1, 2)))
    a, b = torch.from_numpy(ours), torch.from_numpy(theirs)
    return {
        "m_nme": landmarks.nme(a, b, landmarks.MOUTH, valid=valid),
        "f_nme": landmarks.nme(a, b, landmarks.FACE, valid=valid),
        "f_nme_uncentred": landmarks.nme(a, b, landmarks.FACE, centred=False, valid=valid),
        "jitter": landmarks.jitter(a, b, valid=valid),
        "detect_rate": kept_frames(found, undetected=chain.undetected).detect_rate,
    }


def _measure_aligned(
    film: Path | np.ndarray, truth: Path, chain: Chain, instruments: Instruments, sound: Path
) -> ClipMeasured:
    """Faces cut to 128×128 and coded again, as EAT's result files were (evaluation.md 2)."""
    if instruments.faces is None:
        return ClipMeasured({}, reasons=dict.fromkeys((*ALIGNED, *LSE, "acc_emo", "identity"), NO_FACES))
    first, last = chain.codings[:-1], chain.codings[-1:]
    frames = repeated(film, truth)
    for codec in first:
        frames = recoded(frames, codec)
    ours, theirs = look(frames, chain, instruments, last), look(frames_of(truth), chain, instruments, last)
    if theirs.crops is None:
        raise UserError("the truth has no face in any frame", "nothing can be aligned")
    if ours.crops is None:
        shown, no_emotion = _emotion(film, truth, ours.whole, instruments)
        nothing = dict.fromkeys((*ALIGNED, *LSE, "identity"), FACELESS)
        nothing |= {} if instruments.syncnet else dict.fromkeys(LSE, NO_SYNCNET)
        nothing |= {} if instruments.identity else {"identity": NO_IDENTITY}
        return told({}, nothing | no_emotion, 0, ours.dropped + theirs.dropped, None, shown)
    left, right = frame_pairs(len(ours.crops), len(theirs.crops), lengths=chain.lengths)
    pair = ours.crops[left], theirs.crops[right]
    a, b = (torch.from_numpy(x.landmarks)[i] for x, i in ((ours, left), (theirs, right)))
    valid = a.isfinite().all(-1).all(-1) & b.isfinite().all(-1).all(-1)
    values = {
        "psnr": _mean(image.psnr(*pair)),
        "ssim": _mean(image.ssim(*pair, window=chain.window)),
        "m_lmd_centred": landmarks.lmd(a, b, landmarks.MOUTH, valid=valid),
        "f_lmd_centred": landmarks.lmd(a, b, landmarks.FACE, valid=valid),
        "m_lvd": landmarks.lvd(a, b, landmarks.MOUTH, valid=valid),
        "detect_rate": ours.detect_rate,
    }
    alike, no_person = _identity(ours.persons[left], theirs.persons[right], instruments)
    heard, no_sync = _lip_sync(film, truth, ours.whole, chain, instruments, sound)
    shown, no_emotion = _emotion(film, truth, ours.whole, instruments)
    looked_at, net = fid_frames(len(left)), instruments.inception
    features = None if net is None else (net(pair[0][looked_at]), net(pair[1][looked_at]))
    reasons, dropped = no_person | no_sync | no_emotion, ours.dropped + theirs.dropped
    return told(values | alike | heard, reasons, len(left), dropped, features, shown)


def told(
    values: dict[str, float],
    reasons: dict[str, str],
    num_frames: int,
    dropped: int,
    features: tuple[Tensor, Tensor] | None,
    log_probability: list[float] | None,
) -> ClipMeasured:
    """A clip's numbers; a NaN, of landmarks in too few frames, becomes a reason."""
    reasons = {name: TOO_FEW for name, value in values.items() if np.isnan(value)} | reasons
    kept = {name: value for name, value in values.items() if name not in reasons}
    return ClipMeasured(kept, num_frames, dropped, reasons, features, log_probability)


def look(
    frames: Iterator[np.ndarray], chain: Chain, instruments: Instruments, codings: tuple[str, ...]
) -> Seen:
    """Finds, cuts and codes the faces of one side, and finds the landmarks of what comes out."""
    whole, cut, persons = [], [], []
    for frame in frames:
        points = _landmarks(frame, instruments)
        whole.append(points)
        if np.isfinite(points).all():
            cut.append(align_face(frame, align_matrix(points)))
            persons.append(_person(frame, points, instruments))
    kept = kept_frames(torch.from_numpy(np.isfinite(whole).all((1, 2))), undetected=chain.undetected)
    coded: Iterator[np.ndarray] = iter(cut)
    for codec in codings:
        coded = recoded(coded, codec)
    crops = list(coded) if cut else []
    inside = np.stack([_landmarks(crop, instruments) for crop in crops]) if crops else np.empty((0, 68, 2))
    stacked = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) if crops else None
    return Seen(np.stack(whole), inside, stacked, np.array(persons), kept.dropped, kept.detect_rate)


LSE = ("lse_c", "lse_d", "sync_offset")
ALIGNED = ("psnr", "ssim", "m_lmd_centred", "f_lmd_centred", "m_lvd", "detect_rate")
"""What `eat` measures of faces that it has cut out."""


def _lip_sync(
    film: Path | np.ndarray,
    truth: Path,
    found: np.ndarray,
    chain: Chain,
    instruments: Instruments,
    sound: Path,
) -> tuple[dict[str, float], dict[str, str]]:
    """SyncNet's scores, from crops of 224×224 by landmarks; a clip with a frame without a face has none."""
    if instruments.syncnet is None or instruments.faces is None:
        return {}, dict.fromkeys(LSE, NO_SYNCNET if instruments.syncnet is None else NO_FACES)
    if not np.isfinite(found).all():
        return {}, dict.fromkeys(LSE, "not measured: a frame without a face")
    try:
        heard = read_sound(sound, picture_starts_s=start_of_video(sound))
    except FootageError:
        return {}, dict.fromkeys(LSE, NO_SOUND)
    matrices, shown = sync_matrices(sync_points(found)), repeated(film, truth)
    for codec in chain.codings[:-1]:  # the film that the landmarks were found in
        shown = recoded(shown, codec)
    crops = [sync_crop(frame, m) for frame, m in zip(shown, matrices, strict=False)]
    frames = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    samples = (heard * 32767).round().astype(np.int16)
    try:
        said = lse.clip_score(instruments.syncnet, frames, samples, padding=chain.padding)
    except UserError as error:
        return {}, dict.fromkeys(LSE, f"not measured: {error}")
    if not said.is_scored:
        return {}, dict.fromkeys(LSE, "not measured: the clip is too short")
    return {"lse_c": said.lse_c, "lse_d": said.lse_d, "sync_offset": float(said.offset)}, {}


def _emotion(
    film: Path | np.ndarray, truth: Path, found: np.ndarray, instruments: Instruments
) -> tuple[list[float] | None, dict[str, str]]:
    """What the judge says of all faces of a film, which it sees as it was delivered (evaluation.md 8)."""
    if instruments.emotion is None or instruments.faces is None:
        return None, {"acc_emo": NO_EMOTION if instruments.emotion is None else NO_FACES}
    shown = zip(repeated(film, truth), found, strict=False)
    faces = [emotion_crop(frame, points) for frame, points in shown if np.isfinite(points).all()]
    if not faces:
        return [], {}
    return instruments.emotion(torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2)).tolist(), {}


def _identity(
    ours: np.ndarray, theirs: np.ndarray, instruments: Instruments
) -> tuple[dict[str, float], dict[str, str]]:
    """Mean cosine over the pairs in which both have a face. ours, theirs: (pairs, d) of `_person`."""
    if instruments.identity is None or instruments.faces is None:
        return {}, {"identity": NO_IDENTITY if instruments.identity is None else NO_FACES}
    cosines = (ours * theirs).sum(1)
    both = cosines[np.isfinite(cosines)]
    return {"identity": float(both.mean()) if len(both) else np.nan}, {}


def _person(frame: np.ndarray, points: np.ndarray, instruments: Instruments) -> np.ndarray:
    """(512,) embedding of a frame's face; NaN without a face or a network."""
    if instruments.identity is None or not np.isfinite(points).all():
        return np.full(WIDTH, np.nan)
    return instruments.identity(identity_crop(frame, points))


def _landmarks(frame: np.ndarray, instruments: Instruments) -> np.ndarray:
    """(68, 2) px of the largest face; NaN without one, or without a finder."""
    found = instruments.faces.faces(frame) if instruments.faces else None
    points = instruments.faces.landmarks(frame, found[0]) if instruments.faces and found else None
    return np.full((68, 2), np.nan) if points is None else np.asarray(points, np.float64)


def _refuse_other_size(frame: np.ndarray, truth: np.ndarray) -> None:
    if frame.shape != truth.shape:
        ours, theirs = (f"{x.shape[1]}×{x.shape[0]}" for x in (frame, truth))
        raise UserError(
            f"a film of {ours} px cannot be measured against a truth of {theirs}",
            "protocol standard scales nothing",
            "give films of one size, or protocol=eat, which aligns faces",
        )


def _mean(values: Tensor) -> float:
    return float(values.mean())
