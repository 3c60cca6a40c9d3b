"""The whole ablation on one person of each split with networks that learned nothing: every part, in the right
order.

Numbers mean nothing here; what holds is that the files are there, agree with each other, and are not made
twice.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.atomic import sha256_of_file
from eatlab.data.puppets.corpus import PRESETS, Preset
from eatlab.errors import ExitCode, UserError
from eatlab.experiment.ablation import AblationConfig, HostConfig, run_ablation
from eatlab.experiment.record import read_record
from eatlab.training.schedule import Schedule
from eatlab.zoo.networks import load_backbone
from tests.e2e.random_zoo import make_random_zoo

MICRO = Preset(num_frames=36, train=1, pretrain=1, val=1, test=1, wild=1, takes=1)
ROWS = ["source_copy", "still", "frozen", "shallow_prompt", "deep_prompt", "wrong_emotion", "shuffled_audio"]
METRICS = ("psnr", "ssim", "m_lmd", "f_lmd", "sync", "acc_emo", "acc_asked", "params", "minutes")
FRAMES = """
import hashlib, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.zoo.networks import load_backbone
from tests.e2e.test_ablation import frames_of
backbone = load_backbone(folder=Path(sys.argv[1]))
frames = frames_of(AdapterSet.load(sys.argv[2], backbone), backbone)
print(hashlib.sha256(frames.numpy().tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a zoo, in which the ablation has run once."""
    folder = tmp_path_factory.mktemp("ablation")
    make_random_zoo(folder / "zoo")
    patch = pytest.MonkeyPatch()
    patch.setitem(PRESETS, "micro", MICRO)
    patch.setenv("WANDB_MODE", "disabled")
    assert run_ablation(config_of(folder)) == ExitCode.DONE
    yield folder
    patch.undo()


def config_of(home: Path, **host: object) -> AblationConfig:
    places = {"runs": str(home / "runs"), "data": str(home / "data"), "json": str(home / "table.json")}
    return AblationConfig(
        seeds=(0,),
        puppets="micro",
        zoo=str(home / "zoo"),
        schedule=Schedule(steps=4, batch=4, warmup=2, evaluate_every=4, save_every=2),
        host=replace(HostConfig(workers=1, track=False, **places), **host),  # type: ignore[arg-type]
    )


def folder_of(home: Path) -> Path:
    """The ablation's run folder, told from its tunings' by its table."""
    (table,) = (home / "runs").glob("*/table.json")
    return table.parent


@torch.no_grad()
def frames_of(adapters: AdapterSet, backbone: torch.nn.Module) -> torch.Tensor:
    """Some frames of noise spoken with a mixed emotion, in bf16 as the ablation renders."""
    random = torch.Generator().manual_seed(0)
    pose = torch.cat([torch.zeros(1, 3, 6), torch.ones(1, 3, 1)], 2)
    portrait = backbone.portrait(torch.rand(1, 3, 96, 96, generator=random) * 2 - 1, pose[:, 0])
    mel, speech = (torch.randn(1, 3, 11, c, generator=random) for c in (80, 64))
    context = adapters.context(torch.full((1, 8), 0.125), 0.7)
    batch = {"mel": mel, "speech": speech, "pose": pose, "face_map": portrait.face_map}
    expression = backbone.speak(batch, context)[0]
    with torch.autocast("cpu", torch.bfloat16):
        return backbone.render(portrait.rows(torch.zeros(3, dtype=torch.long)), expression, pose[0], context)


def test_ends_with_all_its_files(home: Path) -> None:
    folder = folder_of(home)
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "env.json", "metrics.csv", "adapter.safetensors", "record.json"} <= names
    assert {"table.json", "table.txt", "report.html", "pictures"} <= names
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert {"contact_sheet.png", "intensity.png", "mix.png"} <= pictures
    assert sum(name.endswith(".mp4") for name in pictures) == 2
    assert (folder / "adapter.safetensors").stat().st_size < 5e6


def test_the_table_has_every_row_and_metric_as_json(home: Path) -> None:
    table = json.loads((home / "table.json").read_text())
    assert list(table["rows"]) == [*ROWS, "reenactment", "ground_truth"]
    for cells in table["rows"].values():
        assert all(set(cells[name]) >= {"mean", "low", "high"} for name in METRICS)
    assert table["rows"]["ground_truth"]["m_lmd"]["mean"] == 0
    assert (
        table["rows"]["deep_prompt"]["params"]["mean"] > table["rows"]["shallow_prompt"]["params"]["mean"] > 0
    )
    assert table["rows"]["wrong_emotion"]["acc_asked"]["mean"] is not None


def test_the_record_says_what_it_was_made_of(home: Path) -> None:
    record = read_record(folder_of(home))
    assert record is not None
    points = [point for points in record["points"].values() for point in points]
    digests = {digest for point in points for digest in point["backbone_sha256"].values()}
    assert digests == {record["backbone"]["sha256"]}
    assert record["table"]["fingerprint"]
    assert record["seeds"] == [0]
    assert record["data"]["test"] != record["data"]["train"]
    assert record["spent"]["wall_s"] > 0


def test_every_reading_that_the_table_rests_on_is_named_with_its_sha256(home: Path) -> None:
    folder = folder_of(home)
    record = read_record(folder)
    assert record is not None
    assert record["readings"].keys() == record["table"]["rows"].keys()
    for files in record["readings"].values():
        for file in files:
            assert sha256_of_file(folder / file["file"]) == file["sha256"]


def test_a_second_call_says_done_without_torch(home: Path) -> None:
    (home / "table.json").unlink(missing_ok=True)
    words = "import sys; from tests.e2e.again import again; again(sys.argv[1]); print('torch' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", words, str(home)], capture_output=True, text=True, check=True
    )
    assert "done before" in said.stdout
    assert "deep_prompt" in said.stdout
    assert said.stdout.strip().endswith("False")
    assert (home / "table.json").read_bytes() == (folder_of(home) / "table.json").read_bytes()


def test_the_adapter_loads_in_a_new_process_to_the_same_frames_bit_for_bit(home: Path) -> None:
    torch.set_num_threads(1)
    path, backbone = folder_of(home) / "adapter.safetensors", load_backbone(folder=home / "zoo")
    here = hashlib.sha256(frames_of(AdapterSet.load(path, backbone), backbone).numpy().tobytes()).hexdigest()
    words = [sys.executable, "-c", FRAMES, str(home / "zoo"), str(path)]
    there = subprocess.run(words, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_another_backbone_is_refused_with_both_fingerprints(home: Path, tmp_path: Path) -> None:
    other = load_backbone(folder=make_random_zoo(tmp_path, seed=1))
    record = read_record(folder_of(home))
    assert record is not None
    from eatlab.backbone.sites import fingerprint

    with pytest.raises(UserError) as told:
        AdapterSet.load(folder_of(home) / "adapter.safetensors", other)
    assert record["backbone"]["fingerprint"] in str(told.value)
    assert fingerprint(other) in str(told.value)


def test_only_what_is_missing_or_damaged_is_made_again(home: Path, tmp_path: Path) -> None:
    again = tmp_path / "home"
    shutil.copytree(home, again)
    folder = folder_of(again)
    table = json.loads((folder / "table.json").read_text())
    (folder / "record.json").unlink()
    readings = sorted((again / "runs").glob("*/readings/**/*.safetensors"))
    readings[0].unlink()
    readings[1].write_bytes(b"damaged")
    kept = {path: path.stat().st_mtime_ns for path in readings[2:]}
    damaged = next(p for p in (again / "runs").glob("*/adapter.safetensors") if p.parent != folder)
    before = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    host = {"runs": str(again / "runs"), "data": str(again / "data"), "report": False}
    assert run_ablation(replace(config_of(home), host=config_of(again, **host).host)) == ExitCode.DONE
    assert damaged.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert json.loads((folder / "table.json").read_text())["rows"]["frozen"] == table["rows"]["frozen"]


@pytest.mark.slow
def test_the_same_sets_tuned_together_end_with_the_same_files_and_the_same_table(
    home: Path, tmp_path: Path
) -> None:
    again = tmp_path / "home"
    shutil.copytree(home / "data", again / "data")
    host = {"runs": str(again / "runs"), "data": str(again / "data"), "report": False}
    config = replace(config_of(home), together=True, host=config_of(again, **host).host)
    assert run_ablation(config) == ExitCode.DONE
    ours, theirs = folder_of(again), folder_of(home)
    assert ours.name == theirs.name
    for path in (home / "runs").glob("*/adapter.safetensors"):
        assert (again / "runs" / path.relative_to(home / "runs")).read_bytes() == path.read_bytes()
    tables = [json.loads((folder / "table.json").read_text()) for folder in (ours, theirs)]
    for cells in (cells for table in tables for cells in table["rows"].values()):
        del cells["minutes"]
    assert tables[0] == tables[1]
    points = [point for points in read_record(ours)["points"].values() for point in points]  # type: ignore[index]
    for point in points:
        record = read_record(again / "runs" / point["identity"])
        assert record is not None
        assert record["tuned_together"] == ["shallow_prompt", "deep_prompt"]
