"""What the processes of a crew do in an ablation: latents, tunings, rows. Each keeps its networks between
jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sites import sha256_of
from eatlab.backbone.talking_head import TalkingHead
from eatlab.experiment.bench import (
    Adapted,
    Bench,
    Misheard,
    Speaker,
    asked_of,
    frozen,
    open_bench,
    reenactment,
    still,
    subset,
    subset_of_latents,
    wrongly_asked_of,
)
from eatlab.experiment.crew import Desk
from eatlab.experiment.pretraining import read_pretrained
from eatlab.experiment.record import environment, write_record
from eatlab.experiment.run import Run, digests
from eatlab.experts.judges import Judges
from eatlab.metrics.protocols import Protocol, protocol_for
from eatlab.metrics.row import RowReading, save_reading
from eatlab.training.drawn import DrawnLoss
from eatlab.training.latents import Latents, LatentsConfig, SetName, load_latents, read_tables
from eatlab.training.learner import TuneConfig
from eatlab.training.subsets import labels_of
from eatlab.training.tune import Tuned, tune
from eatlab.zoo.folders import ZOO
from eatlab.zoo.networks import load_backbone, load_judges, load_teachers

CURVE_CLIPS = 48
CURVE_METRICS = ("acc_emo", "m_lmd", "f_lmd", "psnr")


@dataclass(frozen=True)
class Setting:
    """Where every job of an ablation finds what it needs. train, val, test: splits of the set; two may be the
    same.

    size, zoo, clips: as asked for.  preset: of the puppets, whose clips can be drawn in full; empty for real
    clips.
    """

    size: str
    zoo: str
    folder: Path
    set_name: str
    domain: str
    preset: str = ""
    train: str = "train"
    val: str = "val"
    test: str = "test"
    clips: int = 0

    @property
    def cache(self) -> Path:
        """Latents lie beside the shards that they were made from."""
        return self.folder / "latents"

    @property
    def protocol(self) -> Protocol:
        return protocol_for(self.domain, self.size)

    @property
    def curve_clips(self) -> int:
        """How many validation clips a tuning's curve is measured on."""
        return min(CURVE_CLIPS, self.clips or CURVE_CLIPS)

    @property
    def backbone(self) -> TalkingHead:
        return backbone_of(self.size, self.zoo)

    @property
    def judges(self) -> Judges:
        return judges_of(self.zoo if self.size == "small" else "")

    def source(self, split: str) -> SetName:
        return SetName(self.folder, self.set_name, split)


@dataclass(frozen=True)
class Point:
    """A tuning and what it depends on; its 8 hex digits name its run folder.

    backbone, data: fingerprints. judges: sha256 of those that read its curve, curve_clips: on how many clips.
    estimator: sha256 of the network beside the backbone that read E from frames, where there is one.
    teachers: sha256 of those that stand in the loss, where any does.
    """

    LATER: ClassVar = ("curve_clips", "estimator", "teachers")
    weights: ClassVar = "adapter.safetensors"
    row_kind: ClassVar = "adapter"

    tune: TuneConfig
    backbone: str
    data: dict[str, str]
    judges: dict[str, str]
    curve_clips: int = CURVE_CLIPS
    estimator: str = ""
    teachers: dict[str, str] = field(default_factory=dict)

    def learn(self, desk: Desk, setting: Setting, folder: Path) -> None:
        """Tunes it alone in its run folder; see `tune_points`."""
        tune_points(desk, setting, {folder: self})


@lru_cache(1)
def backbone_of(size: str, zoo: str) -> TalkingHead:
    if size == "paper":
        from eatlab.zoo.published import load_published

        return load_published(Path(zoo) if zoo else None)
    return load_backbone(folder=Path(zoo) if zoo else ZOO)


@lru_cache(1)
def judges_of(zoo: str) -> Judges:
    return load_judges(Path(zoo) if zoo else ZOO)


@lru_cache(2)
def latents_of(setting: Setting, split: str, share: float = 1.0) -> Latents:
    """For tuning; of a share of the clips, see training/subsets.py."""
    source = setting.source(split)
    latents = load_latents(setting.backbone, source, LatentsConfig(), setting.cache)
    if share == 1:
        return latents
    return subset_of_latents(latents, torch.tensor(labels_of(source).of_share(share)))


@lru_cache(1)
def bench_of(setting: Setting) -> Bench:
    backbone, judges = setting.backbone, setting.judges
    source, protocol = setting.source(setting.test), setting.protocol
    return open_bench(backbone, judges, source, protocol, setting.cache, num_clips=setting.clips)


@lru_cache(1)
def curve_bench_of(setting: Setting, num_frames: int) -> Bench:
    """A few validation clips, cut to the length of the tuning's windows."""
    backbone, judges = setting.backbone, setting.judges
    protocol = replace(setting.protocol, id=f"{setting.protocol.id}/curve", frames_per_clip=num_frames)
    source, count = setting.source(setting.val), setting.curve_clips
    return open_bench(backbone, judges, source, protocol, setting.cache, num_clips=count)


def prepare_latents(desk: Desk, setting: Setting, split: str) -> None:
    """Fills the cache of a split for tuning."""
    source = setting.source(split)
    load_latents(setting.backbone, source, LatentsConfig(), setting.cache, desk.go_on)


def prepare_test(desk: Desk, setting: Setting) -> dict[str, Any]:
    """Fills the cache of the test clips and lets the judges read the truth: fingerprint, number of clips and
    people.
    """
    backbone, judges = setting.backbone, setting.judges
    load_latents(
        backbone,
        setting.source(setting.test),
        LatentsConfig("fixed", cut=setting.protocol.frames_per_clip),
        setting.cache,
        desk.go_on,
    )
    bench = bench_of(setting)
    facts = bench.truth.clips
    return {
        "fingerprint": bench.truth.fingerprint.hex,
        "clips": len(facts.key),
        "people": len(set(facts.identity)),
        "judges": {name: told_of(card) for name, card in judges.cards.items()},
    }


