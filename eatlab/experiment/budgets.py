"""The budget of a size: how many parameters each network and each adapter has, counted without weights.

`eatlab budgets size=paper` (EAT, Sec. 4.4 and Fig. 6; eat-networks.md 16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eatlab.atomic import write_json
from eatlab.errors import refuse_unknown


@dataclass(frozen=True)
class BudgetsHost:
    """json: also write the numbers there."""

    json: str = ""


@dataclass(frozen=True)
class BudgetsConfig:
    """size: of the backbone. adapter: a spec."""

    size: str = "paper"
    adapter: str = "deep_prompt+edn+eam"
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
    from eatlab.backbone.sizes import SIZES
    from eatlab.backbone.talking_head import TalkingHead

    refuse_unknown("size", size, SIZES)
    with torch.device("meta"):
        head = TalkingHead(SIZES[size]())
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


def as_json(budgets: Budgets) -> dict[str, Any]:
    """The table as plain numbers."""
    groups = {"frozen": budgets.frozen, "adapters": budgets.adapters, "besides": budgets.besides}
    totals = {"frozen": budgets.frozen_total, "adapters": budgets.adapter_total, "all": budgets.total}
    lines = {name: [vars(line) for line in group] for name, group in groups.items()}
    return {"size": budgets.size, "adapter": budgets.adapter, **lines, "totals": totals}


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


def run_budgets(config: BudgetsConfig) -> int:
    """Prints the table of a size; writes it as json if asked."""
    budgets = count_budgets(config.size, config.adapter)
    print(as_text(budgets))
    if config.host.json:
        write_json(Path(config.host.json), as_json(budgets))
    return 0
