"""Emotion as a row of shares, and the mapper that makes guidance tokens of it (EAT, Sec. 3.2 and Supp. A)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.emotions import EMOTIONS, NEUTRAL
from eatlab.errors import UserError

LATENT_SIZE = 16


def emotion_mix(emotion: Tensor, intensity: Tensor | float = 1.0) -> Tensor:
    """Shares of the emotions: intensity · emotion + (1 − intensity) · neutral.

    emotion: (clips,) indices into EMOTIONS, or (clips, 8) shares whose rows sum to 1.
    intensity: 0…1, a number or (clips,); 0 gives the neutral emotion's row bit for bit, 1 the emotion's own.
    Returns (clips, 8). A number outside 0…1 is a UserError; a tensor is not looked into (a GPU would wait).
    """
    if isinstance(intensity, float | int) and not 0 <= intensity <= 1:
        raise UserError(f"an emotion's intensity of {intensity}", "it goes from 0 (neutral) to 1")
    shares = emotion if emotion.is_floating_point() else F.one_hot(emotion, len(EMOTIONS)).float()
    neutral = torch.zeros_like(shares)
    neutral[:, NEUTRAL] = 1
    strength = torch.as_tensor(intensity, dtype=shares.dtype, device=shares.device).reshape(-1, 1)
    return strength * shares + (1 - strength) * neutral


class EmotionMapper(nn.Module):
    """Latent z and emotion shares → guidance tokens e0, e1 … (Supp. A, Fig. 10a): a trunk, 8 branches.

    domains: branches; zero-shot editing has a mapper of one (Sec. 3.2).
    Differs: the release picks one branch; here shares weigh all eight, and one-hot shares pick one.
    """

    def __init__(self, num_tokens: int, width: int, hidden: int, domains: int = len(EMOTIONS)) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.shared = nn.Sequential(*relu_layers(LATENT_SIZE, hidden, hidden, hidden, hidden))
        self.branches = nn.ModuleList(
            nn.Sequential(*relu_layers(hidden, hidden, hidden, hidden), nn.Linear(hidden, num_tokens * width))
            for _ in range(domains)
        )

    def forward(self, latent: Tensor, mix: Tensor) -> Tensor:
        """latent: (clips, 16), normal or zeros; mix: (clips, domains) → (clips, num_tokens, width)."""
        hidden = self.shared(latent)
        every = torch.stack([branch(hidden) for branch in self.branches], 1)
        return (mix[:, :, None] * every).sum(1).unflatten(-1, (self.num_tokens, -1))


def relu_layers(*sizes: int) -> list[nn.Module]:
    """Linear layers between the sizes, a ReLU after each."""
    return [module for a, b in pairwise(sizes) for module in (nn.Linear(a, b), nn.ReLU())]
