"""Being told to stop: who trains saves at the next step and exits 75; helpers leave it to their parent."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from eatlab.errors import ExitCode, UserError


def interrupted(what: str) -> UserError:
    """Says that everything is saved and how to go on."""
    return UserError(
        f"{what}, interrupted",
        "all is saved",
        "run the same command again to go on",
        code=ExitCode.INTERRUPTED,
    )


@contextmanager
def stop_signals(*numbers: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Inside, the signals (SIGINT and SIGTERM by default) only set a flag, which the yielded function reads.

    A second Ctrl-C does what it always did. Handlers are put back at the end. Works in the main thread only.
    """
    numbers = numbers or (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    told: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, tell)
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def left_to_the_parent() -> Iterator[None]:
    """Processes that are started inside never hear Ctrl-C, which a terminal sends to all of them.

    Works in the main thread; in another it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
