"""A grid's file, what is refused before anything runs, what it will cost, and what its end says."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from eatlab import cli
from eatlab.errors import UserError
from eatlab.experiment.ablation import AblationConfig
from eatlab.experiment.config import resolve
from eatlab.experiment.grids import grid
from eatlab.experiment.grids.claims import take
from eatlab.experiment.grids.forecast import (
    CLIP_S,
    EVALUATION_S,
    PAIR_S,
    SECONDS_PER_GFLOP,
    Forecaster,
    hours,
)
from eatlab.experiment.grids.grid import GridConfig, check_specs, check_words, report_failures, run_grid
from eatlab.experiment.grids.grid_file import read_grid
from eatlab.experiment.grids.units import ClipsUnit, PointUnit, Prepared, gallery_units
from eatlab.experiment.grids.watch import Watch, Watcher
from eatlab.experiment.grids.worker import work_off
from eatlab.experiment.jobs import Point
from eatlab.training.learner import TuneConfig
from tests.experiment.grids.toy_units import shift_of, toys

ROOT = Path(__file__).parents[3]


def written(folder: Path, **parts: object) -> Path:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(parts, sort_keys=False))
    return path


def told_of(path: Path, *words: str) -> list[tuple[str, int, float]]:
    return [(point.adapter, point.seed, point.config.share) for point in read_grid(path, words)]


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from(["lora", "eam", "head"]), min_size=1, max_size=3),
    st.lists(st.sampled_from([0.25, 1.0]), min_size=1, max_size=3),
    st.lists(st.integers(0, 2), min_size=1, max_size=3),
)
def test_all_combinations_are_asked_once_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, adapters: list[str], shares: list[float], seeds: list[int]
) -> None:
    path = written(
        tmp_path_factory.mktemp("grid"), over={"adapter": adapters, "share": shares, "seeds": seeds}
    )
    asked = [(adapter, seed, share) for adapter, share, seed in product(adapters, shares, seeds)]
    assert told_of(path) == list(dict.fromkeys(asked))


def test_common_keys_and_single_points_and_words_are_laid_in_that_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        common={"clips": 5, "share": 0.5, "schedule": {"steps": 7, "learning_rate": 1e-3}, "seeds": [0, 1]},
        over={"adapter": ["lora", "lora(rank=4)", "eat"]},
        points=[{"adapter": "head", "seeds": 3, "share": 1}, {"adapter": "lora", "seeds": 0}],
    )
    found = read_grid(path)
    assert [point.name for point in found] == [
        "lora seed 0",
        "lora seed 1",
        "deep_prompt+edn+eam seed 0",
        "deep_prompt+edn+eam seed 1",
        "head seed 3 share=1",
    ]  # rank=4 is lora's default, and the last one is the first
    assert {point.config.clips for point in found} == {5}
    assert (found[0].config.schedule.steps, found[0].config.schedule.learning_rate) == (7, 1e-3)
    assert {point.config.clips for point in read_grid(path, ["clips=2"])} == {2}
    assert told_of(path, "share=0.25")[-1] == ("head", 3, 0.25)


def test_a_word_names_the_values_of_a_key_that_the_file_varies(tmp_path: Path) -> None:
    path = written(tmp_path, over={"adapter": ["lora", "head"], "seeds": [0, 1, 2]})
    assert told_of(path, "seeds=5") == told_of(path, "over.seeds=5") == [("lora", 5, 1), ("head", 5, 1)]
    assert [point[0] for point in told_of(path, "seeds=0", "adapter=ia3,lora(rank=2,targets=x,y)")] == [
        "ia3",
        "lora(rank=2,targets=x,y)",
    ]
    assert told_of(path, "over.share=0.25,1", "seeds=0")[:2] == [("lora", 0, 0.25), ("lora", 0, 1)]


def test_an_ablations_file_is_the_grid_of_its_tunings() -> None:
    families = ROOT / "experiments" / "tables" / "families.yaml"
    config = resolve(AblationConfig, file=families)
    assert len(read_grid(families)) == (1 + len(config.compare)) * len(config.seeds)
    assert told_of(ROOT / "experiments" / "ablation.yaml", "seeds=0") == [
        ("deep_prompt", 0, 1),
        ("shallow_prompt", 0, 1),
    ]


@pytest.mark.parametrize(
    ("parts", "words", "message"),
    [
        (
            {"over": {"adapter": ["lora", "lorra"]}},
            [],
            r"entry 2 \(adapter=lorra\); adapter \"lorra\" is unknown",
        ),
        ({"over": {"shaer": [1]}}, [], r'entry 1 \(shaer=1\); key "shaer" is unknown.*did you mean share'),
        ({"over": {"share": [0.5, 2]}}, [], r"entry 2 \(share=2\).*share=2.* will not do"),
        ({"over": {"share": 0.5}}, [], r"over\.share=0\.5; it is a list of values"),
        ({"over": {"share": []}}, [], "it is a list of values"),
        ({"points": [{"seeds": []}]}, [], "each seed is one point"),
        ({"points": ["lora"]}, [], "'lora' is no point"),
        ({"points": {"adapter": "lora"}}, [], "is no grid"),
        ({"common": {"host": {"workers": 3}}}, [], r"host\.workers has no place in a grid.*host\.workers=2"),
        ({"common": {"together": True}}, [], "together has no place in a grid"),
        (
            {"over": {}, "adapters": ["lora"]},
            [],
            '"adapters" is unknown; a grid has: command, common, over, points',
        ),
        ({"over": {"seeds": [0]}}, ["clips=-1"], "clips=-1 will not do"),
    ],
)
def test_what_will_not_do_is_refused_naming_the_entry(
    tmp_path: Path, parts: dict[str, object], words: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_grid(written(tmp_path, **parts), words)


def test_pretrainings_are_points_too_named_or_told_by_what_they_vary(tmp_path: Path) -> None:
    points = [{"name": "OSFV", "render": {"keypoints": {"prior": 5}}}, {"render": {"pairs": {"acted": 0}}}]
    common = {"seeds": [0, 1], "render": {"steps": 7}}
    path = written(tmp_path, command="pretrain", common=common, points=points)
    found = read_grid(path, ["clips=3"])
    assert [point.name for point in found] == [
        "OSFV seed 0",
        "OSFV seed 1",
        "pretrained seed 0 render.pairs.acted=0",
        "pretrained seed 1 render.pairs.acted=0",
    ]
    assert [point.row for point in found[::2]] == ["OSFV", "pretrained render.pairs.acted=0"]
    assert all(point.tuning is None and point.share == 1 and point.config.clips == 3 for point in found)
    renders = [point.config.render for point in found]
    assert [(r.seed, r.steps, r.processes) for r in renders] == [(0, 7, 1), (1, 7, 1)] * 2
    assert [(r.keypoints.prior, r.pairs.acted) for r in renders[::2]] == [(5, 0.55), (0, 0)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"command": "pretrian"}, 'command "pretrian" is unknown.*did you mean pretrain'),
        ({"common": {"render": {"seed": 3}}}, "render.seed has no place in a grid.*give seeds"),
        ({"common": {"render": {"processes": 2}}}, "render.processes has no place in a grid"),
        ({"common": {"render": {"trained": ["a2et"]}}}, 'part "a2et" is unknown'),
        ({"over": {"adapter": ["lora"]}}, 'key "adapter" is unknown'),
        ({"common": {"seeds": []}}, "seeds=.. will not do"),
        (
            {"points": [{"name": "a"}, {"name": "a", "clips": 2}]},
            'two different points are called "a seed 0"',
        ),
    ],
)
def test_what_a_pretraining_has_not_is_refused(tmp_path: Path, parts: dict, message: str) -> None:
    told = {"command": "pretrain", "points": [{"name": "a"}]} | parts
    with pytest.raises(UserError, match=message):
        read_grid(written(tmp_path, **told))


def test_a_pretraining_costs_by_its_pairs(tmp_path: Path) -> None:
    path = written(tmp_path, command="pretrain", common={"render": {"steps": 10, "batch": 3}}, points=[{}])
    (point,) = read_grid(path)
    found = Forecaster(tmp_path, "small", "ab").of_point(point.config, 5)
    assert found.cpu_s == pytest.approx(30 * PAIR_S + 5 * CLIP_S)
    record = {"kind": "pretraining", "cpu_s": 8.0, "config": {"render": {"steps": 2, "batch": 2}}}
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "record.json").write_text(json.dumps(record))
    found = Forecaster(tmp_path, "small", "ab").of_point(point.config, 5)
    assert (found.cpu_s, found.basis) == (pytest.approx(30 * 2 + 5 * CLIP_S), "1 records")


def test_a_file_that_is_none_says_which_there_are(tmp_path: Path) -> None:
    written(tmp_path, over={"seeds": [0]})
    with pytest.raises(
        UserError, match=r"grids\.yaml does not exist; there are: .*did you mean .*grid\.yaml"
    ):
        read_grid(tmp_path / "grids.yaml")
    (tmp_path / "list.yaml").write_text("- lora")
    with pytest.raises(UserError, match="is not a table; it is a list"):
        read_grid(tmp_path / "list.yaml")
    (tmp_path / "torn.yaml").write_text("over: [")
    with pytest.raises(UserError, match="cannot be read"):
        read_grid(tmp_path / "torn.yaml")


def test_a_spec_that_the_backbone_does_not_take_is_named_before_anything_runs(tmp_path: Path) -> None:
    for spec, message in (
        ("last_k(k=99)", r"last_k\(k=99\) seed 0"),
        ("none", "nothing that its loss can tune"),
        ("eam(sites=face)+lora(targets=nowhere)", "nowhere"),
    ):
        path = written(tmp_path, over={"adapter": ["lora", spec], "seeds": [0]})
        with pytest.raises(UserError, match=message):
            check_specs(str(path), read_grid(path))


def test_a_word_that_is_no_key_of_a_grid_or_a_point_is_refused(tmp_path: Path) -> None:
    tuned = written(tmp_path, over={"seeds": [0]})
    check_words(tuned, ["clips=3", "over.share=1", "schedule.steps=4"])
    with pytest.raises(UserError, match=r'key "enginee" is unknown.*every key of an ablation.*mean engine'):
        check_words(tuned, ["enginee=ray"])
    pretrained = written(tmp_path, command="pretrain", points=[{"name": "a"}])
    check_words(pretrained, ["clips=3", "render.keypoints.prior=1"])
    with pytest.raises(UserError, match=r'key "schedule.steps" is unknown.*every key of a pretraining'):
        check_words(pretrained, ["schedule.steps=4"])
    with pytest.raises(UserError, match=r"kubernetes. is unknown; there are: local, slurm, ray, wandb"):
        run_grid(GridConfig(file=str(tmp_path / "grid.yaml"), engine="kubernetes"))


def test_the_command_sets_its_own_keys_apart_from_those_of_the_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[GridConfig] = []
    monkeypatch.setattr(grid, "run_grid", lambda config: asked.append(config) or 0)
    words = ["grid", "a.yaml", "seeds=0,1", "engine=ray", "over.adapter=lora(rank=2),eat", "--dry-run"]
    assert cli.main([*words, "host.workers=3", "options={num_cpus: 2}"]) == 0
    (config,) = asked
    assert config.words == ("seeds=0,1", "over.adapter=lora(rank=2),eat")
    assert (config.file, config.engine, config.dry_run, config.host.workers) == ("a.yaml", "ray", True, 3)
    assert config.options == {"num_cpus": 2}


def test_an_option_that_takes_nothing_refuses_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["grid", "a.yaml", "--dry-run=no"]) == 2
    assert "--dry-run takes nothing" in capsys.readouterr().err


def test_failures_are_told_in_a_line_each_and_the_first_gives_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, worse = (toys(tmp_path / does, 1, does=does)[0] for does in ("work", "diverge", "trip"))
    units = (good, bad, worse)
    work_off(shift_of(tmp_path, units))
    assert report_failures(units) == 5  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "the loss is nan" in lines[0]
    assert "KeyError" in lines[1]
    assert "traceback.txt" in lines[1]
    assert "2 of 3 failed" in lines[2]
    assert "retry=true" in lines[2]
    assert report_failures((good,)) == 0  # type: ignore[arg-type]


def test_the_display_tells_what_the_folders_say(tmp_path: Path) -> None:
    done, bad, running, left = toys(tmp_path, 4)
    bad = toys(tmp_path / "bad", 1, does="refuse")[0]
    work_off(shift_of(tmp_path, (done, bad)))
    claim = take(running.folder, "worker 7")
    assert claim is not None
    claim.beat(3, 4, "loss 0.5")
    look = Watcher((done, bad, running, left), (10.0, 10.0, 10.0, 10.0), 60).look()
    assert (look.done, look.failed, look.num_left) == ((done.name,), (bad.name,), 1)
    assert look.running[running.name].note == "loss 0.5"
    assert look.left_s == 12.5
    assert look.in_words() == "1 done, 1 running, 1 left, 1 failed"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_has_bars_and_a_log_has_lines(tmp_path: Path, is_terminal: bool) -> None:
    units = toys(tmp_path, 2)
    with open(tmp_path / "said.txt", "w") as file:
        console = Console(file=file, force_terminal=is_terminal, width=200)
        with Watch(console, Watcher(units, (50.0, 50.0), 60), workers=2) as watch:
            claim = take(units[0].folder, "worker 7")
            assert claim is not None
            claim.beat(1, 4, "loss 0.5")
            watch.show(watch.watcher.look())
            watch.bars.refresh()
            claim.release()
            work_off(shift_of(tmp_path, units))
    said = (tmp_path / "said.txt").read_text()
    if is_terminal:
        assert "loss 0.5 (worker 7 on " in said
        assert "2 done, 0 running, 0 left" in said
    else:
        assert "0 done, 0 running, 2 left; about 50 s to go" in said
        assert f"2/2 {units[1].name}: done" in said


def past(runs: Path, adapter: str, cpu_s: float) -> None:
    schedule = {"steps": 100, "batch": 10, "num_frames": 5}
    record = {
        "kind": "tuning",
        "adapter": adapter,
        "cpu_s": cpu_s,
        "process_cpu_s": cpu_s + 8,
        "curve": [{}] * 4,
    }
    folder = runs / f"{adapter}-{cpu_s}"
    folder.mkdir(parents=True)
    record["config"] = {"backbone": "ab", "tune": {"schedule": schedule}}
    (folder / "record.json").write_text(json.dumps(record))


def test_a_point_costs_what_like_tunings_cost(tmp_path: Path) -> None:
    config = resolve(AblationConfig, ["adapter=lora", "schedule.steps=50", "schedule.batch=20"])
    for cpu_s in (9.0, 10.0, 30.0):
        past(tmp_path, "lora", cpu_s)
    readings = tmp_path / "lora-9.0" / "readings" / "ab"
    readings.mkdir(parents=True)
    (readings / "adapter.json").write_text(json.dumps({"cpu_s": 5.0, "clips": 10}))
    seer = Forecaster(tmp_path, "small", "ab")
    found = seer.of_point(config, 20)
    assert found.cpu_s == pytest.approx(10.0 + 2 * 2.0 + 20 * 0.5)  # as many frames; two looks at its curve
    assert found.basis == "3 records"
    assert seer.of_point(config, 20, is_learned=True).cpu_s == pytest.approx(10.0)


def test_an_adapter_never_tuned_here_costs_as_the_nearest_by_products(tmp_path: Path) -> None:
    past(tmp_path, "lora", 10.0)
    past(tmp_path, "head", 4.0)
    seer = Forecaster(tmp_path, "small", "ab")
    of_lora, basis = seer.frame_s("lora(rank=16)")
    assert basis == "as lora, by products"
    assert of_lora == pytest.approx(0.002 * seer.gflop("lora(rank=16)") / seer.gflop("lora"))
    nobody = Forecaster(tmp_path, "small", "another backbone")
    assert nobody.frame_s("lora") == (pytest.approx(SECONDS_PER_GFLOP * nobody.gflop("lora")), "products")
    assert nobody.evaluation_s == EVALUATION_S


@pytest.mark.parametrize(("seconds", "words"), [(50, "50 s"), (720, "12 min"), (6000, "1 h 40 min")])
def test_times_are_for_people(seconds: float, words: str) -> None:
    assert hours(seconds) == words


def test_the_grid_of_equal_budgets_is_the_one_that_the_command_writes() -> None:
    from eatlab.experiment.budgets import count_budgets
    from eatlab.experiment.matching import as_grid, matched

    file = yaml.safe_load((ROOT / "experiments" / "equal_budget.yaml").read_text())
    matches = matched("small", 1.0, count_budgets("small", "none").frozen_total)
    assert {**yaml.safe_load(as_grid(matches, 1.0, "small")), "seeds": [0, 1, 2]} == file


@pytest.mark.parametrize("name", ["sweep", "sweep_quick", "equal_budget", "fig5", "fig6", "table3", "table6"])
def test_the_grids_that_are_kept_can_be_run(name: str) -> None:
    path = ROOT / "experiments" / f"{name}.yaml"
    points = read_grid(path)
    check_specs(str(path), points)
    assert len({point.seed for point in points}) > 1


def test_table6_adds_one_loss_after_the_other_as_the_paper_does() -> None:
    losses = [p.config.loss for p in read_grid(ROOT / "experiments" / "table6.yaml", ["seeds=0"])]
    weighed = [
        {name for name in ("perceptual", "expression", "sync", "pixel") if getattr(loss, name)}
        for loss in losses
    ]
    assert weighed == [
        {"perceptual"},
        {"perceptual", "expression"},
        {"perceptual", "expression", "sync"},
        {"perceptual", "expression", "sync", "pixel"},
        {"expression"},
    ]


def test_a_grid_of_losses_shows_the_faces_of_each() -> None:
    clips = ClipsUnit(None, Prepared("small", "", {}, "", {}, 0), Path())  # type: ignore[arg-type]
    points = read_grid(ROOT / "experiments" / "table6.yaml")
    tunings = [TuneConfig(p.adapter, p.seed, p.config.schedule, p.config.loss) for p in points]
    units = [PointUnit(Point(t, "", {}, {}), clips, p) for t, p in zip(tunings, points, strict=True)]
    drawn = gallery_units(units)
    assert len({unit.folder for unit in drawn}) == len(drawn) == 5
    assert {unit.needs.said.seed for unit in drawn} == {0}


def test_a_loss_that_draws_is_forecast_to_cost_more(tmp_path: Path) -> None:
    forecaster = Forecaster(tmp_path, "small", "")
    latent, drawn = (
        forecaster.of_point(resolve(AblationConfig, ["adapter=head", *words]), 8).cpu_s
        for words in ([], ["loss.sync=1"])
    )
    assert drawn > 2 * latent


def test_the_sweep_has_every_family() -> None:
    families = read_grid(ROOT / "experiments" / "tables" / "families.yaml", ["seeds=0"])
    sweep = read_grid(ROOT / "experiments" / "sweep.yaml", ["seeds=0", "share=1"])
    assert {point.adapter for point in sweep} == {point.adapter for point in families}
