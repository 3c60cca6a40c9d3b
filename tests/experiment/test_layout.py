"""A table as the paper prints it: ours and the paper's apart, and each step compared in both."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from eatlab.errors import UserError
from eatlab.experiment import layout as layouts
from eatlab.experiment.ablation import AblationConfig, LayoutConfig
from eatlab.experiment.config import resolve
from eatlab.experiment.layout import check_layout, lay_out, ours, papers, steps, verdict_of
from eatlab.experiment.sweeps.paper import paper_tables
from eatlab.metrics.protocols import METRICS
from eatlab.metrics.row import save_reading
from eatlab.metrics.table import Cost, Table, build_table
from tests.metrics.test_table import made_up

TABLES = Path(__file__).parents[2] / "experiments/tables"
FILES = sorted(TABLES.glob("*.yaml"))
ROWS = {"w/o": "frozen", "Shallow": "shallow_prompt", "Deep": "deep_prompt"}
PAPER = {
    "w/o": {"psnr": 20.0, "m_lmd": 3.0, "acc_emo": 25.0},
    "Shallow": {"psnr": 21.0, "m_lmd": 2.5, "acc_emo": 57.0},
    "Deep": {"psnr": 21.5, "m_lmd": 2.5, "acc_emo": 84.0},
}
LAYOUT = LayoutConfig("Table 4", ROWS, {"Prompt": "deep_prompt"}, ("psnr", "m_lmd", "acc_emo"), "MEAD", PAPER)


def readings() -> dict[str, list[object]]:
    return {
        "frozen": [made_up(lmd=3.0, psnr=20.0)],
        "shallow_prompt": [made_up(lmd=2.0, psnr=22.0, accuracy=0.5, seed=s) for s in range(3)],
        "deep_prompt": [made_up(lmd=1.0, psnr=18.0, accuracy=0.5, seed=s) for s in range(3)],
        "ground_truth": [made_up(lmd=0.0, psnr=50.0, accuracy=1.0)],
    }


def table() -> Table:
    costs = {"shallow_prompt": Cost(7, 0.1, (1.0,)), "deep_prompt": Cost(9, 0.2, (2.0,), sees_emotion=False)}
    return build_table(readings(), costs=costs, resamples=400)  # type: ignore[arg-type]


def test_our_block_has_means_with_intervals_shares_as_percent_and_marks() -> None:
    block = ours(table(), LAYOUT)
    assert block.headings == ["", "Prompt", "PSNR↑", "M-LMD↓", "Acc_emo %↑"]
    labels, marks, psnr, _, accuracy = zip(*block.lines, strict=True)
    assert labels == ("w/o", "Shallow", "Deep (blind to emotion)")
    assert marks == ("", "", "✓")
    assert psnr[0].startswith("20.")
    assert "[" in psnr[0]
    assert accuracy[1].startswith("50 [")
    assert "3 seeds" in block.headline
    assert "puppets, not people" in block.headline
    assert "w/o is frozen" in block.note


def test_the_papers_numbers_stand_in_their_own_block_as_they_were_given() -> None:
    block = papers(LAYOUT)
    assert block.lines == [
        ["w/o", "20.00", "3.00", "25"],
        ["Shallow", "21.00", "2.50", "57"],
        ["Deep", "21.50", "2.50", "84"],
    ]
    assert "MEAD" in block.headline
    assert "Not to be mixed" in block.note
    assert not any("20.00" in cell for line in ours(table(), LAYOUT).lines for cell in line)


def test_each_step_says_what_ours_shows_of_what_the_paper_does() -> None:
    found = {(s.first, s.second, s.metric): s for s in steps(table(), LAYOUT)}
    assert [key[:2] for key in found] == [("w/o", "Shallow")] * 3 + [("Shallow", "Deep")] * 3
    verdicts = {key[1:]: step.verdict for key, step in found.items()}
    assert verdicts["Shallow", "psnr"] == "agrees"
    assert verdicts["Deep", "psnr"] == "the other way"
    assert verdicts["Deep", "m_lmd"] == "the paper shows none"
    assert verdicts["Deep", "acc_emo"] == "not shown"
    gain = found["w/o", "Shallow", "acc_emo"]
    assert gain.paper == 32
    assert 25 < gain.ours.low < gain.ours.mean < gain.ours.high < 55
    lower = found["w/o", "Shallow", "m_lmd"]
    assert (lower.word, lower.paper_word) == ("better", "better")
    assert lower.ours.mean < 0


def test_a_metric_that_reference_rows_contradict_shows_nothing() -> None:
    assert verdict_of("better", "better", unusable=True) == "unusable here"


def finished(folder: Path) -> dict[str, object]:
    """A run folder's readings, and what its record says of them."""
    files: dict[str, list[dict[str, str]]] = {}
    for row, of_row in readings().items():
        for index, reading in enumerate(of_row):
            name = f"{row}-{index}.safetensors"
            save_reading(folder / name, reading)  # type: ignore[arg-type]
            files.setdefault(row, []).append({"file": name})
    budget = {"total": 7, "percent": 0.1}
    point = {"budget": budget, "wall_s": 60.0, "sees_emotion": True}
    return {"readings": files, "points": {"shallow_prompt": [point], "deep_prompt": [point]}}


