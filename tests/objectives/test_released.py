"""The release's terms against their formulas, and its weights, stage by stage."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.backbone.expression import ExpressionPCA
from eatlab.errors import UserError
from eatlab.experts.clip import random_clip
from eatlab.experts.syncnet import SyncNet
from eatlab.objectives.clip import ClipLoss
from eatlab.objectives.face_crop import face_crops
from eatlab.objectives.perceptual_pyramid import PerceptualPyramid
from eatlab.objectives.released import STAGES, ReleasedObjective, ReleasedWeights, Said, Truth, sync_loss

CLIPS, FRAMES, SIZE = 2, 5, 32
ALL = ReleasedWeights(latent=1, pca=2, perceptual=3, image_l1=4, sync=5, clip=6)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def brightness(image: Tensor) -> list[Tensor]:
    return [(image + 1) / 2]


@pytest.fixture(scope="module")
def pca() -> ExpressionPCA:
    pca = ExpressionPCA(32, 15)
    pca.basis.copy_(torch.linalg.qr(noise(45, 45))[0][:32])
    pca.mean.copy_(noise(45, seed=1))
    return pca


@pytest.fixture(scope="module")
def objective(pca) -> ReleasedObjective:
    torch.manual_seed(0)
    sync = SyncNet(width=1).eval().requires_grad_(False)
    clip = ClipLoss(random_clip(), ["sad"])
    return ReleasedObjective(ALL, pca, perceptual=PerceptualPyramid(brightness), sync=sync, clip=clip)


@pytest.fixture
def said() -> Said:
    frames = noise(CLIPS, FRAMES, 3, SIZE, SIZE, seed=2).tanh()
    return Said(noise(CLIPS, FRAMES, 45, seed=3), noise(CLIPS, FRAMES, 32, seed=4), frames)


@pytest.fixture
def truth() -> Truth:
    boxes = torch.tensor([4.0, 6, 28, 30]).expand(CLIPS, FRAMES, 4)
    frames = noise(CLIPS, FRAMES, 3, SIZE, SIZE, seed=5).tanh()
    hull = torch.tensor([0.5, 2.0])
    return Truth(noise(CLIPS, FRAMES, 45, seed=6), hull, frames, boxes, noise(CLIPS, 1, 80, 16, seed=7))


def test_expressions_are_compared_as_they_are(objective, said, truth):
    latent = objective.terms(said, truth)["latent"]
    assert latent.item() == pytest.approx((said.expression - truth.expression).square().mean().item())


def test_coefficients_are_compared_before_the_hull_scales_them(objective, pca, said, truth):
    exact = Said(truth.expression, noise(CLIPS, FRAMES, 32))
    hull = truth.hull[:, None, None]
    from_coefficients = replace(truth, expression=pca(exact.coefficients) * hull)
    assert objective.terms(replace(said, coefficients=exact.coefficients), from_coefficients)[
        "pca"
    ].item() == pytest.approx(0, abs=1e-9)
    wanted = (truth.expression / hull - pca.mean) @ pca.basis.T
    expected = (said.coefficients - wanted).square().mean()
    assert objective.terms(said, truth)["pca"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_pictures_are_compared_whole_and_faces_by_the_true_boxes(objective, said, truth):
    mine, target = (x.frames.flatten(0, 1) for x in (said, truth))
    terms = objective.terms(said, truth)
    assert terms["perceptual"].item() == pytest.approx(objective.perceptual(mine, target).item())
    boxes = truth.boxes.flatten(0, 1)
    off = face_crops(mine, boxes) - face_crops(target, boxes)
    assert terms["image_l1"].item() == pytest.approx(off.abs().mean().item())


def test_five_mouths_are_heard_together(objective, said, truth):
    crops = face_crops(said.frames.flatten(0, 1), truth.boxes.flatten(0, 1))
    cosines = []
    for clip in range(CLIPS):
        five = [crops[FRAMES * clip + frame, :, 48:] for frame in range(FRAMES)]
        cosines.append(objective.sync(torch.cat(five)[None], truth.mel[clip : clip + 1]))
    expected = F.binary_cross_entropy(torch.cat(cosines), torch.ones(CLIPS))
    assert objective.terms(said, truth)["sync"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_all_frames_should_fit_the_text(objective, said, truth):
    expected = objective.clip(said.frames.flatten(0, 1))
    assert objective.terms(said, truth)["clip"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_total_is_the_weighted_sum(objective, said, truth):
    terms = objective.terms(said, truth)
    assert list(terms) == ["latent", "pca", "perceptual", "image_l1", "sync", "clip"]
    expected = sum(weight * value.item() for weight, value in enumerate(terms.values(), 1))
    assert objective.total(terms).item() == pytest.approx(expected, rel=1e-5)


def test_gradients_go_to_what_was_said(objective, said, truth):
    leaves = [x.requires_grad_() for x in (said.expression, said.coefficients, said.frames)]
    objective.total(objective.terms(said, truth)).backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_faces_that_agree_in_nothing_cost_much_but_not_everything():
    class Deaf(SyncNet):
        def forward(self, faces: Tensor, mel: Tensor) -> Tensor:
            return faces.sum((1, 2, 3)) * 0

    faces = torch.rand(1, 15, 48, 96).requires_grad_()
    loss = sync_loss(Deaf(width=1), faces, torch.zeros(1, 1, 80, 16))
    loss.backward()
    assert loss.isfinite()
    assert faces.grad.isfinite().all()


@pytest.mark.parametrize(
    ("stage", "terms"),
    [
        ("1a", ["latent", "pca"]),
        ("1b", ["latent", "pca", "perceptual", "image_l1", "sync"]),
        ("adaptation", ["latent", "perceptual", "image_l1", "sync"]),
        ("editing", ["latent", "sync", "clip"]),
    ],
)
def test_what_weighs_nothing_is_not_computed(objective, pca, said, truth, stage, terms):
    def forbidden(*_: Tensor) -> Tensor:
        raise AssertionError("computed although it weighs nothing")

    experts = {name: getattr(objective, name) for name in ("perceptual", "sync", "clip")}
    used = {name: it if name in terms else forbidden for name, it in experts.items()}
    assert list(ReleasedObjective(STAGES[stage], pca, **used).terms(said, truth)) == terms


def test_stage_1a_needs_no_expert_and_no_picture(pca, said, truth):
    said, truth = replace(said, frames=None), Truth(truth.expression, truth.hull)
    objective = ReleasedObjective(STAGES["1a"], pca)
    assert objective.total(objective.terms(said, truth)).isfinite()


def test_an_expert_that_counts_must_be_there(pca):
    with pytest.raises(UserError, match="weighs perceptual, sync; there is no expert for them; give"):
        ReleasedObjective(STAGES["adaptation"], pca)


def test_pictures_that_count_must_be_there(objective, said, truth):
    with pytest.raises(ValueError, match="ask for rendered frames"):
        objective.terms(replace(said, frames=None), truth)
