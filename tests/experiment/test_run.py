"""A run folder is named by its config, and is done only while its files are what the record says."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from eatlab.experiment.config import resolve
from eatlab.experiment.record import read_record, write_record
from eatlab.experiment.run import Run, digests


@dataclass(frozen=True)
class Host:
    workers: int = 1


@dataclass(frozen=True)
class Config:
    steps: int = 3
    host: Host = field(default_factory=Host)


def done(tmp_path: Path) -> Run:
    run = Run.of(Config(), tmp_path)
    run.begin()
    (run.folder / "adapter.safetensors").write_bytes(b"weights")
    write_record(run.folder, {"identity": run.name, "files": digests(run.folder, "adapter.safetensors")})
    return run


def test_the_host_section_does_not_name_the_folder(tmp_path: Path) -> None:
    one, other_host, other = (Run.of(c, tmp_path) for c in (Config(), Config(host=Host(8)), Config(4)))
    assert one.folder == other_host.folder != other.folder
    assert len(one.name) == 8
    assert not one.folder.exists()


def test_what_is_meant_names_the_folder_where_a_config_names_files(tmp_path: Path) -> None:
    assert Run.of(Config(), tmp_path, meant=Config(9)).name == Run.of(Config(9), tmp_path).name


def test_its_config_can_be_read_back(tmp_path: Path) -> None:
    run = done(tmp_path)
    assert resolve(Config, file=run.folder / "config.yaml") == Config()
    assert (run.folder / "env.json").exists()


def test_is_done_when_its_record_and_files_are_there(tmp_path: Path) -> None:
    record = done(tmp_path).record()
    assert record is not None
    assert record["files"]["adapter.safetensors"]


def test_is_not_done_without_a_record_or_with_another_file(tmp_path: Path) -> None:
    assert Run.of(replace(Config(), steps=77), tmp_path).record() is None
    run = done(tmp_path)
    (run.folder / "adapter.safetensors").write_bytes(b"other weights")
    assert run.record() is None
    (run.folder / "adapter.safetensors").unlink()
    assert run.record() is None


def test_is_not_done_with_a_torn_record_or_that_of_another_run(tmp_path: Path) -> None:
    run = done(tmp_path)
    path = run.folder / "record.json"
    path.write_text(path.read_text()[:-5])
    assert read_record(run.folder) is None
    assert run.record() is None
    write_record(run.folder, {"identity": "01234567"})
    assert run.record() is None
