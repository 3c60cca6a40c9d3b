"""Pictures of tuning: well-formed, in the page's ink, true to their numbers, and names that can be read."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eatlab.adapters.registry import BUILTIN
from eatlab.errors import UserError
from eatlab.experiment.plots import Plot
from eatlab.experiment.sweeps.curve_plots import (
    OTHERS,
    family_of,
    over_minutes,
    over_share,
    quality_over_minutes,
    quality_over_share,
    quality_over_size,
)
from eatlab.experiment.sweeps.curves import TuningCurve
from eatlab.experiment.sweeps.naming import Drawing, freest, overlap, parted_places, shown_as
from eatlab.experiment.sweeps.pareto import standings
from tests.experiment.test_plots import HOSTILE, SVG, assert_shows_the_same, words

MANY = ("shallow_prompt", "deep_prompt", "lora", "norm", "bottleneck", "head", "deep_prompt+edn", HOSTILE)


def curves(*adapters: str, shares: tuple[float, ...] = (1.0,), seeds: int = 3) -> list[TuningCurve]:
    return [
        curve(adapter, number, seed, share)
        for number, adapter in enumerate(adapters)
        for seed in range(seeds)
        for share in shares
    ]


def curve(adapter: str, number: int, seed: int, share: float) -> TuningCurve:
    values = tuple(1.6 - 0.02 * number - 0.1 * step - 0.01 * seed - 0.1 * share for step in range(3))
    seconds = tuple(20.0 * step * (1 + number) for step in range(3))
    percent = 0.1 * 2.0**number
    return TuningCurve(
        adapter, seed, share, int(1000 * percent), percent, number != 1, seconds, values, values[-1]
    )


def drawn(*adapters: str) -> dict[str, Plot]:
    return {
        "minutes": quality_over_minutes(curves(*adapters), "m_lmd"),
        "share": quality_over_share(curves(*adapters, shares=(0.0625, 0.25, 1.0)), "m_lmd"),
        "size": quality_over_size(standings(curves(*adapters), "lower"), "m_lmd"),
    }


@pytest.fixture(scope="module")
def many() -> dict[str, Plot]:
    return drawn(*MANY)


@pytest.mark.parametrize("name", ["minutes", "share", "size"])
def test_a_picture_is_xml_in_the_ink_of_its_page_and_refers_to_nothing_outside(
    many: dict[str, Plot], name: str
) -> None:
    root = ElementTree.fromstring(many[name].svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("aria-label", "").startswith("M-LMD, lower is better against")
    assert "currentColor" in many[name].svg
    assert "#123456" not in many[name].svg
    for element in root.iter():
        assert not element.tag.endswith("script")
        for attribute, value in element.attrib.items():
            assert not attribute.endswith("href") or value.startswith("#")


@pytest.mark.parametrize("name", ["minutes", "share", "size"])
def test_a_picture_is_also_a_png_beside_its_svg(many: dict[str, Plot], name: str, tmp_path: Path) -> None:
    svg, png = many[name].write(tmp_path / f"{name}.svg")
    assert_shows_the_same(png, svg)


@pytest.mark.parametrize("name", ["minutes", "share", "size"])
def test_every_adapter_is_named_once(many: dict[str, Plot], name: str) -> None:
    said = words(many[name])
    assert [said.count(line) for spec in MANY for line in shown_as(spec).split("\n")] == [1] * len(MANY)


def test_the_same_numbers_give_the_same_bytes() -> None:
    found = standings(curves("eam", "edn"), "lower")
    assert quality_over_size(found, "m_lmd") == quality_over_size(found, "m_lmd")


def test_many_lines_are_parted_by_family_and_few_are_not(many: dict[str, Plot]) -> None:
    assert {"weights", "scales and biases", OTHERS} <= set(words(many["minutes"]))
    few = words(quality_over_minutes(curves("eam", "lora"), "m_lmd"))
    assert "weights" not in few
    assert {"M-LMD, lower is better", "untrained", "eam", "lora"} <= set(few)


def test_every_builtin_adapter_has_a_family() -> None:
    assert [name for name in BUILTIN if name != "none" and family_of(name) == OTHERS] == []
    assert family_of("lora(rank=8)") == "weights"
    assert family_of("full+eam") == family_of("edn")
    assert family_of("foreign") == OTHERS


def test_a_line_is_the_mean_of_its_seeds_from_worst_to_best() -> None:
    line = over_minutes(curves("eam"))
    assert line.x.tolist() == pytest.approx([20 / 60, 40 / 60])
    assert line.mean.tolist() == pytest.approx([1.39, 1.29])
    assert line.low.tolist() == pytest.approx([1.38, 1.28])
    assert line.high.tolist() == pytest.approx([1.40, 1.30])


def test_a_share_that_a_seed_lacks_is_drawn_from_the_others() -> None:
    line = over_share(curves("eam", shares=(0.5, 1.0))[1:])
    assert line.x.tolist() == [50, 100]
    assert line.high[0] == pytest.approx(1.6 - 0.2 - 0.01 - 0.05)


def test_shares_are_said_in_percent(many: dict[str, Plot]) -> None:
    assert {"6.25 %", "25 %", "100 %"} <= set(words(many["share"]))


def test_a_front_says_who_is_on_it_and_who_is_blind(many: dict[str, Plot]) -> None:
    assert {"on the front", "blind to emotion"} <= set(words(many["size"]))
    assert "blind to emotion" not in words(quality_over_size(standings(curves("eam"), "lower"), "m_lmd"))
    label = ElementTree.fromstring(drawn("eam", "edn")["size"].svg).get("aria-label", "")
    assert "eam 0.1 % 1.29 (front), edn 0.2 % 1.27 (front)" in label


def test_one_seed_and_one_adapter_are_drawn() -> None:
    alone = curves("eam", seeds=1)
    for plot in (quality_over_minutes(alone, "m_lmd"), quality_over_size(standings(alone, "lower"), "m_lmd")):
        assert "eam" in words(plot)


def test_what_cannot_be_drawn_is_refused() -> None:
    untrained = [TuningCurve("eam", 0, 1.0, 0, 0.0, True, (0.0,), (1.0,), 1.0)]
    for draw in (quality_over_minutes, quality_over_share):
        with pytest.raises(ValueError, match="no curve"):
            draw([], "m_lmd")
    with pytest.raises(ValueError, match="no curve has a row after"):
        quality_over_minutes(untrained, "m_lmd")
    with pytest.raises(ValueError, match="adds parameters"):
        quality_over_size(standings(untrained, "lower"), "m_lmd")
    with pytest.raises(UserError, match="nothing says which"):
        quality_over_share(curves("eam"), "acc_asked")


def test_names_are_short_and_long_ones_parted() -> None:
    assert shown_as("deep_prompt+edn+eam") == "eat"
    assert shown_as("full+deep_prompt+edn+eam") == "full+eat"
    assert shown_as("deep_prompt+edn(init=random)+eam") == "deep_prompt\n+edn(init=random)+eam"


@given(st.lists(st.tuples(st.floats(-0.2, 1.2), st.floats(0.01, 0.12)), max_size=8))
def test_labels_do_not_overlap_and_stay_in_the_panel(labels: list[tuple[float, float]]) -> None:
    labels = sorted(labels)
    heights = [height for _, height in labels]
    places = parted_places([centre for centre, _ in labels], heights)
    for (low, height), (high, other) in pairwise(zip(places, heights, strict=True)):
        assert high - low >= (height + other) / 2 - 1e-9
    for place, height in zip(places, heights, strict=True):
        assert height / 2 - 1e-9 <= place <= 1 - height / 2 + 1e-9


def test_labels_that_have_room_stay_where_they_want_to_be() -> None:
    assert parted_places([0.2, 0.5, 0.9], [0.1] * 3) == pytest.approx([0.2, 0.5, 0.9])
    assert parted_places([0.5, 0.5], [0.1] * 2) == pytest.approx([0.45, 0.55])


def test_names_of_crowded_dots_do_not_overlap() -> None:
    centres = [(150 + 6 * n, 150 + 4 * (n % 3)) for n in range(8)]
    drawing = Drawing((0, 0, 300, 300), [(x - 3, y - 3, x + 3, y + 3) for x, y in centres])
    names = []
    for centre in centres:
        names.append(freest(centre, 3, (50, 10), drawing))
        drawing.boxes.append(names[-1])
    for one, other in combinations(drawing.boxes, 2):
        if one in names or other in names:
            assert overlap(one, other) == 0
    assert all(math.isclose(overlap(name, drawing.frame), 500) for name in names)
