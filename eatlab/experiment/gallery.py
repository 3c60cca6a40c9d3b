"""What the report shows of an adapter: a contact sheet, strips of intensity and mixed emotions, two short
films with sound; and of a pretrained renderer a contact sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sites import FROZEN, Context
from eatlab.data.audio_features import SAMPLES_PER_FRAME, a2et_mel, windows
from eatlab.data.puppets.corpus import scenes, shoot
from eatlab.data.samples import Clip
from eatlab.data.shards import read_shards
from eatlab.emotions import EMOTIONS, NEUTRAL
from eatlab.experiment.bench import Adapted, Bench, Speaker, asked_of, frames_at_once, reenactment
from eatlab.experiment.crew import Desk
from eatlab.experiment.jobs import Setting, bench_of
from eatlab.experiment.pretraining import bench_of_renderer
from eatlab.experiment.sheets import Group, Row, Sheet
from eatlab.experiment.video import Film, Panel
from eatlab.metrics.image import to_uint8
from eatlab.training.latents import estimate, pictures_of, speech_windows

NUM_PEOPLE = 4
INTENSITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MIXES = (("happy", "surprised"), ("angry", "sad"), ("fear", "disgusted"), ("surprised", "angry"))
FILMED = ("happy", "angry")
GREY = 128


@dataclass(frozen=True)
class Gallery:
    """Sheets, by the names of their files, and films, ready for the report."""

    sheets: Mapping[str, Sheet]
    films: tuple[Film, ...] = ()


@torch.no_grad()
def draw_gallery(desk: Desk, setting: Setting, adapter: Path) -> Gallery:
    """All of it, with one adapter file."""
    bench = bench_of(setting)
    adapters = AdapterSet.load(adapter, bench.backbone)
    desk.go_on(0, 5, "contact sheet")
    adapted = Adapted(adapters, *asked_of(bench.latents))
    spoken: dict[str, Speaker] = {"re-enactment": reenactment, adapters.spec: adapted}
    sheets = {"contact_sheet": contact_sheet(bench, spoken)}
    desk.go_on(1, 5, "strips")
    sheets |= {"intensity": intensity_strip(bench, adapters), "mix": mix_strip(bench, adapters)}
    films = []
    for number, clip in enumerate(filmed_clips(bench)):
        desk.go_on(3 + number, 5, "film")
        films.append(film(bench, setting, adapters, clip))
    return Gallery(sheets, tuple(films))


@torch.no_grad()
def draw_reenactment(desk: Desk, setting: Setting, weights: Path) -> Gallery:
    """The contact sheet of a pretrained renderer, from its file."""
    bench = bench_of_renderer(bench_of(setting), weights, desk.go_on)
    return Gallery({"reenactment": contact_sheet(bench, {"re-enactment": reenactment})})


def filmed_clips(bench: Bench) -> list[int]:
    """A clip for each filmed emotion, of different people; any other clip where there is none."""
    who, chosen = people(bench), []
    for number, emotion in enumerate(FILMED):
        clip = clip_of(bench, who[number % len(who)], emotion)
        chosen.append(number % len(bench.table.key) if clip is None else clip)
    return list(dict.fromkeys(chosen))


def people(bench: Bench) -> list[str]:
    """Identities, those that show the most emotions first."""
    shown: dict[str, set[int]] = {who: set() for who in bench.table.identity}
    for who, emotion in zip(bench.table.identity, bench.table.emotion.tolist(), strict=True):
        shown[who].add(emotion)
    return sorted(shown, key=lambda who: -len(shown[who]))


def clip_of(bench: Bench, who: str, emotion: str | None) -> int | None:
    """A person's clip of an emotion, the strongest there is; of any emotion if None; None if there is no such
    clip.
    """
    wanted = None if emotion is None else EMOTIONS.index(emotion)
    found = [
        clip
        for clip, identity in enumerate(bench.table.identity)
        if identity == who and wanted in (None, int(bench.table.emotion[clip]))
    ]
    return max(found, key=lambda clip: int(bench.table.level[clip]), default=None)


def middle_frames(bench: Bench, clips: list[int]) -> Tensor:
    """(clips, 1) rows."""
    (rows,) = bench.latents.by_length()
    return rows[clips][:, rows.shape[1] // 2, None]


def contact_sheet(bench: Bench, speakers: Mapping[str, Speaker]) -> Sheet:
    """8 emotions × some people: the truth, then each speaker by its label. A person without an emotion has a
    grey field there.
    """
    groups = []
    for who in people(bench)[:NUM_PEOPLE]:
        found = {
            k: clip for k, name in enumerate(EMOTIONS) if (clip := clip_of(bench, who, name)) is not None
        }
        if not found:
            continue
        rows = middle_frames(bench, list(found.values()))
        drawn = {"truth": bench.table.image[rows[:, 0]]}
        drawn |= {label: bench.frames(speaker, rows=rows) for label, speaker in speakers.items()}
        groups.append(Group(who, tuple(Row(label, in_columns(x, list(found))) for label, x in drawn.items())))
    caption = "The strongest level of each emotion in the test clips, middle frame."
    return Sheet("Eight emotions", EMOTIONS, tuple(groups), caption)


def in_columns(frames: Tensor, columns: list[int]) -> np.ndarray:
    """frames (n, 3, h, w) uint8 → (8, h, w, 3) with grey where nothing is."""
    sheet = np.full((len(EMOTIONS), *frames.shape[2:], 3), GREY, np.uint8)
    sheet[columns] = pictures(frames)
    return sheet


def pictures(frames: Tensor) -> np.ndarray:
    """(n, 3, h, w) uint8 → (n, h, w, 3)."""
    return frames.permute(0, 2, 3, 1).contiguous().numpy()


def strip_frame(bench: Bench) -> Tensor:
    """(1, 1): the frame that the strips change, of a neutral clip if there is one."""
    who = people(bench)[0]
    clip = clip_of(bench, who, EMOTIONS[NEUTRAL])
    clip = clip_of(bench, who, None) if clip is None else clip
    assert clip is not None
    return middle_frames(bench, [clip])


def asked(bench: Bench, adapters: AdapterSet, shares: Tensor, intensity: Tensor) -> np.ndarray:
    """One frame again and again, with shares (n, 8) and intensity (n,) → (n, h, w, 3)."""
    rows = strip_frame(bench).repeat(len(shares), 1)
    context = adapters.context(shares, intensity)
    return pictures(
        to_uint8(bench.draw(rows, bench.backbone.speak(bench.latents.batch(rows), context), context))
    )


def intensity_strip(bench: Bench, adapters: AdapterSet) -> Sheet:
    """Each emotion from nothing to all."""
    rows = []
    for k, name in enumerate(EMOTIONS):
        if k != NEUTRAL:
            shares = torch.eye(len(EMOTIONS))[[k] * len(INTENSITIES)]
            rows.append(Row(name, asked(bench, adapters, shares, torch.tensor(INTENSITIES))))
    caption = "One frame of a neutral clip: only the intensity that is asked for changes."
    return Sheet("Intensity", tuple(f"{i:g}" for i in INTENSITIES), (Group("", tuple(rows)),), caption)


def mix_strip(bench: Bench, adapters: AdapterSet) -> Sheet:
    """From one emotion to another, by shares."""
    rows, eye = [], torch.eye(len(EMOTIONS))
    for first, second in MIXES:
        part = torch.tensor(INTENSITIES)[:, None]
        shares = (1 - part) * eye[EMOTIONS.index(first)] + part * eye[EMOTIONS.index(second)]
        rows.append(Row(f"{first} → {second}", asked(bench, adapters, shares, torch.ones(len(shares)))))
    columns = tuple(f"{1 - i:.1f} : {i:.1f}" for i in INTENSITIES)
    return Sheet(
        "Mixed emotions", columns, (Group("", tuple(rows)),), "Shares of two emotions in the emotion vector."
    )


def film(bench: Bench, setting: Setting, adapters: AdapterSet, clip: int) -> Film:
    """A test clip as long as there are frames: truth, frozen, adapter, with its sound."""
    whole = whole_clip(setting, bench.table.key[clip])
    at = np.arange(whole.at[0], whole.at[0] + len(whole.at))
    image = torch.from_numpy(whole.frames).permute(0, 3, 1, 2)
    truth = torch.from_numpy(whole.truth["pose"]).float() if "pose" in whole.truth else None
    expression, pose = estimate(bench.backbone, image, truth, lambda done: None)
    filmed_latents = replace(
        bench.latents,
        expression=expression,
        pose=pose,
        mel=torch.from_numpy(windows(a2et_mel(whole.audio), at)),
        speech=torch.from_numpy(speech_windows(bench.backbone, whole.audio, at)),
        clip=torch.full((len(at),), clip),
        at=torch.from_numpy(at),
        pictures=None if bench.latents.pictures is None else pictures_of(pose),
    )
    batch = filmed_latents.batch(torch.arange(len(at))[None])
    emotion, intensity = (x[[clip]] for x in asked_of(bench.latents))
    contexts = {"frozen": FROZEN, adapters.spec: adapters.context(emotion, intensity)}
    panels = [Panel("truth", whole.frames)]
    panels += [
        Panel(name, pictures(filmed(bench, clip, batch, context))) for name, context in contexts.items()
    ]
    name = EMOTIONS[int(emotion)] if int(bench.table.emotion[clip]) >= 0 else "unlabelled"
    sound = whole.audio[SAMPLES_PER_FRAME * at[0] : SAMPLES_PER_FRAME * (at[-1] + 1)]
    shown = f"{bench.table.identity[clip]}, {name}, level {int(bench.table.level[clip])}"
    caption = f"{shown}: truth, the frozen backbone, {adapters.spec}"
    return Film(f"film_{bench.table.identity[clip]}_{name}_{clip}", caption, tuple(panels), sound)


def filmed(bench: Bench, clip: int, batch: dict[str, Tensor], context: Context) -> Tensor:
    """All frames of one clip's batch, (n, 3, h, w) uint8."""
    expression = bench.backbone.speak(batch, context)
    portrait = bench.portraits(torch.tensor([clip]), context)
    count = frames_at_once(bench.backbone)
    parts = zip(expression.split(count, 1), batch["pose"].split(count, 1), strict=True)
    return to_uint8(torch.cat([bench.drawn(portrait, e, pose, context) for e, pose in parts]))


def whole_clip(setting: Setting, key: str) -> Clip:
    """The clip with as many consecutive frames as there are: a puppet is drawn again in full."""
    if setting.preset:
        scene = next(s for s in scenes(setting.preset, setting.set_name, setting.test) if s.key == key)
        return shoot(replace(scene, at=tuple(range(scene.spec.frames))))
    clip = next(c for c in read_shards(setting.folder, setting.set_name, setting.test) if c.key == key)
    run = 1 + int(np.argmin(np.append(np.diff(clip.at) == 1, False)))
    truth = {name: rows[:run] for name, rows in clip.truth.items()}
    return replace(clip, at=clip.at[:run], frames=clip.frames[:run], truth=truth)
