"""Which jobs an ablation consists of, in which order, and which of them are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.specs import canonical, listed
from eatlab.backbone.sites import sha256_of
from eatlab.data.shards import has_shards, read_index
from eatlab.errors import UserError
from eatlab.experiment.ablation import JUDGES, TEACHERS, AblationConfig, digests_of
from eatlab.experiment.config import identity
from eatlab.experiment.corpora import stand_ins
from eatlab.experiment.crew import Crew, Job
from eatlab.experiment.gallery import Gallery, draw_gallery
from eatlab.experiment.jobs import (
    Point,
    Setting,
    backbone_of,
    measure_row,
    prepare_latents,
    prepare_test,
    tune_points,
)
from eatlab.experiment.outcome import Outcome
from eatlab.experiment.run import Run
from eatlab.metrics.row import load_reading
from eatlab.training.learner import TuneConfig

REFERENCES = ("source_copy", "still", "frozen", "reenactment", "ground_truth")
CHECKS = ("wrong_emotion", "shuffled_audio")
"""Rows of the adapter in question: another emotion asked, and the sound of another clip heard."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Reference:
    """What the rows without an adapter depend on; names their run folder."""

    LATER: ClassVar = ("estimator",)

    measured: str
    backbone: str
    kind: str = "reference"
    estimator: str = ""


@dataclass(frozen=True)
class RowFile:
    """One reading: a row of the table (of one seed), how it is drawn, and where it is kept."""

    row: str
    kind: str
    adapter: Path | None
    path: Path

    @property
    def is_there(self) -> bool:
        """Whether a whole reading is there."""
        try:
            return self.path.exists() and load_reading(self.path) is not None
        except UserError:
            return False


@dataclass(frozen=True)
class Plan:
    """An ablation, ready to be worked off. points: spec → its tunings, by seed; `together`: those of a seed
    are one job.
    """

    adapter: str
    setting: Setting
    runs: Path
    points: dict[str, tuple[Point, ...]]
    together: bool
    report: bool
    facts: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def num_jobs(self) -> int:
        """Latents of two splits, test truth, tunings, rows, pictures."""
        points, checks = self.all_points(), len(CHECKS) * len(self.points[self.adapter])
        return 3 + len(self.groups(points)) + len(points) + checks + len(REFERENCES) + self.report

    def all_points(self) -> list[Point]:
        return [point for points in self.points.values() for point in points]

    def groups(self, points: Iterable[Point]) -> list[tuple[Point, ...]]:
        """What one job tunes: a point, or all of a seed."""
        if not self.together:
            return [(point,) for point in points]
        by_seed: dict[int, list[Point]] = {}
        for point in points:
            by_seed.setdefault(point.tune.seed, []).append(point)
        return list(map(tuple, by_seed.values()))

    def folder(self, point: Point) -> Path:
        return self.runs / identity(point)

    def work(self, crew: Crew, run: Run) -> Outcome:
        """Every job that is not done yet."""
        setting = self.setting
        splits = dict.fromkeys((setting.train, setting.val))
        first = [Job("reading the test clips", prepare_test, {"setting": setting})]
        first += [Job(f"latents of {s}", prepare_latents, {"setting": setting, "split": s}) for s in splits]
        measured = crew.run(first)[0]
        left = self.groups(filter(self.is_left, self.all_points()))
        references = list(self.reference_rows(measured["fingerprint"]))
        crew.run([*map(self.tuning, left), *self.measuring(references)])
        adapted = list(self.adapter_rows(measured["fingerprint"], CHECKS[: 1 + (measured["clips"] > 1)]))
        crew.run(list(self.measuring(adapted)))
        gallery = self.gallery(crew)
        readings: dict[str, list[Path]] = {}
        for file in [*references, *adapted]:
            readings.setdefault(file.row, []).append(file.path)
        records = {spec: [self.record(p) for p in points] for spec, points in self.points.items()}
        folders = {spec: [self.folder(p) for p in points] for spec, points in self.points.items()}
        return Outcome(
            run=run,
            adapter=self.adapter,
            domain=setting.domain,
            readings=readings,
            points=records,
            point_folders=folders,
            gallery=gallery,
            facts=self.facts
            | {"judges": measured["judges"], "test": {k: measured[k] for k in ("clips", "people")}},
            warnings=self.warnings,
        )

    def gallery(self, crew: Crew) -> Gallery | None:
        """Pictures and films of the first seed, where a report will show them."""
        if not self.report:
            return None
        best = self.folder(self.points[self.adapter][0]) / "adapter.safetensors"
        job = Job("pictures and films", draw_gallery, {"setting": self.setting, "adapter": best})
        return crew.run([job])[0]

    def is_left(self, point: Point) -> bool:
        return Run(self.folder(point), point).record() is None

    def record(self, point: Point) -> dict[str, Any]:
        found = Run(self.folder(point), point).record()
        assert found is not None, f"{self.folder(point)} is done and has no record"
        return found

    def tuning(self, points: tuple[Point, ...]) -> Job:
        first = points[0].tune
        what = first.adapter if len(points) == 1 else f"{len(points)} sets together"
        options = {"setting": self.setting, "points": {self.folder(point): point for point in points}}
        return Job(f"tuning {what} seed {first.seed}", tune_points, options)

    def measuring(self, files: list[RowFile]) -> Iterator[Job]:
        """Jobs for the readings that are not there."""
        for file in files:
            if not file.is_there:
                options = {
                    "setting": self.setting,
                    "row": file.kind,
                    "adapter": file.adapter,
                    "path": file.path,
                }
                seed = "" if file.adapter is None else f" {file.adapter.parent.name}"
                yield Job(f"measuring {file.row}{seed}", measure_row, options)

    def reference_rows(self, measured: str) -> Iterator[RowFile]:
        """Rows that no adapter takes part in."""
        first = self.all_points()[0]
        folder = self.runs / identity(Reference(measured, first.backbone, estimator=first.estimator))
        for row in REFERENCES:
            yield RowFile(row, row, None, folder / "readings" / f"{row}.safetensors")

    def adapter_rows(self, measured: str, checks: Sequence[str] = CHECKS) -> Iterator[RowFile]:
        """Every tuned adapter, and the one in question with what must make it worse."""
        for spec, points in self.points.items():
            for point in points:
                folder = self.folder(point)
                adapter, readings = folder / "adapter.safetensors", folder / "readings" / measured[:8]
                yield RowFile(spec, "adapter", adapter, readings / "adapter.safetensors")
                for check in checks if spec == self.adapter else ():
                    yield RowFile(check, check, adapter, readings / f"{check}.safetensors")


