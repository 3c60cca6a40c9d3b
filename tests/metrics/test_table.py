"""The table: its JSON, its reference rows, what it refuses, what it says in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eatlab.emotions import NEUTRAL
from eatlab.errors import UserError
from eatlab.metrics.protocols import METRICS, PUPPETS, REAL, Fingerprint, Protocol
from eatlab.metrics.row import NOTHING_ASKED, RowReading
from eatlab.metrics.table import COSTS, Cost, Table, build_table
from eatlab.metrics.truth import ClipFacts

NUM_CLIPS = 96
LEVEL = np.tile([1, 2, 3], NUM_CLIPS // 3)
EMOTION = np.arange(NUM_CLIPS) // 3 % 8
NEUTRALS = EMOTION == NEUTRAL
COUNTED = ("psnr", "ssim", "m_lmd", "f_lmd", "sync", "acc_emo", "acc_asked", "params", "minutes")


def made_up(
    *,
    lmd: float = 1.0,
    psnr: float = 24.0,
    sync: float = 0.8,
    accuracy: float = 0.1,
    asked: float | None = None,
    seed: int = 0,
    protocol: Protocol = PUPPETS,
    facts: Mapping[str, str] | None = None,
) -> RowReading:
    """A reading with given means and a spread over clips."""
    generator = np.random.default_rng(seed)
    spread = generator.normal(size=NUM_CLIPS)
    right = (np.arange(NUM_CLIPS) * 37 % NUM_CLIPS < accuracy * NUM_CLIPS).astype(np.float64)
    values = {"psnr": psnr + spread, "ssim": 0.8 + 0.01 * spread, "acc_emo": right}
    values |= {name: lmd * np.exp(0.1 * spread) for name in ("m_lmd", "f_lmd", "m_lmd_truth", "f_lmd_truth")}
    values["sync"] = (generator.permutation(NUM_CLIPS) < sync * NUM_CLIPS).astype(np.float64)
    values |= {f"acc_level{k}": np.where((k == LEVEL) & ~NEUTRALS, right, np.nan) for k in (1, 2, 3)}
    values |= {f"{name}_neutral": np.where(NEUTRALS, values[name], np.nan) for name in ("m_lmd", "sync")}
    if asked is not None:
        values["acc_asked"] = (generator.permutation(NUM_CLIPS) < asked * NUM_CLIPS).astype(np.float64)
    extras = {
        "said": np.where(right > 0, EMOTION, (EMOTION + 1) % 8),
        "sync_chance": np.full(NUM_CLIPS, 3 / 31),
    }
    persons = tuple(f"P{i // 8}" for i in range(NUM_CLIPS))
    clips = ClipFacts(tuple(f"c{i}" for i in range(NUM_CLIPS)), persons, EMOTION, LEVEL)
    fingerprint = Fingerprint({**protocol.facts(), "data": "made up", **(facts or {})})
    return RowReading(
        protocol,
        fingerprint,
        clips,
        values,
        extras,
        {} if asked is not None else {"acc_asked": NOTHING_ASKED},
    )


def perfect(**changes: object) -> RowReading:
    reading = made_up(lmd=0, sync=0.95, accuracy=0.92, **changes)  # type: ignore[arg-type]
    reading.values["psnr"][:], reading.values["ssim"][:] = np.inf, 1
    return reading


def story(**changes: Sequence[RowReading]) -> dict[str, Sequence[RowReading]]:
    """The rows of the ablation, given in another order than they are shown."""
    rows: dict[str, Sequence[RowReading]] = {
        "ground_truth": [perfect()],
        "shallow_prompt": [made_up(lmd=1.3, sync=0.55, accuracy=0.73, asked=0.7, seed=s) for s in range(3)],
        "deep_prompt": [made_up(lmd=1.0, sync=0.7, accuracy=0.75, asked=0.7, seed=s) for s in range(3, 6)],
        "source_copy": [made_up(lmd=5, psnr=19, sync=0.1, accuracy=0.05)],
        "still": [made_up(lmd=2.9, psnr=21, sync=0.1, accuracy=0.05)],
        "frozen": [made_up(lmd=1.5, sync=0.85, accuracy=0.1)],
        "wrong_emotion": [made_up(lmd=1.9, accuracy=0.01, asked=0.8, seed=s) for s in range(3)],
        "reenactment": [made_up(lmd=0.5, psnr=28, sync=0.75, accuracy=0.7)],
    }
    return {**rows, **changes}


def table_of(rows: Mapping[str, Sequence[RowReading]] | None = None, **costs: Cost) -> Table:
    return build_table(story() if rows is None else rows, costs=costs, resamples=400)


def test_the_json_has_exactly_the_promised_shape(tmp_path: Path) -> None:
    table = table_of(deep_prompt=Cost(452_000, 25.1, (0.5, 0.6, 0.7)), frozen=Cost(0, 0))
    table.write_json(tmp_path / "a" / "table.json")

    def strict(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    found = json.loads((tmp_path / "a" / "table.json").read_text(), parse_constant=strict)
    assert list(found) == ["protocol", "fingerprint", "rows"]
    assert found["protocol"] == "puppets-small/1"
    assert len(found["fingerprint"]) == 64
    assert list(found["rows"]) == ["source_copy", "still", "frozen", "shallow_prompt", "deep_prompt",
                                   "wrong_emotion", "reenactment", "ground_truth"]  # fmt: skip
    for cells in found["rows"].values():
        assert tuple(cells)[: len(COUNTED)] == COUNTED
        assert set(cells) == {*PUPPETS.metrics, *COSTS}
        for cell in cells.values():
            assert set(cell) in ({"mean", "low", "high"}, {"mean", "low", "high", "reason"})
            if cell["mean"] is None:
                assert cell["low"] is None and cell["high"] is None and cell["reason"]  # noqa: PT018
            else:
                assert cell["low"] <= cell["mean"] <= cell["high"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["table.json"]


def test_means_are_over_seeds_of_means_over_clips() -> None:
    table = table_of()
    readings = story()["deep_prompt"]
    expected = np.mean([reading.values["m_lmd"].mean() for reading in readings])
    assert table.cells["deep_prompt"]["m_lmd"].mean == pytest.approx(expected)
    assert table.seed_means("deep_prompt", "m_lmd") == pytest.approx([r.mean("m_lmd") for r in readings])
    assert table.cells["deep_prompt"]["acc_level2"].mean == pytest.approx(
        np.mean([r.mean("acc_level2") for r in readings])
    )


def test_several_seeds_have_a_deviation_and_persons_an_interval() -> None:
    cell = table_of().cells["deep_prompt"]["m_lmd"]
    assert cell.seed_deviation == pytest.approx(np.std(cell.seeds, ddof=1))
    assert cell.persons is not None
    assert cell.persons.low < cell.mean < cell.persons.high
    assert table_of().cells["frozen"]["m_lmd"].seed_deviation is None


def test_identical_frames_are_infinite_and_say_so() -> None:
    table = table_of()
    cell = table.cells["ground_truth"]["psnr"]
    assert cell.to_json() == {"mean": None, "low": None, "high": None, "reason": "infinite: identical frames"}
    assert cell.mean == np.inf
    some = made_up()
    some.values["psnr"][:3] = np.inf
    assert (
        table_of(story(still=[some])).cells["still"]["psnr"].reason
        == "infinite: identical frames in 3 of 96 clips"
    )


def test_what_is_not_asked_or_not_tuned_is_null_with_a_reason() -> None:
    rows = table_of(deep_prompt=Cost(452_000, 25.1, (0.5, 0.7))).to_json()["rows"]
    assert rows["frozen"]["acc_asked"]["mean"] is None
    assert "asked" in rows["frozen"]["acc_asked"]["reason"]
    assert rows["frozen"]["params"]["reason"] == "not measured: nothing is tuned in this row"
    assert rows["deep_prompt"]["params"] == {"mean": 452_000, "low": 452_000, "high": 452_000}
    assert rows["deep_prompt"]["params_percent"]["mean"] == 25.1
    assert rows["deep_prompt"]["minutes"] == {"mean": pytest.approx(0.6), "low": 0.5, "high": 0.7}


def test_rows_measured_differently_are_refused_and_the_difference_is_named() -> None:
    other = made_up(facts={"data": "other", "judge sync": "other"})
    with pytest.raises(UserError, match=r"source_copy.*deep_prompt.*data, judge sync"):
        table_of(story(deep_prompt=[other]))
    with pytest.raises(UserError, match="protocol"):
        table_of(story(still=[made_up(protocol=REAL)]))
    with pytest.raises(UserError, match="at least one row"):
        table_of({})


def test_a_fit_judge_raises_no_warning() -> None:
    assert table_of().judge_is_fit
    assert table_of().warnings == []


def test_a_judge_that_misreads_the_truth_voids_the_table_in_plain_words() -> None:
    unfit = perfect()
    unfit.values["acc_emo"][:] = made_up(accuracy=0.8).values["acc_emo"]
    table = table_of(story(ground_truth=[unfit]))
    assert not table.judge_is_fit
    assert "nothing below means anything" in table.warnings[0]
    assert table.to_text().startswith("! The judge of emotion reads only 0.80")
    without = {name: rows for name, rows in story().items() if name != "ground_truth"}
    assert "no row ground_truth" in table_of(without).warnings[0]


def test_real_clips_carry_the_domain_warning_first() -> None:
    rows = {name: [replace(r, protocol=REAL) for r in rows] for name, rows in story().items()}
    table = table_of(rows)
    assert table.warnings[0].startswith("domain: puppets → real")
    assert "domain: puppets → real" in table.to_text()
    assert "domain: puppets → real" in table.to_markdown()


@pytest.mark.parametrize(
    ("row", "reading", "metric"),
    [
        ("source_copy", made_up(sync=1.0), "sync"),
        ("still", made_up(accuracy=0.95), "acc_emo"),
        ("wrong_emotion", made_up(accuracy=0.8), "acc_emo"),
        ("wrong_emotion", made_up(accuracy=0.4), "acc_emo"),
        ("shuffled_audio", made_up(sync=0.9), "sync"),
    ],
)
def test_a_metric_that_a_reference_row_contradicts_is_unusable(
    row: str, reading: RowReading, metric: str
) -> None:
    table = table_of(story(**{row: [reading]}))
    assert next(iter(table.unusable)) == metric
    cell = table.to_json()["rows"]["deep_prompt"][metric]
    assert cell["reason"].startswith("unusable: ")
    assert cell["mean"] is not None
    assert table.warnings[-1].startswith(f"Unusable here: {METRICS[metric].heading}")
    assert f"{METRICS[metric].heading}✗" in table.to_text()


def test_a_judge_that_is_refused_leaves_a_dash_and_its_reason() -> None:
    reason = "not measured: judge emotion under its gate: accuracy is 0.490; the gate is >= 0.5"
    rows = {}
    for name, readings in story().items():
        rows[name] = [
            replace(
                r,
                values={k: v for k, v in r.values.items() if "acc" not in k},
                reasons={k: reason for k in METRICS if "acc" in k},
            )
            for r in readings
        ]
    table = table_of(rows)
    assert table.to_json()["rows"]["deep_prompt"]["acc_emo"] == {
        "mean": None,
        "low": None,
        "high": None,
        "reason": reason,
    }
    assert not table.judge_is_fit
    assert reason in table.warnings[0]
    assert any(reason in note for note in table.notes)


def test_verdicts_speak_of_better_worse_and_no_difference() -> None:
    verdicts = table_of().verdicts()
    assert [v.split(":")[0] for v in verdicts] == [
        "shallow_prompt against frozen",
        "deep_prompt against frozen",
        "deep_prompt against shallow_prompt",
    ]
    last = verdicts[-1]
    assert "M-LMD better (-0.3" in last
    assert "every seed" in last
    assert "Acc_emo no difference shown" in last
    assert "Sync worse" in verdicts[0]


def test_a_row_against_itself_shows_no_difference() -> None:
    rows = story(same=story()["frozen"])
    found = table_of(rows).compare("same", "frozen")
    assert {c.word for c in found} == {"no difference shown"}
    assert all(c.difference.mean == c.difference.low == c.difference.high == 0 for c in found)


def test_comparisons_are_of_opposite_sign_the_other_way_round() -> None:
    table = table_of()
    ours = table.compare("deep_prompt", "frozen", metrics=("m_lmd",))[0]
    theirs = table.compare("frozen", "deep_prompt", metrics=("m_lmd",))[0]
    assert (ours.word, theirs.word) == ("better", "worse")
    assert ours.difference.low == pytest.approx(-theirs.difference.high)


def test_the_order_in_which_rows_are_given_changes_nothing() -> None:
    backwards = dict(reversed(story().items()))
    assert table_of(backwards).to_json() == table_of().to_json()


def test_details_are_strict_json() -> None:
    details = json.loads(json.dumps(table_of().details(), allow_nan=False))
    assert details["rows"]["deep_prompt"]["m_lmd"]["seeds"]
    assert len(details["by_emotion"]["deep_prompt"]) == 3
    assert details["facts"]["data"] == "made up"


def test_every_column_is_known() -> None:
    columns = table_of().columns
    assert set(columns) == {*PUPPETS.metrics, *COSTS}
    assert len(columns) == len(set(columns))
