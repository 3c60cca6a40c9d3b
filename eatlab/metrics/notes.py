"""What stands above and below a table, so that its numbers are read for what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eatlab.metrics.emotion import CHANCE, largest_class_share
from eatlab.metrics.protocols import METRICS
from eatlab.metrics.reference import AFTER, BEFORE

if TYPE_CHECKING:
    from eatlab.metrics.table import Table

FEW_PERSONS = 10
INCOMPLETE = "incomplete"
"""How a reason begins that stands beside a number: some clips failed, and it is the mean of the rest."""
ROWS_SAY = {
    "source_copy": "portrait repeated",
    "still": "portrait's expression, true pose",
    "frozen": "no adapter",
    "wrong_emotion": "another emotion asked than the label",
    "shuffled_audio": "sound of another clip",
    "reenactment": "expression of the true frame; adapters' ceiling in PSNR and LMD, not in Acc_emo",
    "ground_truth": "the truth against itself",
}


def warnings_of(table: Table) -> list[str]:
    """A domain that was never trained, a judge that is not fit, metrics that reference rows contradict."""
    warnings = [table.protocol.warning] if table.protocol.warning else []
    asked = table.protocol.domain != "videos" or _has_emotion(table)  # who judges films is the user's choice
    if asked and "acc_emo" in table.protocol.metrics and not table.judge_is_fit:
        warnings.append(_unfit(table))
    contradicted: dict[str, list[str]] = {}
    for metric, why in table.unusable.items():
        contradicted.setdefault(why, []).append(METRICS[metric].heading)
    return warnings + [f"Unusable here: {', '.join(names)}: {why}." for why, names in contradicted.items()]


def _unfit(table: Table) -> str:
    truth, bar = table.cells.get("ground_truth", {}).get("acc_emo"), table.protocol.least_judge_accuracy
    if truth is None or truth.interval is None:
        why = truth.reason if truth else "there is no row ground_truth"
        return (
            f"The judge of emotion was not checked on the ground truth ({why}): no number of emotion counts."
        )
    right = (
        f"The judge of emotion reads only {truth.mean:.2f} of the ground truth's clips right, under {bar:.2f}"
    )
    films = table.protocol.domain == "videos"
    return f"{right}: {'no number of emotion counts' if films else 'nothing below means anything'}."


def _has_emotion(table: Table) -> bool:
    return any("acc_emo" in cells and cells["acc_emo"].interval for cells in table.cells.values())


def notes_of(table: Table) -> list[str]:
    """Protocol, columns, chance levels, and what the numbers cannot say."""
    return [*_protocol(table), *_columns(table), *_fid(table), *_emotion(table), *_rows(table), *_gaps(table)]


def _protocol(table: Table) -> list[str]:
    boot, protocol = table.bootstrap, table.protocol
    who = {"puppets": "puppets, not people", "real": "real faces"}.get(protocol.domain, "films as given")
    few = " (few: person-level intervals are weak)" if boot.num_persons < FEW_PERSONS else ""
    return [
        f"Protocol {protocol.id}, fingerprint {table.fingerprint.hex[:16]}: {boot.num_clips} clips of "
        f"{boot.num_persons} persons{few}, {protocol.frames_per_clip or 'all'} frames each; {who}. "
        f"Intervals: 95 %, bootstrap over seeds and clips, {boot.resamples:,} resamples."
    ]


def _columns(table: Table) -> list[str]:
    measured = {
        name for cells in table.cells.values() for name, cell in cells.items() if not np.isnan(cell.mean)
    }
    said: dict[str, list[str]] = {}
    for metric in map(METRICS.__getitem__, table.protocol.metrics):
        if metric.name in measured:
            said.setdefault(table.protocol.means(metric.name), []).append(metric.heading)
    lines = [" · ".join(f"{', '.join(headings)}: {means}" for means, headings in said.items()) + "."]
    if measured & {"m_lmd", "f_lmd"}:
        lines.append(
            "LMD: the judge's reading of the output against its reading of the truth (exact: against exact "
            "truth, so with its own error in it), not centred: stricter than the paper's and not comparable."
        )
    return lines + _sync_chance(table)


def _sync_chance(table: Table) -> list[str]:
    readings = (reading for of_row in table.readings.values() for reading in of_row)
    chance = next(
        (reading.extras["sync_chance"].mean() for reading in readings if "sync_chance" in reading.extras),
        None,
    )
    return [] if chance is None else [f"Sync by chance: {chance:.2f}."]


def _fid(table: Table) -> list[str]:
    found = {row: of_row[0].extras.get("fid_images") for row, of_row in table.readings.items()}
    counts = {row: int(count[0]) for row, count in found.items() if count is not None}
    if not counts:
        return []
    from eatlab.metrics.frechet import NUM_FULL_RANK  # with it comes torchmetrics, slow to import

    few = f" Under {NUM_FULL_RANK:,} it is rank deficient and too high: compare at equal numbers only."
    said = ", ".join(f"{row} {count:,}" for row, count in counts.items())
    return [f"FID's images: {said}.{few if min(counts.values()) < NUM_FULL_RANK else ''}"]


def _emotion(table: Table) -> list[str]:
    labels = next(iter(table.readings.values()))[0].clips.emotion
    films = table.protocol.domain == "videos"
    if not (labels >= 0).any() or (films and not _has_emotion(table)):
        return []
    frequent = largest_class_share(labels)
    by_chance = f"Acc_emo by chance: {CHANCE:.3f}; always saying the most frequent label: {frequent:.2f}."
    saturates = (
        " Acc_emo saturates (an adapter draws the typical face of an emotion) and ranks no adapters: "
        "M-LMD, F-LMD and Sync do."
    )
    return [by_chance + saturates if "frozen" in table.rows else by_chance]


def _rows(table: Table) -> list[str]:
    lines = [f"{row}: {ROWS_SAY[row]}" for row in (*BEFORE, *AFTER) if row in table.rows]
    lines += [f"{row}: blind to emotion, what was tuned is one for all" for row in table.blind]
    return [f"{' · '.join(lines)}."] if lines else []


def _gaps(table: Table) -> list[str]:
    """Each reason for a missing number once, with its columns; ∞ and what nobody asked explain themselves."""
    reasons: dict[str, list[str]] = {}
    for cells in table.cells.values():
        for name, cell in cells.items():
            plain = not cell.reason.startswith(INCOMPLETE) and (
                cell.interval is not None or cell.reason.endswith(("asked of this row", "identical frames"))
            )
            if name in METRICS and not plain:
                reasons.setdefault(cell.reason, []).append(METRICS[name].heading)
    return [f"{', '.join(dict.fromkeys(names))}: {reason}." for reason, names in reasons.items()]