def make_plan(config: AblationConfig) -> Plan:
    """Checks the specs, draws or prepares the clips if they are absent, and lists the tunings.

    Raises UserError for an unknown adapter, one that has nothing to tune, or clips that cannot be had.
    """
    asked = [canonical(spec) for spec in listed(config.adapter) or [config.adapter]]
    specs = [*map(canonical, config.compare), *asked]
    backbone = backbone_of(config.size, config.zoo)
    for spec in specs:
        if not AdapterSet(spec, backbone).budget(backbone)["total"]:
            raise UserError(
                f'adapter "{spec}" has nothing to tune',
                'every table has it as the row "frozen"',
                "ask for another one",
            )
    setting, warnings = setting_of(config)
    data = {split: setting.source(getattr(setting, split)).fingerprint() for split in SPLITS}
    digest, tuned_on = sha256_of(backbone), {name: data[name] for name in ("train", "val")}
    digests = digests_of(config)
    judges = {name: digests[name] for name in JUDGES}
    teachers = {name: digests[name] for name in TEACHERS if name in digests}
    points = {
        spec: tuple(
            Point(
                TuneConfig(spec, seed, config.schedule, config.loss, config.share),
                digest,
                tuned_on,
                judges,
                setting.curve_clips,
                backbone.read_by_sha256,
                teachers,
            )
            for seed in config.seeds
        )
        for spec in dict.fromkeys(specs)
    }
    facts = {
        "seeds": list(config.seeds),
        "schedule": asdict(config.schedule),
        "loss": asdict(config.loss),
        "share": config.share,
        "backbone": {"sha256": digest, "fingerprint": digest[:16], "random": is_random(config)},
        "data": {"set": setting.set_name, "domain": setting.domain, **data},
    }
    runs, report = Path(config.host.runs), config.host.report
    return Plan(asked[0], setting, runs, points, config.together, report, facts, tuple(warnings))


def setting_of(config: AblationConfig) -> tuple[Setting, list[str]]:
    """The shards, made if they are absent, and what must be said about them."""
    data = Path(config.host.data)
    if not config.data:
        from data_recipes.puppets import recipe as puppets

        parts = [f"acted/{split}" for split in SPLITS]
        folder = puppets.prepare(config.puppets, parts, folder=data / "puppets", workers=config.host.workers)
        return Setting(
            config.size,
            config.zoo,
            folder,
            "acted",
            "puppets",
            preset=config.puppets,
            clips=config.clips,
        ), said_of(config)
    from data_recipes.mead import recipe as mead
    from data_recipes.mead.work import SET_NAME

    folder = mead.prepare(Path(config.data), data / "mead", workers=config.host.workers)
    there = [split for split in SPLITS if has_shards(folder, SET_NAME, split)]
    roles, said = stand_ins(set(there))
    said = [*said_of(config), *read_index(folder, SET_NAME, there[0])["recipe"]["warnings"], *said]
    return Setting(config.size, config.zoo, folder, SET_NAME, "real", clips=config.clips, **roles), said


def said_of(config: AblationConfig) -> list[str]:
    """What must be read before any number of a size without weights, or of adapters that saw fewer clips."""
    random = "The backbone has random weights: this shows that tuning runs at its size, and nothing else."
    part = f"The adapters learned from {100 * config.share:g} % of the training clips."
    return [random] * is_random(config) + [part] * (config.share < 1)


def is_random(config: AblationConfig) -> bool:
    """Whether the backbone learned nothing: none of this size ships."""
    return config.size == "paper" and not config.zoo
