"""How many threads torch computes with: two processes of one beat one of two, and small networks want one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def use_threads(count: int) -> int:
    """Sets how many threads torch uses, which can change bits, and returns how many it used before."""
    import torch  # a crew starts its processes without it

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    return before


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Inside, torch uses one thread (if `wanted`); afterwards as many as before, also after an error."""
    before = use_threads(1) if wanted else 0
    try:
        yield
    finally:
        if before:
            use_threads(before)
