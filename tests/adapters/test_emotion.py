"""Emotion shares: intensity, mixes and one-hot rows; the mapper weighs its branches by them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eatlab.adapters.emotion import LATENT_SIZE, EmotionMapper, emotion_mix
from eatlab.emotions import EMOTIONS, NEUTRAL
from eatlab.errors import UserError

NEUTRAL_ROW = F.one_hot(torch.tensor([NEUTRAL]), len(EMOTIONS)).float()
unit = st.floats(0, 1, width=32)
emotions = st.integers(0, len(EMOTIONS) - 1)


@st.composite
def shares(draw: st.DrawFn) -> Tensor:
    """One row of eight shares that sum to 1."""
    weights = torch.tensor(draw(st.lists(st.floats(0.125, 1, width=32), min_size=8, max_size=8)))
    return (weights / weights.sum())[None]


@given(shares(), unit)
def test_a_mix_is_a_row_of_shares_again(row, intensity):
    mix = emotion_mix(row, intensity)
    assert (mix >= 0).all()
    torch.testing.assert_close(mix.sum(-1), torch.ones(1))


@given(shares())
def test_intensity_0_is_neutral_and_1_is_the_emotion_bit_for_bit(row):
    assert torch.equal(emotion_mix(row, 0.0), NEUTRAL_ROW)
    assert torch.equal(emotion_mix(row, 1.0), row)


@given(shares(), unit, unit)
def test_weakening_twice_is_weakening_by_the_product(row, first, second):
    twice = emotion_mix(emotion_mix(row, first), second)
    torch.testing.assert_close(twice, emotion_mix(row, first * second), atol=1e-6, rtol=1e-5)


@given(emotions, unit)
def test_an_index_is_its_one_hot_row(index, intensity):
    one_hot = F.one_hot(torch.tensor([index]), len(EMOTIONS)).float()
    assert torch.equal(emotion_mix(torch.tensor([index]), intensity), emotion_mix(one_hot, intensity))


@given(st.lists(st.tuples(emotions, unit), min_size=1, max_size=5))
def test_each_clip_has_its_own_intensity(clips):
    indices, intensities = (torch.tensor(column) for column in zip(*clips, strict=True))
    together = emotion_mix(indices, intensities)
    alone = [emotion_mix(indices[i : i + 1], float(intensities[i])) for i in range(len(clips))]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("intensity", [-0.1, 1.5, 2])
def test_an_intensity_outside_0_to_1_is_refused(intensity):
    with pytest.raises(UserError, match=f"intensity of {intensity}; it goes from 0"):
        emotion_mix(torch.tensor([0]), intensity)


def test_one_hot_shares_pick_the_branch_of_their_emotion():
    torch.manual_seed(0)
    mapper, latent = EmotionMapper(3, 4, 8), torch.randn(8, LATENT_SIZE)
    tokens = mapper(latent, torch.eye(8))
    for index, branch in enumerate(mapper.branches):
        picked = branch(mapper.shared(latent))[index].view(3, 4)
        torch.testing.assert_close(tokens[index], picked, atol=1e-6, rtol=1e-5)


@given(shares())
def test_tokens_of_a_mix_are_the_mix_of_the_tokens(row):
    torch.manual_seed(0)
    mapper, latent = EmotionMapper(2, 4, 8), torch.randn(1, LATENT_SIZE)
    pure = mapper(latent.expand(8, -1), torch.eye(8))
    torch.testing.assert_close(mapper(latent, row)[0], torch.tensordot(row[0], pure, 1), atol=1e-6, rtol=1e-5)
