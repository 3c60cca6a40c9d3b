"""One thread inside, as many as before outside."""

from __future__ import annotations

import pytest
import torch

from eatlab.training.threads import one_thread, use_threads


@pytest.mark.parametrize("wanted", [True, False])
def test_the_threads_come_back_also_after_an_error(wanted: bool) -> None:
    before, inside = use_threads(2), []

    def fail() -> None:
        inside.append(torch.get_num_threads())
        raise KeyError

    try:
        with pytest.raises(KeyError), one_thread(wanted):
            fail()
        assert inside == [1 if wanted else 2]
        assert torch.get_num_threads() == 2
    finally:
        use_threads(before)
