"""Latents: computed once, never from a stale or damaged cache; portraits are neutral pictures of the same
person.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eatlab.backbone.clip import silence
from eatlab.backbone.picture import resized
from eatlab.backbone.published.head_pose import PublishedEstimator
from eatlab.backbone.talking_head import TalkingHead
from eatlab.data.samples import Clip, stack, unit
from eatlab.data.shards import write_shards
from eatlab.emotions import EMOTIONS
from eatlab.errors import UserError
from eatlab.training import latents as module
from eatlab.training.latents import Latents, LatentsConfig, SetName, load_latents, read_cache, write_cache
from eatlab.training.portraits import drawn_portraits, fixed_portraits
from tests.backbone.toys import SIDE, TINY_PUBLISHED, lively_head
from tests.training.toys import TINY, published_latents, tiny_backbone, tiny_latents


def clip(
    key: str, who: str, emotion: str | None, num: int = 5, *, portrait: bool = False, truth: bool = True
) -> Clip:
    """A clip of noise that depends on its key."""
    random = np.random.default_rng(list(key.encode()))
    pose = np.concatenate([random.normal(size=(num, 6)), np.ones((num, 1))], 1).astype(np.float32)
    return Clip(
        key=key,
        identity=who,
        split="train",
        emotion=emotion,
        level=3,
        intensity=1.0,
        num_frames=12,
        at=np.arange(2, 2 + num),
        frames=random.integers(0, 255, (num, TINY.size, TINY.size, 3), dtype=np.uint8),
        audio=random.normal(size=640 * 12).astype(np.float32).clip(-1, 1) * 0.3,
        truth={"pose": pose} if truth else {},
        meta={"role": "portrait" if portrait else "clip", "domain": "puppets"},
    )


CLIPS = [
    clip("a-portrait", "A", "neutral", 1, portrait=True),
    clip("a-happy", "A", "happy"),
    clip("a-neutral", "A", "neutral"),
    clip("b-neutral1", "B", "neutral"),
    clip("b-neutral2", "B", "neutral", 7),
    clip("b-sad", "B", "sad", 3),
]


@pytest.fixture
def source(tmp_path: Path) -> SetName:
    return write(tmp_path / "shards", CLIPS)


def write(folder: Path, clips: list[Clip]) -> SetName:
    write_shards(folder, "toy", "train", clips, per_shard=4, recipe={"name": "toy"})
    return SetName(folder, "toy", "train")


@pytest.fixture
def backbone() -> TalkingHead:
    return tiny_backbone()


def equal(a: Latents, b: Latents) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in Latents.__dataclass_fields__]
    return all(x is y if x is None or y is None else torch.equal(x, y) for x, y in pairs)


def test_are_what_the_backbone_says(source: SetName, backbone: TalkingHead, tmp_path: Path) -> None:
    found = load_latents(backbone, source, LatentsConfig("fixed"), tmp_path)
    table = stack(CLIPS[1:])
    torch.testing.assert_close(found.expression, backbone.estimate(unit(table.image))[0])
    assert torch.equal(found.pose, table.truth["pose"])
    assert found.clip.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 7 + [4] * 3
    assert found.emotion.tolist() == [
        EMOTIONS.index(e) for e in ("happy", "neutral", "neutral", "neutral", "sad")
    ]
    assert found.mel.shape == (25, 11, 80)
    assert found.speech.shape == (25, 11, 64)
    portrait = backbone.portrait(unit(found.portrait_image), found.portrait_pose)
    torch.testing.assert_close(found.face_map, portrait.face_map)


def test_the_pose_is_estimated_where_there_is_no_truth(backbone: TalkingHead, tmp_path: Path) -> None:
    clips = [replace(c, truth={}) for c in CLIPS]
    found = load_latents(backbone, write(tmp_path / "shards", clips), LatentsConfig(), tmp_path)
    torch.testing.assert_close(found.pose, backbone.estimate(unit(stack(clips[1:]).image))[1])


def test_are_computed_once(
    source: SetName, backbone: TalkingHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_latents(backbone, source, LatentsConfig(), tmp_path)
    monkeypatch.setattr(module, "compute", None)
    assert equal(load_latents(backbone, source, LatentsConfig(), tmp_path), first)


@pytest.mark.parametrize("stale", ["backbone", "data", "options", "damaged", "cut off", "no sum"])
def test_a_stale_or_damaged_cache_is_never_used(
    source: SetName, backbone: TalkingHead, tmp_path: Path, stale: str
) -> None:
    config = LatentsConfig()
    first = load_latents(backbone, source, config, tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    if stale == "backbone":
        backbone = tiny_backbone(1)
    elif stale == "data":
        source = write(tmp_path / "other", [replace(c, audio=0.5 * c.audio) for c in CLIPS])
    elif stale == "options":
        config = LatentsConfig("fixed")
    elif stale == "damaged":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif stale == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.with_suffix(".sha256").unlink()
    again = load_latents(backbone, source, config, tmp_path / "cache")
    fresh = load_latents(backbone, source, config, tmp_path / "empty")
    assert equal(again, fresh)
    assert equal(again, first) is (stale in ("damaged", "cut off", "no sum"))


def test_portraits_of_tuning_clips_are_neutral_pictures_of_the_same_person() -> None:
    clips, extra = stack(CLIPS[1:]), stack(CLIPS[:1])
    for seed in range(5):
        for who, (table, row) in zip(clips.identity, drawn_portraits(clips, extra, seed=seed), strict=True):
            lent = (clips, extra)[table]
            assert lent.identity[int(lent.clip[row])] == who
            assert int(lent.emotion[int(lent.clip[row])]) == EMOTIONS.index("neutral")
    assert drawn_portraits(clips, extra, seed=1) == drawn_portraits(clips, extra, seed=1)
    assert drawn_portraits(clips, extra, seed=1) != drawn_portraits(clips, extra, seed=2)


def test_a_clip_keeps_its_drawn_portrait_when_others_come_and_go() -> None:
    few, many = stack(CLIPS[1:3]), stack(CLIPS[1:])
    assert drawn_portraits(many, None, seed=3)[:2] == drawn_portraits(few, None, seed=3)


def test_test_clips_of_a_person_share_one_portrait_that_has_other_words() -> None:
    clips, extra = stack(CLIPS[1:]), stack(CLIPS[:1])
    a_happy, a_neutral, b1, b2, b_sad = fixed_portraits(clips, extra)
    assert a_happy == a_neutral == (1, 0)
    assert b2 == b_sad
    assert int(clips.clip[b2[1]]) == 2
    assert int(clips.clip[b1[1]]) == 3


def test_a_person_without_a_neutral_clip_lends_what_there_is() -> None:
    clips = stack([clip("c-sad", "C", "sad"), clip("c-happy", "C", "happy")])
    assert [table for table, _ in fixed_portraits(clips, None)] == [0, 0]
    assert int(clips.clip[fixed_portraits(clips, None)[0][1]]) == 1


def test_windows_are_successive_frames_of_one_clip() -> None:
    latents = tiny_latents(3, 7)
    at = latents.at.clone()
    at[10:] += 1
    rows = replace(latents, at=at).windows(3)
    assert rows.tolist() == [[0, 1, 2], [3, 4, 5], [7, 8, 9], [10, 11, 12], [14, 15, 16], [17, 18, 19]]


def test_around_a_frame_stand_its_neighbours_and_beyond_the_clip_its_ends() -> None:
    latents = tiny_latents(3, 7)
    at = latents.at.clone()
    at[11:14] += 2  # of the second clip, frames 4 and 5 are not drawn
    found = replace(latents, at=at).around(torch.tensor([[9, 20]]))
    assert found[0, 0].tolist() == [7, 7, 7, 7, 8, 9, 10, 11, 11, 11, 12]
    assert found[0, 1].tolist() == [15, 16, 17, 18, 19, 20, 20, 20, 20, 20, 20]


def test_a_published_head_gets_pictures_at_its_size_its_own_poses_and_silence(tmp_path: Path) -> None:
    source, head = write(tmp_path / "shards", CLIPS), lively_head(replace(TINY_PUBLISHED, size=4 * SIDE))
    head.read_by(PublishedEstimator((8, 8, 8, 8, 8), size=head.config.size))
    found = load_latents(head, source, LatentsConfig(), tmp_path)
    assert found.speech.shape[1:] == (11, 16, 29)
    assert bool((found.speech == silence().features).all())
    assert found.pictures is not None
    assert found.hull is not None
    assert found.batch(found.windows(2))["pictures"].shape[2:] == (11, 64, 64)
    pictures = stack([each for each in CLIPS if not each.is_portrait]).image
    e, pose = head.estimate(resized(unit(pictures), head.config.size))
    torch.testing.assert_close(found.expression, e, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.pose, pose, atol=1e-4, rtol=1e-5)


def test_by_length_puts_clips_of_equal_length_together() -> None:
    latents = replace(tiny_latents(3, 2), clip=torch.tensor([0, 0, 1, 2, 2, 2]))
    assert [rows.tolist() for rows in latents.by_length()] == [[[2]], [[0, 1]], [[3, 4, 5]]]


def test_cut_leaves_out_short_clips_and_says_so_if_none_is_left(
    source: SetName, backbone: TalkingHead, tmp_path: Path
) -> None:
    found = load_latents(backbone, source, LatentsConfig("fixed", cut=5), tmp_path)
    assert len(found.portrait) == 4
    assert len(found.at) == 20
    with pytest.raises(UserError, match="no clip that can be used"):
        load_latents(backbone, source, LatentsConfig("fixed", cut=11), tmp_path)


def test_what_only_some_backbones_read_is_kept_in_the_cache_too(tmp_path: Path) -> None:
    latents = published_latents(lively_head())
    write_cache(tmp_path / "latents.safetensors", latents)
    found = read_cache(tmp_path / "latents.safetensors")
    assert found is not None
    assert equal(found, latents)
    assert found.pictures is not None
    assert found.hull is not None
