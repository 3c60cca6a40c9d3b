"""CLIP from a user's file, pictures prepared as open_clip does, sentences that fit."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from eatlab.errors import ExitCode, UserError
from eatlab.experts import clip
from eatlab.experts.clip import MEAN, OPENAI, RANDOM, STD, ClipExpert, load_clip, random_clip


@pytest.fixture(scope="module")
def expert() -> ClipExpert:
    return random_clip()


def pictures(num: int = 2, side: int = 48) -> Tensor:
    """(num, 3, side, side) in -1..1, smooth and of 8-bit values."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    planes = [(2 * x + k).sin() * (3 * y - k).cos() for k in range(3 * num)]
    return (torch.stack(planes).view(num, 3, side, side) * 127.5).round() / 127.5


def test_features_are_unit_vectors_of_one_space(expert):
    seen, read = expert.images(pictures()), expert.texts(["a happy face"])
    assert seen.shape == (2, 16)
    assert read.shape == (16,)
    torch.testing.assert_close(seen.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(read.norm(), torch.tensor(1.0))


def test_logits_are_those_of_open_clip(expert):
    tokens = open_clip.get_tokenizer("ViT-L-14-quickgelu")(["a woman crying hard"])
    expected, _ = expert.net.get_logits(expert.prepare(pictures()), tokens)
    torch.testing.assert_close(
        expert.logits(pictures(), expert.texts(["a woman crying hard"])), expected[:, 0]
    )


def test_pictures_are_prepared_as_open_clips_own_transform_does(expert):
    image = pictures(1)
    bytes_ = ((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    transform = open_clip.image_transform(32, is_train=False, mean=MEAN, std=STD)
    expected = transform(Image.fromarray(np.ascontiguousarray(bytes_)))
    step = 1 / 255 / min(STD)  # its pictures are rounded to bytes once more
    torch.testing.assert_close(expert.prepare(image)[0], expected, atol=2 * step, rtol=0)


def test_several_prompts_are_their_mean(expert):
    prompts = ["a woman talks", "she is crying"]
    with torch.no_grad():
        every = torch.cat([expert.net.encode_text(expert.tokens([each])) for each in prompts])
    expected = every.mean(0) / every.mean(0).norm()
    torch.testing.assert_close(expert.texts(prompts), expected)


def test_it_is_frozen_but_gradients_reach_the_pictures(expert):
    images = pictures().requires_grad_()
    expert.logits(images, expert.texts(["sad"])).sum().backward()
    assert images.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in expert.parameters())
    assert not any(module.training for module in expert.modules())


def test_a_random_one_says_that_it_is_and_repeats(expert):
    assert expert.name == RANDOM
    state = torch.random.get_rng_state()
    assert torch.equal(random_clip().images(pictures()), expert.images(pictures()))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("prompts", "why"), [([], "no text"), (["sob " * 76], "76 tokens; CLIP reads 75; shorten")]
)
def test_texts_that_would_be_cut_are_refused(expert, prompts, why):
    with pytest.raises(UserError, match=why):
        expert.texts(prompts)
    assert expert.tokens(["sob " * 75]).shape == (1, 77)


@pytest.fixture
def tiny_models(monkeypatch, expert):
    """open_clip's table of models with one that is as small as the random one."""
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    sizes = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": {"width": 32, "heads": 2, "layers": 1}}
    monkeypatch.setattr(open_clip, "list_models", lambda: ["ViT-Tiny", "ViT-Elsewhere"])
    elsewhere = sizes | {"text_cfg": {"hf_model_name": "somebody/bert"}}
    monkeypatch.setattr(open_clip, "get_model_config", {"ViT-Tiny": sizes, "ViT-Elsewhere": elsewhere}.get)
    return expert.net.state_dict()


@pytest.mark.parametrize(("suffix", "save"), [(".safetensors", save_file), (".pt", torch.save)])
def test_a_file_of_tensors_is_loaded(tiny_models, expert, tmp_path, suffix, save):
    path = tmp_path / f"clip{suffix}"
    save(tiny_models, path)
    loaded = load_clip(path, "ViT-Tiny")
    assert loaded.name == "ViT-Tiny"
    assert torch.equal(loaded.images(pictures()), expert.images(pictures()))


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_pickle_with_code_is_refused_with_code_3_and_not_run(tiny_models, tmp_path):
    path, trace = tmp_path / "clip.pt", tmp_path / "it_ran"
    path.write_bytes(pickle.dumps(Bomb(trace), protocol=2))
    with pytest.raises(UserError, match="is no CLIP ViT-Tiny of plain tensors") as caught:
        load_clip(path, "ViT-Tiny")
    assert caught.value.code == ExitCode.UNSAFE_FILE
    assert not trace.exists()


def test_torchscript_like_openais_own_file_is_code(tiny_models, tmp_path):
    path = tmp_path / "ViT-L-14.pt"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    with pytest.raises(UserError, match="is no CLIP ViT-Tiny of plain tensors") as caught:
        load_clip(path, "ViT-Tiny")
    assert caught.value.code == ExitCode.UNSAFE_FILE
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tiny_models, tmp_path):
    with pytest.raises(UserError, match="does not exist; give a file of open_clip's ViT-Tiny") as caught:
        load_clip(tmp_path / "clip.safetensors", "ViT-Tiny")
    assert caught.value.code == ExitCode.BAD_INPUT


def test_models_that_would_fetch_something_are_not_offered(tiny_models):
    with pytest.raises(UserError, match=r"there are: ViT-Tiny$"):
        clip.config("ViT-Elsewhere")


def test_the_release_used_openais_model_which_has_another_gelu():
    assert clip.config(OPENAI) == open_clip.get_model_config("ViT-L-14") | {"quick_gelu": True}
    with pytest.raises(UserError, match="did you mean ViT-L-14"):
        clip.config("ViT-L14")
