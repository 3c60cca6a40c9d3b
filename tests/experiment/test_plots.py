"""Plots: well-formed, escaped, in the page's ink, and true to their numbers."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from eatlab.emotions import EMOTIONS
from eatlab.experiment.plots import (
    PNG_DPI,
    Budget,
    CurvePoint,
    Plot,
    budget_bar,
    confusion_matrix,
    curve_metrics,
    tuning_curve,
)

HOSTILE = 'x$\\frac$<script>&"'
SVG = "{http://www.w3.org/2000/svg}"


def curve(*adapters: str) -> list[CurvePoint]:
    return [
        CurvePoint(
            adapter, seed, minutes, {"m_lmd": 1.6 - minutes - 0.1 * seed, "acc_emo": minutes, "loss": 3.0}
        )
        for adapter in adapters
        for seed in range(3)
        for minutes in (0.0, 0.2, 0.4)
    ]


def counts(right: int = 9) -> np.ndarray:
    return right * np.eye(8, dtype=int) + 1


def plots() -> dict[str, Plot]:
    return {
        "curve": tuning_curve(curve("deep_prompt", HOSTILE)),
        "confusion": confusion_matrix(counts(), EMOTIONS, title=HOSTILE),
        "budget": budget_bar({"deep_prompt": Budget(452_608, 21.3), HOSTILE: Budget(0, 0.0)}),
    }


def words(plot: Plot) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(plot.svg).iter(f"{SVG}text")]


def assert_shows_the_same(png: Path, svg: Path) -> None:
    """As wide to its height, within a pixel's rounding, and on white neither blank nor all ink."""
    box = ElementTree.fromstring(svg.read_text()).get("viewBox", "").split()
    with Image.open(png) as opened:
        width, height = opened.size
        grey = np.asarray(opened.convert("L"))
    assert width == round(float(box[2]) / 72 * PNG_DPI)
    assert height == pytest.approx(float(box[3]) / 72 * PNG_DPI, abs=1)
    assert grey[0, 0] == 255
    assert 0.005 < (grey < 200).mean() < 0.6


@pytest.mark.parametrize("name", ["curve", "confusion", "budget"])
def test_a_plot_is_xml_that_refers_to_nothing_outside_and_runs_nothing(name: str) -> None:
    root = ElementTree.fromstring(plots()[name].svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("aria-label")
    for element in root.iter():
        assert not element.tag.endswith("script")
        for attribute, value in element.attrib.items():
            assert not attribute.endswith("href") or value.startswith(("#", "data:image/png"))


@pytest.mark.parametrize("name", ["curve", "confusion", "budget"])
def test_a_plot_takes_the_ink_of_its_page(name: str) -> None:
    svg = plots()[name].svg
    assert "currentColor" in svg
    assert "#123456" not in svg


@pytest.mark.parametrize("name", ["curve", "confusion", "budget"])
def test_a_plot_is_also_a_png_beside_its_svg(tmp_path: Path, name: str) -> None:
    svg, png = plots()[name].write(tmp_path / "new" / f"{name}.svg")
    assert (svg.name, png.name) == (f"{name}.svg", f"{name}.png")
    assert_shows_the_same(png, svg)


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert plots() == plots()


def test_names_stand_in_the_plot_as_they_are_written() -> None:
    drawn = plots()
    assert HOSTILE in words(drawn["budget"])
    assert HOSTILE in words(drawn["confusion"])
    assert f"{HOSTILE} (3 seeds)" in words(drawn["curve"])


def test_a_curve_has_a_panel_for_each_measured_metric_and_no_other() -> None:
    points = curve("deep_prompt")
    assert curve_metrics(points) == ["m_lmd", "acc_emo"]
    said = " ".join(words(tuning_curve(points)))
    assert "M-LMD, lower is better" in said
    assert "Acc_emo, higher is better" in said
    assert "Sync" not in said


def test_a_curve_without_known_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match="none of m_lmd"):
        tuning_curve([CurvePoint("deep_prompt", 0, 0.0, {"loss": 1.0})])


def test_seeds_of_unequal_length_and_one_seed_are_drawn() -> None:
    points = [*curve("deep_prompt")[:-1], CurvePoint("none", 0, 0.1, {"m_lmd": 1.5})]
    assert {"deep_prompt (3 seeds)", "none (1 seed)"} <= set(words(tuning_curve(points)))


def test_a_confusion_matrix_says_percents_of_its_rows_and_leaves_empty_rows_blank() -> None:
    uneven = counts()
    uneven[1] = 0
    said = words(confusion_matrix(uneven, EMOTIONS, title="t"))
    assert said.count("59") == 7  # 10 of 17
    assert said.count("6") == 7 * 7  # 1 of 17
    assert set(EMOTIONS) <= set(said)


def test_a_budget_says_number_and_percent() -> None:
    assert "452,608 (21.3 %)" in words(plots()["budget"])
    assert "0 (0 %)" in words(plots()["budget"])
