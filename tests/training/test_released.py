"""The release's stages: what they train, weigh and leave alone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.published.blur import shrink
from eatlab.backbone.published.hull import hull_volume
from eatlab.backbone.sites import sha256_of
from eatlab.errors import ExitCode, UserError
from eatlab.experts.perceptual import Vgg19
from eatlab.training.released import Experts, ReleasedTraining, StepConfig, for_every_emotion
from eatlab.training.released_clips import Clips, fresh_latents
from eatlab.training.released_stages import ADAPTERS, RELEASED_START, STAGES
from tests.backbone.toys import TINY_PUBLISHED, lively_head
from tests.training.released_toys import (
    EMOTIONS,
    FRAMES,
    MOVED,
    TRAINED,
    brightness,
    fit,
    random_clips,
    random_experts,
    statistics,
    training,
)
from tests.training.toys import TINY, tiny_backbone


def test_rates_and_norms_are_the_releases():
    trained = {name: {g.part: (g.rate, g.clip_norm) for g in stage.trained} for name, stage in STAGES.items()}
    beside = {"eam.a2et": (1.5e-4, 0.05), "mapper": (2e-4, None), "eam.renderer": (2e-4, None)}
    assert trained == {
        "1a": {"a2et": (1e-4, 0.05)},
        "1b": {"a2et": (1.5e-4, 0.05)},
        "adaptation": beside | {"edn": (2e-4, 0.05)},
        "editing": beside,
    }


@pytest.mark.parametrize("name", STAGES)
def test_adam_is_the_releases_and_decays_where_the_release_never_gets(name):
    made = training(name).configure_optimizers()
    adam, decay = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert all((g["betas"], g["weight_decay"]) == ((0.5, 0.999), 0) for g in adam.param_groups)
    assert (decay.step_size, decay.gamma) == (180, 0.1)
    assert [g["lr"] for g in adam.param_groups] == [group.rate for group in STAGES[name].trained]


@pytest.mark.parametrize("name", STAGES)
def test_gradients_reach_exactly_what_the_stage_trains(name):
    module, clips = training(name), random_clips(TINY_PUBLISHED)
    module.objective.total(module.terms(clips)).backward()
    every = dict(module.named_parameters())
    reached = {key for key, p in every.items() if p.grad is not None}
    assert reached == {key for key in every if key.startswith(TRAINED[name])}
    others = [f"mapper.branches.{i}." for i in range(8) if i not in EMOTIONS]
    still = {key for key in reached if not every[key].grad.any()}
    assert {key for key in still if not any(other in key for other in others)} == set()


@pytest.mark.parametrize("name", STAGES)
def test_batch_norms_move_exactly_where_the_stage_lets_them(name):
    module, clips = training(name), random_clips(TINY_PUBLISHED)
    before = statistics(module)
    module.terms(clips)
    moved = {key for key, value in statistics(module).items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.startswith(MOVED[name])} != set()
    module.eval()
    before = statistics(module)
    module.terms(clips)
    assert all(torch.equal(value, before[key]) for key, value in statistics(module).items())


@pytest.mark.parametrize("name", STAGES)
def test_dropout_is_active_in_a2et_and_a_function_of_the_step(name):
    module, clips = training(name), random_clips(TINY_PUBLISHED)
    state = torch.random.get_rng_state()
    first, again, other = (module.terms(clips, index)["latent"] for index in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    module.eval()
    assert torch.equal(module.terms(clips, 0)["latent"], module.terms(clips, 1)["latent"])


@pytest.mark.parametrize("name", STAGES)
def test_two_steps_change_the_loss_and_each_term_is_logged(name, tmp_path):
    module, clips = training(name), random_clips(TINY_PUBLISHED)
    first, second = fit(module, clips, 2, tmp_path)
    weighed = {term for term in ("latent", "pca", "image_l1") if getattr(STAGES[name].weights, term)}
    asked = {term for term in ("perceptual", "sync", "clip") if getattr(STAGES[name].weights, term)}
    labelled = {f"{term}_by_random_expert" for term in asked}
    loss = "loss_by_random_expert" if asked else "loss"
    norms = {f"gradient_{group.part}" for group in STAGES[name].trained}
    assert set(first) == {loss} | weighed | labelled | norms
    assert first[loss] != second[loss]


def test_the_loss_falls(tmp_path):
    module, clips = training("1a"), random_clips(TINY_PUBLISHED)
    logged = fit(module, clips, 12, tmp_path)
    assert logged[-1]["loss"] < 0.95 * logged[0]["loss"]


@pytest.mark.parametrize("name", ["adaptation", "editing"])
def test_the_given_backbone_keeps_every_bit(name, tmp_path):
    head = lively_head()
    before = sha256_of(head)
    module = training(name, head)
    fit(module, random_clips(TINY_PUBLISHED), 2, tmp_path)
    assert sha256_of(head) == before
    assert (sha256_of(module.head) != before) == ("a2et" in STAGES[name].learning)
    own, given = module.head.parameters(), head.parameters()
    assert all(a is b for a, b in zip(own, given, strict=True))


@pytest.mark.parametrize("name", ["1a", "1b"])
def test_pretraining_changes_a2et_alone(name, tmp_path):
    head = lively_head()
    before = {part: sha256_of(head.get_submodule(part)) for part in ("keypoints", "renderer", "a2et")}
    fit(training(name, head), random_clips(TINY_PUBLISHED), 1, tmp_path)
    changed = [part for part, digest in before.items() if sha256_of(head.get_submodule(part)) != digest]
    assert changed == ["a2et"]


def test_each_parts_gradient_is_cut_by_itself():
    module = training("adaptation")
    adam = module.configure_optimizers()["optimizer"]
    for index, group in enumerate(adam.param_groups, 1):
        for p in group["params"]:
            p.grad = torch.full_like(p, index / math.sqrt(sum(q.numel() for q in group["params"])))
    module.log_dict = lambda norms: None
    module.on_before_optimizer_step(adam)
    norms = {
        g["part"]: nn.utils.get_total_norm([p.grad for p in g["params"]]).item() for g in adam.param_groups
    }
    assert norms == pytest.approx({"eam.a2et": 0.05, "edn": 0.05, "mapper": 3, "eam.renderer": 4}, rel=1e-4)


@pytest.mark.parametrize("name", STAGES)
def test_clips_of_several_emotions_in_a_batch_equal_one_by_one(name):
    module, clips = training(name).eval(), random_clips(TINY_PUBLISHED)
    together, _ = module(clips)
    for row in range(len(EMOTIONS)):
        alone, _ = module(clips.rows(torch.tensor([row])))
        torch.testing.assert_close(together.expression[row], alone.expression[0], atol=1e-5, rtol=1e-4)
        if STAGES[name].draws:
            torch.testing.assert_close(together.frames[row], alone.frames[0], atol=1e-4, rtol=1e-3)


def test_the_emotion_matters():
    module, clips = training("adaptation").eval(), random_clips(TINY_PUBLISHED)
    said, other = (module(clips._replace(emotion=torch.tensor(e)))[0] for e in (EMOTIONS, (0, 4, 6)))
    assert torch.equal(said.expression[:2], other.expression[:2])
    assert not torch.allclose(said.expression[2], other.expression[2], atol=1e-4)


def by_hand(module: ReleasedTraining, clips: Clips) -> dict[str, float]:
    """The terms of a module in eval mode, clip by clip and frame by frame, from the head and the formulas."""
    head, experts = module.head, module.experts
    sums: dict[str, list[Tensor]] = {
        t: [] for t in ("latent", "pca", "perceptual", "image_l1", "sync", "clip")
    }
    for i in range(len(clips.portrait)):
        one = clips.rows(torch.tensor([i]))
        context = module.adapters.context(one.emotion, latent=one.latent)
        canonical, logits = head.keypoints(one.portrait)
        hull = hull_volume(canonical)
        batch = {"mel": one.mel, "speech": one.speech, "pose": one.pose, "pictures": one.pictures}
        kept: list[Tensor] = []
        handle = head.a2et.coefficients.register_forward_hook(lambda m, x, y, kept=kept: kept.append(y))
        expression = head.a2et(batch | {"face_map": logits.flatten(1, 2)}, context)[0] * hull
        handle.remove()
        true = one.expression[0]
        sums["latent"].append((expression - true).square().mean())
        wanted = (true.flatten(1) / hull - head.a2et.pca.mean) @ head.a2et.pca.basis.T
        sums["pca"].append((kept[0] - wanted).square().mean())
        portrait = head.portrait(one.portrait, one.portrait_pose, context, expression=one.portrait_expression)
        frames = torch.cat(
            [head.render(portrait, expression[f][None], one.pose[:, f], context) for f in range(FRAMES)]
        )
        mouths = []
        for mine, truth, box in zip(frames, one.frames[0], one.boxes[0], strict=True):
            crops = [crop(x, box) for x in (mine, truth)]
            sums["image_l1"].append((crops[0] - crops[1]).abs().mean())
            mouths.append(crops[0][:, 48:])
        cosine = experts.sync(torch.cat(mouths)[None], one.sync_mel)
        sums["sync"].append(F.binary_cross_entropy(cosine, torch.ones(1)))
        sums["clip"].append(1 - experts.clip.clip.logits(frames, experts.clip.text).mean() / 100)
        sums["perceptual"].append(brightness_differs(frames, one.frames[0]))
    return {term: torch.stack(values).mean().item() for term, values in sums.items()}


def brightness_differs(mine: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the features of `random_experts`, summed over four sizes and both taps."""
    sizes = [[2 * shrink((x + 1) / 2, factor) - 1 for x in (mine, truth)] for factor in (1, 2, 4, 8)]
    taps = [pair for a, b in sizes for pair in zip(brightness(a), brightness(b), strict=True)]
    return torch.stack([(a - b).abs().mean() for a, b in taps]).sum()


