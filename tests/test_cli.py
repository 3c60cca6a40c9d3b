"""The command line: help, mistakes as one line with an exit code, and what a stopped or starved run says."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from types import ModuleType

import pytest

from eatlab import cli
from eatlab.errors import ExitCode, UserError


@dataclass(frozen=True)
class HostToy:
    json: str = ""
    workers: int = 2


@dataclass(frozen=True)
class ToyConfig:
    adapter: str = "deep_prompt"
    data: str | None = None
    steps: int = 3
    host: HostToy = field(default_factory=HostToy)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a command's config and its function, put where `eatlab ablation` looks."""
    module = ModuleType("toy_command")
    module.ToyConfig = ToyConfig
    module.seen = []
    module.run = lambda config: module.seen.append(config) or 0
    monkeypatch.setitem(sys.modules, "toy_command", module)
    command = cli.Command(
        "does", "example", "toy_command:ToyConfig", "toy_command:run", {"--json": "host.json"}
    )
    monkeypatch.setitem(cli.COMMANDS, "ablation", command)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.delenv("EATLAB_DEBUG", raising=False)
    return module


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


def test_help_shows_an_example_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == ExitCode.DONE
    out = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert command.example in out
        assert command.example.startswith(f"eatlab {name}")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from eatlab.cli import main; main(['--help']);"
        "heavy = {'torch', 'numpy', 'lightning', 'omegaconf', 'wandb', 'cv2'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_of_a_command_lists_its_keys_and_defaults(
    toy: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ablation", "--help"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert "--json FILE" in out
    assert "host.workers  2" in out


def test_overrides_reach_the_function(toy: ModuleType) -> None:
    assert (
        cli.main(["ablation", "adapter=lora(rank=8)+eam", "data=a b", "--json", "table.json", "steps=4"]) == 0
    )
    assert toy.seen == [ToyConfig("lora(rank=8)+eam", "a b", 4, HostToy("table.json"))]


def test_json_may_be_written_with_an_equals_sign(toy: ModuleType) -> None:
    assert cli.main(["ablation", "--json=t.json"]) == 0
    assert toy.seen[0].host.json == "t.json"


def takes_bare_words(monkeypatch: pytest.MonkeyPatch, toy: ModuleType, key: str, config: type) -> None:
    """`eatlab ablation` with bare words for a key of a config."""
    toy.ToyConfig = config
    command = replace(cli.COMMANDS["ablation"], words=key, options={"--out": "out", "--format": "kind"})
    monkeypatch.setitem(cli.COMMANDS, "ablation", command)


@dataclass(frozen=True)
class FilesConfig:
    files: tuple[str, ...]
    out: str
    steps: int = 3


@dataclass(frozen=True)
class FolderConfig:
    folder: str
    kind: str = ""


