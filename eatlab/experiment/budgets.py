"""The budget of a size: how many parameters each network and each adapter has, counted without weights.

`eatlab budgets size=paper` (EAT, Sec. 4.4 and Fig. 6; eat-networks.md 16).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eatlab.atomic import write_json, write_text
from eatlab.errors import UserError
from eatlab.experiment.costs import FRAMES, Cost, imagined

COMBINED = ("deep_prompt+edn", "deep_prompt+edn+eam", "full+deep_prompt+edn+eam")
"""Specs that are counted beside every single adapter: those of the paper's tables."""


@dataclass(frozen=True)
class BudgetsHost:
    """json, picture (SVG), grid (YAML for `eatlab ablation --config`): also write that there."""

    json: str = ""
    picture: str = ""
    grid: str = ""


@dataclass(frozen=True)
class BudgetsConfig:
    """size: of the backbone. adapter: a spec, counted by network.

    match: a share of the frozen backbone, as in 1.0%: adapters are solved for it in place of being counted.
    """

    size: str = "paper"
    adapter: str = "deep_prompt+edn+eam"
    match: str = ""
    host: BudgetsHost = field(default_factory=BudgetsHost)


@dataclass(frozen=True)
class Line:
    """What, its parameters, the share of all that the paper states (percent), and a remark."""

    what: str
    parameters: int
    paper_percent: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class Published:
    """What the release adds to the count of a size.

    percent: Fig. 6, by part.  without_effect: network → reason → parameters in its file that its output
    does not depend on.  besides: networks that do not run at inference.
    """

    percent: dict[str, float] = field(default_factory=dict)
    without_effect: dict[str, dict[str, int]] = field(default_factory=dict)
    besides: Callable[[], list[Line]] = list


@dataclass(frozen=True)
class Budgets:
    """frozen: the backbone.  adapters: of the set.  besides: networks that do not run at inference."""

    size: str
    adapter: str
    frozen: list[Line]
    adapters: list[Line]
    besides: list[Line]

    @property
    def frozen_total(self) -> int:
        """Parameters of the frozen backbone, those without effect included."""
        return sum(line.parameters for line in self.frozen)

    @property
    def adapter_total(self) -> int:
        """Parameters that are tuned."""
        return sum(line.parameters for line in self.adapters)

    @property
    def total(self) -> int:
        """All that stands in a file for inference: the base of the paper's Fig. 6."""
        return self.frozen_total + self.adapter_total


def count_budgets(size: str, adapter: str) -> Budgets:
    """On the meta device: exact, in seconds, no memory for weights. Raises UserError for an unknown name."""
    import torch

    from eatlab.adapters.adapter_set import AdapterSet
    from eatlab.adapters.budget import num_parameters

    head = imagined(size)
    with torch.device("meta"):
        parts = AdapterSet(adapter, head).budget(head)["parts"]
    published = published_counts().get(size, Published())

    def frozen(name: str, count: int) -> Line:
        idle = published.without_effect.get(name, {})
        remark = "; ".join(f"{n:,} of them without effect ({why})" for why, n in idle.items())
        return Line(name, count + sum(idle.values()), remark=remark)

    return Budgets(
        size=size,
        adapter=adapter,
        frozen=[frozen(name, num_parameters(part)) for name, part in head.named_children()],
        adapters=[Line(name, count, published.percent.get(name)) for name, count in parts.items()],
        besides=published.besides(),
    )


def published_counts() -> dict[str, Published]:
    """By size."""
    from eatlab.backbone.official import A2ET_UNUSED_PARAMETERS

    fig_6 = {"emotion_mapper": 5.30, "edn": 1.17, "eam": 0.38}
    return {"paper": Published(fig_6, {"a2et": A2ET_UNUSED_PARAMETERS}, released_besides)}


def released_besides() -> list[Line]:
    """Networks of the release that do not run at inference."""
    import torch

    from eatlab.adapters.budget import num_parameters
    from eatlab.backbone.published.discriminator import Discriminator
    from eatlab.backbone.published.head_pose import PublishedEstimator
    from eatlab.experts.syncnet import SyncNet

    with torch.device("meta"):
        return [
            Line("head pose estimator", num_parameters(PublishedEstimator()), remark="preprocessing"),
            Line("sync expert", num_parameters(SyncNet()), remark="training"),
            Line("discriminator", num_parameters(Discriminator()), remark="training of the keypoints"),
        ]


def as_json(budgets: Budgets, costs: Sequence[Cost]) -> dict[str, Any]:
    """The tables as plain numbers."""
    groups = {"frozen": budgets.frozen, "adapters": budgets.adapters, "besides": budgets.besides}
    totals = {"frozen": budgets.frozen_total, "adapters": budgets.adapter_total, "all": budgets.total}
    lines = {name: [vars(line) for line in group] for name, group in groups.items()}
    each = [vars(cost) for cost in costs]
    return {"size": budgets.size, "adapter": budgets.adapter, **lines, "totals": totals, "costs": each}


