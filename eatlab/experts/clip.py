"""CLIP: how well pictures fit a sentence (Radford et al. 2021); teaches editing (eat-networks.md 13).

Its weights cannot be shipped; they come from a user's file. open_clip is imported where CLIP is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eatlab.errors import UserError, did_you_mean
from eatlab.experts.user_file import load_frozen

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OPENAI = "ViT-L-14-quickgelu"
"""OpenAI's ViT-L/14, of the release. Its weights fit "ViT-L-14" too, whose GELU would read them wrongly."""
RANDOM = "random"
"""The name of a CLIP that learned nothing."""


class ClipExpert(nn.Module):
    """A frozen CLIP: pictures and sentences as directions in one space.

    net: an open_clip.model.CLIP. name: of the model, or RANDOM: what it says then means nothing.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: Any, name: str) -> None:
        super().__init__()
        self.net, self.name = net, name
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    def prepare(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in -1..1 → (b, 3, 224, 224), scaled with bicubic splines and standardised."""
        small = F.interpolate((images + 1) / 2, self.net.visual.image_size, mode="bicubic", antialias=True)
        return (small - self.mean) / self.std

    def images(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) in -1..1 → (b, d) of length 1."""
        return self.net.encode_image(self.prepare(images), normalize=True).float()

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Sentences → the mean of their features (d,), scaled to length 1.

        Raises UserError if there are none, or one is too long: CLIP would read its beginning only.
        """
        tokens = self.tokens(prompts).to(self.mean.device)
        return F.normalize(self.net.encode_text(tokens).float().mean(0), dim=-1)

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(n, 77) tokens of the vocabulary in open_clip's wheel."""
        from open_clip.tokenizer import SimpleTokenizer

        if not prompts:
            raise UserError("CLIP was asked about no text", do="give at least one sentence")
        tokenizer = SimpleTokenizer(context_length=self.net.context_length)
        room = self.net.context_length - 2  # a start and an end
        for prompt in prompts:
            if (length := len(tokenizer.encode(prompt))) > room:
                raise UserError(
                    f'text "{prompt[:40]}…" has {length} tokens', f"CLIP reads {room}", "shorten it"
                )
        return tokenizer(list(prompts))

    def logits(self, images: Tensor, text: Tensor) -> Tensor:
        """images (b, 3, h, w) in -1..1, text (d,) of `texts` → (b,): cosines times a learned scale, ≤ 100."""
        return self.net.logit_scale.exp() * (self.images(images) @ text.to(self.mean.device))


def load_clip(path: str | Path, model: str = OPENAI) -> ClipExpert:
    """From a user's .safetensors, or a torch file of tensors only, in open_clip's layout of `model`.

    Raises UserError: 3 for a file that needs code to run or is no such CLIP (OpenAI's own .pt is TorchScript:
    code), 2 if there is none or the model is unknown.
    """
    from open_clip.model import CLIP

    give = f"a file of open_clip's {model} weights"
    return ClipExpert(load_frozen(CLIP(**config(model)), path, what=f"CLIP {model}", give=give), model)


def config(model: str) -> dict[str, Any]:
    """The sizes of one of open_clip's models that need nothing but their weights file."""
    import open_clip

    sizes = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    plain = {name: each for name, each in sizes.items() if each and needs_no_other(each)}
    if model not in plain:
        raise UserError(
            f'CLIP model "{model}" is unknown', "there are: " + ", ".join(plain), did_you_mean(model, plain)
        )
    return plain[model]


def needs_no_other(sizes: dict[str, Any]) -> bool:
    """Whether both towers and the tokenizer are open_clip's own, so that nothing is fetched."""
    foreign = [key for part in ("vision_cfg", "text_cfg") for key in sizes[part] if key[:3] in ("hf_", "tim")]
    return not foreign and set(sizes) <= {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"}


def random_clip(seed: int = 0) -> ClipExpert:
    """A tiny CLIP that learned nothing, to try the plumbing with: what it says means nothing."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=1, width=32, head_width=16, patch_size=16, image_size=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClipExpert(CLIP(16, vision, CLIPTextCfg(width=32, heads=2, layers=1)), RANDOM)
