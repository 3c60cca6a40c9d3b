"""The released way through our weights: everything again for every frame, fp32, channels first, one by one.

A faithful slow path to measure against (eat-networks.md 8, 17): the portrait is encoded and compressed for
each frame, SPADE enlarges its maps, A2ET encodes all eleven frames of each window,
and face map and EDN run for each chunk, the EDN once a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from eatlab.backbone.a2et import CENTRE, Batch
from eatlab.backbone.clip import Driving, Padding, Speech
from eatlab.backbone.published.renderer import PublishedRenderer
from eatlab.backbone.published.spade import SLOPE, SpadeBlock, SpadeDecoder, SpadeNorm
from eatlab.backbone.published.winograd import directly
from eatlab.backbone.sites import FROZEN, Context, spread
from eatlab.backbone.talking_head import Portrait, TalkingHead

CHUNK = 5


def norm(layer: SpadeNorm, x: Tensor, modulation: Tensor) -> Tensor:
    """A SPADE norm on a map enlarged to x's size."""
    enlarged = F.interpolate(modulation, size=x.shape[-2:])
    shared = layer.shared
    hidden = F.relu(F.conv2d(enlarged, shared.weight, shared.bias, padding=1))
    return F.instance_norm(x) * (1 + layer.gain(hidden)) + layer.bias(hidden)


def block(layer: SpadeBlock, x: Tensor, modulation: Tensor) -> Tensor:
    """A SPADE block; the shortcut's norm by itself."""
    y = x
    for each, conv in zip(layer.norms, layer.convs, strict=True):
        y = conv(F.leaky_relu(norm(each, y, modulation), SLOPE))
    if layer.shortcut is not None:
        x = layer.shortcut.conv(norm(layer.shortcut.norm, x, modulation))
    return x + y


def decode(decoder: SpadeDecoder, features: Tensor) -> Tensor:
    """Features → picture in 0..1."""
    x = decoder.enter(features)
    for each in decoder.middle:
        x = block(each, x, features)
    for each in decoder.up:
        x = block(each, F.interpolate(x, scale_factor=2), features)
    return torch.sigmoid(decoder.out(F.leaky_relu(x, SLOPE)))


def draw(
    renderer: PublishedRenderer, image: Tensor, keypoints: tuple[Tensor, Tensor], context: Context
) -> Tensor:
    """One frame, the portrait's features anew: (1, 3, size, size) in -1..1."""
    with directly():
        found = renderer.encode(image, context)
        moved = renderer.motion(found.compressed, *keypoints, context)
        warped = F.grid_sample(found.volume, moved.flow, align_corners=False)
        features = renderer.flattened(warped.flatten(1, 2), context) * moved.open
        return 2 * decode(renderer.decoder, features) - 1


def windows(speech: Speech, driving: Driving, padding: Padding, frames: Tensor) -> Batch:
    """A2ET's inputs of some frames, every window written out."""
    rows = frames[:, None] + torch.arange(-CENTRE, CENTRE + 1)
    known = len(speech.mel)
    outside = (rows < 0) | (rows >= known)
    inside = rows.clamp(0, known - 1)
    mel = torch.where(outside[..., None], padding.mel, speech.mel[inside])
    features = torch.where(outside[..., None, None], padding.features, speech.features[inside])
    assert driving.pictures is not None
    return {
        "mel": mel[None],
        "speech": features[None],
        "pictures": driving.pictures[inside][None],
        "pose": driving.pose[frames][None],
    }


def repeated(context: Context, frames: int) -> Context:
    """Every frame a clip of its own, so that the EDN runs for each."""
    assert context.mix is not None
    assert context.guidance is not None
    return replace(
        context,
        mix=spread(context.mix, frames),
        guidance=spread(context.guidance, frames),
    )


def expressions(head: TalkingHead, portrait: Portrait, batch: Batch, context: Context) -> Tensor:
    """E (frames, 15, 3) of one chunk, each frame handed over as a clip."""
    count = batch["pose"].shape[1]
    each = {key: value.transpose(0, 1) for key, value in batch.items()}
    face = head.a2et.adapted_face(portrait.face_map, context)
    context = context if context is FROZEN else repeated(context, count)
    each |= {"face": spread(face, count), "hull": spread(portrait.hull, count)}
    return head.speak(each, context)[:, 0]


@torch.no_grad()
def animate(
    head: TalkingHead,
    image: Tensor,
    portrait: Portrait,
    speech: Speech,
    driving: Driving,
    padding: Padding,
    context: Context,
) -> Iterator[Tensor]:
    """Frames as `eatlab.backbone.talking_head.animate` gives them, one by one."""
    keypoints = []
    for frames in torch.arange(len(driving.pose)).split(CHUNK):
        expression = expressions(head, portrait, windows(speech, driving, padding, frames), context)
        canonical = portrait.canonical.expand(len(frames), -1, -1)
        keypoints.append(head.compose(canonical, driving.pose[frames], expression))
    driven = torch.cat(keypoints)
    driven = driven + portrait.keypoints[0].mean(0) - driven.mean((0, 1))
    for each in driven:
        yield draw(head.renderer, image, (portrait.keypoints, each[None]), context)
