"""The report: one page that asks nothing of the network, shows each number, and trusts no text."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eatlab.experiment.report import (
    Budget,
    CurvePoint,
    Film,
    Group,
    Panel,
    ReportInput,
    Row,
    Sheet,
    Verdict,
    headline_of,
    write_report,
)
from eatlab.metrics.protocols import REAL

HOSTILE = "<script>alert('x')</script>&\""
NOT_ASKED = {"mean": None, "low": None, "high": None, "reason": "not measured: nobody asked"}
INFINITE = {"mean": None, "low": None, "high": None, "reason": "infinite: identical frames"}


def cell(mean: float, spread: float = 0.05) -> dict[str, float]:
    return {"mean": mean, "low": mean - spread, "high": mean + spread}


def table() -> dict[str, Any]:
    def row(acc: float, mouth: float, **more: Any) -> dict[str, Any]:
        return {
            "psnr": cell(21.5),
            "m_lmd": cell(mouth),
            "acc_emo": cell(acc),
            "acc_asked": NOT_ASKED,
            **more,
        }

    cost = {"params": cell(452_608, 0), "params_percent": cell(21.3, 0), "minutes": cell(0.56)}
    rows = {
        "frozen": row(0.13, 1.32, m_lmd_truth=cell(1.62)),
        "deep_prompt": row(0.87, 1.06, acc_asked=cell(0.88), **cost),
        "ground_truth": row(0.92, 0.0) | {"psnr": INFINITE},
    }
    return {"protocol": "puppets-small/1", "fingerprint": "9f3a1c0b" * 8, "rows": rows}


def small(**more: Any) -> ReportInput:
    return ReportInput(adapter="deep_prompt", table=table(), **more)


def full() -> ReportInput:
    faces = np.full((2, 16, 16, 3), 128, np.uint8)
    sheet = Sheet("Title", ("angry", "happy"), (Group("", (Row("truth", faces),)),), caption=HOSTILE)
    still = np.full((6, 16, 16, 3), 90, np.uint8)
    film = Film("happy", HOSTILE, (Panel("truth", still),), np.zeros(6 * 640, np.float32))
    points = tuple(CurvePoint("deep_prompt", 0, minutes, {"m_lmd": 1.5 - minutes}) for minutes in (0.0, 0.5))
    return small(
        curve=points,
        confusion={"deep_prompt": np.eye(8, dtype=int), "lora(rank=8)": np.eye(8, dtype=int)},
        budgets={"deep_prompt": Budget(452_608, 21.3)},
        verdicts=(Verdict("it holds", True, "0.9"), Verdict("it fails", False), Verdict(HOSTILE)),
        comparisons=("deep_prompt against frozen: better",),
        small_print=("Sync by chance: 0.10.",),
        contact=sheet,
        intensity=sheet,
        mix=sheet,
        films=(film,),
        provenance={
            "record": "1a2b3c4d",
            "seeds": [0, 1, 2],
            "versions": {"torch": "2.15.0"},
            "bad": HOSTILE,
        },
        notes=(HOSTILE,),
        warnings=(HOSTILE,),
        places={"record": Path("record.json")},
    )


class Page(HTMLParser):
    """Everything in a page that could load something, its elements, and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.elements: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.sources += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "poster")
        ]

    def handle_data(self, data: str) -> None:
        self.text += f" {data} "


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    return write_report(full(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written.html.read_text())


def test_the_page_loads_nothing_from_outside(page: Page, written) -> None:
    assert page.sources
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert not {"link", "iframe", "object", "embed", "a"} & set(page.elements)
    assert "default-src 'none'" in written.html.read_text()


def test_texts_are_shown_and_never_run(page: Page) -> None:
    assert page.elements.count("script") == 1
    assert page.text.count(HOSTILE) >= 6


def test_pictures_and_films_in_the_page_are_the_files_beside_it(page: Page, written) -> None:
    files = [written.pictures["contact_sheet"], written.films[0].path]
    for path in files:
        encoded = base64.b64encode(path.read_bytes()).decode()
        assert any(source.endswith(f";base64,{encoded}") for source in page.sources)
    assert set(written.pictures) == {
        *("contact_sheet", "intensity", "mix", "tuning_curve", "budget"),
        *("confusion_deep_prompt", "confusion_lora(rank=8)"),
    }
    assert all(path.is_file() for path in written.pictures.values())
    assert page.elements.count("svg") == 4


def test_each_number_of_the_table_is_in_the_page_with_its_interval(page: Page) -> None:
    for number in ("0.87", "0.82\u20130.92", "1.06", "21.50", "452,608", "21.3 %", "0.56", "1.62"):
        assert number in page.text


def test_what_was_not_measured_is_a_dash_with_its_reason(page: Page) -> None:
    assert "∞" in page.text
    assert "“not measured: nobody asked”: asked of frozen, ground_truth" in page.text
    assert "nan" not in page.text.lower().replace("provenance", "")


def test_the_headline_tells_the_result(page: Page) -> None:
    said = headline_of(small()).replace("\u00a0", " ")
    assert said == (
        "deep_prompt shows the emotion asked for in 87 % of the test clips (frozen model 13 %, true clips "
        "92 %) and draws the mouth within 1.06 px of the truth (frozen 1.32 px), with 452,608 added "
        "parameters (21.3 % of the backbone) and 0.6 minutes of tuning."
    )
    assert headline_of(small()) in page.text
    assert headline_of(small(headline="Mine.")) == "Mine."


def test_a_headline_of_zeros_and_gaps_is_a_sentence() -> None:
    numbers = table()
    numbers["rows"]["deep_prompt"] |= {"acc_emo": NOT_ASKED, "m_lmd": cell(0.0), "params": cell(0, 0)}
    said = headline_of(ReportInput(adapter="deep_prompt", table=numbers)).replace("\u00a0", " ")
    assert said.startswith(
        "deep_prompt draws the mouth within 0.00 px of the truth (frozen 1.32 px), with 0 added"
    )
    assert headline_of(ReportInput(adapter="edn", table=table())) == "edn was measured."


def test_notes_say_puppets_and_what_acc_emo_cannot_say(page: Page) -> None:
    assert "drawn faces whose truth is exact, not people" in page.text
    assert "Acc_emo saturates" in page.text
    assert "ranks nothing" in page.text


def test_notes_speak_only_of_rows_that_are_there(page: Page) -> None:
    assert "Re-enactment is the ceiling" not in page.text
    assert "wrong_emotion asks" not in page.text


def test_provenance_is_flat_and_readable(page: Page) -> None:
    for text in ("1a2b3c4d", "0, 1, 2", "versions torch", "2.15.0", "record.json"):
        assert text in page.text


def test_a_report_of_a_table_alone_is_a_page(tmp_path: Path) -> None:
    files = write_report(small(), tmp_path)
    page = Page(files.html.read_text())
    assert files.pictures == {}
    assert files.films == ()
    assert not {"img", "video", "svg"} & set(page.elements)
    assert "Faces" not in page.text


def test_real_faces_bring_the_warning_of_their_domain_once(tmp_path: Path) -> None:
    html = write_report(small(domain="real", warnings=(REAL.warning,)), tmp_path).html.read_text()
    assert html.count("The small backbone and its judges know only drawn puppets") == 1
    assert "drawn faces whose truth is exact" not in html


def test_the_page_says_whether_the_films_carry_the_mark(page: Page, tmp_path: Path) -> None:
    assert "Films carry a visible label" in page.text
    bare = write_report(small(films=full().films), tmp_path, visible_label=False)
    assert "visible label was switched off" in bare.html.read_text()


def test_a_curve_of_other_metrics_is_left_out(tmp_path: Path) -> None:
    files = write_report(small(curve=(CurvePoint("deep_prompt", 0, 0.0, {"loss": 1.0}),)), tmp_path)
    assert "tuning_curve" not in files.pictures


def test_a_table_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks protocol, fingerprint"):
        ReportInput(adapter="deep_prompt", table={"rows": {}})
