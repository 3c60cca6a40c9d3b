"""Emotion-FAN: names, the two attentions by their formulas, and both poolings."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from eatlab.emotions import EMOTIONS
from eatlab.errors import UserError
from eatlab.experts.emotion_fan import CLASSES, EmotionFan, load_emotion_fan


@pytest.fixture(scope="module")
def net() -> EmotionFan:
    torch.manual_seed(0)
    return EmotionFan().eval().requires_grad_(False)


def test_entries_stand_in_the_public_order(net) -> None:
    names = list(net.state_dict())
    trunk = [name for name in resnet18(weights=None).state_dict() if not name.startswith("fc.")]
    heads = [
        f"{part}.{kind}"
        for part in ("alpha.0", "beta.0", "pred_fc1", "pred_fc2")
        for kind in ("weight", "bias")
    ]
    assert names == trunk + heads
    assert len(names) == 128


def test_frames_are_resnets_features(net) -> None:
    trunk = resnet18(weights=None).eval()
    trunk.fc = torch.nn.Identity()
    trunk.load_state_dict(net.state_dict(), strict=False)
    faces = torch.rand(2, 3, 64, 64)
    assert torch.allclose(net.frames(faces), trunk(faces), atol=1e-5)


@pytest.mark.parametrize("beta_in_numerator", [True, False])
def test_a_clip_is_pooled_by_the_formula_of_its_protocol(net, beta_in_numerator) -> None:
    features = torch.rand(5, 512)
    alpha = torch.sigmoid(features @ net.alpha[0].weight[0] + net.alpha[0].bias)
    v = (alpha[:, None] * features).sum(0) / alpha.sum()
    g = torch.stack([torch.cat([f, v]) for f in features])
    beta = torch.sigmoid(g @ net.beta[0].weight[0] + net.beta[0].bias)
    above = alpha * beta if beta_in_numerator else alpha
    y = (above[:, None] * g).sum(0) / (alpha * beta).sum()
    found = net.clip(features, beta_in_numerator=beta_in_numerator)
    assert torch.allclose(found, net.pred_fc2(y), atol=1e-5)


def test_the_two_poolings_differ_by_the_missing_beta(net) -> None:
    """Of one frame, the trained form is g and the published one g / β."""
    features = torch.rand(1, 512)
    beta = net.beta(torch.cat([features, features], -1))
    trained, published = (
        net.clip(features, beta_in_numerator=form) - net.pred_fc2.bias for form in (True, False)
    )
    assert torch.allclose(published, trained / beta[0], atol=1e-5)
    assert not torch.allclose(published, trained, atol=1e-2)


def test_clips_in_a_batch_are_judged_alone(net) -> None:
    faces = torch.rand(2, 3, 3, 64, 64)
    alone = torch.stack([net.clip(net.frames(clip), beta_in_numerator=True) for clip in faces])
    assert torch.allclose(net(faces), alone, atol=1e-5)


@pytest.mark.parametrize("beta_in_numerator", [True, False])
def test_what_a_clip_shows_is_said_in_our_order_of_emotions(net, beta_in_numerator) -> None:
    faces = torch.randint(0, 256, (33, 3, 32, 32), dtype=torch.uint8)
    logits = net.clip(net.frames(faces / 255), beta_in_numerator=beta_in_numerator)
    said = net.log_probability(faces, beta_in_numerator=beta_in_numerator)
    probability = dict(zip(CLASSES, logits.softmax(0), strict=True))
    assert torch.allclose(said.exp(), torch.stack([probability[name] for name in EMOTIONS]), atol=1e-5)


def test_its_file_is_one_of_tensors_under_the_public_names(net, tmp_path) -> None:
    torch.save(net.state_dict(), tmp_path / "fan.pth")
    assert torch.equal(load_emotion_fan(tmp_path / "fan.pth").pred_fc2.bias, net.pred_fc2.bias)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "checkpoint.pth")
    with pytest.raises(UserError, match="no Emotion-FAN"):
        load_emotion_fan(tmp_path / "checkpoint.pth")
