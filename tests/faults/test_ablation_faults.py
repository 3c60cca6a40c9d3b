"""What a user can get wrong, and what a machine can do to a run: one clear line, the right exit code, nothing
lost.
"""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from eatlab import atomic, cli
from eatlab.data.puppets.corpus import PRESETS, Preset
from eatlab.errors import ExitCode, UserError
from eatlab.training.checkpoint import load_checkpoint, saved
from eatlab.training.learner import TuneConfig
from eatlab.training.schedule import Schedule
from eatlab.training.tune import Tuned, tune
from tests.e2e.random_zoo import make_random_zoo
from tests.training.toys import tiny_backbone, tiny_latents

MICRO = Preset(num_frames=36, train=1, pretrain=1, val=1, test=1, wild=1, takes=1)
Ask = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def ask(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Calls `eatlab ablation …` in an empty folder: exit code and what stands on stderr."""

    def call(*words: str) -> tuple[int, str]:
        places = [f"zoo={zoo}", f"host.runs={tmp_path / 'runs'}", f"host.data={tmp_path / 'data'}"]
        capsys.readouterr()
        code = cli.main(["ablation", *places, "host.workers=1", "host.track=false", *words])
        return code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["adapter=deep_promt"], "did you mean deep_prompt"),
        (["adapter=none"], "nothing to tune"),
        (["adaptr=deep_prompt"], "did you mean adapter"),
        (["--jsn", "table.json"], "did you mean --json"),
        (["schedule.steps=many"], "does not fit"),
        (["puppets=smal"], "is unknown"),
        (["data=no/such/folder"], "does not exist"),
        (["seeds=1,1"], "give different ones"),
        (["host.workers=-1"], "host.workers=-1 will not do; it is at least 0"),
        (["schedule.save_every=0"], "schedule.save_every=0 will not do; it is at least 1"),
        (["zoo=no/such/zoo"], "has no card"),
    ],
)
def test_bad_input_is_one_line_with_code_2_and_leaves_nothing_behind(
    ask: Ask, tmp_path: Path, words: list[str], says: str
) -> None:
    code, line = ask(*words)
    assert code == ExitCode.BAD_INPUT
    assert says in line
    assert line.count("\n") == 1
    assert "Traceback" not in line
    assert not (tmp_path / "runs").exists()


def test_a_damaged_shard_is_named_with_code_4(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_recipes.puppets.recipe import prepare

    monkeypatch.setitem(PRESETS, "micro", MICRO)
    parts = [f"acted/{split}" for split in ("train", "val", "test")]
    folder = prepare("micro", parts, folder=tmp_path / "data" / "puppets", workers=1)
    shard = next(folder.glob("acted-test-*.tar"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    code, line = ask("puppets=micro", "seeds=0")
    assert code == ExitCode.DATA_DAMAGED
    assert shard.name in line
    assert line.count("\n") == 1


def tuning(folder: Path) -> Tuned:
    schedule = Schedule(steps=12, batch=4, warmup=3, evaluate_every=6, save_every=3)
    silent = lambda done, total, note: None  # noqa: E731
    tunings = {folder / "run": TuneConfig(schedule=schedule)}
    return tune(tiny_backbone(), tiny_latents(), tiny_latents(8), tunings, report=silent)[0]


@pytest.mark.parametrize("saves", [1, 3, 5, 9, 11])
def test_a_disk_that_fills_up_while_tuning_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    whole = tuning(tmp_path / "whole")
    left, flush = [saves], atomic.flush

    def fill(path: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        flush(path)

    monkeypatch.setattr(atomic, "flush", fill)
    with pytest.raises(UserError, match="disk is full") as told:
        tuning(tmp_path / "full")
    assert told.value.code == ExitCode.INTERRUPTED
    monkeypatch.undo()
    checkpoints, warnings = tmp_path / "full" / "run" / "checkpoints", []
    found = load_checkpoint(checkpoints, warnings.append)
    assert len(warnings) <= 1
    assert found is not None or len(saved(checkpoints)) <= 1
    assert not list((tmp_path / "full").rglob("*.part"))
    assert tuning(tmp_path / "full").adapter.read_bytes() == whole.adapter.read_bytes()
