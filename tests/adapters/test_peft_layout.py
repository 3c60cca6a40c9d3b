"""LoRA, DoRA and (IA)³ in peft's layout: the peft library itself says what a folder means."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eatlab.adapters.peft_config import CONFIG, options_of
from eatlab.adapters.peft_layout import WEIGHTS, exported, imported
from eatlab.adapters.peft_tensors import SLOTS, gain, magnitude
from eatlab.backbone.sites import (
    FROZEN,
    Backbone,
    BatchNorm2d,
    Context,
    Conv1d,
    Conv2d,
    Conv3d,
    Linear,
    SpectralConv2d,
)
from eatlab.errors import ExitCode, UserError
from tests.adapters.toys import random_batch, stirred, talking_head

CLOSE = {"atol": 1e-6, "rtol": 1e-6}


@dataclass(frozen=True)
class NoConfig:
    model_type: str = "toy"


class EveryLayer(Backbone):
    """One layer of each class that an adapter may target, all of them on one picture (batch, 4, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.config = NoConfig()
        self.linear, self.bare = Linear(6, 6), Linear(6, 6, bias=False)
        self.along = Conv1d(4, 5, 3, stride=2, padding=1)
        self.flat, self.point = Conv2d(4, 5, 3, padding=1, stride=2), Conv2d(4, 3, 1, bias=False)
        self.volume = Conv3d(4, 5, (1, 3, 3), padding=(0, 1, 1))
        self.spectral, self.norm = SpectralConv2d(4, 4, 3), BatchNorm2d(4)
        self.grouped, self.dilated = Conv2d(4, 4, 3, groups=2), Conv2d(4, 4, 3, dilation=2)
        self.inner = nn.ModuleDict({"point": nn.Identity()})
        self.name_places()

    def forward(self, x: Tensor, context: Context = FROZEN) -> Tensor:
        """(batch, 4, 6, 6) → (batch, numbers)."""
        x = self.bare(self.linear(x, context), context)
        along, flat = self.along(x.flatten(2), context), self.flat(x, context)
        point, volume = self.point(x, context), self.volume(x[:, :, None], context)
        rest = [layer(x, context) for layer in (self.spectral, self.norm, self.grouped, self.dilated)]
        return torch.cat([each.flatten(1) for each in (along, flat, point, volume, *rest)], 1)


def every_layer() -> EveryLayer:
    """The same bits at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return EveryLayer().requires_grad_(False).eval()


def answer(backbone: Backbone, *context: Context) -> Tensor:
    """What a backbone, or its A2ET, says of always the same input."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(4)
        if isinstance(backbone, EveryLayer):
            return backbone(torch.randn(3, 4, 6, 6), *context)
        return backbone.a2et(random_batch(3), *context)


def written(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Path:
    """The two files."""
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The contents of the two files."""
    return load_file(folder / WEIGHTS), json.loads((folder / CONFIG).read_text())


KERNELS = "linear.weight,bare.weight,along.weight,flat.weight,volume.weight"
TALKING = ["", "rank=3,alpha=5.5", "targets=a2et.*.linear1.weight,a2et.*.convs.*.weight,rank=2"]
EVERY = [f"targets={KERNELS}", f"targets={KERNELS},rank=1,alpha=0.3"]
SCALED = ["", "targets=a2et.*.q.*,a2et.*.convs.*"]
CASES = [
    *((talking_head, f"{kind}(each=false,{options})") for kind in ("lora", "dora") for options in TALKING),
    *((every_layer, f"{kind}(each=false,{options})") for kind in ("lora", "dora") for options in EVERY),
    *((talking_head, f"ia3(each=false,{options})") for options in SCALED),
    (every_layer, "ia3(each=false,targets=linear.*,bare.*,flat.*,volume.*,grouped.*,dilated.*)"),
]
each_case = pytest.mark.parametrize(
    ("make", "spec"),
    [(make, spec.replace(",)", ")")) for make, spec in CASES],
    ids=lambda value: str(getattr(value, "__name__", value))[:40],
)


# ---------------------------------------------------------------------------------- peft reads what we write


@each_case
def test_peft_does_what_our_set_does(make, spec, tmp_path):
    backbone = make()
    adapters = stirred(spec, backbone).eval()
    folder = written(tmp_path / "peft", *exported(adapters, backbone))
    theirs = PeftModel.from_pretrained(copy.deepcopy(backbone), str(folder)).eval()
    ours = answer(backbone, adapters.context(torch.tensor([0, 3, 6])))
    torch.testing.assert_close(answer(theirs.base_model.model), ours, **CLOSE)
    assert (answer(backbone) - ours).abs().max() > 1e-3, "an adapter that does nothing proves nothing"


@each_case
def test_peft_merges_to_what_ours_merges_to(make, spec, tmp_path):
    backbone = make()
    adapters = stirred(spec, backbone).eval()
    folder = written(tmp_path / "peft", *exported(adapters, backbone))
    theirs = PeftModel.from_pretrained(copy.deepcopy(backbone), str(folder)).merge_and_unload().state_dict()
    for name, ours in adapters.merged(backbone, adapters.context(torch.tensor([2]))).items():
        torch.testing.assert_close(theirs[name], ours, **CLOSE)


# ---------------------------------------------------------------------------------- we read what peft writes


def saved_by_peft(backbone: Backbone, config: LoraConfig | IA3Config, folder: Path) -> Tensor:
    """Lets peft adapt a copy, moves its parameters, saves it; → what the copy says."""
    theirs = get_peft_model(copy.deepcopy(backbone), config).eval()
    random = torch.Generator().manual_seed(5)
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=random)
    theirs.save_pretrained(str(folder))
    return answer(theirs.base_model.model)


FOREIGN = [
    (talking_head, LoraConfig(r=3, target_modules=["q", "v"])),
    (talking_head, LoraConfig(r=4, lora_alpha=3, lora_dropout=0.1, target_modules=["self_attn.k"])),
    (talking_head, LoraConfig(r=3, lora_alpha=5, use_rslora=True, target_modules=["linear2", "q"])),
    (talking_head, LoraConfig(r=2, use_dora=True, target_modules=["q", "v"], init_lora_weights="gaussian")),
    (every_layer, LoraConfig(r=2, target_modules=["linear", "bare", "along", "flat", "volume"])),
    (every_layer, LoraConfig(r=2, use_dora=True, use_rslora=True, target_modules=["along", "flat", "bare"])),
    (talking_head, IA3Config(target_modules=["k", "v", "linear1"], feedforward_modules=[])),
    (every_layer, IA3Config(target_modules=["linear", "bare", "flat", "grouped"], feedforward_modules=[])),
]


@pytest.mark.parametrize(("make", "config"), FOREIGN, ids=range(len(FOREIGN)))
def test_what_peft_saved_says_the_same_here_and_goes_back_to_the_bit(make, config, tmp_path):
    backbone = make()
    theirs = saved_by_peft(backbone, copy.deepcopy(config), tmp_path)
    tensors, fields = read(tmp_path)
    adapters = imported(tensors, fields, backbone)
    assert not adapters.sees_emotion
    assert not adapters.training
    ours = answer(backbone, adapters.context(torch.tensor([1, 2, 3])))
    torch.testing.assert_close(ours, theirs, **CLOSE)
    back, _ = exported(adapters, backbone)
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_the_layers_that_are_adapted_by_default_are_not_spelled(tmp_path):
    backbone = talking_head()
    saved_by_peft(backbone, LoraConfig(r=4, lora_alpha=8, target_modules=["q", "v"]), tmp_path)
    assert imported(*read(tmp_path), backbone).spec == "lora(each=false)"
    saved_by_peft(backbone, LoraConfig(r=2, lora_alpha=8, target_modules=["layers.0.linear1"]), tmp_path)
    some = ",".join(f"a2et.{stack}.layers.0.linear1.weight" for stack in ("encoder", "decoder"))
    assert imported(*read(tmp_path), backbone).spec == f"lora(each=false,rank=2,targets={some})"


# --------------------------------------------------------------------------------------------- there and back


@each_case
def test_a_set_comes_back_from_there(make, spec):
    """Factors to the bit; gains and scales to one rounding of 1, where their fp32 there has its digits."""
    backbone = make()
    adapters = stirred(spec, backbone)
    tensors, config = exported(adapters, backbone)
    back = imported(tensors, json.loads(json.dumps(config)), backbone)
    assert (back.plan.keys(), back.names[0][:4]) == (adapters.plan.keys(), adapters.names[0][:4])
    for name, ours in adapters.state_dict().items():
        exact = ".down." in name or ".up." in name
        torch.testing.assert_close(back.state_dict()[name], ours, rtol=0, atol=0 if exact else 2**-24)
    again, _ = exported(back, backbone)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def test_options_come_back():
    spec = "lora(alpha=2.5,dropout=0.25,each=false,rank=3)"
    adapters = stirred(spec, backbone := talking_head())
    tensors, config = exported(adapters, backbone)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 2.5, 0.25)
    assert imported(tensors, config, backbone).spec == spec


@given(st.floats(-0.25, 3, width=32), st.floats(0.125, 8, width=32))
def test_a_magnitude_of_peft_s_comes_back_to_the_bit(share: float, length: float):
    weight = torch.tensor([[length, 0.0]])
    there = magnitude(torch.tensor([share]), weight).float()
    back = magnitude(gain(there, weight).float(), weight).float()
    assert torch.equal(there, back)


def test_half_precision_is_read_as_it_is(tmp_path):
    backbone = talking_head()
    tensors, config = exported(stirred("lora(each=false)", backbone), backbone)
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    again, _ = exported(imported(half, config, backbone), backbone)
    assert all(torch.equal(again[name], tensor.float()) for name, tensor in half.items())


def test_a_row_of_zeros_has_no_gain():
    weight = torch.eye(2)[:, :1]
    assert torch.equal(gain(torch.tensor([1.5, 0.0]), weight), torch.tensor([0.5, 0.0], dtype=torch.double))
    with pytest.raises(UserError, match="at a row of W that is 0"):
        gain(torch.tensor([1.5, 0.1]), weight)


# -------------------------------------------------------------------------------------------- what is refused


def refusal(act: Any) -> UserError:
    """The mistake, in one line."""
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lora", "tune it with each=false"),
        ("lora(each=false)+ia3(each=false)", "it holds one adapter: lora, dora, ia3"),
        ("deep_prompt", "it holds one adapter"),
        ("full", "it holds one adapter"),
        ("none", "it holds one adapter"),
        ("ia3(each=false,targets=a2et.*.k.weight)", "weight and bias are scaled together; target a2et."),
        ("ia3(each=false,targets=a2et.*.k.bias)", "weight and bias are scaled together"),
        ("ia3(each=false,targets=a2et.*.norm1.*)", "there is none for a LayerNorm"),
    ],
)
def test_what_the_layout_cannot_say_is_refused(spec, message):
    adapters = stirred(spec, backbone := talking_head())
    error = refusal(lambda: exported(adapters, backbone))
    assert message in str(error)
    assert error.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lora(each=false,targets=spectral.weight)", "there is none for a SpectralConv2d"),
        ("dora(each=false,targets=grouped.weight)", "A has neither groups nor dilation"),
        ("lora(each=false,targets=dilated.weight)", "A has neither groups nor dilation"),
        ("ia3(each=false,targets=along.*)", "there is none for a Conv1d"),
        ("ia3(each=false,targets=norm.*)", "there is none for a BatchNorm2d"),
        ("lora(each=false,targets=point.weight)", 'this name means "inner.point" too'),
    ],
)
def test_layers_that_peft_adapts_otherwise_are_refused(spec, message):
    adapters = stirred(spec, backbone := every_layer())
    assert message in str(refusal(lambda: exported(adapters, backbone)))


LORA, IA3 = "lora(each=false)", "ia3(each=false)"


def spoiled(spec: str, **fields: Any) -> UserError:
    """The mistake of a config in which some fields are others."""
    tensors, config = exported(stirred(spec, backbone := talking_head()), backbone)
    return refusal(lambda: imported(tensors, config | fields, backbone))


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        (LORA, "peft_type", "LOHA"),
        (LORA, "peft_type", None),
        (LORA, "bias", "all"),
        (LORA, "rank_pattern", {"q": 8}),
        (LORA, "alpha_pattern", {"q": 8}),
        (LORA, "modules_to_save", ["head"]),
        (LORA, "layers_to_transform", [0]),
        (LORA, "layers_to_transform", 1),
        (LORA, "layers_pattern", "layers"),
        (LORA, "exclude_modules", ["v"]),
        (LORA, "fan_in_fan_out", True),
        (LORA, "lora_bias", True),
        (LORA, "target_parameters", ["weight"]),
        (LORA, "layer_replication", [[0, 2]]),
        (LORA, "init_lora_weights", "pissa"),
        (LORA, "target_modules", ".*q"),
        (LORA, "of_a_later_version", {"on": True}),
        ("dora(each=false)", "lora_dropout", 0.1),
        (IA3, "feedforward_modules", ["linear1"]),
        (IA3, "fan_in_fan_out", True),
    ],
)
def test_a_field_that_would_be_lost_is_refused_by_name(spec, field, value):
    error = spoiled(spec, **{field: value})
    assert str(error).startswith(f"{field}={json.dumps(value)} in {CONFIG}")
    assert error.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("r", value) for value in (0, -1, 2.5, "4", True, None)),
        *(("lora_alpha", value) for value in ("8", None, float("nan"), float("inf"), 10**400, [8])),
        *(("lora_dropout", value) for value in ("0.1", True)),
        *((name, "yes") for name in ("use_dora", "use_rslora")),
        *(("target_modules", value) for value in (None, 3, [1])),
    ],
)
def test_a_value_that_no_peft_writes_is_damage(field, value):
    error = spoiled(LORA, **{field: value})
    assert f"{CONFIG} is damaged; {field}=" in str(error)
    assert error.code == ExitCode.DATA_DAMAGED


def test_fields_that_are_off_or_tell_an_origin_are_taken():
    config = LoraConfig(target_modules=["q"], base_model_name_or_path="a\nb", task_type="CAUSAL_LM").to_dict()
    assert options_of(config | {"peft_type": "LORA", "of_a_later_version": None}).rank == 8


NAME = "base_model.model.a2et.encoder.layers.0.self_attn.q"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({f"{NAME}.lora_A.weight": None}, 4, 'self_attn.q" has no lora_A.weight'),
        ({f"{NAME}.lora_A.weight": torch.zeros(4, 17)}, 2, "is (4, 17); with this backbone"),
        ({f"{NAME}.lora_B.weight": torch.zeros(16, 5)}, 2, "is (16, 5); with this backbone"),
        ({f"{NAME}.lora_B.weight": torch.full((16, 4), torch.nan)}, 4, "no finite number"),
        ({f"{NAME}.lora_B.weight": torch.zeros(16, 4, dtype=torch.int32)}, 4, "no finite number"),
        ({f"{NAME}.lora_B.bias": torch.zeros(16)}, 2, "export the adapter alone"),
        ({f"{NAME}.lora_magnitude_vector": torch.ones(16)}, 2, "export the adapter alone"),
        ({"a2et.q.lora_A.weight": torch.zeros(4, 16)}, 2, "export the adapter alone"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(changes, code, message):
    tensors, config = exported(stirred(LORA, backbone := talking_head()), backbone)
    changed = {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}
    error = refusal(lambda: imported(changed, config, backbone))
    assert message in str(error)
    assert error.code == code


def test_layers_of_another_model_are_refused():
    backbone = talking_head()
    tensors, config = exported(stirred(LORA, backbone), backbone)
    renamed = {name.replace("a2et.", "model\n."): tensor for name, tensor in tensors.items()}
    names = [name.replace("a2et.", "model\n.") for name in config["target_modules"]]
    error = refusal(lambda: imported(renamed, config | {"target_modules": names}, backbone))
    assert "is none of the backbone's" in str(error)
    more_layers = talking_head(layers=4)
    tensors, config = exported(stirred(LORA, more_layers), more_layers)
    assert "layers.3.self_attn.q" in str(refusal(lambda: imported(tensors, config, backbone)))


def test_tensors_that_peft_would_pass_over_are_refused():
    tensors, config = exported(stirred(LORA, backbone := talking_head()), backbone)
    error = refusal(lambda: imported(tensors, config | {"target_modules": ["q"]}, backbone))
    assert "is none of the target_modules" in str(error)
    assert error.code == ExitCode.DATA_DAMAGED
    assert "holds no tensors" in str(refusal(lambda: imported({}, config, backbone)))


def test_every_kind_has_its_tensors_under_test():
    assert {spec.partition("(")[0] for _, spec in CASES} == set(SLOTS)
