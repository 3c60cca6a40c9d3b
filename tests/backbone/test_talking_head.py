"""The whole head: portrait work done once, rows independent, frozen is frozen, files keep every bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.clip import Driving, Padding, Speech, zeros
from eatlab.backbone.motion import MOTIONS
from eatlab.backbone.published.hull import hull_volume
from eatlab.backbone.sites import FROZEN, Context, fingerprint, learning_statistics, sha256_of
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import Portrait, TalkingHead, animate, compile_drawing, for_cpu
from eatlab.errors import UserError
from tests.backbone.toys import lively_head
from tests.training.toys import TINY, tiny_backbone

FRAMES = 5
FORMS = {"small": tiny_backbone, "published": lively_head}
every_form = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
SPEC = "deep_prompt+edn(start=random)+eam(start=random)"


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


@every_form
def test_pictures_of_another_size_are_refused_in_one_line(make):
    with pytest.raises(UserError, match=r"^pictures of 24 x 16 pixels; .* takes 32 x 32; crop"):
        make().portrait(torch.zeros(1, 3, 16, 24), poses(1))


def test_a_portrait_of_which_no_estimator_can_speak_is_refused_in_one_line():
    message = r'^the backbone "tiny published" reads no E and pose from frames; give'
    with pytest.raises(UserError, match=message):
        lively_head().portrait(pictures(1), poses(1))


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


Clip = tuple[Portrait, Speech, Driving, Padding]
"""What `animate` is given, but for the head and the context."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def portraits(head: TalkingHead, n: int, context: Context = FROZEN) -> Portrait:
    return head.portrait(pictures(n), poses(n), context, expression=0.1 * noise(n, 15, 3))


def clip_of(head: TalkingHead, context: Context, num_frames: int = 7) -> Clip:
    """One portrait, and a clip of which the driving video is a frame longer than the sound."""
    shape = head.config.a2et.speech.statistics
    speech = Speech(noise(num_frames - 1, 80, seed=1), noise(num_frames - 1, *shape, seed=2))
    driving = Driving(poses(num_frames), 255 * noise(num_frames, 64, 64, seed=4).sigmoid())
    return portraits(head, 1, context), speech, driving, zeros(speech)


def sad_set(head: TalkingHead) -> tuple[AdapterSet, Context]:
    """A set that has all of EAT's adapters, none of which is at rest, and its context for a sad clip."""
    torch.manual_seed(5)
    adapters = AdapterSet(SPEC, head).requires_grad_(False).eval()
    return adapters, adapters.context(torch.tensor([6]), 0.8, noise(1, 16))


def frame_by_frame(head: TalkingHead, clip: Clip, context: Context) -> Tensor:
    """Steps 2 to 9 of eat-networks.md 14 for one frame after the other, nothing computed once a clip."""
    portrait, speech, driving, padding = clip
    known, expressions, keypoints = len(speech.mel), [], []
    for frame, pose in enumerate(driving.pose.split(1)):
        window = range(frame - 5, frame + 6)
        inside = [at if 0 <= at < known else None for at in window]
        mel, said = (
            torch.stack([pad if at is None else x[at] for at in inside])[None, None]
            for x, pad in zip(speech, padding, strict=True)
        )
        seen = torch.stack([driving.pictures[min(max(at, 0), known - 1)] for at in window])[None, None]
        batch = {"mel": mel, "speech": said, "pictures": seen, "pose": pose[None]}
        batch |= {"face_map": portrait.face_map, "hull": portrait.hull}
        expressions.append(head.speak(batch, context)[0])
        keypoints.append(head.compose(portrait.canonical, pose, expressions[-1]))
    shift = portrait.keypoints.mean((0, 1)) - torch.cat(keypoints).mean((0, 1))
    pairs = zip(keypoints, expressions, strict=True)
    return torch.cat([head.draw_at(portrait, k + shift, e, context).image for k, e in pairs])


