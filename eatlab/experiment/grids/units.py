"""The units of a grid: clips prepared once, rows without an adapter once, each point tuned and measured, and
the faces of each adapter.

They lie where an ablation looks: a tuning that one of them made is not made again by the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from eatlab.atomic import sha256_of_file, write_json
from eatlab.experiment.ablation import AblationConfig
from eatlab.experiment.config import identity
from eatlab.experiment.crew import Desk
from eatlab.experiment.gallery import draw_gallery
from eatlab.experiment.grids.grid_file import GridPoint
from eatlab.experiment.jobs import (
    Point,
    Setting,
    bench_of,
    measure_row,
    prepare_latents,
    prepare_test,
    tune_points,
)
from eatlab.experiment.plan import REFERENCES, Plan, Reference, RowFile, make_plan
from eatlab.experiment.record import environment, read_record, write_record
from eatlab.experiment.report import PICTURES, write_faces
from eatlab.experiment.run import Run
from eatlab.experiment.sweeps.gallery import TOLD, gallery_in
from eatlab.training.threads import use_threads


@dataclass(frozen=True)
class Prepared:
    """What prepared clips depend on; names their folder. clips: how many are measured, 0: all.

    estimator: sha256 of the network beside the backbone that read E from frames, where there is one.
    """

    LATER: ClassVar = ("estimator",)

    size: str
    backbone: str
    judges: dict[str, str]
    protocol: str
    data: dict[str, str]
    clips: int
    kind: str = "prepared clips"
    estimator: str = ""


@dataclass(frozen=True)
class ClipsUnit:
    """Latents for tuning, and the test clips as the judges read them. runs: the folder of run folders."""

    setting: Setting
    prepared: Prepared
    runs: Path
    needs: None = None

    @property
    def name(self) -> str:
        return f"clips of {self.setting.folder.name}"

    @property
    def folder(self) -> Path:
        return self.runs / identity(self.prepared)

    @property
    def measured(self) -> str:
        """The fingerprint of what is measured; empty until that is prepared."""
        record = read_record(self.folder)
        return str(record["fingerprint"]) if record else ""

    def is_done(self) -> bool:
        return bool(self.measured)

    def work(self, desk: Desk) -> None:
        """Fills the caches beside the shards and writes the record: fingerprint, clips, people, judges."""
        use_threads(1)
        began = time.process_time()
        for split in dict.fromkeys((self.setting.train, self.setting.val)):
            prepare_latents(desk, self.setting, split)
        found = prepare_test(desk, self.setting)
        spent = {"cpu_s": time.process_time() - began}
        about = {"kind": self.prepared.kind, "identity": self.folder.name, "config": asdict(self.prepared)}
        write_record(self.folder, about | found | {"spent": spent, "environment": environment()})


@dataclass(frozen=True)
class ReferenceUnit:
    """A row that no adapter takes part in, once for all points on the same clips."""

    row: str
    needs: ClipsUnit

    @property
    def name(self) -> str:
        return f"row {self.row}"

    @property
    def folder(self) -> Path:
        return self.needs.folder / "references" / self.row

    @property
    def file(self) -> RowFile | None:
        """Where an ablation keeps it too; None until the clips are prepared."""
        if not (measured := self.needs.measured):
            return None
        about = self.needs.prepared
        made = self.needs.runs / identity(Reference(measured, about.backbone, estimator=about.estimator))
        return RowFile(self.row, self.row, None, made / "readings" / f"{self.row}.safetensors")

    def is_done(self) -> bool:
        return (file := self.file) is not None and file.is_there

    def work(self, desk: Desk) -> None:
        file = self.file
        assert file is not None
        measure(desk, self.needs.setting, file)


@dataclass(frozen=True)
class PointUnit:
    """One adapter tuned from one seed, and measured on the test clips."""

    point: Point
    needs: ClipsUnit
    said: GridPoint = field(compare=False)

    @property
    def name(self) -> str:
        return self.said.name

    @property
    def folder(self) -> Path:
        return self.needs.runs / identity(self.point)

    @property
    def file(self) -> RowFile | None:
        """Its reading, where an ablation keeps it too; None until the clips are prepared."""
        if not (measured := self.needs.measured):
            return None
        path = self.folder / "readings" / measured[:8] / "adapter.safetensors"
        return RowFile(self.point.tune.adapter, "adapter", self.folder / "adapter.safetensors", path)

    @property
    def record(self) -> dict[str, Any] | None:
        """Of its tuning, if that is done."""
        return Run(self.folder, self.point).record()

    def is_done(self) -> bool:
        return self.record is not None and (file := self.file) is not None and file.is_there

    def work(self, desk: Desk) -> None:
        """Tunes, or goes on where it was stopped, then measures."""
        use_threads(1)
        if self.record is None:
            tune_points(desk, self.needs.setting, {self.folder: self.point})
        file = self.file
        assert file is not None
        if not file.is_there:
            measure(desk, self.needs.setting, file)


@dataclass(frozen=True)
class GalleryUnit:
    """Sheets and films of a point's adapter, beside its tuning (`sweeps.gallery` reads them)."""

    needs: PointUnit

    @property
    def name(self) -> str:
        return f"faces of {self.needs.name}"

    @property
    def folder(self) -> Path:
        """Of the clips that are drawn too: a tuning may be shown on several."""
        return self.needs.folder / PICTURES / self.needs.needs.folder.name

    def is_done(self) -> bool:
        """Whether its files are there and of this adapter."""
        tuned, found = self.needs.record, gallery_in(self.folder)
        return tuned is not None and found is not None and found.adapter_sha256 == sha256_of_adapter(tuned)

    def work(self, desk: Desk) -> None:
        """Draws and writes all of it, and last which files those are."""
        use_threads(1)
        point, tuned = self.needs, self.needs.record
        assert tuned is not None
        gallery = draw_gallery(desk, point.needs.setting, point.folder / "adapter.safetensors")
        about = {
            "row": point.said.row,
            "tuning": point.folder.name,
            "share": point.point.tune.share,
            "seed": point.said.seed,
            "adapter_sha256": sha256_of_adapter(tuned),
        }
        pictures, films = write_faces(gallery.sheets, gallery.films, self.folder, provenance=about)
        files = [*pictures.values(), *(film.path for film in films)]
        digests = {path.name: sha256_of_file(path) for path in files}
        write_json(self.folder / TOLD, about | {"files": digests})


