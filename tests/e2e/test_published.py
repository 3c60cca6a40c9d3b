"""The whole ablation on a head of published parts: E, poses and pictures come from the estimator beside it.

Thin parts in the suite; the published size on demand.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.published.head_pose import PublishedEstimator
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.puppets.corpus import PRESETS
from eatlab.errors import ExitCode, UserError
from eatlab.experiment import jobs
from eatlab.experiment.ablation import AblationConfig, HostConfig, run_ablation
from eatlab.experiment.config import resolve
from eatlab.training.schedule import Schedule
from eatlab.zoo import published
from eatlab.zoo.published import load_published
from tests.backbone.toys import TINY_PUBLISHED, lively_head
from tests.e2e.test_ablation import MICRO

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DRAWN = ("still", "frozen", "reenactment", "wrong_emotion")


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> TalkingHead:
    """What stands in for the head of the published size."""
    head = lively_head(TINY_PUBLISHED)
    head.read_by(PublishedEstimator((8, 8, 8, 8, 8), size=head.config.size))
    monkeypatch.setattr(published, "load_published", lambda folder: head)
    monkeypatch.setitem(PRESETS, "micro", MICRO)
    jobs.backbone_of.cache_clear()
    return head


def finished(config: AblationConfig) -> Path:
    """Runs it; where its table is."""
    assert run_ablation(config) == ExitCode.DONE
    (table,) = Path(config.host.runs).glob("*/table.json")
    return table.parent


def test_an_ablation_runs_on_published_parts(thin: TalkingHead, tmp_path: Path) -> None:
    host = HostConfig(workers=1, track=False, runs=str(tmp_path / "runs"), data=str(tmp_path / "data"))
    schedule = Schedule(steps=2, batch=2, warmup=1, evaluate_every=2)
    config = AblationConfig(
        "eat", ("lora(rank=2)",), (0,), puppets="micro", size="paper", clips=2, schedule=schedule, host=host
    )
    folder = finished(config)
    table = json.loads((folder / "table.json").read_text())
    assert table["protocol"] == "puppets-paper/1"
    assert all(table["rows"][row]["psnr"]["mean"] > 0 for row in (*DRAWN, "lora(rank=2)"))
    assert table["rows"]["lora(rank=2)"]["psnr"] != table["rows"]["frozen"]["psnr"]
    record = json.loads((folder / "record.json").read_text())
    assert "random weights" in record["data_warnings"][0]
    assert record["bars"] == []
    page = (folder / "report.html").read_text()
    assert "random weights" in page
    assert "enlarged to 256" in page
    assert AdapterSet.load(folder / "adapter.safetensors", thin).spec == record["adapter"]


def test_the_experiment_file_for_it_draws_little_and_no_film() -> None:
    config = resolve(AblationConfig, file=EXPERIMENTS / "paper.yaml")
    assert (config.size, config.clips, config.host.report) == ("paper", 1, False)


def test_the_random_estimator_is_the_same_whatever_was_drawn_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "random_head", lambda: lively_head(TINY_PUBLISHED))
    monkeypatch.setattr(published, "PublishedEstimator", lambda: PublishedEstimator((8, 8, 8, 8, 8), size=32))
    first = load_published(None)
    torch.rand(3)
    assert load_published(None).read_by_sha256 == first.read_by_sha256 != ""


def test_an_import_without_the_estimator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no estimator") as caught:
        load_published(tmp_path)
    assert caught.value.code == ExitCode.BAD_INPUT


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["eat", "lora(rank=4)"])
def test_a_few_steps_at_the_published_size(adapter: str, tmp_path: Path) -> None:
    config = resolve(AblationConfig, [f"adapter={adapter}"], file=EXPERIMENTS / "paper.yaml")
    host = replace(config.host, runs=str(tmp_path / "runs"), data=str(tmp_path / "data"))
    table = json.loads((finished(replace(config, host=host)) / "table.json").read_text())
    assert all(table["rows"][row]["psnr"]["mean"] > 0 for row in DRAWN)
