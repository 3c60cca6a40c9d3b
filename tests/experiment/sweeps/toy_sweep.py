"""A grid's folder with made-up records and readings, as `eatlab grid` leaves it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from eatlab.atomic import sha256_of_file, write_json
from eatlab.experiment.sheets import Group, Row, Sheet, write_sheet
from eatlab.experiment.video import Film, Panel, write_film
from eatlab.metrics.row import RowReading, save_reading
from tests.metrics.test_table import made_up, perfect

QUALITY = {"head": 0.9, "deep_prompt": 1.1, "full": 1.5}
PARAMETERS = {"head": 16_640, "deep_prompt": 451_712, "full": 379_272}
CLIPS = "c11b5000"


def tuning(adapter: str, seed: int, share: float, number: int, **setting: Any) -> dict[str, Any]:
    """A record as `jobs.record_of` writes it."""
    end = QUALITY[adapter] + 0.1 * (1 - share) + 0.01 * seed
    curve = [
        {"step": k, "train_s": 20.0 * k, "cpu_s": 20.0 * k, "m_lmd": 2 - k * (2 - end) / 3, "acc_emo": k / 4}
        for k in range(4)
    ]
    tune = {"adapter": adapter, "seed": seed, "share": share, "schedule": {"steps": 3}, "loss": {}}
    return {
        "kind": "tuning",
        "identity": f"{number:08x}",
        "adapter": adapter,
        "seed": seed,
        "config": {
            "tune": tune | setting,
            "backbone": "b",
            "data": {"train": "d", "val": "v"},
            "judges": {"judge_emotion": "j"},
        },
        "budget": {"total": PARAMETERS[adapter], "percent": PARAMETERS[adapter] / 17_950},
        "sees_emotion": adapter != "full",
        "wall_s": 60.0,
        "cpu_s": 60.0,
        "curve": curve,
        "environment": {"commit": "0123456789abcdef+changes"},
    }


class ToySweep:
    """Writes a grid below `runs`, point by point."""

    def __init__(self, runs: Path, name: str = "toy.yaml") -> None:
        self.runs, self.folder = runs, runs / "9e1d0000"
        self.points: list[dict[str, Any]] = []
        self.references: dict[str, dict[str, Any]] = {}
        self.clips: dict[str, dict[str, str]] = {}
        self.failed: list[dict[str, str]] = []
        self.file = runs / name
        runs.mkdir(parents=True, exist_ok=True)
        self.file.write_text("over: {adapter: [head]}\n")

    def told(self, path: Path, reading: RowReading) -> dict[str, str]:
        save_reading(path, reading)
        return {"file": f"../{path.relative_to(self.runs)}", "sha256": sha256_of_file(path)}

    def point(
        self,
        adapter: str,
        seed: int,
        share: float = 1.0,
        *,
        clips: str = CLIPS,
        also: Any = None,
        **facts: Any,
    ) -> dict[str, Any]:
        """A tuning with its reading; also: what else the grid varies."""
        record = tuning(adapter, seed, share, len(self.points) + 1, **({"loss": also} if also else {}))
        folder = self.runs / record["identity"]
        write_json(folder / "record.json", record)
        lmd = QUALITY[adapter] + 0.2 * (1 - share)
        reading = made_up(lmd=lmd, sync=0.7, accuracy=0.8, asked=0.8, seed=seed, facts=facts or None)
        kept = {
            name: record[name] for name in ("identity", "seed", "budget", "sees_emotion", "wall_s", "cpu_s")
        }
        varied = {"share": json.dumps(float(share))} | {f"loss.{k}": f"{v}" for k, v in (also or {}).items()}
        where = {"record": f"../{folder.name}/record.json", "clips": clips}
        told = self.told(folder / "readings" / "adapter.safetensors", reading)
        point = kept | {"adapter": adapter, "share": share, "also": varied, **where, "reading": told}
        self.points.append(point)
        self.clips.setdefault(clips, {"fingerprint": reading.fingerprint.hex})
        return point

    def brackets(self, *, clips: str = CLIPS, facts: Mapping[str, str] | None = None) -> None:
        """Rows without an adapter."""
        rows = {
            "source_copy": made_up(lmd=5, psnr=19, sync=0.1, accuracy=0.05, facts=facts),
            "frozen": made_up(lmd=1.5, sync=0.85, accuracy=0.1, facts=facts),
            "ground_truth": perfect(facts=facts),
        }
        self.references[clips] = {
            row: self.told(self.runs / f"ref{clips}" / f"{row}.safetensors", reading)
            for row, reading in rows.items()
        }

    def write(self, command: str = "eatlab grid toy.yaml host.workers=1") -> Path:
        """The grid's record."""
        record = {
            "kind": "grid",
            "identity": self.folder.name,
            "file": {"name": self.file.name, "sha256": sha256_of_file(self.file)},
            "points": self.points,
            "references": self.references,
            "clips": self.clips,
            "failed": self.failed,
            "environment": {"commit": "fedcba9876543210", "command": command},
        }
        write_json(self.folder / "record.json", record)
        return self.folder / "record.json"

    def gallery(self, adapter: str) -> Path:
        """The faces and a film of an adapter's first tuning, as its `GalleryUnit` leaves them."""
        own = next(p for p in self.points if p["adapter"] == adapter and p["share"] == 1)
        folder = self.runs / own["identity"] / "pictures" / own["clips"]
        faces = np.full((2, 16, 16, 3), 128, np.uint8)
        sheet = Sheet("Intensity", ("0", "1"), (Group("", (Row("happy", faces),)),))
        for name in ("intensity", "contact_sheet"):
            write_sheet(sheet, folder / f"{name}.png")
        film = np.full((6, 16, 16, 3), 90, np.uint8)
        panels = (Panel("truth", film), Panel(adapter, film))
        sound = np.zeros(6 * 640, np.float32)
        write_film(Film("film_P0_happy_1", "P0, happy", panels, sound), folder)
        files = {path.name: sha256_of_file(path) for path in (*folder.glob("*.png"), *folder.glob("*.mp4"))}
        about = {"row": adapter, "tuning": own["identity"], "share": 1.0, "seed": own["seed"]}
        about |= {"weights_sha256": "of its file"}
        write_json(folder / "gallery.json", about | {"files": files})
        return folder


def small(runs: Path, shares: Sequence[float] = (0.25, 1.0)) -> ToySweep:
    """Three adapters, two seeds, some shares, all alike."""
    toy = ToySweep(runs)
    axes = {"adapter": list(QUALITY), "share": [float(f"{s:g}") for s in shares], "seeds": [0, 1]}
    toy.file.write_text(yaml.safe_dump({"over": axes}))
    for adapter in QUALITY:
        for share in shares:
            for seed in (0, 1):
                toy.point(adapter, seed, share)
    toy.brackets()
    return toy


def changed(path: Path, **values: Any) -> None:
    """A JSON file with some values laid over."""
    write_json(path, json.loads(path.read_text()) | values)
