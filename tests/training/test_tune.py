"""Tuning: frozen stays frozen, nothing is rendered, an interrupted tuning ends with the same bits."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.files import read_adapter_file
from eatlab.backbone.sites import sha256_of
from eatlab.errors import ExitCode, UserError
from eatlab.training import callbacks
from eatlab.training.callbacks import Curve
from eatlab.training.checkpoint import load_checkpoint, saved
from eatlab.training.latents import Latents
from eatlab.training.learner import Learner, TuneConfig
from eatlab.training.schedule import Schedule
from eatlab.training.stream import LatentStream
from eatlab.training.tune import Order, Tune, Tuned, tune
from tests.training.toys import rows_of, tiny_backbone, tiny_latents

SHORT = Schedule(steps=12, batch=4, num_frames=5, warmup=3, evaluate_every=4, save_every=3)


def short(
    folder: Path, *, spec: str = "deep_prompt", seed: int = 0, schedule: Schedule = SHORT, **options: object
) -> Tuned:
    return several({folder / "run": TuneConfig(spec, seed, schedule)}, **options)[0]


def several(tunings: dict[Path, TuneConfig], **options: object) -> list[Tuned]:
    latents = tiny_latents(), tiny_latents(8, seed=3)
    return tune(tiny_backbone(), *latents, tunings, report=silent, **options)  # type: ignore[arg-type]


def module(latents: Latents) -> Tune:
    backbone = tiny_backbone()
    return Tune(backbone, latents, [Learner(backbone, TuneConfig(schedule=SHORT), Path())])


def silent(done: int, total: int, note: str) -> None:
    pass


def timeless(curve: Curve) -> Curve:
    """All but the clocks, and the loss before the first step, which is none."""
    return [{k: v for k, v in row.items() if k not in ("train_s", "cpu_s") and v == v} for row in curve]


class StopAfter:
    """Says stop from the n-th time on that it is asked."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_the_backbone_has_the_same_sha256_before_and_after(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    before = sha256_of(backbone)
    tunings = {tmp_path: TuneConfig(schedule=SHORT)}
    (tuned,) = tune(backbone, tiny_latents(), tiny_latents(8), tunings, report=silent)
    assert sha256_of(backbone) == before == tuned.backbone_sha256
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_the_adapters_learn(tmp_path: Path) -> None:
    schedule = replace(SHORT, steps=60, learning_rate=1e-2, evaluate_every=60, save_every=60)
    curve = short(tmp_path, schedule=schedule).curve
    assert curve[-1]["val_loss"] < curve[0]["val_loss"]
    assert curve[-1]["val_explained"] > curve[0]["val_explained"]


@pytest.mark.parametrize(
    ("spec", "stops"), [("deep_prompt", (5,)), ("deep_prompt", (1, 4)), ("lora(dropout=0.5)", (5,))]
)
def test_an_interrupted_tuning_ends_with_the_same_bits(
    tmp_path: Path, spec: str, stops: tuple[int, ...]
) -> None:
    whole = short(tmp_path / "whole", spec=spec)
    for times in stops:
        with pytest.raises(UserError, match="run the same command again") as told:
            short(tmp_path / "parts", spec=spec, stop=StopAfter(times))
        assert told.value.code == ExitCode.INTERRUPTED
    parts = short(tmp_path / "parts", spec=spec)
    assert parts.adapter.read_bytes() == whole.adapter.read_bytes()
    assert timeless(parts.curve) == timeless(whole.curve)


def test_the_curve_is_measured_without_dropout_and_the_steps_are_taken_with_it(tmp_path: Path) -> None:
    modes = []

    def watch(adapters: AdapterSet) -> dict[str, float]:
        modes.append(adapters.training)
        return {}

    dropping = short(tmp_path / "dropping", spec="lora(dropout=0.5)", measures=[watch])
    plain = short(tmp_path / "plain", spec="lora")
    assert modes
    assert not any(modes)
    assert dropping.adapter.read_bytes() != plain.adapter.read_bytes()
    assert dropping.curve[0]["val_loss"] == plain.curve[0]["val_loss"]