def test_the_layout_of_a_finished_run_is_written_as_text_markdown_json_and_picture(tmp_path: Path) -> None:
    config = AblationConfig(layout=LAYOUT)
    text = lay_out(config, tmp_path, finished(tmp_path))
    assert text == (tmp_path / "layout.txt").read_text()
    assert max(map(len, text.splitlines())) <= 140
    markdown = (tmp_path / "layout.md").read_text()
    for headline in ("Ours:", "The paper's:", "Each step"):
        assert headline in text
        assert headline in markdown
    told = json.loads((tmp_path / "layout.json").read_text())
    assert told["paper"]["rows"] == PAPER
    assert told["rows"]["Shallow"]["acc_emo"]["mean"] == pytest.approx(0.5)
    assert len(told["steps"]) == 6
    drawn = ElementTree.fromstring((tmp_path / "layout.svg").read_text())
    assert drawn.tag.endswith("svg")


def test_without_numbers_of_the_paper_there_is_our_block_alone(tmp_path: Path) -> None:
    text = lay_out(AblationConfig(layout=replace(LAYOUT, paper={})), tmp_path, finished(tmp_path))
    assert "The paper's" not in text
    assert "Each step" not in text


def test_the_picture_says_which_rows_are_blind_to_emotion_too() -> None:
    assert "Deep (blind to emotion)" in layouts.picture(table(), LAYOUT).svg


def test_no_number_is_cut_however_many_columns_there_are(tmp_path: Path) -> None:
    columns = (*LAYOUT.columns, "ssim", "f_lmd", "sync", "params", "params_percent", "minutes")
    layout = replace(LAYOUT, columns=columns, marks={f"part {i}": "lora" for i in range(3)})
    assert "…" not in lay_out(AblationConfig(layout=layout), tmp_path, finished(tmp_path))


def test_costs_are_columns_too(tmp_path: Path) -> None:
    costly = replace(LAYOUT, columns=("params", "params_percent", "minutes"), marks={})
    assert ours(table(), costly).lines[1] == ["Shallow", "7", "0.1", "1.0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"X": "lora"}}, r'layout.rows has "X: lora"; this ablation has the rows .*deep_prompt'),
        ({"columns": ("pnsr",)}, r'column "pnsr" is unknown; .*did you mean psnr'),
        ({"paper": {"X": {"sink": 1.0}}}, r'column "sink" is unknown'),
    ],
)
def test_a_layout_that_does_not_fit_is_refused_before_anything_runs(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_layout(AblationConfig(layout=replace(LAYOUT, **change)))  # type: ignore[arg-type]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_experiment_files_fit_with_three_seeds_and_every_number_of_their_table(file: Path) -> None:
    config = resolve(AblationConfig, file=file)
    check_layout(config)
    layout = config.layout
    assert len(config.seeds) >= 3
    assert layout.title
    if layout.paper:
        assert list(layout.paper) == list(layout.rows)
        assert all(list(cells) == list(layout.columns) for cells in layout.paper.values())
        assert set(layout.columns) <= set(METRICS)
        assert layout.source


def test_there_are_the_papers_ablations_and_one_of_all_families() -> None:
    assert [file.stem for file in FILES] == ["families", "table4", "table5", "table8"]


def test_the_families_are_every_adapter_of_the_registry_but_those_that_are_parts_of_others() -> None:
    from eatlab.adapters.registry import BUILTIN

    rows = resolve(AblationConfig, file=TABLES / "families.yaml").layout.rows.values()
    there = {name for row in rows for name in layouts.names_in(row)}
    assert set(BUILTIN) - {"none"} <= there


def test_the_steps_are_those_between_neighbours() -> None:
    pairs = {(s.first, s.second) for s in steps(table(), LAYOUT)}
    assert pairs == set(pairwise(ROWS))


@pytest.mark.parametrize("number", ["4", "5", "8"])
def test_the_papers_numbers_are_those_of_its_one_table(number: str) -> None:
    """They stand in an experiment file as what is asked for, and in the package's copy of all tables."""
    layout = resolve(AblationConfig, file=TABLES / f"table{number}.yaml").layout
    (table,) = (table for table in paper_tables() if table.number == number)
    there = {row: dict(zip(table.columns, cells, strict=True)) for row, cells in table.rows}
    assert set(layout.paper) == set(there)
    for row, cells in layout.paper.items():
        for name, value in cells.items():
            assert value == float(there[row][METRICS[name].heading])
