"""Plans of token attachments against a list that is simply edited; places that do not exist are refused."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eatlab.adapters.attachments import Features, Rows, Tokens, Weight
from eatlab.adapters.plan import make_plan
from eatlab.backbone.sites import Backbone, Context, Site
from eatlab.errors import UserError

NUM_LAYERS, NUM_FRAMES, NUM_CLIPS, NUM_WINDOWS = 4, 3, 2, 6


class Stream(Backbone):
    """Nothing but token sites; `passed` remembers what left each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.before = torch.nn.ModuleList(Site("tokens", 1) for _ in range(NUM_LAYERS))
        self.map = Site("features", 1)
        self.name_places()

    def passed(self, x: Tensor, context: Context) -> list[Tensor]:
        return [x := site(x, context) for site in self.before]


@st.composite
def lifetimes(draw: st.DrawFn) -> tuple[int, int, int]:
    """(first site, site where it leaves or NUM_LAYERS, number of tokens)."""
    start = draw(st.integers(0, NUM_LAYERS - 1))
    return start, draw(st.integers(start + 1, NUM_LAYERS)), draw(st.integers(1, 3))


def named_rows(name: int, num_tokens: int, context: Context) -> Tensor:
    """Rows whose value is their token's name and, after the point, their clip."""
    clips = torch.arange(NUM_CLIPS) / 10
    return (name + clips)[:, None, None].expand(-1, num_tokens, 1)


@given(st.lists(lifetimes(), max_size=6))
@settings(max_examples=60)
def test_tokens_join_and_leave_as_in_a_list_that_is_edited(lives):
    stream = Stream()
    tokens = [
        Tokens(f"before.{a}", partial(named_rows, i + 1, n), f"before.{b}" if b < NUM_LAYERS else None, n)
        for i, (a, b, n) in enumerate(lives)
    ]
    clip_of_window = torch.arange(NUM_WINDOWS) // (NUM_WINDOWS // NUM_CLIPS)
    x = torch.zeros(NUM_WINDOWS, NUM_FRAMES, 1)
    seen = stream.passed(x, Context(plan=make_plan(tokens, stream)))
    for layer, rows in enumerate(seen):
        alive = [(b, i) for i, (a, b, _) in enumerate(lives) if a <= layer < b]
        order = sorted(alive, key=lambda life: (-life[0], lives[life[1]][0], life[1]))
        expected = [0] * NUM_FRAMES + [i + 1 for _, i in order for _ in range(lives[i][2])]
        assert rows[0, :, 0].tolist() == expected
        assert torch.allclose(
            rows[:, NUM_FRAMES:], rows[:1, NUM_FRAMES:] + clip_of_window[:, None, None] / 10
        )


def nothing(*_: object) -> Tensor:
    raise AssertionError("never called")


@pytest.mark.parametrize(
    ("attachment", "message"),
    [
        (Tokens("before.9", nothing), 'Tokens at "before.9"; this backbone has: before.0, before.1'),
        (Tokens("map", nothing), 'Tokens at "map"; this backbone has: before.0'),
        (Features("before.0", nothing), 'Features at "before.0"; this backbone has: map'),
        (Rows("map", nothing), 'Rows at "map"; this backbone has: before.0, before.1'),
        (Weight("map.weight", nothing), 'Weight at "map.weight"; this backbone has: none'),
        (Tokens("before.1", nothing, "before.1"), 'until "before.1"; that is no later site'),
        (Tokens("before.1", nothing, "before.0"), 'until "before.0"; that is no later site'),
        (Tokens("before.1", nothing, "map"), 'until "map"; that is no later site'),
    ],
)
def test_a_place_that_is_not_there_is_refused_with_those_that_are(attachment, message):
    with pytest.raises(UserError, match=message):
        make_plan([attachment], Stream())


def test_a_broken_promise_about_the_number_of_tokens_is_an_error():
    stream = Stream()
    plan = make_plan([Tokens("before.0", partial(named_rows, 1, 2), num_tokens=3)], stream)
    with pytest.raises(ValueError, match="promised 3 tokens and made 2"):
        stream.passed(torch.zeros(NUM_WINDOWS, NUM_FRAMES, 1), Context(plan=plan))
