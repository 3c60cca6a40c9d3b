"""Copies a finished grid's records and readings into one folder, so that its numbers stay with the code.

python -m benchmarks.keep_sweep runs/GRID/record.json benchmarks/results/sweep
eatlab report benchmarks/results/sweep/record.json --out report        # the same page, without its faces
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eatlab.atomic import write_atomically, write_json
from eatlab.experiment.sweeps.records import read_sweep, record_at


def main() -> None:
    """Raises UserError for a record that is none, or of which a file is gone or changed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("record", type=Path, help="record.json in the run folder of a grid")
    parser.add_argument("out", type=Path, help="folder to write into")
    asked = parser.parse_args()
    kept = keep(record_at(asked.record), asked.record.parent, asked.out)
    size = sum(path.stat().st_size for path in asked.out.rglob("*") if path.is_file())
    print(f"{len(kept['points'])} points, {size / 1e6:.1f} MB: {asked.out}")


def keep(record: Mapping[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """The record as it stands in `out`, its paths told from there."""
    read_sweep(record, folder)
    points = []
    for point in record["points"]:
        place = Path("points") / f"{point['identity']}-{point['clips']}"
        copy(folder / point["record"], out / place / "record.json")
        reading = copied(point["reading"], folder, out, place / "reading.safetensors")
        points.append({**point, "record": str(place / "record.json"), "reading": reading})
    references = {
        clips: {
            row: copied(told, folder, out, Path("references") / clips / f"{row}.safetensors")
            for row, told in rows.items()
        }
        for clips, rows in record["references"].items()
    }
    kept = {**record, "points": points, "references": references}
    write_json(out / "record.json", kept)
    return kept


def copied(told: Mapping[str, str], folder: Path, out: Path, place: Path) -> dict[str, str]:
    """A file told by path and sha256, copied."""
    copy(folder / told["file"], out / place)
    return {**told, "file": str(place)}


def copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, lambda part: shutil.copyfile(source, part))


if __name__ == "__main__":
    main()