def crop(image: Tensor, box: Tensor) -> Tensor:
    """(3, s, s) in -1..1, (4,) → (3, 96, 96) in 0..1, bilinear between pixel centres, black outside."""
    side = image.shape[-1]
    x, y = (torch.linspace(float(box[i]), float(box[i + 2]), 96) / side for i in (0, 1))
    grid = torch.stack(torch.meshgrid(2 * x - 1, 2 * y - 1, indexing="xy"), -1)
    return F.grid_sample((image[None] + 1) / 2, grid[None], align_corners=False)[0]


@pytest.mark.parametrize("name", STAGES)
@torch.no_grad()
def test_terms_and_total_agree_with_hand_computation(name):
    module, clips = training(name).eval(), random_clips(TINY_PUBLISHED)
    terms, expected = module.terms(clips), by_hand(module, clips)
    assert {term: value.item() for term, value in terms.items()} == pytest.approx(
        {term: expected[term] for term in terms}, rel=1e-3
    )
    weights = {
        "1a": {"latent": 10, "pca": 10},
        "1b": {"latent": 25, "pca": 25, "perceptual": 10, "image_l1": 1, "sync": 25},
        "adaptation": {"latent": 100, "perceptual": 10, "image_l1": 10, "sync": 10},
        "editing": {"latent": 10, "sync": 10, "clip": 100},
    }[name]
    total = sum(weight * expected[term] for term, weight in weights.items())
    assert module.objective.total(terms).item() == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("at_once", [1, 4])
