"""What a recipe says of its own work: the reject log, the counts, the sentence a user reads."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from data_recipes.mead.sheet import contact_sheet
from data_recipes.mead.work import Reject
from eatlab.atomic import write_bytes
from eatlab.data.samples import Clip

COLUMNS = ("path", "key", "reason", "detail", "stage", "value", "limit", "sha256")
REJECTS, REPORT, SHEET = "rejects.csv", "report.json", "contact_sheet.png"


def write_rejects(folder: Path, rejects: Sequence[Reject]) -> Path:
    """`rejects.csv`: one line a clip, sorted by path."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for reject in sorted(rejects, key=lambda one: (one.path, one.key)):
        writer.writerow([getattr(reject, column) for column in COLUMNS])
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / REJECTS, stream.getvalue().encode())
    return folder / REJECTS


def by_reason(rejects: Sequence[Reject]) -> str:
    """ "silent 3, no_face 1", the most frequent first."""
    counts = Counter(reject.reason for reject in rejects)
    return ", ".join(
        f"{reason} {number}" for reason, number in sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    )


def write_report(
    folder: Path,
    summary: dict[str, Any],
    accepted: Sequence[dict[str, Any]],
    shown: Sequence[Clip],
    rejects: Sequence[Reject],
) -> None:
    """`contact_sheet.png` and `report.json`, the latter last: it says that all is there.

    accepted: what the json of each clip says.  shown: those of the sheet.
    """
    done, picture = cv2.imencode(".png", contact_sheet(shown)[..., ::-1])
    if not done:
        raise ValueError("OpenCV cannot write the contact sheet")
    write_bytes(folder / SHEET, picture.tobytes())
    counts = {
        "accepted": len(accepted),
        "rejected": len(rejects),
        "rejected_by_reason": dict(sorted(Counter(reject.reason for reject in rejects).items())),
        "by_identity": dict(sorted(Counter(clip["identity"] for clip in accepted).items())),
        "by_emotion_and_level": dict(
            sorted(Counter(f"{clip['emotion']} {clip['level']}" for clip in accepted).items())
        ),
        "by_split": dict(sorted(Counter(clip["split"] for clip in accepted).items())),
        "by_voice": dict(sorted(Counter(clip["voice"] for clip in accepted).items())),
        "seconds": round(sum(clip["num_frames"] for clip in accepted) / 25, 2),
    }
    text = json.dumps({**counts, **summary}, indent=1, sort_keys=True, ensure_ascii=False)
    write_bytes(folder / REPORT, text.encode() + b"\n")
