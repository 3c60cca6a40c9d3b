"""The whole head: portrait work done once, rows independent, frozen is frozen, files keep every bit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from eatlab.backbone.sites import fingerprint, learning_statistics, sha256_of
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import TalkingHead, for_cpu
from tests.training.toys import TINY, tiny_backbone

FRAMES = 5


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, TINY.size, TINY.size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def poses(n: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(3)
    return torch.cat([10 * torch.randn(n, 3, generator=g), torch.zeros(n, 3), torch.ones(n, 1)], 1)


def test_work_on_the_portrait_is_done_once_and_equals_that_for_each_frame():
    head = tiny_backbone()
    calls: list[str] = []
    for name in ("keypoints", "estimator", "renderer.appearance"):
        head.get_submodule(name).register_forward_hook(lambda *a, name=name: calls.append(name))
    which, expression = torch.tensor([0, 1, 1, 0, 1]), 0.1 * torch.randn(FRAMES, 15, 3)
    image, pose = pictures(2), poses(2)
    once = head.render(head.portrait(image, pose).rows(which), expression, poses(FRAMES))
    assert sorted(calls) == ["estimator", "keypoints", "renderer.appearance"]
    each = head.render(head.portrait(image[which], pose[which]), expression, poses(FRAMES))
    torch.testing.assert_close(once, each, atol=1e-5, rtol=1e-4)


def test_a_batch_of_frames_is_its_frames_one_by_one():
    head = tiny_backbone()
    expression, pose = 0.1 * torch.randn(FRAMES, 15, 3), poses(FRAMES)
    portrait = head.portrait(pictures(FRAMES), poses(FRAMES))
    together = head.render(portrait, expression, pose)
    for i in range(FRAMES):
        one = torch.tensor([i])
        alone = head.render(portrait.rows(one), expression[one], pose[one])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)
    assert together.abs().max() <= 1
    e, p = head.estimate(pictures(FRAMES))
    torch.testing.assert_close(head.estimate(pictures(FRAMES)[2:3])[0][0], e[2], atol=1e-5, rtol=1e-4)
    assert p.shape == (FRAMES, 7)


def test_pictures_of_another_size_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^pictures of 16 x 16 pixels; .* takes 32 x 32; crop"):
        tiny_backbone().portrait(torch.zeros(1, 3, 16, 16), poses(1))


def test_a_head_in_training_mode_learns_statistics_only_where_told_to():
    head = tiny_backbone().train()
    before = sha256_of(head)

    def everything() -> None:
        head.render(head.portrait(pictures(2), poses(2)), torch.zeros(2, 15, 3), poses(2))

    everything()
    assert sha256_of(head) == before
    with learning_statistics(head):
        everything()
    assert sha256_of(head) != before


def test_every_parameter_that_is_not_fixed_can_be_adapted():
    head = tiny_backbone()
    free = {name for name, _ in head.named_parameters() if not name.startswith(TalkingHead.FIXED)}
    assert set(head.reachable()) == free
    assert any(name.startswith("renderer.") for name in free)


def test_a_parameter_that_nobody_could_adapt_is_an_error():
    head = tiny_backbone()
    head.a2et.orphan = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"a2et\.orphan\.weight"):
        head.reachable()


def test_one_bit_changes_the_fingerprint():
    head = tiny_backbone()
    before = fingerprint(head)
    bits = head.renderer.out.weight.data.view(torch.int32)
    bits.view(-1)[7] ^= 1
    assert fingerprint(head) != before
    bits.view(-1)[7] ^= 1
    assert fingerprint(head) == before


def test_a_file_holds_every_bit(tmp_path):
    head, other = tiny_backbone(), tiny_backbone(seed=1)
    save_file({k: v.contiguous() for k, v in head.state_dict().items()}, tmp_path / "head.safetensors")
    other.load_state_dict(load_file(tmp_path / "head.safetensors"))
    assert sha256_of(other) == sha256_of(head)
    assert sha256_of(for_cpu(other)) == sha256_of(head)


def test_the_small_head_has_the_parameters_that_the_documents_say():
    millions = sum(p.numel() for p in TalkingHead(SIZES["small"]()).parameters()) / 1e6
    assert 1.5 < millions < 2.1