@every_form
def test_a_clip_is_animated_as_if_frame_by_frame_with_nothing_shared(make):
    head = make()
    _, context = sad_set(head)
    drawn_by = next(name for name in head.reachable() if name.endswith(".out.weight") and "renderer" in name)
    context = replace(context, plan={**context.plan, drawn_by: (lambda w, c: 0.5 * w,)})
    clip = clip_of(head, context)
    frames = torch.cat(list(animate(head, *clip, context, heard_at_once=3, drawn_at_once=2)))
    assert frames.shape == (7, 3, head.config.size, head.config.size)
    torch.testing.assert_close(frames, frame_by_frame(head, clip, context), atol=1e-4, rtol=1e-3)
    assert frames.std(0).max() > 1e-3


@every_form
@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_the_size_of_chunks_does_not_change_frames(motion, make):
    head = make()
    clip = clip_of(head, FROZEN)
    answers = [
        list(animate(head, *clip, motion=motion, heard_at_once=chunk, drawn_at_once=chunk))
        for chunk in (1, 3, 100)
    ]
    assert [len(frames) for frames in answers] == [7, 3, 1]
    for frames in answers[1:]:
        torch.testing.assert_close(torch.cat(frames), torch.cat(answers[0]), atol=1e-4, rtol=1e-3)


def test_each_motion_draws_other_frames():
    head = lively_head()
    clip = clip_of(head, FROZEN)
    drawn = [torch.cat(list(animate(head, *clip, motion=motion))) for motion in MOTIONS.values()]
    for a, b in zip(drawn, [*drawn[1:], drawn[0]], strict=True):
        assert (a - b).abs().max() > 1e-3


@every_form
def test_what_sees_no_frame_is_computed_once_a_clip(make):
    head, calls = make(), []
    adapters, context = sad_set(head)
    clip = clip_of(head, context)
    once = {"edn": adapters.adapters[1].head, "face": head.a2et.face_shrink, "detector": head.keypoints}
    for name, module in once.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    list(animate(head, *clip, context, heard_at_once=2))
    assert sorted(calls) == ["edn", "face"]


def windows(head: TalkingHead, portrait: Portrait, num_frames: int = 2) -> dict[str, Tensor]:
    """A batch of A2ET's windows for each row of a portrait."""
    clips, shape = len(portrait.hull), head.config.a2et.speech.statistics
    return {
        "mel": noise(clips, num_frames, 11, 80, seed=1),
        "speech": noise(clips, num_frames, 11, *shape, seed=2),
        "pictures": 255 * noise(clips, num_frames, 11, 64, 64, seed=3).sigmoid(),
        "pose": poses(clips * num_frames).unflatten(0, (clips, num_frames)),
        "face_map": portrait.face_map,
        "hull": portrait.hull,
    }


def contexts(head: TalkingHead) -> Callable[[slice], Context]:
    """Of some of three clips, each with its emotion, intensity and latent, the context."""
    adapters, _ = sad_set(head)
    emotion, intensity, latent = torch.tensor([0, 4, 6]), torch.tensor([1.0, 0.3, 0.7]), noise(3, 16)
    return lambda rows: adapters.context(emotion[rows], intensity[rows], latent[rows])


def spoken_and_drawn(head: TalkingHead, context: Context, rows: slice) -> tuple[Tensor, Tensor]:
    """E (clips, 2, 15, 3) and frames (2 · clips, 3, size, size) of some of three clips."""
    image, pose, expression = pictures(3)[rows], poses(3)[rows], 0.1 * noise(3, 15, 3)[rows]
    portrait = head.portrait(image, pose, context, expression=expression)
    batch = {key: value[rows] for key, value in windows(head, portraits(head, 3)).items()}
    expression = head.speak(batch | {"face_map": portrait.face_map, "hull": portrait.hull}, context)
    each = portrait.rows(torch.arange(len(expression)).repeat_interleave(2))
    return expression, head.render(each, expression.flatten(0, 1), batch["pose"].flatten(0, 1), context)


