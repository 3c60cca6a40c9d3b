"""What an adapter may do to a frozen backbone: append tokens, replace features or rows, shift weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple

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


class Rows(NamedTuple):
    """Replaces what passes the site of rows, or of tokens, `place`; there after prompts joined and left.

    fn: (batch, length, width), context → the same shape; only keys and values of an attention may get more
    rows. Batches as Features'.
    """

    place: str
    fn: Callable[[Tensor, Context], Tensor]


class Weight(NamedTuple):
    """W' = W + fn(W, context) for the parameter `place`; W is always the frozen one: deltas add in any order.

    fn: W, context → W.shape (shared by the batch), (clips, *W.shape), or LowRank factors.
    """

    place: str
    fn: Callable[[Tensor, Context], Tensor | LowRank]


Attachment = Tokens | Features | Rows | Weight


class Adapter(nn.Module, ABC):
    """Owns what it trains and says where it acts; it reads the backbone and never writes it.

    guidance_tokens: how many tokens of the set's emotion mapper it reads (e0 is the first).
    sees_emotion: whether what it does depends on the emotion.
    starts_exact: whether a new one leaves the frozen model's output as it is, bit for bit.
    source: where it was published.  formula: its parameters, in words of `eatlab adapters`.
    knob: the option that sets its size: a number from 1 on, or words of `knob_words`.
    """

    guidance_tokens: int = 0
    sees_emotion: bool = True
    starts_exact: bool = True
    source: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    knob: ClassVar[str] = ""
    knob_words: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def attachments(self) -> Sequence[Attachment]:
        """Where it acts. Its functions are bound methods or partials, so that a copy acts on itself."""

    def parameters_at(self, place: str) -> Iterable[nn.Parameter]:
        """What of its own acts at a place of its attachments; by default all of it."""
        return self.parameters()
