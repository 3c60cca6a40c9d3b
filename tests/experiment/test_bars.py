"""Bars are computed from the table's numbers and never hold where nothing was measured."""

from eatlab.experiment.bars import verdicts_of

ROWS = {
    "source_copy": {"psnr": 18.0, "acc_emo": 0.1},
    "still": {"m_lmd": 2.8},
    "frozen": {"acc_emo": 0.09, "m_lmd": 1.3, "f_lmd": 1.0, "sync_neutral": 0.9},
    "deep_prompt": {"acc_emo": 0.8, "m_lmd": 1.0, "f_lmd": 0.8, "sync": 0.7},
    "wrong_emotion": {"acc_emo": 0.01, "acc_asked": 0.8},
    "shuffled_audio": {"sync": 0.1},
    "reenactment": {"acc_emo": 0.8, "f_lmd": 0.4, "psnr": 27.0},
    "ground_truth": {"acc_emo": 0.88, "sync": 0.9, "sync_neutral": 0.92},
}
TABLE = {row: {name: {"mean": value} for name, value in cells.items()} for row, cells in ROWS.items()}
SEEDS = {"shallow_prompt": [1.3, 1.2, 1.25], "deep_prompt": [1.0, 1.1, 0.9]}


def says(**changes: float | None) -> dict[str, bool | None]:
    """Sentence → whether it holds, with some numbers of deep_prompt changed."""
    row = TABLE["deep_prompt"] | {name: {"mean": value} for name, value in changes.items()}
    return {v.says: v.holds for v in verdicts_of("deep_prompt", TABLE | {"deep_prompt": row}, SEEDS)}


def test_all_hold_on_good_numbers() -> None:
    assert all(says().values())
    assert len(says()) == 15


def test_each_falls_on_its_number() -> None:
    fallen = [name for name, holds in says(m_lmd=1.2).items() if not holds]
    assert fallen == ["deep_prompt is nearer in M-LMD"]
    assert [name for name, holds in says(sync=0.6).items() if not holds] == ["deep_prompt stays in time"]


def test_what_is_not_measured_neither_holds_nor_falls() -> None:
    assert says(acc_emo=None)["deep_prompt shows the emotion"] is None
    real = verdicts_of("deep_prompt", {}, {"deep_prompt": []})
    assert {v.holds for v in real} == {None}


def test_an_adapter_must_win_with_every_seed() -> None:
    seeds = SEEDS | {"deep_prompt": [1.0, 1.1, 1.26]}
    last = verdicts_of("deep_prompt", TABLE, seeds)[-1]
    assert last.holds is False
    assert "1.26 / 1.25" in last.detail
