"""Key maps read backwards: every key of ours has the one released key that fills it."""

from __future__ import annotations

import json

import pytest

from eatlab.backbone import official
from eatlab.zoo.released_parts import PARTS
from tests.reference.vectors import KEYS
from tests.zoo.synthetic import LISTS, tiny_modules


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.network}-{part.file}")
def test_the_released_key_of_each_key_of_ours_fills_it(part):
    for key in tiny_modules()[part.file].state_dict():
        own = key.removeprefix(part.prefix)
        if key.startswith(part.prefix + part.within) and not own.startswith("pca."):
            released = part.key_map.back(own)
            assert own in part.key_map.names(released)
            assert not part.key_map.why_unused(released)


def test_a_key_that_no_network_has_comes_from_none():
    assert official.A2ET.back("nothing.weight") == ""


@pytest.mark.parametrize("network", LISTS)
def test_used_released_keys_come_back_as_they_were(network):
    path = KEYS / f"{LISTS[network]}.json"
    if not path.is_file():
        pytest.skip("the list of released keys is not here")
    maps = {part.network: part.key_map for part in PARTS if not part.adapts}
    maps["discriminator"] = official.DISCRIMINATOR
    for key, _, _ in json.loads(path.read_text())["state_dict"]:
        key_map = official.EAM if official.belongs_to_eam(key) else maps[network]
        if not key_map.why_unused(key):
            for ours in key_map.names(key):
                assert key_map.back(ours) == key.replace("weight_orig", "weight")


@pytest.mark.parametrize("key", ["embedding.weight_junk", "f0_model.detector.weight.x", "pos_enc.pos_table2"])
def test_an_unused_key_is_a_whole_key(key):
    assert not official.A2ET.why_unused(key)


def test_only_a_whole_weight_orig_is_a_weight():
    names = [official.GENERATOR.name(f"second.{leaf}") for leaf in ("weight_orig", "weight_orig_u")]
    assert names == ["lift.weight", "lift.weight_orig_u"]
