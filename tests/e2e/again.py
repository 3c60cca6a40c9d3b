"""Calls the test's ablation a second time, in a process that has not loaded torch."""

from pathlib import Path

from eatlab.experiment.ablation import AblationConfig, HostConfig, run_ablation
from eatlab.training.schedule import Schedule


def again(home: str) -> None:
    folder = Path(home)
    config = AblationConfig(
        seeds=(0,),
        puppets="micro",
        zoo=str(folder / "zoo"),
        schedule=Schedule(steps=4, batch=4, warmup=2, evaluate_every=4, save_every=2),
        host=HostConfig(runs=str(folder / "runs"), json=str(folder / "table.json")),
    )
    run_ablation(config)
