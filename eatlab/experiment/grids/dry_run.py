"""`eatlab grid FILE --dry-run`: its points, which of them are left, and what those will cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eatlab.backbone.sites import sha256_of
from eatlab.data.shards import has_shards
from eatlab.experiment.ablation import AblationConfig
from eatlab.experiment.grids.claims import holder
from eatlab.experiment.grids.forecast import CLIP_S, PREPARING_S, Forecast, Forecaster, hours, total_s
from eatlab.experiment.grids.grid import GridConfig
from eatlab.experiment.grids.grid_file import GridPoint
from eatlab.experiment.grids.units import ClipsUnit, GalleryUnit, GridUnit, PointUnit, gallery_units, units_of
from eatlab.experiment.grids.worker import Failure
from eatlab.experiment.jobs import backbone_of
from eatlab.experiment.plan import REFERENCES, SPLITS
from eatlab.experiment.record import num_cores, read_record
from eatlab.training.stages import PARTS

NUM_CLIPS = 384
"""Test clips of the puppets' preset `small`: taken where the clips are not there to be counted."""
WAITING = 1.08
"""Wall time of two workers by their CPU time: what ablations on two cores took."""
GALLERY_S = 20.0
"""Sheets and two films of an adapter."""
REFERENCE_S = len(REFERENCES) * NUM_CLIPS * CLIP_S


def list_points(config: GridConfig, points: Sequence[GridPoint]) -> int:
    """Prints a line a point, and what is left in all. Draws and runs nothing.

    Where clips are not there yet, points have no identity: "-" stands in its place, and all count as left.
    """
    if all(has_clips(point, config.host.data) for point in points):
        units = units_of(points, config.host)
        units += gallery_units(units) if config.host.pictures else []
        costs = Costs(Path(config.host.runs))
        lines = [line_of(unit, costs.of(unit), config.host.stale_s) for unit in units]
        left = [costs.of(unit) for unit in units if not unit.is_done()]
        num_left = sum(isinstance(unit, PointUnit) and not unit.is_done() for unit in units)
    else:
        forecasters = Costs(Path(config.host.runs))
        left = [forecasters.of_asked(point, point.config.clips or NUM_CLIPS) for point in points]
        lines = [told("-", "left", point.name, cost) for point, cost in zip(points, left, strict=True)]
        left.append(Forecast(PREPARING_S + REFERENCE_S, "estimate"))
        lines.append(
            told("-", "left", "clips and rows without an adapter; drawing the clips not counted", left[-1])
        )
        if config.host.pictures:
            rows = {point.row for point in points}
            left.append(Forecast(GALLERY_S * len(rows), "estimate"))
            lines.append(told("-", "left", f"faces of {len(rows)} rows", left[-1]))
        num_left = len(points)
    workers = config.host.workers or num_cores()
    cpu_s = total_s(left)
    print("\n".join([f"{'point':<10}{'state':<9}{'CPU':>10}  {'what':<52} basis", *lines]))
    print(
        f"\n{num_left} of {len(points)} points left: {hours(cpu_s)} of CPU, "
        f"about {hours(WAITING * cpu_s / workers)} with {workers} workers here"
    )
    return 0


def line_of(unit: GridUnit, cost: Forecast, stale_s: float) -> str:
    """One unit: its state and predicted cost."""
    name = unit.folder.name if isinstance(unit, PointUnit | ClipsUnit) else "-"
    if unit.is_done():
        return told(name, "done", unit.name, Forecast(0, "-"))
    state = "failed" if Failure.of(unit.folder) else "running" if holder(unit.folder, stale_s) else "left"
    return told(name, state, unit.name, cost)


def told(name: str, state: str, what: str, cost: Forecast) -> str:
    return f"{name:<10}{state:<9}{hours(cost.cpu_s):>10}  {what:<52} {cost.basis}"


def costs_of(units: Sequence[GridUnit]) -> list[float]:
    """Predicted CPU seconds of each unit, in their order."""
    if not units:
        return []
    costs = Costs(clips_of(units[0]).runs)
    return [costs.of(unit).cpu_s for unit in units]


def clips_of(unit: GridUnit) -> ClipsUnit:
    """The clips that a unit needs at last, or is."""
    while not isinstance(unit, ClipsUnit):
        unit = unit.needs
    return unit


class Costs:
    """Forecasts for units. runs: where records may lie."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.forecasters: dict[str, Forecaster] = {}

    def of(self, unit: GridUnit) -> Forecast:
        """What is left of a unit, if it is not done."""
        if isinstance(unit, GalleryUnit):
            return Forecast(GALLERY_S, "estimate")
        clips = clips_of(unit)
        forecaster = self.forecaster(clips.prepared.size, clips.prepared.backbone)
        num_clips = clips.prepared.clips or int((read_record(clips.folder) or {}).get("clips", NUM_CLIPS))
        if isinstance(unit, ClipsUnit):
            return Forecast(PREPARING_S, "estimate")
        if isinstance(unit, PointUnit):
            return forecaster.of_point(unit.said.config, num_clips, is_learned=unit.record is not None)
        return Forecast(num_clips * forecaster.clip_s, "records" if forecaster.clips else "estimate")

    def of_asked(self, point: GridPoint, num_clips: int) -> Forecast:
        """Of a point whose clips are not there yet."""
        size = point.tuning.size if point.tuning else AblationConfig.size
        digest = sha256_of(backbone_of(size, point.config.zoo))
        return self.forecaster(size, digest).of_point(point.config, num_clips)

    def forecaster(self, size: str, digest: str) -> Forecaster:
        return self.forecasters.setdefault(digest, Forecaster(self.runs, size, digest))


def has_clips(point: GridPoint, data: str) -> bool:
    """Whether a point's puppets are drawn already; real clips are not looked for."""
    if point.tuning and point.tuning.data:
        return False
    folder = Path(data) / "puppets" / point.config.puppets
    parts = [f"acted/{split}" for split in SPLITS] + ([] if point.tuning else list(PARTS))
    return all(has_shards(folder, *part.split("/")) for part in parts)