def test_frames_drawn_a_few_at_a_time_give_the_same_gradients(at_once):
    clips, gradients = random_clips(TINY_PUBLISHED), []
    for config in (StepConfig(), StepConfig(frames_at_once=at_once)):
        module = training("adaptation", config=config)
        module.objective.total(module.terms(clips)).backward()
        gradients.append({k: p.grad for k, p in module.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, value in gradients[0].items():
        # Of a whole tensor: rounding moves a small entry beside large ones by more than its share.
        assert (gradients[1][key] - value).norm() <= 1e-3 * value.norm() + 1e-4, key


def test_adapters_start_as_the_frozen_model_unless_given():
    stage, head = STAGES["adaptation"], lively_head()
    module = ReleasedTraining(stage, head, random_experts())
    assert module.adapters.spec == ADAPTERS
    assert "edn(init=encoder,start=zero)" in module.record()["adapters"]
    assert training("adaptation", head).record()["adapters"].count("start=random") == 2


def test_editing_has_a_new_mapper_that_sees_no_emotion_and_leaves_the_given_adapters_alone(tmp_path):
    head = lively_head()
    given = AdapterSet(RELEASED_START, head)
    before = sha256_of(given)
    module, clips = training("editing", head, adapters=given), random_clips(TINY_PUBLISHED)
    fit(module, clips, 1, tmp_path)
    assert sha256_of(given) == before
    assert len(module.adapters.mapper.branches) == 1
    said, other = (module.eval()(clips._replace(emotion=torch.tensor(e)))[0] for e in (EMOTIONS, (1, 2, 3)))
    torch.testing.assert_close(said.expression, other.expression)


def test_an_edited_set_is_saved_with_the_texts_branch_at_each_emotion(tmp_path):
    head, path = lively_head(), tmp_path / "edited.safetensors"
    edited = training("editing", head).adapters
    with pytest.raises(UserError, match=r"^a set whose mapper has 1 branches; .* for_every_emotion makes"):
        edited.save(path, head)
    for_every_emotion(edited, head).save(path, head)
    loaded, latent = AdapterSet.load(path, head), torch.randn(1, 16)
    for emotion in (0, 5):
        mine, theirs = (x.context(torch.tensor([emotion]), latent=latent).guidance for x in (edited, loaded))
        torch.testing.assert_close(mine, theirs)


def test_what_a_stage_lacks_is_told():
    head = lively_head()
    with pytest.raises(UserError, match="goes on with trained adapters"):
        ReleasedTraining(STAGES["editing"], head, random_experts())
    with pytest.raises(UserError, match='no mapper that a text could replace; give "deep_prompt'):
        training("editing", head, adapters=AdapterSet("none", head))
    with pytest.raises(UserError, match=r"trains eam\.a2et, edn, eam\.renderer; the adapters"):
        training("adaptation", head, adapters=AdapterSet("deep_prompt", head))
    with pytest.raises(UserError, match="weighs perceptual, sync; there is no expert for them"):
        training("1b", head, Experts())


def test_a_loss_or_gradient_that_is_not_finite_ends_it_before_the_step(tmp_path):
    module, clips = training("1a"), random_clips(TINY_PUBLISHED)
    before = sha256_of(module.parts["a2et"][0].coefficients)
    with pytest.raises(UserError, match="stage 1a diverged: the loss of step 0 is nan") as told:
        fit(module, clips._replace(expression=clips.expression * math.nan), 1, tmp_path)
    assert told.value.code == ExitCode.DIVERGED
    adam = module.configure_optimizers()["optimizer"]
    next(module.head.a2et.parameters()).grad = torch.full_like(next(module.head.a2et.parameters()), math.inf)
    with pytest.raises(UserError, match="the gradient of a2et of step 0 is inf"):
        module.on_before_optimizer_step(adam)
    assert sha256_of(module.parts["a2et"][0].coefficients) == before


@pytest.mark.parametrize("name", ["1a", "1b", "adaptation", "editing"])
def test_the_small_form_takes_the_same_steps(name, tmp_path):
    clips = random_clips(TINY)._replace(pictures=None)
    first, second = fit(training(name, tiny_backbone()), clips, 2, tmp_path)
    assert first.keys() == second.keys()


def test_latents_are_fresh_for_each_step_process_and_clip_and_repeat():
    one = fresh_latents(4, seed=1, step=2)
    assert torch.equal(one, fresh_latents(4, seed=1, step=2))
    others = (fresh_latents(4, seed=1, step=3), fresh_latents(4, seed=2, step=2))
    assert not any(torch.equal(one, x) for x in (*others, fresh_latents(4, seed=1, step=2, process=1)))
    assert len(one.unique(dim=0)) == 4
    many = fresh_latents(4000, seed=0, step=0)
    assert (many.mean().item(), many.std().item()) == pytest.approx((0, 1), abs=0.02)


def test_experts_are_asked_frozen():
    experts = random_experts(Vgg19())
    experts.perceptual.train()
    training("1b", experts=experts)
    assert not any(net.training for net in experts.networks())
    assert not any(p.requires_grad for net in experts.networks() for p in net.parameters())
