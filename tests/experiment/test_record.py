"""What a record says of its surroundings, and of the seconds that were spent over several calls."""

import json
import os
from pathlib import Path

import pytest

import eatlab
from eatlab.experiment import record
from eatlab.experiment.record import Spending, environment, machine, read_record, write_record


def test_the_environment_names_versions_command_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/eatlab", "ablation", "adapter=deep_prompt"])
    found = environment()
    assert found["command"] == "eatlab ablation adapter=deep_prompt"
    assert found["eatlab"] == eatlab.__version__
    assert found["packages"]["torch"].startswith("2.")
    assert found["machine"]["cores"] >= 1
    assert json.dumps(found)


def test_the_environment_says_nothing_about_who_ran_it() -> None:
    text = json.dumps(environment())
    assert os.uname().nodename not in text.replace(machine()["processor"], "")
    assert str(Path.home()) + "/" not in text


def test_outside_a_git_checkout_the_commit_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eatlab").mkdir()
    monkeypatch.setattr(eatlab, "__file__", str(tmp_path / "eatlab" / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record.commit() == ""


def test_a_record_comes_back_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    write_record(tmp_path, {"a": [1, 2.5, None, "é", float("nan")], "b": {"c": float("inf")}})
    assert read_record(tmp_path) == {"a": [1, 2.5, None, "é", None], "b": {"c": None}}


def test_seconds_add_up_over_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 15.0, 100.0, 103.0])
    monkeypatch.setattr(record.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(record, "cpu_seconds", lambda: 0.0)
    Spending(tmp_path).save()
    assert Spending(tmp_path).so_far() == {"wall_s": 8.0, "cpu_s": 0.0, "calls": 2}
