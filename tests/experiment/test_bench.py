"""The bench: every row has the same portrait and pose, frames stand in the order of the table, emotions go to
their clips.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sites import FROZEN
from eatlab.data.samples import FrameTable
from eatlab.emotions import NEUTRAL
from eatlab.experiment.bench import (
    Adapted,
    Bench,
    Misheard,
    asked_of,
    frozen,
    reenactment,
    still,
    subset,
    subset_of_latents,
    wrongly_asked_of,
)
from tests.training.toys import tiny_backbone, tiny_latents

CLIPS, FRAMES = 5, 3


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Clips of noise, and no judges: these tests only draw."""
    latents = tiny_latents(CLIPS, FRAMES)
    random = torch.Generator().manual_seed(4)
    image = torch.randint(0, 256, latents.portrait_image.shape, generator=random, dtype=torch.uint8)
    latents = replace(latents, portrait_image=image)
    table = FrameTable(
        image=torch.zeros(CLIPS * FRAMES, 3, 32, 32, dtype=torch.uint8),
        clip=latents.clip,
        at=latents.at,
        truth={"pose": latents.pose},
        key=[f"clip{i}" for i in range(CLIPS)],
        identity=[f"P{i % 2}" for i in range(CLIPS)],
        emotion=latents.emotion,
        intensity=latents.intensity,
        level=latents.level,
        audio=[torch.full((4,), float(i)).numpy() for i in range(CLIPS)],
    )
    nobody: Any = None
    return Bench(tiny_backbone(), nobody, table, latents, nobody)


def near(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for a level or two of bf16's rounding in batches of another size."""
    return a.shape == b.shape and (a.int() - b.int()).abs().max().item() <= 2


@pytest.mark.parametrize("speaker", [still, frozen, reenactment])
def test_frames_stand_in_the_order_of_the_table(bench: Bench, speaker: Any) -> None:
    whole = bench.frames(speaker)
    (rows,) = bench.latents.by_length()
    for clip in range(CLIPS):
        assert near(bench.frames(speaker, rows=rows[[clip]]), whole[FRAMES * clip : FRAMES * (clip + 1)])


def test_source_copy_repeats_the_portrait_of_each_clip(bench: Bench) -> None:
    for row, frame in enumerate(bench.source_copy()):
        portrait = bench.latents.portrait[bench.latents.clip[row]]
        assert torch.equal(frame, bench.latents.portrait_image[portrait])


def test_each_clip_gets_its_own_emotion(bench: Bench) -> None:
    adapters = AdapterSet("deep_prompt", bench.backbone)
    (rows,) = bench.latents.by_length()
    emotion, intensity = asked_of(bench.latents)
    together, context = Adapted(adapters, emotion, intensity)(bench, rows)
    assert context.mix is not None
    assert torch.equal(context.mix.argmax(1), emotion)
    for clip in range(CLIPS):
        alone, _ = Adapted(adapters, emotion, intensity)(bench, rows[[clip]])
        torch.testing.assert_close(alone[0], together[clip], atol=2e-5, rtol=1e-4)


def test_a_misheard_clip_has_its_own_pose_and_emotion_and_the_next_clips_sound(bench: Bench) -> None:
    adapters = AdapterSet("deep_prompt", bench.backbone)
    (rows,) = bench.latents.by_length()
    spoken = Adapted(adapters, *asked_of(bench.latents))
    turned = torch.roll(rows, -1, 0)
    heard = {"mel": bench.latents.mel.clone(), "speech": bench.latents.speech.clone()}
    for name, value in heard.items():
        value[rows] = getattr(bench.latents, name)[turned]
    wanted, _ = spoken(replace(bench, latents=replace(bench.latents, **heard)), rows)
    found, _ = Misheard(spoken)(bench, rows)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, spoken(bench, rows)[0])
    torch.testing.assert_close(Misheard(spoken)(bench, rows[2:4])[0], found[2:4], atol=2e-5, rtol=1e-4)


def test_without_an_adapter_nothing_is_attached(bench: Bench) -> None:
    (rows,) = bench.latents.by_length()
    assert frozen(bench, rows)[1] is FROZEN


def test_what_is_unknown_is_asked_as_neutral_and_a_wrong_emotion_strongly(bench: Bench) -> None:
    latents = replace(bench.latents, emotion=torch.tensor([-1, 0, 6, 7, 2]), intensity=torch.full((5,), 0.45))
    assert asked_of(latents)[0].tolist() == [NEUTRAL, 0, 6, 7, 2]
    emotion, intensity = wrongly_asked_of(latents)
    assert emotion.tolist()[1:] == [3, 1, 2, 5]
    assert intensity.tolist() == [0.75] * 5


def test_a_subset_is_the_same_clips_of_table_and_latents(bench: Bench) -> None:
    clips = torch.tensor([1, 4])
    table, latents = subset(bench.table, clips), subset_of_latents(bench.latents, clips)
    assert table.key == ["clip1", "clip4"]
    assert table.clip.tolist() == latents.clip.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(table.truth["pose"], latents.pose)
    assert torch.equal(latents.portrait, bench.latents.portrait[clips])
    (rows,) = bench.latents.by_length()
    part = replace(bench, table=table, latents=latents)
    assert near(part.frames(reenactment), bench.frames(reenactment, rows=rows[clips]))
