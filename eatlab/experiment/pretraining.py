"""Renderers pretrained anew, each by other losses and pairs, and measured by re-enactment (EAT,
Sec. 4.6, Table 3): does E carry emotion?

Each is the stage "render" of `eatlab pretrain`, shorter than the one that ships, in one process.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from eatlab.atomic import write_atomically
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead, for_cpu
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.bench import Bench, Report, reenactment
from eatlab.experiment.crew import Desk
from eatlab.experiment.record import environment, write_record
from eatlab.experiment.run import Run, digests
from eatlab.meaning import as_dict
from eatlab.metrics.row import RowReading
from eatlab.training.latents import estimate
from eatlab.training.pretrain import RenderConfig
from eatlab.training.render_stage import Overseer, train_renderer
from eatlab.zoo.folders import ZOO
from eatlab.zoo.networks import load_teachers

if TYPE_CHECKING:
    from eatlab.experiment.jobs import Setting

LOOK_EVERY = 100
"""Steps between two rows of a curve, each with a checkpoint."""
RENDERING = ("keypoints", "estimator", "renderer")
"""Parts of the talking head that draw; what A2ET says is no part of re-enactment."""


def alone() -> RenderConfig:
    """As what ships is trained, in one process: a grid has processes of its own."""
    return RenderConfig(processes=1)


@dataclass(frozen=True)
class PretrainingConfig:
    """name: of the row in tables; empty: what the grid varies. seeds: one pretraining each. puppets: their
    preset.

    clips: how many test clips are measured, always the same ones; 0: all. zoo: a folder with teachers, judges
    and the talking head that reference rows are drawn by; empty: what ships. render: how it learns.
    """

    BOUNDS: ClassVar = {"clips": (0, math.inf)}

    name: str = ""
    seeds: tuple[int, ...] = (0,)
    puppets: str = "small"
    clips: int = 0
    zoo: str = ""
    render: RenderConfig = field(default_factory=alone)

    @property
    def row(self) -> str:
        return self.name or "pretrained"


@dataclass(frozen=True)
class Pretraining:
    """A pretraining and what it depends on; its 8 hex digits name its run folder.

    data: fingerprints by part of the corpus. teachers: sha256 of those in its losses.
    """

    weights: ClassVar = "renderer.safetensors"
    row_kind: ClassVar = "pretrained"

    render: RenderConfig
    data: dict[str, str]
    teachers: dict[str, str]
    size: str = "small"
    kind: str = "pretraining"

    def learn(self, desk: Desk, setting: Setting, folder: Path) -> None:
        """Trains it in its run folder, or goes on there, and writes its record.

        Raises UserError: 75 when told to stop (all is saved), 5 when diverged.
        """
        run, stage = Run(folder, self), folder / "render"
        run.begin()
        torch.manual_seed(self.render.seed)
        head = TalkingHead(SIZES[self.size]())
        for_cpu(head)
        teachers = load_teachers(Path(setting.zoo) if setting.zoo else ZOO)
        overseer = Overseer(desk.report, desk.stop)
        train_renderer(
            head, teachers, setting.folder, stage, self.render, every=LOOK_EVERY, overseer=overseer
        )
        tensors = {
            f"{part}.{key}": value.contiguous()
            for part in RENDERING
            for key, value in head.get_submodule(part).state_dict().items()
        }
        about = {"size": self.size, "record": run.name, "of": "a pretraining for comparison, without A2ET"}
        write_atomically(folder / self.weights, lambda part: save_file(tensors, part, metadata=about))
        write_record(folder, self.record_of(run, stage) | {"environment": environment()})

    def record_of(self, run: Run, stage: Path) -> dict[str, Any]:
        """Shaped as that of a tuning (`jobs.record_of`); to the backbone it adds nothing."""
        curve = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
        return {
            "kind": self.kind,
            "identity": run.name,
            "seed": self.render.seed,
            "config": as_dict(self),
            "budget": {"total": 0, "percent": 0.0},
            "sees_emotion": True,
            "wall_s": curve[-1]["wall_s"],
            "cpu_s": curve[-1]["cpu_s"],
            "curve": [{"train_s" if key == "wall_s" else key: v for key, v in row.items()} for row in curve],
            "files": digests(run.folder, self.weights),
        }


@torch.no_grad()
def bench_of_renderer(bench: Bench, path: Path, report: Report) -> Bench:
    """The same clips and judges, with the renderer in a file and what its estimator reads of the true frames.

    Raises UserError (4) for a damaged file.
    """
    head = load_renderer(path)
    image = bench.table.image
    expression, _ = estimate(head, image, None, lambda done: report(done, len(image)))
    return replace(bench, backbone=head, latents=replace(bench.latents, expression=expression))


def read_pretrained(bench: Bench, path: Path | None, report: Report) -> RowReading:
    """The true frames re-enacted by the renderer in a file (EAT, Table 3)."""
    assert path is not None
    own = bench_of_renderer(bench, path, report)
    return own.measure(own.frames(reenactment, report))


def load_renderer(path: Path) -> TalkingHead:
    """Keypoints, estimator and renderer of a file; A2ET is random.

    Raises UserError (4) for a damaged file.
    """
    head = TalkingHead(SIZES["small"]())
    try:
        tensors = load_file(path)
        for part in RENDERING:
            own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
            head.get_submodule(part).load_state_dict(own)
    except (SafetensorError, OSError, RuntimeError) as error:
        do = "run the same grid again: it makes what is missing"
        code = ExitCode.DATA_DAMAGED
        raise UserError(f"{path} is damaged", " ".join(str(error).split()), do, code=code) from error
    for_cpu(head)
    return head.eval().requires_grad_(False)
