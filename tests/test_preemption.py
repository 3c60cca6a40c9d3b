"""Being told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from eatlab.preemption import left_to_the_parent, stop_signals

CHILD = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"


def test_a_process_started_inside_never_hears_ctrl_c_and_the_parent_hears_it_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    with left_to_the_parent():
        inside = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert inside.stdout.strip() == "True"
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_nothing_changes() -> None:
    seen = []

    def inside() -> None:
        with left_to_the_parent():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_the_first_signal_only_sets_a_flag() -> None:
    with stop_signals(signal.SIGTERM) as told:
        assert not told()
        signal.raise_signal(signal.SIGTERM)
        assert told()
