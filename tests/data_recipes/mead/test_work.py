"""A clip as a job: whatever a film does to its worker, the others are done, and the log says why."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from data_recipes.mead import work
from data_recipes.mead.clip import ClipOptions
from data_recipes.mead.layout import Take
from data_recipes.mead.work import Job, Outcome, do, do_all
from eatlab.errors import UserError


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(work, "finder", lambda: None)
    (tmp_path / "001.mp4").write_bytes(b"film")
    take = Take("mead_M003_front_sad_1_001", "001.mp4", "M003", "front", "sad", 1, "001")
    return Job(take, tmp_path, ClipOptions(), tmp_path / "work")


def raising(error: BaseException) -> Callable[..., object]:
    def film_clip(*args: object, **options: object) -> object:
        raise error

    return film_clip


@pytest.mark.parametrize("error", [ValueError("two\nlines"), UnicodeDecodeError("utf-8", b"", 0, 1, "no")])
def test_a_film_that_breaks_a_reader_is_corrupt_and_tried_again(
    job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(work, "film_clip", raising(error))
    reject = do(job).reject
    assert reject is not None
    assert (reject.reason, reject.path) == ("corrupt", "001.mp4")
    assert reject.detail.startswith(type(error).__name__)
    assert "\n" not in reject.detail
    assert not [path for path in job.work.rglob("*") if path.is_file()]


@pytest.mark.parametrize("error", [UserError("no mediapipe"), OSError(errno.ENOSPC, "full")])
def test_what_is_no_films_fault_ends_the_run(
    job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(work, "film_clip", raising(error))
    with pytest.raises(type(error)):
        do(job)


def test_a_file_that_cannot_be_read_is_a_line_of_the_log(job: Job) -> None:
    (job.folder / "001.mp4").unlink()
    reject = do(job).reject
    assert reject is not None
    assert (reject.reason, reject.sha256) == ("corrupt", "")
    assert "cannot be read (No such file or directory" in reject.detail


def test_a_film_that_kills_its_worker_is_found_and_the_others_are_done(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        Job(Take(key, key, "M003", "front", "sad", 1, "001"), job.folder, job.options, job.work)
        for key in "abcdefgh"
    ]
    calls = []

    def do_some(these: Sequence[Job], workers: int, note: Callable[[Outcome], object]) -> None:
        calls.append("".join(one.take.key for one in these))
        for one in these:
            if one.take.key == "b":
                raise BrokenProcessPool
            note(Outcome(one.take, Path(one.take.key), None))

    monkeypatch.setattr(work, "do_some", do_some)
    noted: list[str] = []
    outcomes = do_all(jobs, 2, lambda outcome: noted.append(outcome.take.key))
    assert calls == ["abcdefgh", *"bcdef", "gh"]  # alone: only those that may have been under way
    assert noted == list("abcdefgh")
    assert [outcome.take.key for outcome in outcomes if outcome.tar is None] == ["b"]
    assert outcomes[1].reject is not None
    assert outcomes[1].reject.passing
    assert "the process that read it died" in outcomes[1].reject.detail
