"""The test bench: test clips, their portraits and the judges' reading of the truth, and the frames of every
row of a table.

A row is a speaker: something that says the expression E of given frames. Everything else (portrait, true
pose, renderer, judges) is the same for all rows, so that a difference between two rows is a difference
between two speakers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol as Interface

import torch
from torch import Tensor

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.picture import as_many_pixels, resized
from eatlab.backbone.precision import fast
from eatlab.backbone.sites import FROZEN, Context
from eatlab.backbone.talking_head import Portrait, TalkingHead
from eatlab.data.samples import FrameTable
from eatlab.emotions import EMOTIONS, NEUTRAL
from eatlab.experts.judges import Judges
from eatlab.metrics.image import to_uint8
from eatlab.metrics.protocols import Protocol
from eatlab.metrics.row import RowReading, ground_truth_row, measure_row
from eatlab.metrics.truth import TruthReading, read_truth
from eatlab.training.latents import Latents, LatentsConfig, SetName, load_latents, read_tables, shown

FRAMES = 30
"""Rendered at once, at 96 px; many more are slower on a CPU without bf16: they leave its cache."""
LEAST_WRONG_INTENSITY = 0.75

Report = Callable[[int, int], object]


class Speaker(Interface):
    """Says E (clips, frames, 15, 3) for frames `rows` (clips, frames), and the context in which they are
    rendered.
    """

    def __call__(self, bench: Bench, rows: Tensor) -> tuple[Tensor, Context]: ...


def still(bench: Bench, rows: Tensor) -> tuple[Tensor, Context]:
    """The portrait's own expression, in the true pose."""
    portraits = bench.latents.portrait[bench.latents.clip[rows]]
    return bench.latents.portrait_expression[portraits], FROZEN


def frozen(bench: Bench, rows: Tensor) -> tuple[Tensor, Context]:
    """The backbone without an adapter."""
    return bench.backbone.speak(bench.latents.batch(rows), FROZEN), FROZEN


def reenactment(bench: Bench, rows: Tensor) -> tuple[Tensor, Context]:
    """The expression of the true frame: what the renderer can do at best in PSNR and landmarks."""
    return bench.latents.expression[rows], FROZEN


@dataclass(frozen=True)
class Adapted:
    """Adapters, with an emotion (M,) or shares (M, 8) and an intensity (M,) asked of each clip."""

    adapters: AdapterSet
    emotion: Tensor
    intensity: Tensor

    def __call__(self, bench: Bench, rows: Tensor) -> tuple[Tensor, Context]:
        clips = bench.latents.clip[rows[:, 0]]
        context = self.adapters.context(self.emotion[clips], self.intensity[clips])
        return bench.backbone.speak(bench.latents.batch(rows), context), context


@dataclass(frozen=True)
class Misheard:
    """Adapters that hear the sound of the next clip: what says it must not look as if it said this one."""

    spoken: Adapted

    def __call__(self, bench: Bench, rows: Tensor) -> tuple[Tensor, Context]:
        (whole,) = bench.latents.by_length()
        clips = bench.latents.clip[rows[:, 0]]
        others = whole[(clips + 1) % len(whole), : rows.shape[1]]
        heard = {name: getattr(bench.latents, name)[others] for name in ("mel", "speech")}
        context = self.spoken.adapters.context(self.spoken.emotion[clips], self.spoken.intensity[clips])
        return bench.backbone.speak(bench.latents.batch(rows) | heard, context), context


def asked_of(latents: Latents) -> tuple[Tensor, Tensor]:
    """The clips' own emotion (unknown: neutral) and intensity."""
    return torch.where(latents.emotion < 0, NEUTRAL, latents.emotion), latents.intensity


def wrongly_asked_of(latents: Latents) -> tuple[Tensor, Tensor]:
    """Another emotion than the clip's, three labels on, strongly."""
    return (asked_of(latents)[0] + 3) % len(EMOTIONS), latents.intensity.clamp(min=LEAST_WRONG_INTENSITY)