def as_text(budgets: Budgets) -> str:
    """The table: parameters, their share of all (the paper's base) and of the frozen backbone."""
    total, frozen = budgets.total, budgets.frozen_total

    def row(line: Line, *, shares: bool = True) -> str:
        paper = f"{line.paper_percent:.2f}" if line.paper_percent else ""
        percents = (100 * line.parameters / total, 100 * line.parameters / frozen) if shares else ()
        written = "".join(f"{percent:>12.3f}" for percent in percents).ljust(24)
        remarks = "".join(f"\n    {remark}" for remark in line.remark.split("; ") if remark)
        return f"  {line.what:<20}{line.parameters:>13,}{written}{paper:>9}".rstrip() + remarks

    heading = f"  {'':<20}{'parameters':>13}{'% of all':>12}{'% of frozen':>12}{'paper, %':>9}"
    sums = (Line("frozen", frozen), Line("adapters", budgets.adapter_total), Line("all", total))
    besides = ["", "  not at inference:", *(row(line, shares=False) for line in budgets.besides)]
    return "\n".join(
        [
            f"{budgets.size}: {budgets.adapter}",
            heading,
            *map(row, budgets.frozen),
            row(sums[0]),
            "",
            *map(row, budgets.adapters),
            row(sums[1]),
            "",
            row(sums[2]),
            *(besides if budgets.besides else []),
        ]
    )


def costs_as_text(costs: Sequence[Cost], budgets: Budgets) -> str:
    """Every adapter: the emotion mapper is in each that reads it, and once in a combination."""
    heading = (
        f"{budgets.size}: every adapter, its emotion mapper included; "
        f"a clip of {FRAMES} frames, tuned on E alone (A2ET; no renderer)"
    )
    words = ("parameters", "% of frozen", "MiB on disk", "MFLOP more", "MiB kept")
    columns = f"  {'':<34}" + "".join(f"{word:>13}" for word in words)
    units = f"  {'':<34}" + "".join(f"{word:>13}" for word in ("", "", "", "a frame", "a frame"))
    rows = [
        f"  {cost.spec:<34}{cost.parameters:>13,}{100 * cost.parameters / budgets.frozen_total:>13.3f}"
        f"{cost.bytes / 2**20:>13.2f}{1000 * cost.gflop:>13.3f}{cost.activations:>13.2f}"
        for cost in costs
    ]
    return "\n".join([heading, columns, units, *rows])


def run_budgets(config: BudgetsConfig) -> int:
    """Prints the tables of a size, or the adapters of one budget; writes what is asked.

    Raises UserError for an unknown size, a spec that does not fit, or a grid without a match.
    """
    if config.match:
        return run_matched(config)
    if config.host.grid:
        raise UserError("a grid of equal budgets", "no budget is asked", "add match=1.0%")
    from eatlab.adapters.registry import names
    from eatlab.experiment.costs import costs_of

    budgets = count_budgets(config.size, config.adapter)
    print(as_text(budgets), flush=True)
    costs = costs_of((*names(), *COMBINED), config.size)
    print(f"\n{costs_as_text(costs, budgets)}")
    if config.host.json:
        write_json(Path(config.host.json), as_json(budgets, costs))
    if config.host.picture:
        from eatlab.experiment.plots import Budget, budget_bar

        bars = {
            cost.spec: Budget(cost.parameters, 100 * cost.parameters / budgets.frozen_total)
            for cost in costs
            if cost.parameters
        }
        budget_bar(bars, log=True).write(Path(config.host.picture))
    return 0


def run_matched(config: BudgetsConfig) -> int:
    """Prints the adapters at a share of the backbone; writes the grid of those that come near.

    Raises UserError for a grid that no ablation would take, and for a picture.
    """
    from eatlab.backbone.sizes import SIZES
    from eatlab.experiment import matching

    if config.host.picture:
        raise UserError("a picture of equal budgets", "they are all alike", "leave --picture or match out")
    if config.host.grid and config.size in SIZES and SIZES[config.size]().estimator is None:
        there = "an ablation runs at small for now, where the same specs cost something else"
        raise UserError(f"a grid for {config.size}", there, "add size=small")
    percent = matching.share_of(config.match)
    matches = matching.matched(config.size, percent, count_budgets(config.size, "none").frozen_total)
    print(matching.as_text(matches, percent, config.size))
    if config.host.json:
        write_json(Path(config.host.json), [vars(match) for match in matches])
    if config.host.grid:
        write_text(Path(config.host.grid), matching.as_grid(matches, percent, config.size))
    return 0
