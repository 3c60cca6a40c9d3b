"""Gates, and what judges and teachers answer; the two sets share no network."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn

from eatlab.experts import emotion, landmarks, perceptual, sync
from eatlab.experts.judges import Judges, failed_gate

GOOD = {
    "held_out": {"clip_accuracy": 0.9, "px": 0.8},
    "gate": {"clip_accuracy": [">=", 0.8], "px": ["<=", 1.0]},
}


def judges(**cards: dict) -> Judges:
    nets = emotion.judge(), landmarks.LandmarkJudge(), sync.judge()
    return Judges(*(net.eval() for net in nets), cards)


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ({"clip_accuracy": 0.8, "px": 1.0}, ""),
        ({"clip_accuracy": 0.7, "px": 0.5}, "clip_accuracy is 0.700; the gate is >= 0.8"),
        ({"clip_accuracy": 0.9, "px": 1.25}, "px is 1.250; the gate is <= 1.0"),
        ({"clip_accuracy": float("nan"), "px": 0.5}, "clip_accuracy is nan; the gate is >= 0.8"),
    ],
)
def test_a_gate_is_passed_on_its_bound_and_nan_never_passes(figures, why):
    assert failed_gate(GOOD | {"held_out": figures}) == why


def test_an_expert_without_a_gate_passes():
    assert failed_gate({}) == ""


def test_judges_under_their_gate_are_listed_with_the_reason():
    bad = GOOD | {"held_out": {"clip_accuracy": 0.1, "px": 0.5}}
    assert judges(emotion=bad, sync=GOOD).below_gate() == {
        "emotion": "clip_accuracy is 0.100; the gate is >= 0.8"
    }


def test_judges_answer_as_the_contract_says_and_keep_no_graph():
    images = (torch.rand(2, 3, 96, 96) * 2 - 1).requires_grad_()
    panel = judges()
    said, marks = panel.emotion(images), panel.landmarks(images)
    torch.testing.assert_close(said.exp().sum(1), torch.ones(2))
    assert said.shape == (2, 8)
    assert marks.shape == (2, 68, 2)
    assert not said.requires_grad
    assert not marks.requires_grad
    assert panel.mouth_crops(images, marks).shape == (2, 40, 40)


def test_judges_cannot_be_exchanged():
    panel = judges()
    with pytest.raises(FrozenInstanceError):
        panel.sync = sync.teacher()


def test_the_landmark_judge_starts_at_its_mean_face():
    net = landmarks.LandmarkJudge().eval()
    net.mean.copy_(torch.rand(68, 2) * 96)
    nn.init.zeros_(net.head[-1].weight)
    nn.init.zeros_(net.head[-1].bias)
    torch.testing.assert_close(net(torch.rand(1, 3, 96, 96))[0], net.mean)


@pytest.mark.parametrize(
    ("judge", "teacher"),
    [(emotion.judge, emotion.teacher), (sync.judge, sync.teacher)],
    ids=["emotion", "sync"],
)
def test_a_judge_has_another_architecture_than_the_teacher(judge, teacher):
    shapes = [{name: p.shape for name, p in build().named_parameters()} for build in (judge, teacher)]
    assert shapes[0] != shapes[1]


def test_emotion_experts_judge_what_64_pixels_show_and_are_different_networks():
    teacher, judge = emotion.teacher().eval(), emotion.judge().eval()
    assert teacher.side == judge.side == 64
    assert sum(p.numel() for p in teacher.parameters()) != sum(p.numel() for p in judge.parameters())
    image = torch.rand(2, 3, 96, 96) * 2 - 1
    fewer = torch.nn.functional.interpolate(image, size=(64, 64), mode="area")
    for net in (teacher, judge):
        assert net(image).shape == (2, 8)
        assert torch.equal(net(image), net(fewer))


def test_the_face_teacher_reads_everything_at_its_sizes():
    net = perceptual.FaceTeacher().eval()
    read = net(torch.rand(2, 3, 96, 96) * 2 - 1)
    assert [tap.shape[-1] for tap in read.taps] == [48, 24, 12, 6]
    assert [x.shape for x in read[1:]] == [(2, 34), (2, 5), (2, 136)]
