"""Claims: of any number that want one, one gets it; who is gone is followed; who works is left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eatlab.experiment.grids import claims
from eatlab.experiment.grids.claims import Claim, held, holder, num_lost, numbers, path_of, take


def tampered(claim: Claim, **changes: Any) -> None:
    """Writes into a claim's file what another machine or time would have written."""
    claim.path.write_text(json.dumps(claims.asdict(replace(claim.holding, **changes))))


def elsewhere(claim: Claim, age_s: float) -> None:
    tampered(claim, host="another", beat=time.time() - age_s)


def test_a_claim_is_had_by_one_until_it_is_given_back(tmp_path: Path) -> None:
    first = take(tmp_path, "a")
    assert first is not None
    assert take(tmp_path, "b") is None
    assert holder(tmp_path) == first.holding
    first.release()
    assert holder(tmp_path) is None
    second = take(tmp_path, "b")
    assert second is not None
    assert second.number == 1
    assert first.is_lost
    assert not second.is_lost


def test_a_heartbeat_says_how_far_the_work_is(tmp_path: Path) -> None:
    claim = take(tmp_path, "a")
    assert claim is not None
    before = claim.holding.beat
    claim.beat(7, 40, "loss 0.1")
    now = holder(tmp_path)
    assert now is not None
    assert (now.done, now.total, now.note) == (7, 40, "loss 0.1")
    assert now.beat >= before


def test_work_that_is_done_leaves_no_claim(tmp_path: Path) -> None:
    for _ in range(3):
        claim = take(tmp_path, "a")
        assert claim is not None
        claim.release()
    claim.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("age_s", "is_free"), [(1.0, False), (59.0, False), (61.0, True), (1e6, True)])
def test_another_machines_claim_is_stale_by_its_last_heartbeat(
    tmp_path: Path, age_s: float, is_free: bool
) -> None:
    claim = take(tmp_path, "a")
    assert claim is not None
    elsewhere(claim, age_s)
    assert (take(tmp_path, "b", stale_s=60) is not None) == is_free
    assert claim.is_lost == is_free


def test_a_process_that_is_gone_leaves_its_claim_at_once_and_one_that_works_keeps_it(tmp_path: Path) -> None:
    words = "import sys, time; from pathlib import Path; from eatlab.experiment.grids.claims import take\n"
    words += "take(Path(sys.argv[1]), 'child'); print('taken', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", words, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "taken\n"
    (number,) = numbers(tmp_path)
    there = held(path_of(tmp_path, number))
    path_of(tmp_path, number).write_text(json.dumps(claims.asdict(replace(there, beat=0.0))))
    assert take(tmp_path, "b") is None, "it lives, however long ago it spoke"
    child.kill()
    while claims.birth(child.pid):  # until it is a zombie, which nobody has waited for
        time.sleep(0.01)
    assert take(tmp_path, "b") is not None
    child.wait()


def test_a_process_that_got_the_number_of_a_dead_one_is_not_that_one(tmp_path: Path) -> None:
    claim = take(tmp_path, "a")
    assert claim is not None
    tampered(claim, born="1")
    assert take(tmp_path, "b") is not None


def test_a_file_that_cannot_be_read_holds_until_it_is_old(tmp_path: Path) -> None:
    path_of(tmp_path, 0).write_text("")
    assert take(tmp_path, "a") is None
    os.utime(path_of(tmp_path, 0), (1, 1))
    assert take(tmp_path, "a") is not None


def test_without_hard_links_a_claim_is_still_had_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError("no links here")

    path = path_of(tmp_path, 0)
    assert claims.create(path, "first", refuse)
    assert not claims.create(path, "second", refuse)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_those_who_went_without_a_word_are_counted_from_the_last_that_gave_back(tmp_path: Path) -> None:
    told = []
    for number in range(6):
        claim = take(tmp_path, "a")
        assert claim is not None
        told.append(num_lost(tmp_path, claim.number))
        if number == 2:
            claim.release()
        else:
            elsewhere(claim, 1e6)
    assert told == [0, 1, 2, 0, 1, 2]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["take", "beat", "release", "die", "sleep"]), max_size=40), st.randoms())
def test_whatever_happens_at_most_one_holder_is_not_told_to_stop(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str], chance: random.Random
) -> None:
    """Of those that took the claim and neither gave it back nor were taken for dead, only the last is free to
    go on.
    """
    folder = tmp_path_factory.mktemp("claims")
    live: list[Claim] = []
    for move in moves:
        if move == "take":
            is_held = holder(folder) is not None
            claim = take(folder, "w")
            assert (claim is None) == is_held
            live += [claim] if claim else []
        elif live and (one := chance.choice(live)):
            if move == "beat" and not one.is_lost:
                one.beat(1, 2)
            elif move == "release":
                one.release()
                live.remove(one)
            elif move == "die":
                elsewhere(one, 1e6)
                live.remove(one)
            elif move == "sleep":  # longer than others wait; it wakes up later
                elsewhere(one, 1e6)
        assert sum(not claim.is_lost for claim in live) <= 1


def race(folder: str, turns: int, start: Any, told: Any) -> None:
    """Takes the claim of each folder that is stale there, and says which ones it got."""
    start.wait()
    told.put([turn for turn in range(turns) if take(Path(folder) / str(turn), "racer", stale_s=1)])
    start.wait()  # who has left is taken for dead, and its claims are free again


@pytest.mark.parametrize("begin", ["free", "stale"])
def test_of_several_processes_exactly_one_gets_each_claim(tmp_path: Path, begin: str) -> None:
    turns, racers = 150, 4
    for turn in range(turns if begin == "stale" else 0):
        claim = take(tmp_path / str(turn), "first")
        assert claim is not None
        elsewhere(claim, 1e6)
    context = multiprocessing.get_context("fork")
    start, told = context.Barrier(racers), context.Queue()
    processes = [
        context.Process(target=race, args=(str(tmp_path), turns, start, told)) for _ in range(racers)
    ]
    for process in processes:
        process.start()
    got = sorted(turn for _ in processes for turn in told.get(timeout=60))
    for process in processes:
        process.join()
    assert got == list(range(turns))
