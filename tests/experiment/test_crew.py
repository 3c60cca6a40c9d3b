"""A crew: results in order, news on the way, errors that reach the parent, a stop that everybody hears."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from eatlab.errors import ExitCode, UserError
from eatlab.experiment.crew import Crew, Desk, Job, Progress
from eatlab.preemption import interrupted


def double(desk: Desk, value: int) -> int:
    desk.report(1, 2, "half")
    return 2 * value


def num_threads(desk: Desk) -> tuple[int, int]:
    import torch

    return torch.get_num_threads(), os.getpid()


def refuse(desk: Desk) -> None:
    raise UserError("it will not do", "there is nothing", code=ExitCode.DATA_DAMAGED)


def trip(desk: Desk) -> None:
    raise KeyError("a mistake")


def wait(desk: Desk, place: str) -> None:
    """Works until told to stop, then saves."""
    Path(place).write_text("working")
    while not desk.stop():
        time.sleep(0.02)
    Path(place).write_text("saved")
    raise interrupted("waiting")


def be_deaf(desk: Desk, place: str) -> None:
    """Works on whatever it is told."""
    Path(place).write_text("working")
    time.sleep(60)


def refuse_once_there_is(desk: Desk, place: str) -> None:
    while not Path(place).exists():
        time.sleep(0.02)
    refuse(desk)


def die(desk: Desk) -> None:
    os._exit(9)


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_jobs_and_news_on_the_way(workers: int) -> None:
    news: list[Progress] = []
    with Crew(workers, news.append) as crew:
        assert crew.run([Job(f"j{i}", double, {"value": i}) for i in range(4)]) == [0, 2, 4, 6]
        assert crew.run([]) == []
    assert sum(n.finished for n in news) == 4
    assert Progress("j3", 1, 2, "half") in news


@pytest.mark.slow
def test_each_process_has_one_thread_and_none_is_left_behind() -> None:
    with Crew(2) as crew:
        found = crew.run([Job(str(i), num_threads) for i in range(4)])
        processes = crew.processes
    assert {threads for threads, _ in found} == {1}
    assert os.getpid() not in {pid for _, pid in found}
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_mistake_keeps_its_line_and_its_code(workers: int) -> None:
    with pytest.raises(UserError, match="it will not do; there is nothing") as told, Crew(workers) as crew:
        crew.run([Job("a", refuse)])
    assert told.value.code == ExitCode.DATA_DAMAGED


def test_our_own_mistake_tells_where_it_was() -> None:
    with pytest.raises(RuntimeError, match="trip"), Crew(1) as crew:
        crew.run([Job("a", trip)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_every_job_saves_and_the_code_is_75(tmp_path: Path, number: signal.Signals) -> None:
    places = [tmp_path / "a", tmp_path / "b"]

    def stop_us() -> None:
        while not all(place.exists() for place in places):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop_us, daemon=True).start()
    before = signal.getsignal(number)
    with pytest.raises(UserError, match="run the same command again") as told, Crew(2) as crew:
        crew.run([Job(place.name, wait, {"place": str(place)}) for place in places])
    assert told.value.code == ExitCode.INTERRUPTED
    assert [place.read_text() for place in places] == ["saved", "saved"]
    assert signal.getsignal(number) == before


def test_a_mistake_of_one_job_lets_the_others_save(tmp_path: Path) -> None:
    place = tmp_path / "a"
    with pytest.raises(UserError, match="it will not do"), Crew(2) as crew:
        crew.run(
            [Job("a", wait, {"place": str(place)}), Job("b", refuse_once_there_is, {"place": str(place)})]
        )
    assert place.read_text() == "saved"


def test_a_mistake_is_told_though_another_job_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eatlab.experiment.crew.PATIENCE_S", 0.5)
    options = {"place": str(tmp_path / "told")}
    with pytest.raises(UserError, match="it will not do"), Crew(2) as crew:
        crew.run([Job("deaf", be_deaf, options), Job("late", refuse_once_there_is, options)])


def test_a_killed_process_is_not_waited_for() -> None:
    with pytest.raises(UserError, match="exit code 9") as told, Crew(1) as crew:
        crew.run([Job("a", die)])
    assert told.value.code == ExitCode.INTERRUPTED
