"""Pictures of what tuning takes: quality against minutes, share of data, and size.

EAT, Fig. 5; evaluation.md 11.8. Many adapters are parted into panels by family: each panel draws its own in
colour, named where they end, over all others in grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from eatlab.experiment.plots import COLOURS, INK, LINES, MARKERS, Plot, _figure, _plot
from eatlab.experiment.sweeps.curves import TuningCurve, better_of, by_adapter, finals_by_seed
from eatlab.experiment.sweeps.naming import (
    SMALL,
    Box,
    Drawing,
    Spot,
    boxes_along,
    freest,
    parted_places,
    shown_as,
    size_of,
    thread_of,
)
from eatlab.experiment.sweeps.pareto import Standing
from eatlab.metrics.protocols import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAMILIES = {
    "prompts and rows": ("shallow_prompt", "deep_prompt", "prefix", "bottleneck"),
    "weights": ("lora", "dora", "last_k", "full", "head"),
    "scales and biases": ("ia3", "bitfit", "norm", "film_input"),
    "networks beside it, and sums": ("edn", "eam", "+"),
}
"""Panel → names of adapters; "+": specs that are sums."""
OTHERS = "others"
ROOM = 2.5
"""Of the size axis beyond its dots, as a factor: names need it."""
WALL = "evaluation not counted"
TOGETHER = len(COLOURS)
"""So many lines stand in one panel."""
THREAD: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0}
"""From a name to what it names."""


@dataclass(frozen=True)
class Line:
    """An adapter's line: x (n,); mean, low and high (n,) over its seeds, low and high the worst and best."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def quality_over_minutes(
    curves: Sequence[TuningCurve], metric: str, *, of: str = "tuning", clock: str = WALL
) -> Plot:
    """Quality against minutes of what was done, log scale; the mean of the seeds at each measurement (as in
    `plots.tuning_curve`) and a band from the worst to the best. The untrained row has no place on a log axis.

    curves: of one share. of: what took the minutes. clock: what their seconds count, for the axis.
    Raises UserError for a metric that has no better end, ValueError without a trained row.
    """
    lines = {name: line for name, group in by_adapter(curves).items() if len((line := over_minutes(group)).x)}
    if not lines:
        raise ValueError("no curve has a row after training began")
    with _figure(rows=1, row_height_in=height_of(lines)) as figure:
        panels(
            figure,
            lines,
            metric,
            lambda axes: along_minutes(axes, untrained(curves), f"minutes of {of}, {clock}"),
        )
        return _plot(figure, f"{heading(metric)} against minutes of {of}, of {', '.join(lines)}")


def quality_over_share(curves: Sequence[TuningCurve], metric: str) -> Plot:
    """Final quality against the share of training clips, log2 scale; mean, worst and best seed.

    Raises UserError for a metric that has no better end, ValueError without curves.
    """
    lines = {name: over_share(group) for name, group in by_adapter(curves).items()}
    if not lines:
        raise ValueError("there is no curve")
    shares = sorted({curve.share for curve in curves})
    with _figure(rows=1, row_height_in=height_of(lines)) as figure:
        panels(figure, lines, metric, lambda axes: along_shares(axes, shares))
        return _plot(figure, f"{heading(metric)} against the share of training clips, of {', '.join(lines)}")


def quality_over_size(standings: Sequence[Standing], metric: str) -> Plot:
    """Quality against added parameters in percent of the backbone, log scale; the front as a line.

    A dot's area grows with minutes of tuning; it is hollow if the adapter does not see the emotion; its line
    is the interval over seeds. Raises UserError for a metric that has no better end, ValueError if no adapter
    adds parameters.
    """
    shown = [standing for standing in standings if standing.percent > 0]
    if not shown:
        raise ValueError("no adapter adds parameters")
    with _figure(rows=1, row_height_in=4.4) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_xlim(min(s.percent for s in shown) / ROOM, max(s.percent for s in shown) * ROOM)
        draw_front(axes, shown, better_of(metric))
        for standing in shown:
            draw_dot(axes, standing)
        axes.margins(y=0.1)
        axes.set_title(heading(metric), loc="left")
        axes.set_xlabel("added parameters, % of the frozen backbone")
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, place: "")  # its own, of one decade, are formulas
        axes.grid(alpha=0.2)
        size_legend(figure, shown)
        name_dots(figure, axes, shown)
        return _plot(figure, f"{heading(metric)} against added parameters: {told(shown)}")


