"""Budgets: the published counts, to the parameter (EAT, Fig. 6 and Sec. 4.1)."""

from __future__ import annotations

import json

import pytest

from eatlab.adapters import registry
from eatlab.errors import UserError
from eatlab.experiment.budgets import COMBINED, BudgetsConfig, as_text, count_budgets, run_budgets
from eatlab.experiment.config import resolve

PUBLISHED = {
    "keypoints": 41_940_047,
    "a2et": 46_637_107,
    "renderer": 100_988_176,
    "emotion_mapper": 10_777_600,
    "edn": 2_386_077,
    "eam": 778_368,
    "head pose estimator": 30_254_838,
    "sync expert": 16_435_072,
    "discriminator": 2_758_849,
}


@pytest.fixture(scope="module")
def paper():
    return count_budgets("paper", "deep_prompt+edn+eam")


def test_the_published_networks_have_the_published_counts(paper):
    counted = {x.what: x.parameters for x in (*paper.frozen, *paper.adapters, *paper.besides)}
    assert {name: counted[name] for name in PUBLISHED} == PUBLISHED
    assert paper.adapter_total == 13_942_045
    assert paper.total == 203_507_375


def test_the_papers_shares_are_of_everything_at_inference(paper):
    stated = {x.what: x.paper_percent for x in paper.adapters if x.paper_percent}
    ours = {x.what: round(100 * x.parameters / paper.total, 2) for x in paper.adapters if x.what in stated}
    assert ours == stated


def test_a_size_without_a_release_counts_what_runs():
    small = count_budgets("small", "deep_prompt")
    assert [x.what for x in small.frozen] == ["keypoints", "estimator", "a2et", "renderer"]
    assert not small.besides
    assert not any(x.remark for x in small.frozen)


def test_the_tables_their_json_and_their_picture_say_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "names", lambda: ["none", "edn", "last_k"])
    path, picture = tmp_path / "budgets.json", tmp_path / "budgets.svg"
    words = ["size=small", "adapter=edn", f"host.json={path}", f"host.picture={picture}"]
    assert run_budgets(resolve(BudgetsConfig, words)) == 0
    said, written = capsys.readouterr().out, json.loads(path.read_text())
    small = count_budgets("small", "edn")
    assert said.startswith(as_text(small) + "\n")
    assert written["totals"]["adapters"] == small.adapter_total
    assert [cost["spec"].split(" ")[0] for cost in written["costs"]] == [*registry.names(), *COMBINED]
    for cost in written["costs"]:
        assert f"{cost['parameters']:,}" in said
        assert not cost["parameters"] or f"{cost['parameters']:,} (" in picture.read_text()
    edn = next(cost for cost in written["costs"] if cost["spec"] == "edn")
    assert edn["parameters"] == small.adapter_total


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["host.picture=x.svg", "match=1%"], "they are all alike"),
        (["host.grid=x.yaml", "match=1%", "size=paper"], "an ablation runs at small for now"),
    ],
)
def test_what_equal_budgets_cannot_give_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        run_budgets(resolve(BudgetsConfig, words))


def test_a_grid_needs_a_budget(tmp_path):
    with pytest.raises(UserError, match=r"add match=1\.0%"):
        run_budgets(resolve(BudgetsConfig, [f"host.grid={tmp_path / 'grid.yaml'}"]))


def test_an_unknown_size_is_one_line():
    with pytest.raises(UserError, match=r'^size "papper" is unknown; .*; did you mean paper\?$'):
        count_budgets("papper", "edn")
