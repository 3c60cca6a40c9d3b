"""`eatlab export`: an import goes back bit for bit, with its own adapter or another one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from eatlab import cli
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.clip import silence
from eatlab.backbone.sizes import SIZES
from eatlab.backbone.talking_head import animate
from eatlab.errors import ExitCode, UserError
from eatlab.zoo.networks import load_backbone
from eatlab.zoo.released import import_released
from eatlab.zoo.released_export import exported
from tests.reference.networks import pipeline_clip
from tests.reference.vectors import KEYS, TOLERANCE, Vector, there
from tests.zoo.synthetic import (
    EDITED,
    KEYPOINTS,
    LISTS,
    STAGE_1,
    STAGE_2,
    TINY,
    difference,
    published_release,
    tiny_release,
)


@pytest.fixture(autouse=True)
def tiny_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", lambda: TINY.backbone)


def imported(tmp_path: Path, *contents: dict[str, Any], **options: Any) -> Path:
    """The import of some contents, as files 0.pth.tar, 1.pth.tar …"""
    files = [tmp_path / f"{index}.pth.tar" for index in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        torch.save(content, file)
    import_released(files, tmp_path / "imported", form=TINY, **options)
    return tmp_path / "imported"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(tmp_path_factory.mktemp("once"), tiny_release(*STAGE_2))


@pytest.fixture
def stage_2(once: Path, tmp_path: Path) -> Path:
    """The import of a stage 2 file, a copy for each test."""
    return shutil.copytree(once, tmp_path / "stage_2")


@pytest.mark.parametrize("networks", [STAGE_2, STAGE_1, EDITED, ("state_dict",)], ids="-".join)
def test_what_was_imported_comes_back_bit_for_bit(tmp_path, networks):
    content = tiny_release(*networks)
    assert difference(content, exported(imported(tmp_path, content))) == ""


def test_each_file_of_an_import_comes_back(tmp_path):
    second = tiny_release(*KEYPOINTS) | {"generator": tiny_release("generator", salt=1)["generator"]}
    first = tiny_release(*STAGE_2)
    folder = imported(tmp_path, first, second, first_wins=True)
    assert difference(first, exported(folder)) == ""
    assert difference(second, exported(folder, source="1.pth.tar")) == ""
    with pytest.raises(UserError, match=r'"2\.pth\.tar" is unknown; there are: 0\.pth\.tar, 1\.pth\.tar'):
        exported(folder, source="2.pth.tar")


def test_odd_storage_and_values_come_back(tmp_path):
    content = tiny_release(*STAGE_2)
    net, whole = content["audio2kptransformer"], torch.randn(100)
    net["f0_model.bilstm_detector.bias_ih_l0"] = whole[:8]  # views of one storage, as cuDNN's LSTMs keep them
    net["f0_model.bilstm_detector.bias_hh_l0"] = whole[4:12]
    net["encoder_fc1.0.bias"] = torch.tensor([float("nan"), -0.0] * 8)
    net["hp_extractor.bias"] = torch.nn.Parameter(net["hp_extractor.bias"])
    net["face_shrink.weight"] = net["face_shrink.weight"].T.contiguous().T
    content["optimizer_generator"]["more"] = [None, True, 2**70, 1e-320, float("inf"), "é", {(1, "a"): []}]
    content["optimizer_generator"]["expanded"] = torch.arange(2.0)[:, None].expand(2, 50)
    found = exported(imported(tmp_path, content))
    assert difference(content, found) == ""


def test_the_command_writes_a_file_that_torch_loads(stage_2, capsys):
    content, out = tiny_release(*STAGE_2), stage_2.parent / "back.pth.tar"
    words = ["export", str(stage_2), "--format", "released", "--out", str(out)]
    assert cli.main(words) == ExitCode.DONE
    assert difference(content, torch.load(out, weights_only=True)) == ""
    assert "written to" in capsys.readouterr().out
    assert cli.main(words) == ExitCode.BAD_INPUT
    assert "is there already; give another --out" in capsys.readouterr().err


def test_an_unknown_format_is_refused(capsys):
    assert cli.main(["export", "folder", "--format", "relased", "--out", "x"]) == ExitCode.BAD_INPUT
    assert (
        'format "relased" is unknown; there are: released, peft; did you mean released?'
        in capsys.readouterr().err
    )


def test_another_adapter_of_the_same_kind_takes_the_released_ones_place(stage_2):
    content, tuned = tiny_release(*STAGE_2), stage_2 / "tuned.safetensors"
    head = load_backbone("backbone", stage_2)
    adapters = AdapterSet("deep_prompt+edn(init=random,start=random)+eam(start=random)", head)
    adapters.save(tuned, head)
    found = exported(stage_2, adapter=tuned)
    assert torch.equal(found["sidetuning"]["emokp.weight"], adapters.adapters[1].head.weight)
    branch = adapters.mapper.branches[3][0].weight
    assert torch.equal(found["emotionprompt"]["mappingnet.unshared.3.0.weight"], branch)
    volume = adapters.adapters[2].heads["renderer/volume"][0].bias
    assert torch.equal(found["generator"]["ea3d.fc.0.bias"], volume)
    assert difference(content["kp_detector"], found["kp_detector"]) == ""
    assert list(found["generator"]) == list(content["generator"])


@pytest.mark.parametrize(
    "spec", ["deep_prompt+eam", "shallow_prompt+edn+eam", "deep_prompt(streams=encoder)+edn+eam"]
)
def test_an_adapter_that_the_release_cannot_hold_is_refused(stage_2, spec):
    tuned, head = stage_2 / "tuned.safetensors", load_backbone("backbone", stage_2)
    AdapterSet(spec, head).save(tuned, head)
    with pytest.raises(UserError, match=r"the released format holds deep_prompt\+edn\+eam only"):
        exported(stage_2, adapter=tuned)


@pytest.mark.parametrize("networks", [STAGE_1, EDITED], ids="-".join)
def test_a_file_without_an_adapter_of_its_own_has_no_place_for_one(tmp_path, networks):
    folder = imported(tmp_path, tiny_release(*networks))
    with pytest.raises(UserError, match=r"0\.pth\.tar has no place for an adapter"):
        exported(folder, adapter=tmp_path / "any.safetensors")


def test_a_folder_that_is_no_import_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is no import; it has no released\.json"):
        exported(tmp_path)


@pytest.mark.parametrize("file", ["leftovers.safetensors", "backbone.safetensors", "adapter.safetensors"])
def test_a_changed_byte_of_an_import_is_noticed(stage_2, file):
    path = stage_2 / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError) as caught:
        exported(path.parent)
    assert caught.value.code == ExitCode.DATA_DAMAGED


@pytest.mark.parametrize(
    "change",
    [
        ("{", "["),
        ('["used","backbone"]', '["used","nothing"]'),
        ('["kept","0', '["kept","x'),
        ('["dict",', '["x",'),
        ('"written":{', '"written":7,"x":{'),
        ('"sources":[', '"sources":[],"x":['),
    ],
    ids=str,
)
def test_a_record_that_cannot_be_followed_is_noticed(stage_2, change):
    path = stage_2 / "released.json"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UserError, match=r"released\.json is damaged") as caught:
        exported(path.parent)
    assert caught.value.code == ExitCode.DATA_DAMAGED


@pytest.mark.parametrize(
    "change",
    [('"size"', '"sighs"'), ('"tiny"', '"huge"'), ('"tiny"', "[]"), ('"sha256"', '"sha"')],
    ids=str,
)
def test_a_card_that_cannot_be_followed_is_noticed(stage_2, change):
    path = stage_2 / "backbone.json"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UserError, match=r"backbone\.json is damaged; \w+Error") as caught:
        exported(path.parent)
    assert caught.value.code == ExitCode.DATA_DAMAGED
    assert "\n" not in str(caught.value)


def test_a_card_of_another_width_is_noticed(tmp_path):
    folder = imported(tmp_path, tiny_release("state_dict"))
    path = folder / "sync_expert.json"
    path.write_text(path.read_text().replace('"width": 1', '"width": 2'))
    with pytest.raises(UserError, match=r"sync_expert\.json is damaged; RuntimeError") as caught:
        exported(folder)
    assert caught.value.code == ExitCode.DATA_DAMAGED
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------- published size

NEEDS = ("pipeline",)
PUBLISHED = all((KEYS / f"{name}.json").is_file() for name in LISTS.values()) and all(map(there, NEEDS))


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED, reason="the lists of released keys are not here")
@torch.no_grad()
def test_a_released_file_imports_animates_as_released_and_comes_back(tmp_path, capsys):
    """203 M parameters: import, portrait + speech + pose → the `pipeline` vector's frames, export."""
    file, folder, back = tmp_path / "released.pth.tar", tmp_path / "imported", tmp_path / "back.pth.tar"
    torch.save(published_release(*STAGE_2, "discriminator"), file)
    assert cli.main(["import", str(file), "--out", str(folder)]) == ExitCode.DONE
    said = capsys.readouterr().out
    for count in ("203,507,375", "10,777,600", "2,386,077", "778,368", "13,942,045"):
        assert count in said
    frames, vector = animated(folder)
    for name, frame in (("frame_first", frames[:1]), ("frame_last", frames[-1:])):
        assert vector.score(name, (frame + 1) / 2) < TOLERANCE
    assert cli.main(["export", str(folder), "--format", "released", "--out", str(back)]) == ExitCode.DONE
    assert difference(*(torch.load(path, weights_only=True, mmap=True) for path in (file, back))) == ""
    shutil.rmtree(tmp_path)


def animated(folder: Path) -> tuple[torch.Tensor, Vector]:
    """The frames that an import gives for the inputs of the `pipeline` vector."""
    vector = Vector("pipeline")
    given = vector.inputs
    head = load_backbone("backbone", folder)
    adapters = AdapterSet.load(folder / "adapter.safetensors", head).eval()
    context = adapters.context(torch.tensor([vector.meta["hyper"]["emotion_index"]]), latent=given["z"])
    portrait, speech, driving = pipeline_clip(head, vector, context)
    return torch.cat(list(animate(head, portrait, speech, driving, silence(), context))), vector