def told_of(card: dict[str, Any]) -> dict[str, Any]:
    """What a record keeps of a judge's card."""
    return {name: card[name] for name in ("sha256", "held_out", "gate", "chosen_on") if name in card}


def tune_points(desk: Desk, setting: Setting, points: dict[Path, Point]) -> None:
    """Tunes one set in its run folder, or goes on there, and writes its record; or several that differ in
    their adapter alone, on one stream.

    points: run folder → point.
    """
    runs = [Run(folder, point) for folder, point in points.items()]
    for run in runs:
        run.begin()
    began, backbone = time.process_time(), setting.backbone
    first = next(iter(points.values()))
    if (digest := sha256_of(backbone)) != first.backbone:
        raise AssertionError(f"the backbone is {digest[:16]}, the point was made for {first.backbone[:16]}")
    num_frames = first.tune.schedule.num_frames
    tuned = tune(
        backbone,
        latents_of(setting, setting.train, first.tune.share),
        latents_of(setting, setting.val),
        {folder: point.tune for folder, point in points.items()},
        drawn=drawn_of(setting, first.tune) if first.tune.loss.draws else None,
        measures=[partial(measure_curve, setting, num_frames)],
        report=desk.report,
        stop=desk.stop,
        warn=desk.warn,
    )
    process = {
        "tuned_together": [point.tune.adapter for point in points.values()],
        "process_cpu_s": time.process_time() - began,
        "environment": environment(),
    }
    for run, found in zip(runs, tuned, strict=True):
        write_record(run.folder, record_of(run, found) | process)


def drawn_of(setting: Setting, config: TuneConfig) -> DrawnLoss:
    """Losses on the frames of the training clips that a tuning learns from."""
    source = setting.source(setting.train)
    table = read_tables(source)[0]
    if config.share < 1:
        table = subset(table, torch.tensor(labels_of(source).of_share(config.share)))
    teachers = load_teachers(Path(setting.zoo) if setting.zoo else ZOO)
    latents = latents_of(setting, setting.train, config.share)
    return DrawnLoss(setting.backbone, latents, table, teachers, config.loss)


def record_of(run: Run, tuned: Tuned) -> dict[str, Any]:
    """What a tuning's record says of the set itself; the process that tuned it may have tuned others too."""
    point = run.config
    return {
        "kind": "tuning",
        "identity": run.name,
        "adapter": point.tune.adapter,
        "seed": point.tune.seed,
        "config": asdict(point),
        "budget": dict(tuned.budget),
        "sees_emotion": tuned.sees_emotion,
        "wall_s": tuned.wall_s,
        "cpu_s": tuned.cpu_s,
        "backbone_sha256": {"before": point.backbone, "after": tuned.backbone_sha256},
        "curve": [{k: v for k, v in row.items() if v == v} for row in tuned.curve],
        "files": digests(run.folder, "adapter.safetensors"),
    }


@torch.no_grad()
def measure_curve(setting: Setting, num_frames: int, adapters: AdapterSet) -> dict[str, float]:
    """What the judges say of some validation clips: a point of the tuning curve."""
    bench = curve_bench_of(setting, num_frames)
    asked = asked_of(bench.latents)
    reading = bench.measure(bench.frames(Adapted(adapters, *asked)), asked[0])
    return {name: mean for name in CURVE_METRICS if (mean := reading.mean(name)) == mean}


def measure_row(desk: Desk, setting: Setting, row: str, adapter: Path | None, path: Path) -> None:
    """Draws and measures one row of the table, and saves the reading. adapter: file of what draws it."""
    bench = bench_of(setting)
    reading = ROWS[row](bench, adapter, desk.go_on)
    save_reading(path, reading)


Report = Callable[[int, int], object]


def read_source_copy(bench: Bench, adapter: Path | None, report: Report) -> RowReading:
    return bench.measure(bench.source_copy())


def read_ground_truth(bench: Bench, adapter: Path | None, report: Report) -> RowReading:
    return bench.ground_truth()


def read_unasked(speaker: Speaker, bench: Bench, adapter: Path | None, report: Report) -> RowReading:
    return bench.measure(bench.frames(speaker, report))


def read_adapted(wrong: bool, bench: Bench, adapter: Path | None, report: Report) -> RowReading:
    assert adapter is not None
    emotion, intensity = wrongly_asked_of(bench.latents) if wrong else asked_of(bench.latents)
    speaker = Adapted(AdapterSet.load(adapter, bench.backbone), emotion, intensity)
    return bench.measure(bench.frames(speaker, report), emotion)


def read_misheard(bench: Bench, adapter: Path | None, report: Report) -> RowReading:
    assert adapter is not None
    asked = asked_of(bench.latents)
    speaker = Misheard(Adapted(AdapterSet.load(adapter, bench.backbone), *asked))
    return bench.measure(bench.frames(speaker, report), asked[0])


ROWS: dict[str, Callable[[Bench, Path | None, Report], RowReading]] = {
    "source_copy": read_source_copy,
    "still": partial(read_unasked, still),
    "frozen": partial(read_unasked, frozen),
    "adapter": partial(read_adapted, False),
    "pretrained": read_pretrained,
    "wrong_emotion": partial(read_adapted, True),
    "shuffled_audio": read_misheard,
    "reenactment": partial(read_unasked, reenactment),
    "ground_truth": read_ground_truth,
}
"""How each kind of row is drawn and measured."""
