"""Coding: as many frames come back as went in, of the same size, near and not the same."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest

from eatlab.errors import UserError
from eatlab.metrics.coding import WRITERS, recoded
from tests.metrics.films import disc, moving


@pytest.mark.parametrize("codec", WRITERS)
@pytest.mark.parametrize("shape", [(64, 64), (64, 49)])
def test_frames_come_back_near_and_in_number(codec: str, shape: tuple[int, int]) -> None:
    frames = [np.ascontiguousarray(frame[: shape[0], : shape[1]]) for frame in moving(7)]
    back = list(recoded(iter(frames), codec))
    assert [frame.shape for frame in back] == [(*shape, 3)] * 7
    apart = np.stack(back).astype(float) - np.stack(frames)
    assert 0 < np.abs(apart).mean() < 6


@pytest.mark.parametrize("codec", WRITERS)
def test_one_frame_and_none_are_films_too(codec: str) -> None:
    assert len(list(recoded(repeat(disc(30), 1), codec))) == 1
    assert list(recoded(iter(()), codec)) == []


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(UserError, match="codec"):
        list(recoded(iter([disc(30)]), "h266"))
