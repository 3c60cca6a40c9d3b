"""The report of a grid: every figure asked for, no request, no mixture, and where each number is from."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from eatlab.errors import UserError
from eatlab.experiment.page import SIGNS
from eatlab.experiment.sweeps.gallery import gallery_in
from eatlab.experiment.sweeps.pairs import pairs_of
from eatlab.experiment.sweeps.paper import paper_tables
from eatlab.experiment.sweeps.records import read_sweep, record_at
from eatlab.experiment.sweeps.report import (
    ReportConfig,
    ReportHost,
    run_report,
    sweep_of,
    words_of,
    write_sweep,
)
from eatlab.experiment.sweeps.tables import percent, reached
from eatlab.experiment.sweeps.text import escaped
from eatlab.meaning import as_dict
from eatlab.objectives.keypoints import KeypointsConfig
from eatlab.training.pretrain import RenderConfig
from tests.experiment.sweeps.toy_sweep import ToySweep, changed, small
from tests.experiment.test_plots import assert_shows_the_same
from tests.experiment.test_report import HOSTILE, Page

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    toy = small(tmp_path_factory.mktemp("runs"))
    toy.gallery("head")
    toy.failed.append({"name": "lora seed 0", "identity": "0bad0bad", "reason": f"the loss is nan {HOSTILE}"})
    path = toy.write()
    sweep = read_sweep(record_at(path), path.parent, ["ia3 seed 1"])
    return sweep, write_sweep(sweep, path.parent / "report")


@pytest.fixture(scope="module")
def html(written) -> str:
    return written[1].html.read_text()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_asks_nothing_of_the_network(page: Page, html: str) -> None:
    assert page.sources
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert not {"link", "iframe", "object", "embed"} & set(page.elements)
    assert not re.search(r"url\((?!#|&quot;#|'#)", html)
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_each_link_leads_to_a_place_in_the_page(page: Page, html: str) -> None:
    places = set(re.findall(r' id="([^"]+)"', html))
    links = [source[1:] for source in page.sources if source.startswith("#")]
    assert len(links) > 10
    assert set(links) <= places


def test_every_figure_asked_for_is_there(page: Page, html: str, written) -> None:
    names = {path.stem for path in written[1].pictures}
    assert {"minutes_m_lmd", "minutes_acc_emo", "share_m_lmd", "share_acc_emo", "share_sync"} <= names
    assert {
        "size_m_lmd",
        "size_acc_emo",
        "confusion_ground_truth",
        "confusion_head",
        "confusion_full",
    } <= names
    plots = [path for path in written[1].pictures if path.suffix == ".svg"]
    assert page.elements.count("svg") == len(plots)
    assert all(f'id="{path.stem}-1"' in html for path in plots)
    for section in ("table", "pairs", "minutes", "share", "pareto", "emotions", "confusion"):
        assert f'<section id="{section}-1">' in html
    for section in ("paper", "faces", "notes", "provenance", "gaps"):
        assert f'<section id="{section}"' in html


def test_every_plot_lies_beside_the_page_as_svg_and_as_png(written) -> None:
    files = set(written[1].pictures)
    plots = [path for path in files if path.suffix == ".svg"]
    assert len(plots) > 10
    for svg in plots:
        assert svg.with_suffix(".png") in files
        assert_shows_the_same(svg.with_suffix(".png"), svg)


def test_faces_and_films_of_the_very_tunings_are_shown(page: Page, written) -> None:
    assert page.elements.count("img") == 2
    assert page.elements.count("video") == 1
    assert {"head_intensity.png", "head_film_P0_happy_1.mp4"} <= {path.name for path in written[1].pictures}
    tuning = next(p.identity for p in written[0].points if p.told["adapter"] == "head" and p.share == 1)
    said = " ".join(page.text.split())
    assert f"Drawn with the tuning {tuning} : seed 0, {percent(1.0)} of the training clips" in said
    assert "No faces were drawn of deep_prompt, full" in page.text


def test_a_gallery_whose_files_were_changed_is_not_shown(tmp_path: Path) -> None:
    toy = small(tmp_path, shares=[1.0])
    folder = toy.gallery("head")
    assert gallery_in(folder) is not None
    (folder / "intensity.png").write_bytes(b"another picture")
    assert gallery_in(folder) is None


def test_what_is_missing_and_what_failed_is_said(page: Page) -> None:
    assert "12 of 14 points are there, 1 are missing" in page.text
    assert "ia3 seed 1" in page.text
    assert "failed: the loss is nan" in page.text
    assert HOSTILE in page.text
    assert page.elements.count("script") == 1


def test_each_row_leads_to_its_records_commits_and_readings(written, html: str) -> None:
    sweep, _ = written
    for point in sweep.points:
        assert point.identity in html
        assert point.sha256[:12] in html
    assert 'title="0123456789abcdef+changes"' in html
    assert sweep.blocks()[0].table.fingerprint.hex in html
    assert "puppets-small/1" in html


def test_verdicts_are_those_of_the_table(written, page: Page) -> None:
    table = written[0].blocks()[0].table
    pairs = pairs_of(table)
    for line in table.verdicts():
        (first, second), said = re.match(r"(\S+) against (\S+):", line).groups(), line.partition(": ")[2]  # type: ignore
        for metric, phrase in zip(table.protocol.ranked, said.split("; "), strict=True):
            assert f" {pairs.word(metric, first, second)} (" in phrase
            assert pairs.by_metric[metric][second, first].difference.mean == pytest.approx(
                -pairs.by_metric[metric][first, second].difference.mean
            )
    assert all(sign in page.text for sign in SIGNS.values())


def test_a_number_that_was_not_measured_is_a_dash_with_its_reason(page: Page) -> None:
    assert (
        "“not measured: no emotion is asked of this row”: asked of source_copy, frozen, ground_truth"
        in page.text
    )
    assert "∞ “infinite: identical frames”" in page.text
    assert "nan" not in re.sub("provenance|loss is nan", "", page.text.lower())


def test_the_papers_numbers_are_all_there_in_a_block_of_their_own(html: str) -> None:
    for table in paper_tables():
        assert table.title in html
    block = html[html.index('id="paper"') : html.index('id="pairs-1"')]
    assert 'class="paper"' in html
    assert "21.79" in block
    assert "Not to be mixed with ours" in block
    lines = csv.DictReader((REPOSITORY / "eatlab/metrics/paper_tables.csv").open())
    for line in lines:
        if line["table"] in "345678":
            assert line["value"] in html


def test_markdown_and_latex_say_the_same(written) -> None:
    markdown, latex = written[1].markdown.read_text(), written[1].latex.read_text()
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
        assert (written[1].markdown.parent / picture).is_file()
    assert "| head | " in markdown
    assert "head against frozen" in markdown
    assert "### Table 7" in markdown
    rows = [line for line in latex.splitlines() if line.startswith(r"deep\_prompt & ")]
    assert len(rows) == 2
    assert all(line.endswith(r"\\") for line in rows)
    assert r"\textcolor{gray}{21.79}" in latex
    assert escaped("a_b & 5 %") == r"a\_b \& 5 \%"


def test_rows_measured_differently_stand_in_blocks_of_their_own(tmp_path: Path) -> None:
    toy = small(tmp_path, shares=(1.0,))
    for seed in (0, 1):
        toy.point("head", seed, clips="c11b0002", data="other clips")
    toy.brackets(clips="c11b0002", facts={"data": "other clips"})
    path = toy.write()
    sweep = read_sweep(record_at(path), path.parent)
    assert [len(block.table.rows) for block in sweep.blocks()] == [6, 4]
    page = Page(write_sweep(sweep, tmp_path / "out").html.read_text())
    assert "2 blocks below were measured differently (data)" in page.text
    assert "Block 2: Adapters, measured alike" in page.text


def test_a_reading_of_another_fingerprint_is_refused_in_a_block(tmp_path: Path) -> None:
    toy = small(tmp_path, shares=(1.0,))
    toy.point("head", 2, data="other clips")
    path = toy.write()
    with pytest.raises(UserError, match="measured differently: data"):
        write_sweep(read_sweep(record_at(path), path.parent), tmp_path / "out")


def test_one_share_and_one_seed_without_reference_rows_is_a_page_too(tmp_path: Path) -> None:
    toy = ToySweep(tmp_path)
    toy.point("head", 0)
    path = toy.write()
    files = write_sweep(read_sweep(record_at(path), path.parent), tmp_path / "out")
    page = Page(files.html.read_text())
    assert "One share alone was tuned (100 %)" in page.text
    assert "Nothing can be compared yet." in page.text


def test_settings_that_differ_have_rows_and_curves_of_their_own(tmp_path: Path) -> None:
    toy = ToySweep(tmp_path)
    for also in ({"floor": 0.1}, {"floor": 0.5}):
        for seed in (0, 1):
            toy.point("head", seed, also=also)
    toy.brackets()
    path = toy.write()
    (block,) = read_sweep(record_at(path), path.parent).blocks()
    assert block.table.adapters == ("head loss.floor=0.1", "head loss.floor=0.5")
    assert [setting.name for setting in block.settings()] == ["loss.floor=0.1", "loss.floor=0.5"]
    assert [len(setting.curves("m_lmd")) for setting in block.settings()] == [2, 2]


def test_a_changed_reading_and_a_lost_record_are_damage(tmp_path: Path) -> None:
    toy = small(tmp_path, shares=(1.0,))
    path = toy.write()
    reading = path.parent / toy.points[0]["reading"]["file"]
    reading.write_bytes(reading.read_bytes() + b" ")
    with pytest.raises(UserError, match="is not the one") as caught:
        read_sweep(record_at(path), path.parent)
    assert caught.value.code == 4
    (path.parent / toy.points[0]["record"]).unlink()
    with pytest.raises(UserError, match="cannot be read") as caught:
        read_sweep(record_at(path), path.parent)
    assert caught.value.code == 4


def test_a_record_is_found_by_its_file_and_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = small(tmp_path / "runs", shares=(1.0,))
    path = toy.write("eatlab grid toy.yaml seeds=0,1 host.workers=2 engine=local")
    host = ReportHost(runs=str(tmp_path / "runs"), data=str(tmp_path))
    config = ReportConfig(str(toy.file), str(tmp_path / "out"), ("seeds=0,1",), host)
    assert run_report(config) == 0
    assert "6 of 6 points" in capsys.readouterr().out
    toy.points.pop()
    toy.write("eatlab grid toy.yaml seeds=0,1")
    assert sweep_of(config).missing == ("full seed 1 share=1.0",)
    toy = small(tmp_path / "runs", shares=(1.0,))
    toy.write("eatlab grid toy.yaml seeds=0,1")
    assert len(sweep_of(ReportConfig(str(path))).points) == 6
    with pytest.raises(UserError, match="nor are the clips of its points there"):
        sweep_of(ReportConfig(str(toy.file), host=host))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("nowhere.yaml", "does not exist"),
        ("nowhere.json", "cannot be read"),
        ("kind.json", "no record of a grid"),
    ],
)
def test_a_file_that_is_no_grid_is_one_line(tmp_path: Path, wrong: str, said: str) -> None:
    (tmp_path / "kind.json").write_text('{"kind": "ablation"}')
    with pytest.raises(UserError, match=said) as caught:
        run_report(ReportConfig(str(tmp_path / wrong)))
    assert "\n" not in str(caught.value)


def test_a_grid_of_which_nothing_is_done_is_refused(tmp_path: Path) -> None:
    path = small(tmp_path).write()
    changed(path, points=[])
    with pytest.raises(UserError, match="none of its 0 points is done"):
        run_report(ReportConfig(str(path)))


def test_only_words_that_choose_points_name_a_grid() -> None:
    command = "eatlab grid file.yaml seeds=0 host.workers=2 engine=slurm retry=true --json x=y share=1"
    assert words_of(command.split()) == ["seeds=0", "share=1", "x=y"]


def test_the_target_is_what_three_quarters_reach() -> None:
    nan = float("nan")
    assert reached([1.0, 2.0, 3.0, 4.0, nan], "lower") == 3.0
    assert reached([1.0, 2.0, 3.0, 4.0, nan], "higher") == 2.0


def test_of_two_backbones_each_has_its_own_reference_rows(tmp_path: Path) -> None:
    toy = small(tmp_path, shares=(1.0,))
    for seed in (0, 1):
        toy.point("head", seed, clips="c11b0002", also={"floor": 0.5})
    toy.brackets(clips="c11b0002")
    path = toy.write()
    sweep = read_sweep(record_at(path), path.parent)
    first, second = sweep.blocks()
    assert first.table.fingerprint.hex == second.table.fingerprint.hex
    assert set(first.table.adapters).isdisjoint(("frozen", "ground_truth"))
    assert {"frozen", "ground_truth"} <= set(second.table.rows)
    page = Page(write_sweep(sweep, tmp_path / "out").html.read_text())
    assert "2 blocks below were measured differently (backbone)" in page.text


def pretrained(runs: Path) -> ToySweep:
    """Three renderers of two seeds, as `experiment/pretraining.py` records them, in the order of QUALITY."""
    toy = small(runs, shares=[1.0])
    render = as_dict(RenderConfig(steps=600, keypoints=KeypointsConfig(probe=0)))
    for point in toy.points:
        place = runs / point["identity"] / "record.json"
        record = record_at(place)
        config = {"size": "small", "data": {"acted/train": "d"}, "teachers": {}, "render": render}
        curve = [{"step": k, "train_s": 60.0 * k, "cpu_s": 60.0 * k, "psnr": 20.0 + k} for k in (1, 2)]
        none = {"total": 0, "percent": 0.0}
        facts = {"kind": "pretraining", "config": config, "curve": curve, "budget": none}
        changed(place, **(record | facts | {"sees_emotion": True}))
        point |= {"budget": none, "sees_emotion": True, "also": {}}
    return toy


def test_pretrainings_are_held_against_their_first_row_and_have_no_budget(tmp_path: Path) -> None:
    path = pretrained(tmp_path).write()
    sweep = read_sweep(record_at(path), path.parent)
    files = write_sweep(sweep, tmp_path / "report")
    (block,) = sweep.blocks()
    assert (block.base, sweep.subject.rows) == ("head", "renderers")
    pairs = pairs_of(block.table, block.base)
    assert pairs.rows == ("head", "deep_prompt", "full")
    assert pairs.word("m_lmd", "full") == pairs.word("m_lmd", "full", "head") == "worse"
    page = Page(files.html.read_text())
    said = " ".join(page.text.split())
    for words in (
        "Of 3 renderers head has the best mean M-LMD, ",
        "6 of 6 points: one renderer pretrained from one seed each.",
        "Against head, paired on clips",
        "Quality by minutes of pretraining",
        "pretrained for 600 steps of 12 pairs",
        "In all of them the estimator begins as the teacher's network of action units",
    ):
        assert words in said
    assert not {"pareto-1", "share-1"} & set(re.findall(r'id="([\w-]+)"', files.html.read_text()))
    for words in ("Adapters, measured", "of tuning", "keypoints.probe", "parameters that the adapter adds"):
        assert words not in said
    assert {"minutes_psnr.svg"} <= {picture.name for picture in files.pictures}
    assert not [picture for picture in files.pictures if picture.name.startswith(("size_", "share_"))]
