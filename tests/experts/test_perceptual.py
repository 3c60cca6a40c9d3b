"""VGG-19 from a user's file: tensors only, in torchvision's layout."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eatlab.errors import ExitCode, UserError
from eatlab.experts.perceptual import VGG_TAPS, Vgg19, load_vgg19


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    """A file's content: features of a network that learned nothing, and a classifier that is not needed."""
    torch.manual_seed(0)
    features = {k: 0.05 * torch.randn_like(v) for k, v in Vgg19().state_dict().items()}
    return features | {"classifier.0.bias": torch.zeros(4096)}


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "save"), [(".safetensors", save_file), (".pth", torch.save)])
def test_a_file_of_tensors_is_loaded_and_frozen(released, tmp_path, suffix, save):
    path = tmp_path / f"vgg19{suffix}"
    save(released, path)
    net = load_vgg19(path)
    assert torch.equal(net.features[0].weight, released["features.0.weight"])
    assert not any(p.requires_grad for p in net.parameters())
    taps = net(torch.zeros(1, 3, 32, 32))
    assert [tap.shape[1:] for tap in taps] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
    ]


def test_taps_are_the_first_activations_of_each_depth():
    layers = Vgg19().features
    assert len(layers) == 37
    assert [type(layers[i]).__name__ for i in VGG_TAPS] == ["ReLU"] * 5
    assert [type(layers[i - 1]).__name__ for i in VGG_TAPS] == ["Conv2d"] * 5
    assert [type(layers[i - 2]).__name__ for i in VGG_TAPS[1:]] == ["MaxPool2d"] * 4


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_pickle_with_code_is_refused_with_code_3_and_not_run(tmp_path):
    path, trace = tmp_path / "vgg19.pth", tmp_path / "it_ran"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(UserError, match="is no VGG-19 of plain tensors") as caught:
        load_vgg19(path)
    assert caught.value.code == ExitCode.UNSAFE_FILE
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_missing_file_is_one_line(tmp_path, suffix):
    with pytest.raises(UserError, match="does not exist; give the path of torchvision's vgg19") as caught:
        load_vgg19(tmp_path / f"vgg19{suffix}")
    assert caught.value.code == ExitCode.BAD_INPUT
    assert "\n" not in str(caught.value)


def test_a_file_of_something_else_is_refused(tmp_path):
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="is no VGG-19"):
        load_vgg19(tmp_path / "other.safetensors")
