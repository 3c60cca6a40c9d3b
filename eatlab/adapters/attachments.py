"""What an adapter may do to a frozen backbone: append tokens, replace features, shift weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from eatlab.backbone.sites import Context, LowRank


class Tokens(NamedTuple):
    """Rows appended to the sequence at token site `place`; they leave at site `until`, or stay to the end.

    fn: context → (clips, num_tokens, width).
    """

    place: str
    fn: Callable[[Context], Tensor]
    until: str | None = None
    num_tokens: int = 1


class Features(NamedTuple):
    """Replaces what passes the feature site `place`.

    fn: (batch, channels, ...), context → the same shape; the batch is clip-major, a multiple of the clips.
    """

    place: str
    fn: Callable[[Tensor, Context], Tensor]


class Weight(NamedTuple):
    """W' = W + fn(W, context) for the parameter `place`; W is always the frozen one: deltas add in any order.

    fn: W, context → W.shape (shared by the batch), (clips, *W.shape), or LowRank factors.
    """

    place: str
    fn: Callable[[Tensor, Context], Tensor | LowRank]


Attachment = Tokens | Features | Weight


class Adapter(nn.Module, ABC):
    """Owns what it trains and says where it acts; it reads the backbone and never writes it.

    guidance_tokens: how many tokens of the set's emotion mapper it reads (e0 is the first).
    """

    guidance_tokens: int = 0

    @abstractmethod
    def attachments(self) -> Sequence[Attachment]:
        """Where it acts. Its functions are bound methods or partials, so that a copy acts on itself."""

    def parameters_at(self, place: str) -> Iterable[nn.Parameter]:
        """What of its own acts at a place of its attachments; by default all of it."""
        return self.parameters()
