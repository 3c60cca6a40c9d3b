"""Windows of cached latents through A2ET; what no adapter of the set touches is computed once (adapters.md,
section 7).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.picture import as_many_pixels
from eatlab.backbone.sites import Context
from eatlab.backbone.talking_head import TalkingHead
from eatlab.errors import UserError
from eatlab.training.latents import Latents

WINDOWS = 64
"""Heard at once, for a head of 96 px."""


def touches_prefix(adapters: AdapterSet, backbone: TalkingHead) -> bool:
    """Whether the set changes what A2ET computes before emotion comes in."""
    return adapters.touches(tuple(f"a2et.{place}" for place in backbone.a2et.PREFIX))


class LatentStream:
    """Stretches of `num_frames` frames with a known emotion, for any number of adapter sets.

    shared: keep the part of A2ET that comes before emotion, for the sets that leave it as it is. Raises
    UserError if there is no stretch.
    """

    def __init__(self, backbone: TalkingHead, latents: Latents, num_frames: int, *, shared: bool) -> None:
        rows = latents.windows(num_frames)
        self.backbone, self.latents = backbone, latents
        self.rows = rows[latents.emotion[latents.clip[rows[:, 0]]] >= 0]
        if not len(self.rows):
            raise UserError(
                f"no labelled clip has {num_frames} neighbouring frames",
                "of puppets 5 neighbours are drawn; real clips have as many as `drawn`",
                "give a smaller schedule.num_frames",
            )
        self.at_once = as_many_pixels(WINDOWS, backbone.config.size)
        self.prefix = self.prefixes() if shared else None

    @classmethod
    def of(
        cls, backbone: TalkingHead, latents: Latents, num_frames: int, sets: Iterable[nn.Module]
    ) -> LatentStream:
        """For these AdapterSets."""
        shared = not all(touches_prefix(one, backbone) for one in sets)  # type: ignore[arg-type]
        return cls(backbone, latents, num_frames, shared=shared)

    def __len__(self) -> int:
        return len(self.rows)

    @torch.no_grad()
    def prefixes(self) -> dict[str, Tensor]:
        """name → (windows, frames, ...), or (windows, 1, ...) for what depends on the clip only."""
        parts = []
        for chunk in self.rows.split(self.at_once):
            prefix = self.backbone.a2et.prefix(self.latents.batch(chunk), Context())
            parts.append({name: value.unflatten(0, (len(chunk), -1)) for name, value in prefix.items()})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def context(self, chosen: Tensor, adapters: AdapterSet) -> Context:
        """Emotion and intensity of the windows' clips, with the adapters attached."""
        clip = self.latents.clip[self.rows[chosen, 0]]
        return adapters.context(self.latents.emotion[clip], self.latents.intensity[clip])

    def predict(self, chosen: Tensor, adapters: AdapterSet) -> Tensor:
        """(windows,) which → E (windows, frames, 15, 3)."""
        context, rows = self.context(chosen, adapters), self.rows[chosen]
        if self.prefix is None or touches_prefix(adapters, self.backbone):
            return self.backbone.speak(self.latents.batch(rows), context)
        shared = {k: v[chosen].flatten(0, 1) for k, v in self.prefix.items()}
        expression = self.backbone.a2et.suffix(shared, context)
        return self.backbone.scaled(expression, self.latents.hulls(rows))

    def true(self, chosen: Tensor) -> Tensor:
        """(windows,) which → the extracted E (windows, frames, 15, 3)."""
        return self.latents.expression[self.rows[chosen]]

    def everything(self) -> tuple[Tensor, ...]:
        """All windows, in chunks."""
        return torch.arange(len(self)).split(self.at_once)
