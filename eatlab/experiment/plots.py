"""Plots as SVG and PNG: tuning curve, confusion matrix, budget bar, rows with intervals.

Colours of Okabe and Ito, 2008. An SVG's ink is `currentColor`: it follows its page's theme, light or dark.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eatlab.atomic import write_bytes, write_text
from eatlab.metrics.protocols import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eatlab.metrics.statistics import Interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by colour-blind readers, on white and on black."""
CURVE_METRICS = ("m_lmd", "acc_emo", "sync")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#123456"
"""Dark on a PNG's white; in an SVG it stands for the page's text colour."""
PNG_DPI = 150
WIDTH_IN = 4.6
"""Fits a phone without shrinking its type below 9 px."""


@dataclass(frozen=True)
class Plot:
    """A picture. svg: an <svg> element on nothing. png: a file's content, the same on white at PNG_DPI."""

    svg: str
    png: bytes

    def write(self, path: Path) -> tuple[Path, Path]:
        """Writes the SVG at `path` and the PNG beside it, each whole or not at all, and says where."""
        beside = path.with_suffix(".png")
        write_text(path, self.svg)
        write_bytes(beside, self.png)
        return path, beside


@dataclass(frozen=True)
class CurvePoint:
    """Quality of one seed's adapter after some minutes of tuning, evaluation not counted."""

    adapter: str
    seed: int
    minutes: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Budget:
    """What an adapter adds. percent: of the backbone's parameters, 0..100."""

    params: int
    percent: float


@dataclass(frozen=True)
class Dots:
    """A panel of `dots_with_intervals`: one interval a row, None where nothing was measured."""

    title: str
    intervals: Sequence[Interval | None]


def dots_with_intervals(labels: Sequence[str], panels: Sequence[Dots], description: str) -> Plot:
    """Rows from top to bottom, a panel a metric, each mean a dot with its interval as a line."""
    with _figure(rows=len(panels), row_height_in=0.6 + 0.21 * len(labels)) as figure:
        for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
            there = [(row, found) for row, found in enumerate(panel.intervals) if found is not None]
            rows, means = [row for row, _ in there], [found.mean for _, found in there]
            axes.hlines(rows, [f.low for _, f in there], [f.high for _, f in there], color=COLOURS[0])
            axes.plot(means, rows, "o", color=COLOURS[0], markersize=4.5)
            axes.set_yticks(range(len(labels)), labels)
            axes.set_ylim(len(labels) - 0.5, -0.5)
            axes.set_title(panel.title, loc="left")
            axes.grid(axis="x", alpha=0.25)
            axes.tick_params(axis="y", length=0)
        return _plot(figure, description)


def curve_metrics(points: Sequence[CurvePoint]) -> list[str]:
    """Those of CURVE_METRICS that were measured."""
    return [name for name in CURVE_METRICS if any(name in point.metrics for point in points)]


def tuning_curve(points: Sequence[CurvePoint]) -> Plot:
    """One panel a metric, one line an adapter (mean of its seeds), the band from worst to best seed."""
    shown = curve_metrics(points)
    if not shown:
        raise ValueError(f"the tuning curve has none of {', '.join(CURVE_METRICS)}")
    adapters = list(dict.fromkeys(point.adapter for point in points))
    with _figure(rows=len(shown), row_height_in=1.75) as figure:
        all_axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, metric in zip(all_axes, shown, strict=True):
            for number, adapter in enumerate(adapters):
                _draw_line(
                    axes, [p for p in points if p.adapter == adapter and metric in p.metrics], metric, number
                )
            axes.set_title(f"{METRICS[metric].heading}, {METRICS[metric].better} is better", loc="left")
            axes.grid(axis="y", alpha=0.25)
        all_axes[-1].set_xlabel("minutes of tuning")
        figure.legend(
            *all_axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False
        )
        return _plot(figure, f"Tuning curve: {', '.join(shown)} over minutes, for {', '.join(adapters)}")


