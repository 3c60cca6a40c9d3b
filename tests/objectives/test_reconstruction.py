"""Weights of the face, terms written out, and the common shift that keeps a teacher from being fooled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from eatlab.experts.judges import Teachers
from eatlab.experts.perceptual import Reading
from eatlab.objectives.reconstruction import (
    SHIFT_PX,
    Reconstruction,
    ReconstructionConfig,
    face_weights,
    relative_l1,
)

SIZE = 32


class Onlooker:
    """A face teacher that keeps what it was shown, and reads nothing else than means."""

    def __init__(self) -> None:
        self.shown: list[Tensor] = []

    def __call__(self, image: Tensor) -> Reading:
        self.shown.append(image.detach())
        flat = image.flatten(1)
        return Reading([image] * 4, flat[:, :34], flat[:, :5], flat[:, :136])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures() -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(2, 2, 3, SIZE, SIZE, generator=generator()).unbind(0))


class Stripes:
    """An emotion teacher whose features are stripes of the picture, and its logits their means."""

    def read(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        stripes = image.unflatten(3, (8, -1))
        return [stripes.mean(4), stripes.amax(4)], 4 * stripes.mean((1, 2, 4))


def objective(features=None, emotion: float = 1.0) -> tuple[Reconstruction, Onlooker]:
    onlooker = Onlooker()
    teachers = Teachers(onlooker, Stripes(), sync=None)
    return Reconstruction(ReconstructionConfig(emotion=emotion), teachers, features), onlooker


def test_face_weights_have_mean_1_and_look_at_eyes_first():
    mask = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    mask[:, 8:28, 8:24] = True
    landmarks = torch.full((2, 68, 2), 200.0)
    landmarks[:, 36:48] = torch.tensor([12.0, 14.0])
    where = face_weights(mask, landmarks)
    torch.testing.assert_close(where.mean((1, 2, 3)), torch.ones(2))
    eye, cheek, corner = where[0, 0, 14, 12], where[0, 0, 26, 20], where[0, 0, 0, 30]
    assert eye > 2 * cheek
    torch.testing.assert_close(cheek / corner, torch.tensor(3.0), atol=5e-3, rtol=0)
    torch.testing.assert_close(eye / corner, torch.tensor(8.0), atol=0.2, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_both_pictures_are_shifted_by_the_same_few_pixels(seed):
    image, truth = pictures()
    loss, onlooker = objective()
    loss.perceived(image, truth, generator(seed))
    shown_truth, shown_image = onlooker.shown
    shifts = range(-SHIFT_PX, SHIFT_PX + 1)
    found = [(y, x) for y in shifts for x in shifts if torch.equal(shown_truth, truth.roll((y, x), (2, 3)))]
    assert len(found) == 1
    assert torch.equal(shown_image, image.roll(found[0], (2, 3)))


def test_shifts_differ_and_come_from_the_generator():
    image, truth = pictures()
    seen = []
    for seed in (0, 0, 1, 2, 3):
        loss, onlooker = objective()
        loss.perceived(image, truth, generator(seed))
        seen.append(onlooker.shown[0])
    assert torch.equal(seen[0], seen[1])
    assert len({float(x[0, 0, 0, 0]) for x in seen}) > 1


def test_nothing_is_lost_on_the_truth_itself():
    truth, loss = pictures()[0], objective()[0]
    where = torch.ones(2, 1, SIZE, SIZE)
    terms = loss.perceived(truth, truth, generator()) | loss.pixels(truth, truth, truth, where)
    assert set(terms) == set(ReconstructionConfig.__dataclass_fields__)
    assert all(value == 0 for value in terms.values())


def test_terms_of_pixels_are_weighted_means_of_differences():
    image, truth = (x.double() for x in pictures())
    where = torch.rand(2, 1, SIZE, SIZE, dtype=torch.double)
    terms = objective()[0].pixels(image, truth + 0.5, truth, where)
    w, off = where.expand(-1, 3, -1, -1).numpy(), (image - truth).numpy()
    assert float(terms["pixel"]) == pytest.approx((w * abs(off)).mean())
    assert float(terms["warped"]) == pytest.approx(0.5 * w.mean())
    across = (w[..., 1:] * abs(off[..., 1:] - off[..., :-1])).mean()
    down = (w[..., 1:, :] * abs(off[..., 1:, :] - off[..., :-1, :])).mean()
    assert float(terms["edge"]) == pytest.approx(across + down)


def test_a_misread_emotion_is_a_divergence_of_what_is_said_and_a_difference_of_what_is_seen():
    image, truth = pictures()
    (seen, read), (wanted, said) = (Stripes().read(x) for x in (image, truth))
    p, q = said.double().softmax(1), read.double().softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    features = sum(relative_l1(a, b) for a, b in zip(seen, wanted, strict=True))
    loss, _ = objective()
    misread = loss.misread(image, truth)
    torch.testing.assert_close(misread.double(), divergence + features, atol=1e-6, rtol=1e-4)
    assert "emotion" not in objective(emotion=0)[0].perceived(image, truth, generator())


def test_the_total_is_the_weighted_sum_of_the_terms_given():
    loss = objective()[0]
    terms = {"pixel": torch.tensor(2.0), "aus": torch.tensor(3.0)}
    assert loss.total(terms) == 2 * loss.config.pixel + 3 * loss.config.aus


def test_another_feature_network_takes_the_place_of_the_teachers_taps():
    image, truth = pictures()
    loss, _ = objective(features=lambda x: [0 * x])
    assert loss.perceived(image, truth, generator())["perceptual"] == 0
    assert relative_l1(torch.full((4,), 3.0), torch.full((4,), 2.0)) == pytest.approx(1 / 2.001)


def test_gradients_reach_the_image_and_not_the_truth():
    image, truth = (x.clone().requires_grad_() for x in pictures())
    loss, _ = objective()
    sum(loss.perceived(image, truth, generator()).values()).backward()
    assert image.grad.abs().sum() > 0
    assert truth.grad is None
    image.grad = None
    loss.misread(image, truth).backward()
    assert image.grad.abs().sum() > 0
    assert truth.grad is None
