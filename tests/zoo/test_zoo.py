"""What the package ships: whole files, whole cards, judges above their gates."""

from __future__ import annotations

import pytest
import torch

from eatlab.atomic import sha256_of_file
from eatlab.backbone.sites import fingerprint
from eatlab.training.experts import RECIPES
from eatlab.zoo.networks import ZOO, load_backbone, load_judges, load_network, load_teachers, read_card

NAMES = (*RECIPES, "backbone_small")
EVERY_CARD = {
    *("name", "recipe", "seed", "parameters", "held_out", "held_out_on", "spread", "must_not_be_used_for"),
    *("chosen_on", "domain", "data", "machine", "versions", "wall_s", "sha256", "stored_as", "licence"),
}
every_network = pytest.mark.parametrize("name", NAMES)


@every_network
def test_each_file_is_the_one_its_card_describes(name):
    assert sha256_of_file(ZOO / f"{name}.safetensors") == read_card(name)["sha256"]


@every_network
def test_each_card_says_how_it_was_made_how_good_it_is_and_what_it_is_not_for(name):
    card = read_card(name)
    assert not EVERY_CARD - card.keys()
    assert card["name"] == name
    assert card["domain"] == "puppets"
    assert "acted/test" not in str(card["data"])


@pytest.mark.parametrize("name", RECIPES)
def test_each_experts_card_tells_the_recipe_in_the_code(name):
    card, recipe = read_card(name), RECIPES[name]
    assert card["seed"] == recipe.seed
    assert (card["recipe"]["steps"], card["recipe"]["batch"]) == (recipe.steps, recipe.batch)
    assert card["gate"] == {figure: list(bound) for figure, bound in recipe.gate.items()}
    net = recipe.build()
    load_network(net, name)
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_no_judge_and_no_teacher_is_under_its_gate():
    assert load_judges().below_gate() == {}
    assert set(load_judges().cards) == {"emotion", "landmarks", "sync"}
    assert set(load_teachers().cards) == {"face", "emotion", "sync"}


def test_the_backbone_is_frozen_finite_and_has_the_fingerprint_of_its_card():
    head = load_backbone()
    assert not any(p.requires_grad for p in head.parameters())
    assert not head.training
    assert all(value.isfinite().all() for value in head.state_dict().values())
    assert fingerprint(head) == read_card("backbone_small")["weights_fingerprint"]
    basis = head.a2et.pca.basis
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), atol=1e-4, rtol=0)


def test_the_zoo_is_a_few_megabytes_and_nothing_else():
    files = {path for path in ZOO.iterdir() if path.suffix in (".safetensors", ".json")}
    assert {path.stem for path in files} == set(NAMES)
    assert sum(path.stat().st_size for path in files) < 12e6
