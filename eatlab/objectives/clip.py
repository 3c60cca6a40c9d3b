"""CLIP loss: rendered frames look as a text says (EAT's editing; eat-networks.md 13)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from eatlab.experts.clip import ClipExpert


class ClipLoss:
    """1 - logit / 100 against the mean feature of all prompts; a trained CLIP's scale is 100: 1 - cosine."""

    def __init__(self, clip: ClipExpert, prompts: Sequence[str]) -> None:
        self.clip, self.text = clip, clip.texts(prompts)

    def __call__(self, images: Tensor) -> Tensor:
        """images (b, 3, h, w) in -1..1 → a scalar."""
        return (1 - self.clip.logits(images, self.text) / 100).mean()