def family_of(spec: str) -> str:
    """The panel of a spec."""
    name = "+" if "+" in spec else spec.partition("(")[0]
    return next((family for family, names in FAMILIES.items() if name in names), OTHERS)


def heading(metric: str) -> str:
    """The metric's name, and which end is better."""
    name = METRICS[metric].heading if metric in METRICS else metric
    return f"{name}, {better_of(metric)} is better"


def told(standings: Sequence[Standing]) -> str:
    """For who does not see the picture."""
    return ", ".join(
        f"{s.adapter} {s.percent:.3g} % {s.quality.mean:.3g}" + " (front)" * s.on_front for s in standings
    )


# ------------------------------------------------------------------------------------------- lines in panels


def over_minutes(curves: Sequence[TuningCurve]) -> Line:
    """The n-th measurement after training began of each seed; a seed that has fewer ends the line."""
    trained = [[(t / 60, v) for t, v in zip(c.seconds, c.values, strict=True) if t > 0] for c in curves]
    length = min(len(rows) for rows in trained)
    seeds = np.array([rows[:length] for rows in trained]).reshape(len(curves), length, 2)
    return of_seeds(seeds[..., 0].mean(0), seeds[..., 1])


def over_share(curves: Sequence[TuningCurve]) -> Line:
    """At every share the seeds that have it."""
    seeds = finals_by_seed(curves).values()
    shares = sorted({share for finals in seeds for share in finals})
    table = np.array([[finals.get(share, math.nan) for share in shares] for finals in seeds])
    return of_seeds(100 * np.array(shares), table)


def of_seeds(x: np.ndarray, values: np.ndarray) -> Line:
    """x (n,), values (seeds, n), NaN where a seed has none."""
    return Line(x, np.nanmean(values, 0), np.nanmin(values, 0), np.nanmax(values, 0))


def panels_of(lines: Mapping[str, Line]) -> dict[str, list[str]]:
    """Panel → its adapters; few lines stand in one panel, which needs no name."""
    if len(lines) <= TOGETHER:
        return {"": list(lines)}
    found: dict[str, list[str]] = {family: [] for family in (*FAMILIES, OTHERS)}
    for name in lines:
        found[family_of(name)].append(name)
    return {family: names for family, names in found.items() if names}


def height_of(lines: Mapping[str, Line]) -> float:
    """Inches."""
    count = len(panels_of(lines))
    return 2.6 if count == 1 else 0.5 + 1.75 * count


def panels(
    figure: Figure, lines: Mapping[str, Line], metric: str, set_axis: Callable[[Axes], object]
) -> None:
    """All panels, with one scale of quality."""
    parted = panels_of(lines)
    every = figure.subplots(len(parted), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    figure.suptitle(heading(metric), x=0.01, ha="left", fontsize="medium")
    for axes, (family, own) in zip(every, parted.items(), strict=True):
        for name, line in lines.items():
            if name not in own:
                axes.plot(line.x, line.mean, color=INK, alpha=0.16, linewidth=1, zorder=1)
        for number, name in enumerate(own):
            draw_line(axes, lines[name], number)
        axes.set_title(family, loc="left", fontsize=SMALL + 1)
        axes.tick_params(labelsize=SMALL)
        axes.grid(axis="y", alpha=0.2)
        set_axis(axes)
    every[-1].xaxis.set_tick_params(which="both", labelbottom=True)
    for axes in every[:-1]:
        axes.set_xlabel("")
    figure.draw_without_rendering()
    for axes, own in zip(every, parted.values(), strict=True):
        name_ends(axes, {name: lines[name] for name in own})


def draw_line(axes: Axes, line: Line, number: int) -> None:
    """Mean and band."""
    colour = COLOURS[number % len(COLOURS)]
    style: dict[str, Any] = {
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
    }
    axes.plot(line.x, line.mean, color=colour, markersize=3.5, zorder=3, **style)
    axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0, zorder=2)