def sha256_of_adapter(record: Mapping[str, Any]) -> str:
    """As a tuning's record tells it."""
    return str(record["files"]["adapter.safetensors"])


class Where(Protocol):
    """Where a grid runs. workers: processes that draw clips. runs, data: folders."""

    @property
    def workers(self) -> int: ...

    @property
    def runs(self) -> str: ...

    @property
    def data(self) -> str: ...


GridUnit = ClipsUnit | ReferenceUnit | PointUnit | GalleryUnit


def measure(desk: Desk, setting: Setting, file: RowFile) -> None:
    """Measures a row, and keeps beside the reading what that cost: cpu_s for how many clips."""
    use_threads(1)
    num_clips = len(bench_of(setting).truth.clips.key)  # opened off the clock: once a process
    began = time.process_time()
    measure_row(desk, setting, file.kind, file.adapter, file.path)
    write_json(file.path.with_suffix(".json"), {"cpu_s": time.process_time() - began, "clips": num_clips})


def units_of(points: Sequence[GridPoint], host: Where) -> list[GridUnit]:
    """Every unit: clips and rows without an adapter first, then the points in their order.

    Draws or prepares clips that are absent. Raises UserError as `make_plan` does.
    """
    first: dict[Path, GridUnit] = {}
    found: dict[str, PointUnit] = {}
    for group in grouped(points):
        plan = make_plan(asked_together(group, host))
        clips = ClipsUnit(plan.setting, prepared(plan, group[0].config), Path(host.runs))
        beside: list[GridUnit] = [clips, *(ReferenceUnit(row, clips) for row in REFERENCES)]
        for unit in beside:
            first.setdefault(unit.folder, unit)
        for said in group:
            (point,) = (p for p in plan.points[said.adapter] if p.tune.seed == said.seed)
            found[identity(said.config)] = PointUnit(point, clips, said)
    ordered = [found[identity(said.config)] for said in points]
    once = {(unit.folder, unit.needs.folder): unit for unit in ordered}
    return [*first.values(), *once.values()]


def gallery_units(units: Sequence[GridUnit]) -> list[GalleryUnit]:
    """One for each row on the same clips: of what it learned from most, by its first seed."""
    chosen: dict[tuple[Path, str], PointUnit] = {}
    for unit in units:
        if isinstance(unit, PointUnit):
            row = (unit.needs.folder, unit.said.row)
            best = chosen.setdefault(row, unit)
            if unit.point.tune.share > best.point.tune.share:
                chosen[row] = unit
    return [GalleryUnit(unit) for unit in chosen.values()]


def grouped(points: Sequence[GridPoint]) -> list[list[GridPoint]]:
    """Points that differ in adapter and seed alone: one plan makes them."""
    groups: dict[str, list[GridPoint]] = {}
    for said in points:
        alike = replace(said.config, adapter="", compare=(), seeds=())
        groups.setdefault(f"{identity(alike)} {alike.data} {alike.zoo}", []).append(said)
    return list(groups.values())


def asked_together(group: Sequence[GridPoint], host: Where) -> AblationConfig:
    """The ablation whose points they are among."""
    first = group[0].config
    specs, seeds = (
        tuple(dict.fromkeys(each)) for each in zip(*((p.adapter, p.seed) for p in group), strict=True)
    )
    where = replace(
        first.host, workers=host.workers, runs=host.runs, data=host.data, report=False, track=False
    )
    return replace(first, adapter=specs[0], compare=specs[1:], seeds=seeds, host=where)


def prepared(plan: Plan, config: AblationConfig) -> Prepared:
    """What the clips of a plan depend on."""
    setting, point = plan.setting, plan.all_points()[0]
    data = {split: plan.facts["data"][split] for split in ("train", "val", "test")}
    protocol, clips = setting.protocol.id, config.clips
    return Prepared(
        config.size, point.backbone, point.judges, protocol, data, clips, estimator=point.estimator
    )