@dataclass(frozen=True)
class Bench:
    """N test frames of M clips, all with equally many frames, and what is needed to draw and measure them."""

    backbone: TalkingHead
    judges: Judges
    table: FrameTable
    latents: Latents
    truth: TruthReading

    @torch.no_grad()
    def frames(
        self, speaker: Speaker, report: Report = lambda done, total: None, rows: Tensor | None = None
    ) -> Tensor:
        """(N, 3, size, size) uint8 of a speaker, in the order of the table; `rows` (clips, frames) draws only
        those.
        """
        (rows,) = self.latents.by_length() if rows is None else (rows,)
        drawn = []
        for chunk in rows.split(max(1, frames_at_once(self.backbone) // rows.shape[1])):
            expression, context = speaker(self, chunk)
            drawn.append(to_uint8(self.draw(chunk, expression, context)))
            report(len(drawn) * len(chunk), len(rows))
        return torch.cat(drawn)

    def draw(self, rows: Tensor, expression: Tensor, context: Context) -> Tensor:
        """Frames of clips: rows (clips, frames), expression (clips, frames, 15, 3) → (clips·frames, 3, side,
        side).
        """
        portraits = self.portraits(self.latents.clip[rows[:, 0]], context)
        return self.drawn(portraits, expression, self.latents.pose[rows], context)

    def drawn(self, portrait: Portrait, expression: Tensor, pose: Tensor, context: Context) -> Tensor:
        """portrait: a row a clip; expression (clips, frames, 15, 3), pose (clips, frames, 7) → (clips·frames,
        3, side, side), at the size of the clips.
        """
        each = portrait.rows(torch.arange(len(expression)).repeat_interleave(expression.shape[1]))
        with fast("cpu"):
            image = self.backbone.render(each, expression.flatten(0, 1), pose.flatten(0, 1), context).float()
        return resized(image, self.table.image.shape[-1])

    def portraits(self, clips: Tensor, context: Context) -> Portrait:
        """One row a clip."""
        which = self.latents.portrait[clips]
        image, pose = self.latents.portrait_image[which], self.latents.portrait_pose[which]
        return self.backbone.portrait(shown(self.backbone, image), pose, context)

    def source_copy(self) -> Tensor:
        """The portrait repeated (N, 3, size, size) uint8."""
        return self.latents.portrait_image[self.latents.portrait[self.latents.clip]]

    def measure(self, frames: Tensor, asked: Tensor | None = None) -> RowReading:
        """A row's frames against the truth."""
        return measure_row(frames, self.truth, self.judges, asked)

    def ground_truth(self) -> RowReading:
        """The truth against itself."""
        return ground_truth_row(self.truth, self.judges)


def frames_at_once(backbone: TalkingHead) -> int:
    """How many frames are rendered at once."""
    return as_many_pixels(FRAMES, backbone.config.size)


def open_bench(
    backbone: TalkingHead,
    judges: Judges,
    source: SetName,
    protocol: Protocol,
    cache: Path,
    *,
    num_clips: int = 0,
    report: Report = lambda done, total: None,
) -> Bench:
    """The bench of a split under a protocol; `num_clips` > 0 takes a fixed subset of about so many, for
    tuning curves.
    """
    config = LatentsConfig("fixed", cut=protocol.frames_per_clip)
    latents = load_latents(backbone, source, config, cache, report)
    table = read_tables(source, config.cut)[0]
    if 0 < num_clips < len(table.key):
        chosen = (
            torch.randperm(len(table.key), generator=torch.Generator().manual_seed(0))[:num_clips]
            .sort()
            .values
        )
        table, latents = subset(table, chosen), subset_of_latents(latents, chosen)
    return Bench(
        backbone, judges, table, latents, read_truth(table, judges, protocol, data=source.fingerprint())
    )


def subset(table: FrameTable, clips: Tensor) -> FrameTable:
    """The table of some clips (m,), ascending."""
    rows = torch.nonzero(torch.isin(table.clip, clips))[:, 0]
    picked = clips.tolist()
    return replace(
        table,
        image=table.image[rows],
        clip=torch.searchsorted(clips, table.clip[rows]),
        at=table.at[rows],
        truth={name: value[rows] for name, value in table.truth.items()},
        key=[table.key[i] for i in picked],
        identity=[table.identity[i] for i in picked],
        emotion=table.emotion[clips],
        intensity=table.intensity[clips],
        level=table.level[clips],
        audio=[table.audio[i] for i in picked],
    )


def subset_of_latents(latents: Latents, clips: Tensor) -> Latents:
    """The latents of some clips (m,), ascending; all portraits stay."""
    rows = torch.nonzero(torch.isin(latents.clip, clips))[:, 0]
    names = ("expression", "pose", "mel", "speech", "at", "pictures")
    by_frame = {name: value[rows] for name in names if (value := getattr(latents, name)) is not None}
    by_clip = {name: getattr(latents, name)[clips] for name in ("portrait", "emotion", "intensity", "level")}
    return replace(latents, clip=torch.searchsorted(clips, latents.clip[rows]), **by_frame, **by_clip)
