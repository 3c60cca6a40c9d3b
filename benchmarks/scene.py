"""What the benchmarks run on: the paper-size head with random weights, its adapters, and a made-up clip."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.slow_path import windows
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.clip import Driving, Padding, Speech, silence
from eatlab.backbone.random_head import random_head
from eatlab.backbone.sites import Context
from eatlab.backbone.talking_head import TalkingHead
from eatlab.training.released_clips import Clips, fresh_latents

SPEC = "deep_prompt+edn+eam(start=random)"
HAPPY = 4


class Scene(NamedTuple):
    """A head, adapters, their context; a portrait picture (1, 3, 256, 256), its pose and E; a clip."""

    head: TalkingHead
    adapters: AdapterSet
    context: Context
    image: Tensor
    pose: Tensor
    expression: Tensor
    speech: Speech
    driving: Driving
    padding: Padding

    def to(self, device: str) -> Scene:
        """The same on a device."""
        context = happy(self.adapters.to(device), device)
        whole = (self.speech, self.driving, self.padding)
        parts = [type(part)(*(moved(x, device) for x in part)) for part in whole]
        plain = (moved(x, device) for x in (self.image, self.pose, self.expression))
        return Scene(self.head.to(device), self.adapters, context, *plain, *parts)


def moved(x: Tensor | None, device: str) -> Tensor | None:
    """A tensor, if there is one."""
    return None if x is None else x.to(device)


def happy(adapters: AdapterSet, device: str) -> Context:
    """One clip's context."""
    return adapters.context(torch.tensor([HAPPY], device=device))


def scene(num_frames: int, seed: int = 0) -> Scene:
    """A clip of noise of so many frames."""
    head = random_head(seed)
    adapters = AdapterSet(SPEC, head).eval().requires_grad_(False)
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    pose = torch.cat(
        [20 * noise(num_frames + 1, 3), 0.1 * noise(num_frames + 1, 3), torch.ones(num_frames + 1, 1)], 1
    )
    return Scene(
        head=head,
        adapters=adapters,
        context=happy(adapters, "cpu"),
        image=noise(1, 3, 256, 256).tanh(),
        pose=pose[:1],
        expression=0.05 * noise(1, 15, 3),
        speech=Speech(noise(num_frames, 80), noise(num_frames, 16, 29)),
        driving=Driving(pose[1:], 255 * torch.rand(num_frames, 64, 64, generator=random)),
        padding=silence(),
    )


def training_clips(given: Scene, seed: int = 1) -> Clips:
    """The clip of a scene as the release's stages train on it; what is true of it is noise too."""
    num_frames, size = len(given.driving.pose), given.head.config.size
    random = torch.Generator().manual_seed(seed)
    box = torch.tensor([0.2, 0.25, 0.8, 0.9]) * size
    return Clips(
        portrait=given.image,
        portrait_pose=given.pose,
        portrait_expression=given.expression,
        **windows(given.speech, given.driving, given.padding, torch.arange(num_frames)),
        expression=0.1 * torch.randn(1, num_frames, 15, 3, generator=random),
        emotion=torch.tensor([HAPPY]),
        latent=fresh_latents(1, seed=seed, step=0),
        frames=torch.randn(1, num_frames, 3, size, size, generator=random).tanh(),
        boxes=box.expand(1, num_frames, 4),
        sync_mel=torch.randn(1, 1, 80, 16, generator=random),
    )