def confusion_matrix(counts: np.ndarray, labels: Sequence[str], *, title: str) -> Plot:
    """(n, n) counts, rows truth, columns what the judge said; cells in whole percents of their row."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    with _figure(rows=1, row_height_in=4.3) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "#ffffff" if share > 0.55 else "#1c1f24"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, size=9)
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("the judge said, % of the row")
        axes.set_ylabel("truth")
        axes.set_title(title, loc="left")
        axes.tick_params(length=0)
        return _plot(figure, f"Confusion matrix of {title}: rows truth, columns what the judge said")


def budget_bar(budgets: Mapping[str, Budget], *, log: bool = False) -> Plot:
    """Added parameters of each adapter as bars, with their number and percent of the backbone.

    log: a decade has the same length everywhere, from 100 parameters on.
    """
    names = list(budgets)
    largest = max((budget.params for budget in budgets.values()), default=0) or 1
    with _figure(rows=1, row_height_in=0.75 + 0.42 * len(names)) as figure:
        axes = figure.subplots()
        axes.barh(names, [b.params for b in budgets.values()], color=COLOURS[0], height=0.62)
        if log:
            axes.set_xscale("log")
            axes.set_xlim(100, 100 * (largest / 100) ** 2.4)  # room for the numbers, all behind their bars
        for row, budget in enumerate(budgets.values()):
            inside = not log and budget.params > 0.55 * largest
            axes.annotate(
                f"{budget.params:,} ({budget.percent:.3g} %)",
                (budget.params, row),
                xytext=(-5 if inside else 5, 0),
                textcoords="offset points",
                ha="right" if inside else "left",
                va="center",
                color="#ffffff" if inside else INK,
            )
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([])
        axes.set_xticks([], minor=True)
        title = "added parameters (% of the frozen backbone)" + ", log scale" * log
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")  # long names leave the axes little room
        axes.spines[["bottom", "left"]].set_visible(False)
        return _plot(figure, "Added parameters: " + ", ".join(f"{n} {b.params}" for n, b in budgets.items()))


def _draw_line(axes: Axes, points: Sequence[CurvePoint], metric: str, number: int) -> None:
    """Mean and band of the n-th measurement of each seed; a seed that has fewer ends the line."""
    by_seed: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for point in points:
        by_seed[point.seed].append((point.minutes, float(point.metrics[metric])))
    if not by_seed:
        return
    length = min(len(pairs) for pairs in by_seed.values())
    seeds = np.array([sorted(pairs)[:length] for pairs in by_seed.values()])  # (seeds, measurements, 2)
    minutes, values = seeds[..., 0].mean(axis=0), seeds[..., 1]
    colour, name = COLOURS[number % len(COLOURS)], points[0].adapter
    style: dict[str, Any] = {
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
    }
    plural = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    axes.plot(minutes, values.mean(axis=0), color=colour, label=f"{name} ({plural})", markersize=3.5, **style)
    axes.fill_between(minutes, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, linewidth=0)


@contextmanager
def _figure(*, rows: int, row_height_in: float) -> Iterator[Figure]:
    """A figure in the house's style, free of pyplot's global state."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "svg.hashsalt": "eatlab",
        "font.family": "sans-serif",
        "font.size": 9.5,
        "axes.titlesize": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.8,
        **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "grid.color": INK,
    }
    with matplotlib.rc_context(style):
        yield Figure(figsize=(WIDTH_IN, row_height_in * rows), layout="constrained")


def _plot(figure: Figure, description: str) -> Plot:
    """The figure drawn, the same bytes each time. description: for who does not see it."""
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # laid out once, and so alike in both
    figure.savefig(png, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
    return Plot(_for_a_page(svg.getvalue(), description), png.getvalue())


def _for_a_page(text: str, description: str) -> str:
    """The <svg> element of a file, in the page's ink and type, named for screen readers."""
    from xml.sax.saxutils import quoteattr

    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", text)
    return text.replace("<svg", f'<svg role="img" aria-label={quoteattr(description)}', 1)
