"""What a grid will cost, in CPU seconds: by what like tunings cost here, else by their products."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from eatlab.adapters.specs import split
from eatlab.experiment.ablation import AblationConfig
from eatlab.experiment.jobs import CURVE_CLIPS

if TYPE_CHECKING:
    from eatlab.experiment.pretraining import PretrainingConfig

MEASURED_HERE = "records"
SECONDS_PER_GFLOP = 0.055
EVALUATION_S, CLIP_S, PREPARING_S = 6.0, 0.16, 90.0
DRAWN_FRAME_S, PAIR_S = 0.1, 0.07
"""Where no record tells: a core of the machine on which the files in experiments/ were timed (2 cores, bf16).
A training step's frame by the products of its forward pass; one look at the curve of 48 clips; drawing and
measuring a test clip; latents of three splits, and the judges' reading of the truth; a frame that a loss
draws, there and back; a pair of pretraining."""


@dataclass(frozen=True)
class Forecast:
    """cpu_s: of one unit. basis: what it rests on."""

    cpu_s: float
    basis: str


@dataclass(frozen=True)
class Past:
    """What one tuning cost. frame_s: a frame of a training step. evaluation_s: one look at its curve."""

    adapter: str
    frame_s: float
    evaluation_s: float | None


@dataclass
class Forecaster:
    """For points on one backbone. runs: where records may lie. size: of the backbone; digest: its sha256."""

    runs: Path
    size: str
    digest: str
    scaled: dict[str, tuple[float, str]] = field(default_factory=dict)

    def of_point(
        self, config: AblationConfig | PretrainingConfig, num_clips: int, *, is_learned: bool = False
    ) -> Forecast:
        """What learning (unless that is done) and measuring a point costs. config: with one adapter."""
        measuring = num_clips * self.clip_s
        if is_learned:
            return Forecast(measuring, MEASURED_HERE if self.clips else "estimate")
        if not isinstance(config, AblationConfig):
            pair_s, basis = self.pair_s
            return Forecast(config.render.steps * config.render.batch * pair_s + measuring, basis)
        schedule = config.schedule
        frame_s, basis = self.frame_s(config.adapter)
        looks = schedule.steps // schedule.evaluate_every + 1 + bool(schedule.steps % schedule.evaluate_every)
        looking = self.evaluation_s * min(1, (config.clips or CURVE_CLIPS) / CURVE_CLIPS)
        frames = schedule.steps * schedule.batch * schedule.num_frames
        drawn = (
            schedule.steps * min(config.loss.windows, schedule.batch) * schedule.num_frames
            if config.loss.draws
            else 0
        )
        return Forecast(frames * frame_s + drawn * DRAWN_FRAME_S + looks * looking + measuring, basis)

    def frame_s(self, adapter: str) -> tuple[float, str]:
        """Of a training step's frame, and what that rests on."""
        if known := self.known.get(adapter):
            return median(past.frame_s for past in known), f"{len(known)} {MEASURED_HERE}"
        if adapter not in self.scaled:
            self.scaled[adapter] = self.by_products(adapter)
        return self.scaled[adapter]

    def by_products(self, adapter: str) -> tuple[float, str]:
        """As the known adapter of most like parts whose products come nearest, times their ratio."""
        own = self.gflop(adapter)
        if not self.known:
            return own * SECONDS_PER_GFLOP, "products"

        def distance(name: str) -> tuple[int, float, str]:
            return len(parts_of(name) ^ parts_of(adapter)), abs(self.gflop(name) - own), name

        near = min(self.known, key=distance)
        return self.frame_s(near)[0] * own / self.gflop(near), f"as {near}, by products"

    def gflop(self, adapter: str) -> float:
        """Of A2ET with the adapter, a frame."""
        if adapter not in self.products:
            self.products[adapter] = next(gflops([adapter], self.size))
        return self.products[adapter]

    @cached_property
    def products(self) -> dict[str, float]:
        return {}

    @cached_property
    def known(self) -> dict[str, list[Past]]:
        found: dict[str, list[Past]] = {}
        for past in pasts(self.runs, self.digest):
            found.setdefault(past.adapter, []).append(past)
        return found

    @cached_property
    def evaluation_s(self) -> float:
        looks = [p.evaluation_s for past in self.known.values() for p in past if p.evaluation_s is not None]
        return median(looks) if looks else EVALUATION_S

    @cached_property
    def pair_s(self) -> tuple[float, str]:
        """Of a pair of pretraining, and what that rests on."""
        records = (read(path) for path in sorted(self.runs.glob("*/record.json")))
        done = [
            r["cpu_s"] / (r["config"]["render"]["steps"] * r["config"]["render"]["batch"])
            for r in records
            if r.get("kind") == "pretraining"
        ]
        return (median(done), f"{len(done)} {MEASURED_HERE}") if done else (PAIR_S, "estimate")

    @cached_property
    def clips(self) -> list[float]:
        """CPU seconds a clip, of readings whose cost was kept."""
        costs = (read(path) for path in self.runs.glob("*/readings/**/*.json"))
        return [cost["cpu_s"] / cost["clips"] for cost in costs if cost.get("clips") and "cpu_s" in cost]

    @property
    def clip_s(self) -> float:
        return median(self.clips) if self.clips else CLIP_S


def pasts(runs: Path, digest: str) -> Iterator[Past]:
    """What the tunings on that backbone cost."""
    for path in sorted(runs.glob("*/record.json")):
        record = read(path)
        if record.get("kind") != "tuning" or record.get("config", {}).get("backbone") != digest:
            continue
        if record["config"].get("teachers"):  # what it drew is no part of a step of the latent loss
            continue
        schedule, trained_s = record["config"]["tune"]["schedule"], record["cpu_s"]
        # A process that tuned several, or that went on where another was stopped, does not tell of this one.
        rest_s = record.get("process_cpu_s", 0) - trained_s
        is_alone = len(record.get("tuned_together", ())) <= 1 and rest_s > 0 and record["curve"]
        yield Past(
            record["adapter"],
            trained_s / (schedule["steps"] * schedule["batch"] * schedule["num_frames"]),
            rest_s / len(record["curve"]) if is_alone else None,
        )


def parts_of(spec: str) -> set[str]:
    """Names of the adapters in a spec, without their options."""
    return {text.partition("(")[0] for text in split(spec)}


def gflops(specs: Iterable[str], size: str) -> Iterator[float]:
    """Of A2ET with each adapter, a frame, forward; counted on the meta device (experiment/costs.py)."""
    import torch

    from eatlab.adapters.adapter_set import AdapterSet
    from eatlab.experiment.costs import FRAMES, imagined, imagined_batch, products

    head = imagined(size)
    batch = imagined_batch(head)
    for spec in specs:
        with torch.device("meta"), torch.no_grad():
            context = AdapterSet(spec, head).context(torch.zeros(1, dtype=torch.long))
            yield products(head, batch, context) / FRAMES / 1e9


def read(path: Path) -> dict[str, Any]:
    """A file's table; empty if it is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def hours(seconds: float) -> str:
    """For people: "50 s", "12 min", "1 h 40 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def total_s(forecasts: Sequence[Forecast]) -> float:
    return sum(forecast.cpu_s for forecast in forecasts)
