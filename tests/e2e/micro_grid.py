"""A small grid with networks that learned nothing, as a program that a test can kill:
`python -m tests.e2e.micro_grid HOME RUNS`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

from eatlab import cli
from eatlab.data.puppets.corpus import PRESETS, Preset

MICRO = Preset(num_frames=36, train=1, pretrain=1, val=1, test=1, wild=1, takes=1)
SCHEDULE = {"steps": 12, "batch": 4, "warmup": 2, "evaluate_every": 6, "save_every": 2}


def words_of(home: Path, runs: str) -> list[str]:
    """The command's words, with the grid written that they name."""
    file = home / "grid.yaml"
    common = {"puppets": "micro", "zoo": str(home / "zoo"), "clips": 4, "schedule": SCHEDULE}
    over = {"adapter": ["head", "shallow_prompt"], "share": [0.5, 1], "seeds": [0]}
    file.write_text(yaml.safe_dump({"common": common, "over": over}))
    return ["grid", str(file), f"host.runs={home / runs}", f"host.data={home / 'data'}"]


def main(home: Path, runs: str) -> int:
    PRESETS["micro"] = MICRO
    return cli.main([*words_of(home, runs), "host.workers=2"])


if __name__ == "__main__":
    os.environ["WANDB_MODE"] = "disabled"
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2]))
