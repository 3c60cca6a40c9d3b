"""Mistakes of users and broken input: one line that says what was asked, what is there, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """How `eatlab` ends; the shell sees these numbers."""

    DONE = 0
    BAD_INPUT = 2
    UNSAFE_FILE = 3
    DATA_DAMAGED = 4
    DIVERGED = 5
    INTERRUPTED = 75


class UserError(ValueError):
    """An error that a user can mend; the command line prints it as one line and exits with `code`."""

    def __init__(
        self, asked: str, there: str = "", do: str = "", *, code: ExitCode = ExitCode.BAD_INPUT
    ) -> None:
        super().__init__("; ".join(part for part in (asked, there, do) if part))
        self.code = code


def refuse_unknown(what: str, word: str, there: Iterable[str]) -> None:
    """Raises UserError unless `word` is one of those that are there."""
    there = list(there)
    if word not in there:
        raise UserError(
            f'{what} "{word}" is unknown', f"there are: {', '.join(there)}", did_you_mean(word, there)
        )


def did_you_mean(asked: str, there: Iterable[str]) -> str:
    """The nearest of the names that are there, as advice; empty if none is near."""
    name = nearest(asked, there)
    return f"did you mean {name}?" if name else ""


def nearest(asked: str, there: Iterable[str]) -> str:
    """The name that a typo may have meant, or an empty string."""
    return next(iter(difflib.get_close_matches(asked, list(there), n=1)), "")
