"""A2ET: its two halves are the whole, clips are independent, attention is torch's."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from eatlab.backbone.a2et import A2ET, Standardise
from eatlab.backbone.sites import FROZEN
from eatlab.backbone.transformer import Attention, positions, split_in_proj
from tests.training.toys import SIDE, TINY

CLIPS, FRAMES = 3, 4


def a2et(**changes: object) -> A2ET:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return A2ET(replace(TINY.a2et, **changes)).eval()


def batch() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    shapes = {
        "mel": (FRAMES, 11, 80),
        "speech": (FRAMES, 11, 64),
        "pose": (FRAMES, 7),
        "face_map": (30, SIDE, SIDE),
    }
    return {name: torch.randn(CLIPS, *shape, generator=g) for name, shape in shapes.items()}


def test_prefix_and_suffix_are_forward():
    net, x = a2et(), batch()
    assert torch.equal(net.suffix(net.prefix(x)), net(x))
    assert net(x).shape == (CLIPS, FRAMES, 15, 3)


def test_clips_and_frames_in_a_batch_do_not_know_of_each_other():
    net, x = a2et(), batch()
    together = net(x)
    for clip in range(CLIPS):
        alone = {name: value[clip : clip + 1] for name, value in x.items()}
        torch.testing.assert_close(net(alone)[0], together[clip], atol=1e-5, rtol=1e-4)
        last = {name: v if name == "face_map" else v[:, -1:] for name, v in alone.items()}
        torch.testing.assert_close(net(last)[0, 0], together[clip, -1], atol=1e-5, rtol=1e-4)


def test_checkpointing_changes_nothing():
    answers = []
    for checkpointing in (False, True):
        net = a2et(checkpointing=checkpointing)
        out = net(batch())
        out.square().sum().backward()
        answers.append((out.detach(), [p.grad for p in net.parameters() if p.grad is not None]))
    (plain, plain_grads), (kept, kept_grads) = answers
    assert torch.equal(plain, kept)
    assert all(torch.equal(a, b) for a, b in zip(plain_grads, kept_grads, strict=True))


def test_released_attention_weights_say_the_same_in_our_layers():
    torch.manual_seed(0)
    released, ours = nn.MultiheadAttention(16, 4, batch_first=True), Attention(16, 4)
    nn.init.normal_(released.in_proj_bias)
    ours.load_state_dict(split_in_proj(released.state_dict()))
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    expected, _ = released(x, memory, memory)
    torch.testing.assert_close(ours(x, memory, FROZEN), expected, atol=1e-5, rtol=1e-4)


def test_positions_are_sines_and_cosines_of_falling_rates():
    rows = positions(torch.zeros(1, 12, 16))
    for at, pair in ((0, 0), (5, 3), (11, 7)):
        angle = torch.tensor(at / 10000 ** (2 * pair / 16))
        torch.testing.assert_close(rows[at, 2 * pair : 2 * pair + 2], torch.stack([angle.sin(), angle.cos()]))


def test_inputs_are_standardised_and_cut_at_six_deviations():
    scale, x = Standardise(4), 5 + 3 * torch.randn(5000, 4)
    scale.fit(x)
    y = scale(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(y.std(0), torch.ones(4), atol=1e-2, rtol=0)
    assert scale(torch.full((1, 4), 1e6)).tolist() == [[6.0] * 4]
