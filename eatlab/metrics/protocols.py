"""What each number means: metrics, protocols, and the fingerprint that rows of a table share.

`puppets-small/1` and `real-small/1` follow the `standard` chain of evaluation.md (2.3, 11.5) at 96×96: frames
straight from the generator, rounded to uint8, no codec, no alignment, nothing dropped; frame → clip → set,
each clip counting once.

PSNR and SSIM: image.py. LMD (landmarks.py): the judge's reading of the output against its reading of the
truth, not centred, so stricter than the paper's and not comparable. Sync: sync.py. Acc_emo: emotion.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from eatlab.errors import UserError


@dataclass(frozen=True)
class Metric:
    """One column.

    `better` is "higher", "lower" or "" for what is not ranked; `judges` are the experts it needs; `of_set`:
    one number of all clips together, which no clip has, and so without an interval.
    """

    name: str
    heading: str
    digits: int
    better: str
    judges: tuple[str, ...]
    means: str
    of_set: bool = False


_OF_LEVEL = "share of the non-neutral clips of this level judged as their label"
_METRICS = (
    Metric(
        "psnr", "PSNR", 2, "higher", (), "dB; mean over clips of the mean over frames; ∞ for identical frames"
    ),
    Metric("ssim", "SSIM", 3, "higher", (), "11x11 Gaussian window; mean over clips of the mean over frames"),
    Metric(
        "m_lmd", "M-LMD", 2, "lower", ("landmarks",), "mouth landmarks 48…67, output against truth, px of 96"
    ),
    Metric("f_lmd", "F-LMD", 2, "lower", ("landmarks",), "all 68 landmarks, output against truth, px of 96"),
    Metric(
        "sync",
        "Sync",
        2,
        "higher",
        ("landmarks", "sync"),
        "share of clips in sync: the best of those of 31 offsets that lie in the clip is within 1 frame",
    ),
    Metric("acc_emo", "Acc_emo", 2, "higher", ("emotion",), "share of clips judged as their label; micro"),
    Metric("acc_level1", "L1", 2, "higher", ("emotion",), _OF_LEVEL),
    Metric("acc_level2", "L2", 2, "higher", ("emotion",), _OF_LEVEL),
    Metric("acc_level3", "L3", 2, "higher", ("emotion",), _OF_LEVEL),
    Metric(
        "intensity_error",
        "Intensity",
        2,
        "lower",
        ("emotion",),
        "levels between the intensity shown and the clip's; read by the judge's odds of the label, whose own "
        "error is ground_truth's",
    ),
    Metric(
        "acc_asked", "asked", 2, "", ("emotion",), "share of clips judged as the emotion asked of the adapter"
    ),
    Metric("m_lmd_truth", "M-LMD exact", 2, "lower", ("landmarks",), "as M-LMD, against exact truth"),
    Metric("f_lmd_truth", "F-LMD exact", 2, "lower", ("landmarks",), "as F-LMD, against exact truth"),
    Metric("m_lmd_neutral", "M-LMD neutral", 2, "lower", ("landmarks",), "M-LMD of neutral clips"),
    Metric("sync_neutral", "Sync neutral", 2, "higher", ("landmarks", "sync"), "Sync of neutral clips"),
)
_NME = "centred landmark distance in percent of the true outer-eye distance"
_CENTRED = "centred on their own mean, px of the 128 crop"
_LSE = "SyncNet's distance of picture and sound"
_OF_VIDEOS = (
    Metric("m_nme", "M-NME", 2, "lower", (), f"{_NME}, mouth 48…67"),
    Metric("f_nme", "F-NME", 2, "lower", (), f"{_NME}, all 68"),
    Metric("f_nme_uncentred", "F-NME place", 2, "lower", (), "F-NME not centred: where the face is counts"),
    Metric("m_lmd_centred", "M-LMD", 2, "lower", (), f"mouth landmarks 48…67, {_CENTRED}"),
    Metric("f_lmd_centred", "F-LMD", 2, "lower", (), f"all 68 landmarks, {_CENTRED}"),
    Metric("m_lvd", "M-LVD", 2, "lower", (), "difference of the mouth's steps, px of the 128 crop a frame"),
    Metric(
        "jitter", "jitter", 3, "lower", (), "difference of landmark accelerations, % of the eyes a frame²"
    ),
    Metric("detect_rate", "found", 2, "", (), "share of frames in which a face was found"),
    Metric("lse_c", "LSE-C", 2, "higher", (), f"{_LSE}: median over 31 shifts less the least"),
    Metric("lse_d", "LSE-D", 2, "lower", (), f"{_LSE}: the least over 31 shifts"),
    Metric("sync_offset", "offset", 1, "", (), "shift of the least distance, frames; + sound earlier"),
    Metric("identity", "ID", 3, "higher", (), "cosine of the face embeddings of a frame and the true one"),
    Metric(
        "fid", "FID", 2, "lower", (), "Fréchet distance of all clips' frames to the true ones", of_set=True
    ),
)
_METRICS_OF_CLIPS = tuple(metric.name for metric in _METRICS)
METRICS = {metric.name: metric for metric in (*_METRICS, *_OF_VIDEOS)}
"""What can be measured on clips. Tables add what training records say: params, params_percent, minutes."""
LEVELS = ("acc_level1", "acc_level2", "acc_level3")


@dataclass(frozen=True)
class Protocol:
    """How clips are chosen and measured. `domain` is what the clips show, `size` the backbone's; a change of
    meaning is a new id.

    metrics: its columns, of which `main` stand first, and `ranked` compare rows in words. over_frames: those
    whose set value is the mean over frames, so that long clips weigh more; of the others it is over clips.
    says: metric → what it means here, where that is not what it means elsewhere.
    """

    id: str
    domain: str
    warning: str = ""
    size: str = "small"
    frames_per_clip: int = 10
    side: int = 96
    least_judge_accuracy: float = 0.85
    metrics: tuple[str, ...] = _METRICS_OF_CLIPS
    main: tuple[str, ...] = ("psnr", "ssim", "m_lmd", "f_lmd", "sync", "acc_emo", *LEVELS, "acc_asked")
    ranked: tuple[str, ...] = ("m_lmd", "f_lmd", "psnr", "sync", "acc_emo")
    over_frames: tuple[str, ...] = ()
    says: tuple[tuple[str, str], ...] = ()

    def means(self, metric: str) -> str:
        """What a metric is here."""
        return dict(self.says).get(metric, METRICS[metric].means)

    @property
    def further(self) -> tuple[str, ...]:
        """The columns that are not main."""
        return tuple(name for name in self.metrics if name not in self.main)

    @property
    def quoted(self) -> tuple[str, ...]:
        """The main columns without levels: what a README has room for."""
        return tuple(name for name in self.main if name not in LEVELS)

    def facts(self) -> dict[str, str]:
        """What belongs in the fingerprint. The id stands for the meaning of the metrics."""
        frames = f"{self.frames_per_clip} consecutive, {self.side}x{self.side}, rounded uint8, no codec"
        return {"protocol": self.id, "frames": frames}


PUPPETS = Protocol("puppets-small/1", "puppets")
REAL = Protocol(
    "real-small/1",
    "real",
    "domain: puppets → real. The small backbone and its judges know only drawn puppets; on real faces every "
    "number of this table says that the machinery runs, not how good a talking head is.",
)
_AT_PAPER_SIZE = (
    "size paper: clips of 96 px are enlarged to 256, drawn at 256 and shrunk to 96 again to be measured, and "
    "its speech features are those of silence, for no recogniser is there."
)
PUPPETS_AT_PAPER = Protocol("puppets-paper/1", "puppets", _AT_PAPER_SIZE, "paper")
REAL_AT_PAPER = Protocol(
    "real-paper/1",
    "real",
    f"{_AT_PAPER_SIZE} The judges know only drawn puppets: no number is a quality.",
    "paper",
)
_OF_NETWORKS = ("lse_c", "lse_d", "acc_emo", "identity", "fid")
"""What is read by networks whose weights the user gives."""
_STANDARD = ("psnr", "ssim", "m_nme", "f_nme", *_OF_NETWORKS)
_EAT = ("psnr", "ssim", "m_lmd_centred", "f_lmd_centred", *_OF_NETWORKS)
STANDARD = Protocol(
    "standard/videos/1",
    "videos",
    frames_per_clip=0,
    metrics=(*_STANDARD, "f_nme_uncentred", "jitter", "detect_rate", "sync_offset"),
    main=_STANDARD,
    ranked=(*_STANDARD[:4], "f_nme_uncentred", "jitter"),
)
EAT = Protocol(
    "eat/videos/1",
    "videos",
    "Faces and landmarks are mediapipe's, where the paper's are dlib's: crops and LMD are near its own, not "
    "the same.",
    frames_per_clip=0,
    side=128,
    metrics=(*_EAT, "m_lvd", "detect_rate", "sync_offset"),
    main=_EAT,
    ranked=(*_EAT[:4], "m_lvd"),
    over_frames=("psnr", "ssim"),
    says=(
        ("psnr", "dB; mean over the frames of all clips; ∞ for identical frames"),
        ("ssim", "7x7 uniform window, sample covariance, border cut; mean over the frames of all clips"),
    ),
)
"""Of anybody's films beside their truth (evaluation.md 2 to 7); `videos.CHAINS` says what is done to them."""
VIDEOS = {"eat": EAT, "standard": STANDARD}
PROTOCOLS = {p.id: p for p in (PUPPETS, REAL, PUPPETS_AT_PAPER, REAL_AT_PAPER, *VIDEOS.values())}


def protocol_for(domain: str, size: str = "small") -> Protocol:
    """The protocol of clips of a domain, "puppets" or "real", from a backbone of a size."""
    found = {(protocol.domain, protocol.size): protocol for protocol in PROTOCOLS.values()}
    if (domain, size) not in found:
        there = ", ".join(f"{d} at {s}" for d, s in found)
        asked = f'no protocol measures clips of domain "{domain}" at size {size}'
        raise UserError(asked, f"there are: {there}")
    return found[domain, size]


@dataclass(frozen=True)
class Fingerprint:
    """Everything that must be equal for two rows to be compared: name → value (an id or a sha256)."""

    facts: Mapping[str, str]

    @property
    def hex(self) -> str:
        """64 hex digits over all facts."""
        return sha256(json.dumps(dict(self.facts), sort_keys=True, ensure_ascii=False).encode())

    def differences(self, other: Fingerprint) -> list[str]:
        """Names of the facts in which two fingerprints differ."""
        names = sorted({*self.facts, *other.facts})
        return [name for name in names if self.facts.get(name) != other.facts.get(name)]


def sha256(content: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(content).hexdigest()
