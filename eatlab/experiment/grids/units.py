"""The units of a grid: clips prepared once, rows without an adapter once, each point learned and measured,
and the faces of each row.

They lie where an ablation looks: a tuning that one of them made is not made again by the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from data_recipes.puppets import recipe as puppets
from eatlab.atomic import sha256_of_file, write_json
from eatlab.backbone.sites import sha256_of
from eatlab.data.shards import data_fingerprint
from eatlab.experiment.ablation import JUDGES, AblationConfig, HostConfig, digests_of
from eatlab.experiment.config import identity
from eatlab.experiment.crew import Desk
from eatlab.experiment.gallery import Gallery, draw_gallery, draw_reenactment
from eatlab.experiment.grids.grid_file import GridPoint
from eatlab.experiment.jobs import (
    Point,
    Setting,
    backbone_of,
    bench_of,
    measure_row,
    prepare_latents,
    prepare_test,
)
from eatlab.experiment.plan import REFERENCES, SPLITS, Plan, Reference, RowFile, make_plan, setting_of
from eatlab.experiment.pretraining import Pretraining, PretrainingConfig
from eatlab.experiment.record import environment, read_record, write_record
from eatlab.experiment.report import PICTURES, write_faces
from eatlab.experiment.run import Run
from eatlab.experiment.sweeps.gallery import TOLD, gallery_in
from eatlab.training.stages import PARTS, PretrainConfig, fit_teachers, heard
from eatlab.training.threads import use_threads
from eatlab.zoo.folders import ZOO


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
    """One adapter tuned, or one renderer pretrained, from one seed, and measured on the test clips."""

    point: Point | Pretraining
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
        path = self.folder / "readings" / measured[:8] / f"{self.point.row_kind}.safetensors"
        return RowFile(self.said.row, self.point.row_kind, self.folder / self.point.weights, path)

    @property
    def record(self) -> dict[str, Any] | None:
        """Of its learning, if that is done."""
        return Run(self.folder, self.point).record()

    @property
    def weights_sha256(self) -> str:
        """As its record tells it; empty until it has learned."""
        record = self.record
        return str(record["files"][self.point.weights]) if record else ""

    def is_done(self) -> bool:
        return self.record is not None and (file := self.file) is not None and file.is_there

    def work(self, desk: Desk) -> None:
        """Learns, or goes on where it was stopped, then measures."""
        use_threads(1)
        if self.record is None:
            self.point.learn(desk, self.needs.setting, self.folder)
        file = self.file
        assert file is not None
        if not file.is_there:
            measure(desk, self.needs.setting, file)


@dataclass(frozen=True)
class GalleryUnit:
    """Sheets and films of what a point learned, beside its record (`sweeps.gallery` reads them)."""

    needs: PointUnit

    @property
    def name(self) -> str:
        return f"faces of {self.needs.name}"

    @property
    def folder(self) -> Path:
        """Of the clips that are drawn too: a tuning may be shown on several."""
        return self.needs.folder / PICTURES / self.needs.needs.folder.name

    def is_done(self) -> bool:
        """Whether its files are there and of these weights."""
        found = gallery_in(self.folder)
        return found is not None and found.weights_sha256 == self.needs.weights_sha256

    def work(self, desk: Desk) -> None:
        """Draws and writes all of it, and last which files those are."""
        use_threads(1)
        point = self.needs
        draw = DRAW[point.point.row_kind]
        gallery = draw(desk, point.needs.setting, point.folder / point.point.weights)
        about = {
            "row": point.said.row,
            "tuning": point.folder.name,
            "share": point.said.share,
            "seed": point.said.seed,
            "weights_sha256": point.weights_sha256,
        }
        pictures, films = write_faces(gallery.sheets, gallery.films, self.folder, provenance=about)
        files = [*pictures.values(), *(film.path for film in films)]
        digests = {path.name: sha256_of_file(path) for path in files}
        write_json(self.folder / TOLD, about | {"files": digests})


DRAW: dict[str, Callable[[Desk, Setting, Path], Gallery]] = {
    "adapter": draw_gallery,
    "pretrained": draw_reenactment,
}
"""How the faces of each kind of point are drawn from its weights."""


class Where(Protocol):
    """Where a grid runs. workers: processes that draw clips. runs, data: folders."""

    @property
    def workers(self) -> int: ...

    @property
    def runs(self) -> str: ...

    @property
    def data(self) -> str: ...


RENDERED = ("source_copy", "reenactment", "ground_truth")
"""Rows beside pretrainings; the second is re-enacted by the talking head that ships."""
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
        clips, rows, made = of_tunings(group, host) if group[0].tuning else of_pretrainings(group, host)
        beside: list[GridUnit] = [clips, *(ReferenceUnit(row, clips) for row in rows)]
        for unit in beside:
            first.setdefault(unit.folder, unit)
        for said, point in made:
            found[identity(said.config)] = PointUnit(point, clips, said)
    ordered = [found[identity(said.config)] for said in points]
    once = {(unit.folder, unit.needs.folder): unit for unit in ordered}
    return [*first.values(), *once.values()]


Made = tuple[ClipsUnit, Sequence[str], list[tuple[GridPoint, Point | Pretraining]]]
"""Clips, the rows beside the points, and what each point depends on."""


def of_tunings(group: Sequence[GridPoint], host: Where) -> Made:
    """Of a group of tunings; one plan makes them."""
    asked = asked_together(group, host)
    plan = make_plan(asked)
    clips = ClipsUnit(plan.setting, prepared(plan, asked), Path(host.runs))
    made: list[tuple[GridPoint, Point | Pretraining]] = []
    for said in group:
        (point,) = (p for p in plan.points[said.adapter] if p.tune.seed == said.seed)
        made.append((said, point))
    return clips, REFERENCES, made


def of_pretrainings(group: Sequence[GridPoint], host: Where) -> Made:
    """Of a group of pretrainings on one corpus.

    Raises UserError for puppets, a zoo or a teacher that will not do.
    """
    first = pretraining_of(group[0])
    where = HostConfig(workers=host.workers, runs=host.runs, data=host.data)
    asked = AblationConfig(puppets=first.puppets, clips=first.clips, zoo=first.zoo, host=where)
    teachers = fit_teachers(Path(first.zoo) if first.zoo else ZOO)
    setting, _ = setting_of(asked)
    folder = puppets.prepare(first.puppets, folder=Path(host.data) / "puppets", workers=host.workers)
    learned = {part: data_fingerprint(folder, *part.split("/")) for part in PARTS}
    judges = {name: digest for name, digest in digests_of(asked).items() if name in JUDGES}
    data = {split: setting.source(split).fingerprint() for split in SPLITS}
    backbone = sha256_of(backbone_of(asked.size, asked.zoo))
    about = Prepared(asked.size, backbone, judges, setting.protocol.id, data, first.clips)
    made: list[tuple[GridPoint, Point | Pretraining]] = []
    for said in group:
        render = pretraining_of(said).render
        names = heard(PretrainConfig(render=render), "render")
        made.append((said, Pretraining(render, learned, {n: teachers.cards[n]["sha256"] for n in names})))
    return ClipsUnit(setting, about, Path(host.runs)), RENDERED, made


def pretraining_of(said: GridPoint) -> PretrainingConfig:
    """What is asked of a point that is no tuning."""
    assert isinstance(said.config, PretrainingConfig)
    return said.config


def gallery_units(units: Sequence[GridUnit]) -> list[GalleryUnit]:
    """One for each row on the same clips: of what it learned from most, by its first seed."""
    chosen: dict[tuple[Path, str], PointUnit] = {}
    for unit in units:
        if isinstance(unit, PointUnit):
            row = (unit.needs.folder, unit.said.row)
            best = chosen.setdefault(row, unit)
            if unit.said.share > best.said.share:
                chosen[row] = unit
    return [GalleryUnit(unit) for unit in chosen.values()]


def grouped(points: Sequence[GridPoint]) -> list[list[GridPoint]]:
    """Points that have clips and backbone in common: tunings that differ in adapter and seed alone, and all
    pretrainings on the same puppets.
    """
    groups: dict[str, list[GridPoint]] = {}
    for said in points:
        if said.tuning:
            alike = replace(said.tuning, adapter="", compare=(), seeds=())
            key = f"{identity(alike)} {alike.data} {alike.zoo}"
        else:
            key = f"{said.config.puppets} {said.config.clips} {said.config.zoo}"
        groups.setdefault(key, []).append(said)
    return list(groups.values())


def asked_together(group: Sequence[GridPoint], host: Where) -> AblationConfig:
    """The ablation whose points they are among."""
    first = group[0].tuning
    assert first is not None
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
    data = {split: plan.facts["data"][split] for split in SPLITS}
    protocol, clips = setting.protocol.id, config.clips
    return Prepared(
        config.size, point.backbone, point.judges, protocol, data, clips, estimator=point.estimator
    )
