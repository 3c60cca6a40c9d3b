"""Training of experts: recipes that do not mix, augmentation, runs of mouths, figures with their spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from eatlab.data.audio_features import SYNC_COLUMNS, sync_mel, sync_start
from eatlab.data.tables import read_tables
from eatlab.training import experts
from eatlab.training.experts import RECIPES, augment, drawn_anew, sync_pairs, train_expert


def test_judges_and_teachers_share_no_seed_and_say_what_they_are_not_for():
    assert len({recipe.seed for recipe in RECIPES.values()}) == len(RECIPES) == 6
    assert max(recipe.seed for recipe in RECIPES.values()) < experts.SEEDS_APART
    for name, recipe in RECIPES.items():
        assert recipe.not_for == ("losses" if name.startswith("judge") else "measuring")
        assert recipe.gate


def test_no_expert_trains_on_val_or_test_people():
    assert not [part for part in experts.TRAINING_PARTS if part.endswith(("val", "test"))]


def test_a_recipes_network_is_not_that_of_another():
    shapes = [str({k: v.shape for k, v in r.build().state_dict().items()}) for r in RECIPES.values()]
    assert len(set(shapes)) == len(shapes)


def test_augmentation_depends_on_the_generator_alone():
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    one, same, other = (augment(x, torch.Generator().manual_seed(seed), 2) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == x.shape


def test_runs_of_mouths_are_consecutive_frames_of_one_clip_with_its_own_sound(puppets):
    table = read_tables(puppets, ("acted/train", "wild/train"), twins=False)
    pairs = sync_pairs(table)
    assert pairs.crops.shape[1:] == (5, 40, 40)
    per_clip = np.bincount(pairs.sound.numpy(), minlength=len(table.key))
    assert set(per_clip.tolist()) == {1, 2}  # 5 drawn frames, or 5 early and 5 late
    run = len(pairs.start) - 1
    rows = table.rows_of(int(pairs.sound[run]))
    assert int(pairs.start[run]) == int(table.at[rows[5]])
    heard = pairs.heard(torch.tensor([run]), pairs.start[[run]][:, None])
    first = int(sync_start(int(pairs.start[run])))
    own = sync_mel(table.audio[int(pairs.sound[run])])[first : first + SYNC_COLUMNS]
    np.testing.assert_array_equal(heard[0, 0], own)


def test_a_mean_spreads_as_people_differ_and_not_as_their_frames_are_many():
    random = np.random.default_rng(0)
    per_person = torch.from_numpy(random.normal(size=30))
    who = [f"P{i}" for i in range(30)]
    low, high = drawn_anew(per_person[None], who)
    half = 1.96 * float(per_person.std()) / 30**0.5
    assert high - low == pytest.approx(2 * half, rel=0.15)
    assert low < float(per_person.mean()) < high
    many = drawn_anew(per_person.repeat_interleave(50)[None], [w for w in who for _ in range(50)])
    assert many == pytest.approx([low, high], abs=1e-3)
    assert drawn_anew(torch.full((1, 6), 0.25), list("aabbcc")) == [0.25, 0.25]


def test_a_mean_spreads_as_trainings_differ_too():
    who, people = [f"P{i}" for i in range(12)], torch.linspace(-0.1, 0.1, 12)
    trainings = people + torch.tensor([0.0, 3.0, 1.0])[:, None]
    low, high = drawn_anew(trainings, who)
    alone = [drawn_anew(each[None], who) for each in trainings]
    assert alone[0][0] <= low < alone[0][1]
    assert alone[1][0] < high <= alone[1][1]
    same = drawn_anew(people.expand(3, -1), who)
    assert same == pytest.approx(drawn_anew(people[None], who), abs=5e-3)


def test_a_share_spreads_as_the_shares_of_people_do():
    error, variance, who = torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([2.0, 6.0, 8.0]), ["a", "a", "b"]
    low, high = drawn_anew(error, who, variance)
    assert (low, high) == (0.25, 0.5)  # of b alone, of a alone
    assert drawn_anew(error, who) == drawn_anew(error, who, torch.ones(3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["teacher_face", "judge_emotion", "judge_landmarks", "teacher_sync"])
def test_an_expert_of_few_steps_has_a_whole_card(name, puppets, monkeypatch):
    monkeypatch.setitem(RECIPES, name, replace(RECIPES[name], steps=8, batch=4))
    net, card = train_expert(name, puppets)
    assert card["gate"].keys() <= card["held_out"].keys()
    for figure, value in card["held_out"].items():
        low, high = card["spread"][figure]
        assert low - 1e-3 <= value <= high + 1e-3
    assert "1 people" in card["spread"]["of"]
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.training
    assert card["recipe"]["steps"] == 8
    again, _ = train_expert(name, puppets)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    other, _ = train_expert(name, puppets, training=1)
    assert not all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
