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

    `better` is "higher", "lower" or "" for what is not ranked; `judges` are the experts it needs.
    """

    name: str
    heading: str
    digits: int
    better: str
    judges: tuple[str, ...]
    means: str


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
        "acc_asked", "asked", 2, "", ("emotion",), "share of clips judged as the emotion asked of the adapter"
    ),
    Metric("m_lmd_truth", "M-LMD exact", 2, "lower", ("landmarks",), "as M-LMD, against exact truth"),
    Metric("f_lmd_truth", "F-LMD exact", 2, "lower", ("landmarks",), "as F-LMD, against exact truth"),
    Metric("m_lmd_neutral", "M-LMD neutral", 2, "lower", ("landmarks",), "M-LMD of neutral clips"),
    Metric("sync_neutral", "Sync neutral", 2, "higher", ("landmarks", "sync"), "Sync of neutral clips"),
)
METRICS = {metric.name: metric for metric in _METRICS}
"""What can be measured on clips. Tables add what training records say: params, params_percent, minutes."""
LEVELS = ("acc_level1", "acc_level2", "acc_level3")


@dataclass(frozen=True)
class Protocol:
    """How clips are chosen and measured. `domain` is what the clips show, `size` the backbone's; a change of
    meaning is a new id.

    metrics: its columns, of which `main` stand first, and `ranked` compare rows in words.
    """

    id: str
    domain: str
    warning: str = ""
    size: str = "small"
    frames_per_clip: int = 10
    side: int = 96
    least_judge_accuracy: float = 0.85
    metrics: tuple[str, ...] = tuple(METRICS)
    main: tuple[str, ...] = ("psnr", "ssim", "m_lmd", "f_lmd", "sync", "acc_emo", *LEVELS, "acc_asked")
    ranked: tuple[str, ...] = ("m_lmd", "f_lmd", "psnr", "sync", "acc_emo")

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
PROTOCOLS = {each.id: each for each in (PUPPETS, REAL, PUPPETS_AT_PAPER, REAL_AT_PAPER)}


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