def untrained(curves: Sequence[TuningCurve]) -> float | None:
    """Quality at 0 s, the median, as a few adapters do not start exactly as the frozen backbone."""
    found = [curve.values[0] for curve in curves if curve.seconds[0] == 0]
    return float(np.median(found)) if found else None


def along_minutes(axes: Axes, untrained: float | None, clock: str) -> None:
    """A log axis with a tick wherever minutes double, and where all began."""
    if untrained is not None:
        axes.axhline(untrained, color=INK, alpha=0.6, linewidth=0.8, linestyle=(0, (1, 2)))
        at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate("untrained", (0, untrained), xytext=(3, 2), fontsize=SMALL - 1, **at)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(
        lambda value, place: f"{60 * value:.2g} s" if value < 1 else f"{value:g} min"
    )
    axes.set_xlabel(clock)


def along_shares(axes: Axes, shares: Sequence[float]) -> None:
    """A log2 axis with a tick at every share."""
    axes.set_xscale("log", base=2)
    axes.set_xticks([100 * share for share in shares], [f"{100 * share:.4g} %" for share in shares])
    axes.set_xlabel("share of the training clips")


def name_ends(axes: Axes, lines: Mapping[str, Line]) -> None:
    """Each line's name beside the panel, as near to its end as the others allow, and a thread from there."""
    low, high = axes.get_ylim()
    ends = {name: (float(line.mean[-1]) - low) / (high - low) for name, line in lines.items()}
    height_in = axes.get_window_extent().height / axes.figure.dpi
    line_height = 1.15 * SMALL / 72 / height_in
    names = sorted(ends, key=lambda name: ends[name])
    heights = [line_height * (1 + shown_as(name).count("\n")) for name in names]
    for name, place in zip(names, parted_places([ends[n] for n in names], heights), strict=True):
        colour = COLOURS[list(lines).index(name) % len(COLOURS)]
        axes.annotate(
            shown_as(name),
            (float(lines[name].x[-1]), float(lines[name].mean[-1])),
            xytext=(1.05, place),
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL,
            linespacing=1.0,
            annotation_clip=False,
            arrowprops={"color": colour, "alpha": 0.7, "relpos": (0, 0.5), **THREAD},
        )


# ------------------------------------------------------------------------------------------ dots and a front


def draw_front(axes: Axes, standings: Sequence[Standing], better: str) -> None:
    """A stair: with so many parameters at most, this quality can be had."""
    front = sorted((s for s in standings if s.on_front), key=lambda s: s.percent)
    best = np.maximum.accumulate if better == "higher" else np.minimum.accumulate
    quality = best([s.quality.mean for s in front])
    style: dict[str, Any] = {"color": COLOURS[1], "linewidth": 1.4, "alpha": 0.8, "zorder": 1}
    axes.step([s.percent for s in front], quality, where="post", **style)


def draw_dot(axes: Axes, standing: Standing) -> None:
    """One adapter."""
    colour = COLOURS[1] if standing.on_front else COLOURS[0]
    mean, found = standing.quality.mean, standing.quality.interval
    if found is not None and not math.isnan(found.low):
        axes.vlines(standing.percent, found.low, found.high, color=colour, linewidth=1.2, zorder=2)
    axes.scatter(
        [standing.percent],
        [mean],
        s=area_of(standing.minutes.mean),
        facecolors=colour if standing.sees_emotion else "none",
        edgecolors=colour,
        alpha=0.85,
        zorder=3,
    )