def test_going_on_after_a_damaged_checkpoint_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, warnings = short(tmp_path / "whole"), []
    with pytest.raises(UserError):
        short(tmp_path / "parts", stop=StopAfter(7))
    newest = saved(tmp_path / "parts" / "run" / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    parts = short(tmp_path / "parts", warn=warnings.append)
    assert newest.name in warnings[0]
    assert parts.adapter.read_bytes() == whole.adapter.read_bytes()


def test_a_finished_tuning_called_again_trains_no_further(tmp_path: Path) -> None:
    first, again = short(tmp_path), short(tmp_path)
    assert again.adapter.read_bytes() == first.adapter.read_bytes()
    assert (again.wall_s, len(again.curve)) == (first.wall_s, len(first.curve))


def test_seeds_give_other_adapters_and_the_same_seed_the_same(tmp_path: Path) -> None:
    one, same, other = (short(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert one.adapter.read_bytes() == same.adapter.read_bytes() != other.adapter.read_bytes()


SETS = ("deep_prompt", "eam", "lora(dropout=0.5)", "bitfit")


def of_sets(folder: Path, schedule: Schedule = SHORT) -> dict[Path, TuneConfig]:
    return {folder / str(index): TuneConfig(spec, 0, schedule) for index, spec in enumerate(SETS)}


def test_sets_that_learn_together_end_with_the_bits_and_curves_that_each_has_alone(tmp_path: Path) -> None:
    each = of_sets(tmp_path / "alone").items()
    alone = [several({folder: config})[0] for folder, config in each]
    for one, among in zip(alone, several(of_sets(tmp_path)), strict=True):
        assert among.adapter.read_bytes() == one.adapter.read_bytes()
        assert timeless(among.curve) == timeless(one.curve)


def test_they_compute_what_comes_before_emotion_once_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, prefixes = [], LatentStream.prefixes
    monkeypatch.setattr(LatentStream, "prefixes", lambda self: computed.append(1) or prefixes(self))
    several(of_sets(tmp_path))
    assert len(computed) == 2  # of the windows to tune on, and of those to validate on


def test_a_set_whose_checkpoint_is_older_catches_up_and_all_end_with_the_same_bits(tmp_path: Path) -> None:
    whole = several(of_sets(tmp_path / "whole"))
    with pytest.raises(UserError, match=r'^tuning "deep_prompt" with seed 0 and 3 more at step 7 of 12'):
        several(of_sets(tmp_path / "parts"), stop=StopAfter(7))
    saved(tmp_path / "parts" / "1" / "checkpoints")[-1].unlink()
    steps: list[int] = []
    parts = several(of_sets(tmp_path / "parts"), stop=lambda: bool(steps.append(1)))
    assert len(steps) == 12 - 6
    assert [one.adapter.read_bytes() for one in parts] == [one.adapter.read_bytes() for one in whole]
    assert [timeless(one.curve) for one in parts] == [timeless(one.curve) for one in whole]


def test_when_one_of_several_diverges_the_others_are_saved_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = Learner.take_step

    def explode(learner: Learner, *rest: object) -> None:
        if learner.config.adapter == "bitfit" and learner.step == 5:
            learner.refuse_infinite("loss", float("inf"))
        take_step(learner, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "take_step", explode)
    with pytest.raises(UserError, match=r'^tuning "bitfit" with seed 0 diverged') as told:
        several(of_sets(tmp_path))
    assert told.value.code == ExitCode.DIVERGED
    assert (tmp_path / "3" / "last_good.safetensors").exists()
    newest = [load_checkpoint(tmp_path / str(index) / "checkpoints", print) for index in range(4)]
    assert [found.step for found in newest if found] == [6, 6, 6, 3]


def test_sets_of_other_seeds_or_schedules_do_not_share_a_stream(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="differ in their adapter alone"):
        several({tmp_path / "a": TuneConfig(seed=0), tmp_path / "b": TuneConfig(seed=1)})


def test_the_process_keeps_its_own_randomness(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    module(tiny_latents())
    assert torch.equal(torch.rand(3), expected)


def test_the_order_is_a_function_of_seed_and_step_alone() -> None:
    whole, rest = Order(TuneConfig(schedule=SHORT), 100, 0), Order(TuneConfig(schedule=SHORT), 100, 7)
    assert (len(whole), len(rest)) == (12, 5)
    assert all(torch.equal(whole[7 + i], rest[i]) for i in range(5))
    assert not torch.equal(whole[0], Order(TuneConfig(seed=1, schedule=SHORT), 100, 0)[0])


def test_the_latent_phase_never_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the renderer was asked")

    for network in (backbone.renderer, backbone.keypoints, backbone.estimator):
        monkeypatch.setattr(network, "forward", refuse)
    tune(backbone, tiny_latents(), tiny_latents(8), {tmp_path: TuneConfig(schedule=SHORT)}, report=silent)


def test_what_comes_before_emotion_is_computed_once_and_changes_nothing() -> None:
    tuning, chosen = module(tiny_latents()), torch.tensor([3, 1, 20])
    (adapters,) = tuning.adapters
    assert tuning.stream.prefix is not None
    shared = tuning.stream.predict(chosen, adapters)
    tuning.stream.prefix = None
    torch.testing.assert_close(tuning.stream.predict(chosen, adapters), shared, atol=1e-6, rtol=1e-5)


def test_clips_without_an_emotion_are_not_tuned_on() -> None:
    latents = tiny_latents()
    latents = rows_of(latents, emotion=torch.where(latents.emotion == 2, -1, latents.emotion))
    assert len(module(latents).stream) == 21


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_ends_with_code_5_and_keeps_the_last_good_adapter(
    tmp_path: Path, value: float
) -> None:
    latents = tiny_latents()
    broken = rows_of(latents, expression=torch.full_like(latents.expression, value))
    config = TuneConfig(schedule=SHORT)
    with pytest.raises(UserError, match="diverged") as told:
        tune(tiny_backbone(), broken, tiny_latents(8), {tmp_path: config}, report=silent)
    assert told.value.code == ExitCode.DIVERGED
    assert "\n" not in str(told.value)
    from safetensors.torch import load_file

    assert all(value.isfinite().all() for value in load_file(tmp_path / "last_good.safetensors").values())
    assert not (tmp_path / "adapter.safetensors").exists()


def test_the_clock_leaves_evaluation_out_and_goes_on_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, cpu = [0.0], [0.0]

    def tick(now: list[float]) -> float:
        now[0] += 1
        return now[0]

    def slow(adapters: AdapterSet) -> dict[str, float]:
        wall[0] += 1000
        cpu[0] += 1000
        return {"acc_emo": 0.5}

    clocks = SimpleNamespace(perf_counter=lambda: tick(wall), process_time=lambda: tick(cpu))
    monkeypatch.setattr(callbacks, "time", clocks)
    with pytest.raises(UserError):
        short(tmp_path, measures=[slow], stop=StopAfter(6))
    found = load_checkpoint(tmp_path / "run" / "checkpoints", print)
    assert found is not None
    assert found.meta["clock"]["wall_s"] == 6
    assert short(tmp_path, measures=[slow]).wall_s == 12


def test_the_curve_is_a_csv_with_a_row_an_evaluation(tmp_path: Path) -> None:
    short(tmp_path, measures=[lambda adapters: {"acc_emo": 0.25}])
    with open(tmp_path / "run" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 4, 8, 12]
    assert {"train_s", "cpu_s", "loss", "val_loss", "val_explained", "acc_emo"} <= set(rows[0])


def test_the_adapter_file_loads_and_says_the_same(tmp_path: Path) -> None:
    tuned, backbone, latents = short(tmp_path), tiny_backbone(), tiny_latents()
    adapters = AdapterSet.load(tuned.adapter, backbone)
    assert adapters.spec == "deep_prompt"
    assert read_adapter_file(tuned.adapter)[0]["record"] == tuned.adapter.parent.name
    rows = latents.windows(5)[:2]
    e = backbone.speak(latents.batch(rows), adapters.context(torch.tensor([0, 4])))
    assert e.shape == (2, 5, 15, 3)
    assert tuned.adapter.stat().st_size < 5e6


def test_no_warm_up_is_a_schedule_too() -> None:
    assert Schedule(warmup=0, steps=10).rate(0) == pytest.approx(Schedule(warmup=0).learning_rate)


def test_windows_longer_than_what_is_drawn_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="no labelled clip has 6 neighbouring frames"):
        LatentStream(tiny_backbone(), tiny_latents(num_frames=5), 6, shared=True)


def test_a_set_that_acts_on_frames_alone_is_refused_and_the_rest_of_a_set_stays_as_it_was(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=r'^"eam\(sites=volume\)" acts outside of A2ET only; .*learn nothing'):
        short(tmp_path / "volume", spec="eam(sites=volume)")
    tuned = short(tmp_path / "eam", spec="eam")
    eam = AdapterSet.load(tuned.adapter, tiny_backbone()).adapters[0]
    moved = {key: any(p.any() for p in head[-1].parameters()) for key, head in eam.heads.items()}
    assert moved.pop("renderer/volume") is False
    assert all(moved.values())
