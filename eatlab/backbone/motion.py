"""How driving keypoints are laid over a portrait's: the rules of the released inference, and a causal one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from eatlab.backbone.published.hull import hull_volume

Motion = Callable[[Iterator[Tensor], Tensor], Iterator[Tensor]]
"""Chunks of one clip's driving keypoints (n, 15, 3), and the source's (15, 3) → chunks of those to draw."""


def clip_shift(driving: Iterator[Tensor], source: Tensor) -> Iterator[Tensor]:
    """K + mean of K_source - mean of K over all frames (eat-networks.md 14, step 8; demo and MEAD).

    Not causal: nothing is drawn before the last frame has been heard.
    Differs: Eq. 1 ends with K; the release then shifts the whole clip.
    """
    chunks = list(driving)
    shift = source.mean(0) - torch.cat(chunks).mean((0, 1))
    yield from (chunk + shift for chunk in chunks)


def streaming_shift(driving: Iterator[Tensor], source: Tensor) -> Iterator[Tensor]:
    """`clip_shift` made causal: the mean is of the frames so far. Differs: not in the release.

    Frames come out as E goes in; A2ET itself hears five frames ahead.
    """
    total, count = torch.zeros_like(source[0]), 0
    for chunk in driving:
        totals = total + chunk.mean(1).cumsum(0)
        counts = count + torch.arange(1, len(chunk) + 1, device=chunk.device)
        yield chunk + (source.mean(0) - totals / counts[:, None])[:, None]
        total, count = totals[-1], count + len(chunk)


def relative_to_first(driving: Iterator[Tensor], source: Tensor) -> Iterator[Tensor]:
    """(K - K_0) sqrt(hull(K_source) / hull(K_0)) + K_source (eat-networks.md 14; released LRW script).

    Differs: that script leaves mapper and EDN random; here they are those of the context.
    """
    for index, chunk in enumerate(driving):
        if index == 0:
            first = chunk[0]
            hulls = hull_volume(torch.stack([source, first]))
            scale = (hulls[0] / hulls[1]).sqrt()
        yield (chunk - first) * scale + source


MOTIONS: dict[str, Motion] = {
    "clip_shift": clip_shift,
    "streaming_shift": streaming_shift,
    "relative_to_first": relative_to_first,
}