def area_of(minutes: float) -> float:
    """Of a dot, in square points."""
    return 10 + 26 * minutes


def size_legend(figure: Figure, standings: Sequence[Standing]) -> None:
    """What sizes and colours mean, under the picture."""
    from matplotlib.lines import Line2D

    most = max(standing.minutes.mean for standing in standings)
    sizes = [m for m in (0.5, 1, 2, 4, 8, 16) if m <= most][-3:] or [most]

    def dot(colour: str, minutes: float, label: str, *, filled: bool = True) -> Line2D:
        face = colour if filled else "none"
        size = math.sqrt(area_of(minutes))
        style = {"marker": "o", "color": colour, "markerfacecolor": face, "markersize": size}
        return Line2D([], [], linestyle="", label=label, **style)  # type: ignore[arg-type]

    handles = [dot(COLOURS[0], minutes, f"{minutes:.2g} min") for minutes in sizes]
    handles.append(dot(COLOURS[1], sizes[0], "on the front"))
    if any(not standing.sees_emotion for standing in standings):
        handles.append(dot(COLOURS[0], sizes[0], "blind to emotion", filled=False))
    tight = {"fontsize": SMALL, "columnspacing": 1.0, "handletextpad": 0.2}
    figure.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False, **tight)


def name_dots(figure: Figure, axes: Axes, standings: Sequence[Standing]) -> None:
    """Each dot's name where it hides the least, the most crowded ones first; a thread if it stands apart."""
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    extent = axes.get_window_extent()
    frame = (extent.x0 * scale, extent.y0 * scale, extent.x1 * scale, extent.y1 * scale)
    centres = [tuple(axes.transData.transform((s.percent, s.quality.mean)) * scale) for s in standings]
    radii = [math.sqrt(area_of(s.minutes.mean)) / 2 for s in standings]
    dots = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(centres, radii, strict=True)]
    lines = [boxes_along(*ends) for ends in strokes(axes, scale)]
    drawing = Drawing(frame, [*dots, *(box for boxes in lines for box in boxes)])
    crowd = [sum(math.dist(one, other) < 60 for other in centres) for one in centres]
    for row in sorted(range(len(standings)), key=lambda row: -crowd[row]):
        words = shown_as(standings[row].adapter)
        box = freest(centres[row], radii[row], size_of(words), drawing)
        thread = thread_of(box, centres[row], radii[row])
        drawing.boxes.extend([box, *thread])
        put_name(axes, standings[row], words, box, centres[row], apart=bool(thread))


def strokes(axes: Axes, scale: float) -> list[tuple[Spot, Spot]]:
    """Ends of the straight strokes of the stair and the intervals, in points."""
    paths = [(line.get_path(), line.get_transform()) for line in axes.lines]
    paths += [(p, axes.transData) for found in axes.collections for p in found.get_paths() if len(p) == 2]
    ends = [[tuple(spot * scale) for spot in where.transform(path.vertices)] for path, where in paths]
    return [pair for spots in ends for pair in pairwise(spots)]


def put_name(axes: Axes, standing: Standing, words: str, box: Box, centre: Spot, *, apart: bool) -> None:
    """In the middle of its box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    width, height = box[2] - box[0], box[3] - box[1]
    relative = (
        (min(max(centre[0], box[0]), box[2]) - box[0]) / width,
        (min(max(centre[1], box[1]), box[3]) - box[1]) / height,
    )
    axes.annotate(
        words,
        (standing.percent, standing.quality.mean),
        xytext=(x - centre[0], y - centre[1]),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=SMALL,
        linespacing=1.0,
        arrowprops={"color": INK, "alpha": 0.6, "relpos": relative, **THREAD} if apart else None,
    )
