"""Bars: what an ablation must show to be believed, said with its numbers. Made from the table, so nobody
types a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eatlab.experiment.page import Verdict

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Quotient:
    """A metric of one row over that of another must be at least (sense 1) or at most (sense -1) a bar."""

    says: str
    row: str
    metric: str
    sense: int
    bar: float
    over: tuple[str, str] | None = None

    def verdict(self, rows: Rows) -> Verdict:
        value = mean(rows, self.row, self.metric)
        base = 1.0 if self.over is None else mean(rows, *self.over)
        if value is None or not base:
            return Verdict(self.says, None, "not measured")
        share = value / base
        sign = "≥" if self.sense > 0 else "≤"
        of = "" if self.over is None else f" of {self.over[0]}'s {base:.2f}"
        return Verdict(
            self.says, self.sense * (share - self.bar) >= 0, f"{share:.2f}{of}; bar {sign} {self.bar:g}"
        )


def mean(rows: Rows, row: str, metric: str) -> float | None:
    """A cell's mean; None if the row or the number is not there."""
    found = rows.get(row, {}).get(metric, {}).get("mean")
    return None if found is None else float(found)


def verdicts_of(adapter: str, rows: Rows, seeds: Mapping[str, Sequence[float]]) -> tuple[Verdict, ...]:
    """The bars of an ablation of `adapter`. seeds: row → M-LMD of each seed, to order the adapters."""
    truth, frozen = ("ground_truth", "acc_emo"), "frozen"
    bars = (
        Quotient("the judge reads the truth", "ground_truth", "acc_emo", 1, 0.85),
        Quotient("re-enactment keeps the emotion", "reenactment", "acc_emo", 1, 0.88, truth),
        Quotient("re-enactment keeps the face: F-LMD in px", "reenactment", "f_lmd", -1, 0.48),
        Quotient("frozen feels nothing", frozen, "acc_emo", -1, 0.2),
        Quotient("frozen moves its mouth: M-LMD", frozen, "m_lmd", -1, 0.5, ("still", "m_lmd")),
        Quotient(
            "frozen speaks in time on neutral clips",
            frozen,
            "sync_neutral",
            1,
            0.9,
            ("ground_truth", "sync_neutral"),
        ),
        Quotient(f"{adapter} shows the emotion", adapter, "acc_emo", 1, 0.85, truth),
        Quotient(f"{adapter} is nearer in F-LMD", adapter, "f_lmd", -1, 0.85, (frozen, "f_lmd")),
        Quotient(f"{adapter} is nearer in M-LMD", adapter, "m_lmd", -1, 0.85, (frozen, "m_lmd")),
        Quotient(f"{adapter} stays in time", adapter, "sync", 1, 0.75, ("ground_truth", "sync")),
        Quotient("a wrong emotion is not taken for the right one", "wrong_emotion", "acc_emo", -1, 0.05),
        Quotient("a wrong emotion is judged as the one asked", "wrong_emotion", "acc_asked", 1, 0.7),
        Quotient("the sound of another clip is out of time", "shuffled_audio", "sync", -1, 0.2),
    )
    found = [bar.verdict(rows) for bar in bars]
    found.insert(2, gain(rows))
    return (*found, *orders(adapter, seeds))


def gain(rows: Rows) -> Verdict:
    """Re-enactment against the portrait repeated, in dB."""
    says, bar = "re-enactment draws more than the portrait: PSNR", 8.0
    ours, theirs = mean(rows, "reenactment", "psnr"), mean(rows, "source_copy", "psnr")
    if ours is None or theirs is None:
        return Verdict(says, None, "not measured")
    return Verdict(says, ours - theirs >= bar, f"{ours - theirs:+.1f} dB over source_copy; bar ≥ +{bar:g}")


def orders(adapter: str, seeds: Mapping[str, Sequence[float]]) -> list[Verdict]:
    """Whether the adapter is nearer to the truth in M-LMD than each other one, for every seed."""
    ours, found = seeds.get(adapter, ()), []
    for other, theirs in seeds.items():
        if other != adapter and ours and len(theirs) == len(ours):
            holds = all(a < b for a, b in zip(ours, theirs, strict=True))
            pairs = ", ".join(f"{a:.2f} / {b:.2f}" for a, b in zip(ours, theirs, strict=True))
            found.append(Verdict(f"{adapter} is below {other} in M-LMD for every seed", holds, pairs))
    return found