@every_form
def test_clips_with_different_emotions_in_one_batch_are_as_each_alone(make):
    head, every = make(), slice(None)
    context = contexts(head)
    together, frames = spoken_and_drawn(head, context(every), every)
    for clip in range(3):
        row = slice(clip, clip + 1)
        alone, drawn = spoken_and_drawn(head, context(row), row)
        torch.testing.assert_close(alone, together[row], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(drawn, frames[2 * clip : 2 * clip + 2], atol=1e-4, rtol=1e-3)
        another = slice((clip + 1) % 3, (clip + 1) % 3 + 1)
        other, redrawn = spoken_and_drawn(head, context(another), row)
        assert (other - alone).abs().max() > 1e-2
        assert (redrawn - drawn).abs().max() > 1e-2


@every_form
def test_a_portrait_is_adapted_by_its_context(make):
    head = make()
    _, context = sad_set(head)
    frozen, adapted = (portraits(head, 1, c) for c in (FROZEN, context))
    change = context.plan["renderer.volume"][0]
    assert torch.equal(adapted.appearance.volume, change(frozen.appearance.volume, context))
    assert not torch.equal(adapted.appearance.volume, frozen.appearance.volume)
    assert torch.equal(adapted.keypoints, frozen.keypoints)


@every_form
def test_a_settled_context_says_the_same(make):
    head, portrait = make(), portraits(make(), 3)
    context = contexts(head)(slice(None))
    known = context.with_portrait(head.a2et.adapted_face(portrait.face_map, context))
    batch = windows(head, portrait)
    assert torch.equal(head.speak(batch, known.settled()), head.speak(batch, context))
    assert not torch.equal(head.speak(batch, context), head.speak(batch))


def test_expressions_are_scaled_by_the_hull_where_the_config_says_so():
    published, small = lively_head(), tiny_backbone()
    portrait = portraits(published, 2)
    assert torch.equal(portrait.hull, hull_volume(portrait.canonical))
    batch = windows(published, portrait)
    scaled = published.a2et(batch) * portrait.hull[:, None, None, None]
    assert torch.equal(published.speak(batch), scaled)
    portrait = portraits(small, 2)
    assert torch.equal(portrait.hull, torch.ones(2))
    batch = windows(small, portrait)
    assert torch.equal(small.speak(batch), small.a2et(batch))


def test_several_clips_are_animated_one_by_one_or_refused():
    head = tiny_backbone()
    _, context = sad_set(head)
    speech, driving, padding = clip_of(head, FROZEN)[1:]
    with pytest.raises(UserError, match=r"^a clip with 2 portraits; animate clips one by one$"):
        next(animate(head, portraits(head, 2), speech, driving, padding))
    several = replace(context, mix=context.mix.repeat(3, 1))
    with pytest.raises(UserError, match=r"^a clip with 3 emotions; animate clips one by one$"):
        next(animate(head, portraits(head, 1), speech, driving, padding, several))


def test_drawing_in_bf16_rounds_frames_by_less_than_a_grey_level_and_nothing_else():
    head = lively_head()
    clip = clip_of(head, FROZEN, num_frames=2)
    exact, rounded = (torch.cat(list(animate(head, *clip, precision=name))) for name in ("fp32", "bf16"))
    off = 255 / 2 * (exact - rounded).abs()
    assert 0 < off.mean() < 1
    with pytest.raises(UserError, match=r'^precision "bf15" is unknown; there are: fp32, bf16; did you mean'):
        next(animate(head, *clip, precision="bf15"))


def test_an_autocast_around_it_changes_no_frame():
    head = lively_head()
    clip = clip_of(head, FROZEN, num_frames=2)
    alone = torch.cat(list(animate(head, *clip)))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(torch.cat(list(animate(head, *clip))), alone)


def test_compiled_drawing_gives_the_same_frames_under_the_same_keys():
    head = lively_head()
    clip, keys = clip_of(head, FROZEN, num_frames=2), list(head.state_dict())
    plain = torch.cat(list(animate(head, *clip)))
    torch._dynamo.reset()
    compiled = torch.cat(list(animate(compile_drawing(head, "aot_eager"), *clip)))
    torch._dynamo.reset()
    assert list(head.state_dict()) == keys
    torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-4)