def test_bare_words_fill_a_list_as_they_are_written(toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    takes_bare_words(monkeypatch, toy, "files...", FilesConfig)
    files = ("a, b.pth", "1e5", "null", "./x=y.pth", 'é"[', "no")
    assert cli.main(["ablation", *files[:3], "steps=4", "--out", "f", *files[3:]]) == 0
    assert toy.seen == [FilesConfig(files, "f", 4)]


def test_one_bare_word_fills_a_value(toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    takes_bare_words(monkeypatch, toy, "folder", FolderConfig)
    assert cli.main(["ablation", "--format", "released", "a folder, mine"]) == 0
    assert toy.seen == [FolderConfig("a folder, mine", "released")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "b"], '"b" is one word too many; the folder is "a"; give one folder'),
        ([], "folder is not given"),
        (["a", "--format"], "--format needs a name; write --format NAME"),
        (["a", "--out"], "--out needs a path; write --out PATH"),
        (["a", "foldr=b"], "did you mean folder?"),
    ],
)
def test_a_mistake_in_bare_words_is_one_line(
    toy: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    takes_bare_words(monkeypatch, toy, "folder", FolderConfig)
    assert cli.main(["ablation", *words]) == ExitCode.BAD_INPUT
    assert said in one_line(capsys)
    assert not toy.seen


def test_help_shows_what_bare_words_and_options_are(
    toy: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    takes_bare_words(monkeypatch, toy, "files...", FilesConfig)
    assert cli.main(["ablation", "--help"]) == ExitCode.DONE
    usage = (
        "usage: eatlab ablation FILES... [key=value ...] [--config FILE.yaml] [--out PATH] [--format NAME]"
    )
    assert usage in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ablatoin"], "did you mean ablation?"),
        (["data", "pupets"], "did you mean data puppets?"),
        (["data"], "there are: data puppets, data mead"),
        (["ablation", "--jsn", "x"], "did you mean --json?"),
        (["ablation", "--json"], "--json needs a file"),
        (["ablation", "adaptr=eam"], "did you mean adapter?"),
        (["ablation", "deep_prompt"], "key=value"),
        (["ablation", "steps=few"], "steps is of type int"),
        (["ablation", "--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    toy: ModuleType, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.main(words) == ExitCode.BAD_INPUT
    assert said in one_line(capsys)
    assert not toy.seen


def ends_with(error: BaseException, toy: ModuleType) -> int:
    def run(_config: ToyConfig) -> int:
        raise error

    toy.run = run
    return cli.main(["ablation"])


@pytest.mark.parametrize("code", [ExitCode.UNSAFE_FILE, ExitCode.DATA_DAMAGED, ExitCode.DIVERGED])
def test_a_user_error_keeps_its_exit_code(
    toy: ModuleType, capsys: pytest.CaptureFixture[str], code: ExitCode
) -> None:
    assert (
        ends_with(UserError("shard 3 is damaged", "sha256 differs", "draw it again", code=code), toy) == code
    )
    assert one_line(capsys) == "eatlab: shard 3 is damaged; sha256 differs; draw it again\n"


def test_a_full_disk_names_the_file_and_what_to_do(
    toy: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/1a2b3c4d/adapter.safetensors")
    assert ends_with(error, toy) == ExitCode.INTERRUPTED
    line = one_line(capsys)
    assert "no space left on device while writing runs/1a2b3c4d/adapter.safetensors" in line
    assert "run the same command again to go on" in line


def test_a_full_disk_is_known_behind_the_error_of_a_library(
    toy: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("PytorchStreamWriter failed writing file")
    error.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert ends_with(error, toy) == ExitCode.INTERRUPTED
    assert "no space left on device" in one_line(capsys)


def test_ctrl_c_says_how_to_go_on(toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(KeyboardInterrupt(), toy) == ExitCode.INTERRUPTED
    assert one_line(capsys) == "eatlab: interrupted; run the same command again to go on\n"


def test_a_path_that_cannot_be_used_is_bad_input(toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    error = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), "tables")
    assert ends_with(error, toy) == ExitCode.BAD_INPUT
    assert one_line(capsys).startswith("eatlab: cannot use tables: is a directory; give a path that")


def test_our_own_mistake_is_one_line_too(toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(ZeroDivisionError("division by zero"), toy) == 1
    assert "EATLAB_DEBUG=1" in one_line(capsys)


def test_debug_adds_the_traceback(
    toy: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EATLAB_DEBUG", "1")
    assert ends_with(UserError("no"), toy) == ExitCode.BAD_INPUT
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m eatlab.cli --help | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_polite_kill_ends_like_ctrl_c() -> None:
    code = (
        "import sys, time; from eatlab import cli\n"
        "def wait(words):\n"
        "    print('ready', flush=True); time.sleep(30)\n"
        "cli._run = wait\n"
        "sys.exit(cli.main([]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == ExitCode.INTERRUPTED
    assert err == "eatlab: interrupted; run the same command again to go on\n"


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_names_a_config_and_a_function_that_exist(name: str) -> None:
    from eatlab.experiment.config import known_keys

    command = cli.COMMANDS[name]
    keys = known_keys(cli._load(command.config))
    assert callable(cli._load(command.run))
    assert set(command.options.values()) <= set(keys)
    assert not command.words or command.words.removesuffix("...") in keys
    for word in command.example.split()[2:]:
        key, equals, _ = word.partition("=")
        assert not equals or key in keys, f"the example of {name} uses the unknown key {key}"
