"""`eatlab import`: a released file becomes files of ours, or one line says why not."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eatlab import cli
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.backbone.sites import fingerprint
from eatlab.backbone.sizes import SIZES
from eatlab.errors import ExitCode, UserError
from eatlab.experts.syncnet import SyncNet
from eatlab.experts.user_file import load_frozen
from eatlab.zoo import released
from eatlab.zoo.networks import load_backbone, read_card
from eatlab.zoo.released_export import load_edit_mapper, load_estimator, load_sync_expert
from tests.zoo.synthetic import EDITED, KEYPOINTS, STAGE_1, STAGE_2, TINY, tiny_release


@pytest.fixture(autouse=True)
def tiny_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", lambda: TINY.backbone)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves a content under a name."""

    def save(content: Any, name: str = "stage2.pth.tar") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def bring(*files: Path, **options: Any) -> tuple[Path, str]:
    """The folder of an import beside the first file, and what was said."""
    folder = files[0].parent / "imported"
    return folder, "\n".join(released.import_released(files, folder, form=TINY, **options))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_stage_2_file_becomes_a_backbone_and_its_adapter(saved):
    content = tiny_release(*STAGE_2)
    folder, said = bring(saved(content))
    head = load_backbone("backbone", folder)
    adapters = AdapterSet.load(folder / "adapter.safetensors", head)
    assert adapters.spec == "deep_prompt+edn+eam"
    assert torch.equal(head.keypoints.lift.weight, content["kp_detector"]["predictor.conv.weight"])
    fused = content["audio2kptransformer"]["transformer.encoder.layers.1.self_attn.in_proj_weight"]
    assert torch.equal(head.a2et.encoder.layers[1].self_attn.k.weight, fused[16:32])
    eam = adapters.adapters[2].heads["renderer/volume"]
    assert torch.equal(eam[2].weight, content["generator"]["ea3d.fc.2.weight"])
    assert torch.equal(
        adapters.mapper.branches[7][6].bias, content["emotionprompt"]["mappingnet.unshared.7.6.bias"]
    )
    assert fingerprint(head) in said
    assert f"{sum(p.numel() for p in head.parameters()):,} parameters" in said
    assert "embedding.weight" in said
    assert "CC-BY-NC" in said


def test_the_card_says_where_the_weights_come_from(saved):
    file = saved(tiny_release(*STAGE_1))
    folder, _ = bring(file)
    card = read_card("backbone", folder)
    assert card["sources"] == [[file.name, released.sha256_of_file(file)]]
    assert card["size"] == "tiny"
    assert card["weights_fingerprint"] == fingerprint(load_backbone("backbone", folder))
    assert set(card["parameters"]) == {"keypoints", "a2et", "renderer"}
    assert "CC-BY-NC 4.0" in card["licence"]


def test_a_stage_1_file_gives_a_backbone_alone(saved):
    folder, said = bring(saved(tiny_release(*STAGE_1)))
    load_backbone("backbone", folder)
    assert "adapter.safetensors" not in names(folder)
    assert "24 keys kept, not used (without effect before the adaptation" in said


def test_keypoints_alone_ask_for_a_second_file(saved):
    with pytest.raises(UserError, match=r"no audio2kptransformer is in keypoints\.pth\.tar") as caught:
        bring(saved(tiny_release(*KEYPOINTS), "keypoints.pth.tar"))
    assert caught.value.code == ExitCode.BAD_INPUT


def test_a_later_file_fills_what_the_first_lacks(saved):
    content = tiny_release(*KEYPOINTS)
    folder, _ = bring(saved(tiny_release(*STAGE_2)), saved(content, "keypoints.pth.tar"))
    estimator = load_estimator(folder)
    # The two heads are swapped by name in the release.
    assert torch.equal(estimator.yaw.weight, content["he_estimator"]["fc_roll.weight"])
    assert torch.equal(estimator.roll.weight, content["he_estimator"]["fc_yaw.weight"])


def other_keypoints() -> dict[str, Any]:
    content = tiny_release(*KEYPOINTS)
    return content | {"generator": tiny_release("generator", salt=1)["generator"]}


def test_files_that_differ_in_a_network_are_refused(saved):
    files = saved(tiny_release(*STAGE_2)), saved(other_keypoints(), "keypoints.pth.tar")
    with pytest.raises(
        UserError, match=r"generator of .*keypoints\.pth\.tar is not that of .*stage2"
    ) as caught:
        bring(*files)
    assert "first_wins=true" in str(caught.value)
    assert caught.value.code == ExitCode.BAD_INPUT


def test_where_the_first_wins_the_other_gives_what_stands_for_itself(saved):
    content = tiny_release(*STAGE_2)
    files = saved(content), saved(other_keypoints(), "keypoints.pth.tar")
    folder, said = bring(*files, first_wins=True)
    head = load_backbone("backbone", folder)
    assert torch.equal(head.renderer.lift.weight, content["generator"]["second.weight"])
    assert "estimator.safetensors" in names(folder)
    assert "another file's is taken" in said


def test_an_adapter_is_never_joined_to_another_files_backbone(saved):
    files = saved(tiny_release(*STAGE_1), "stage1.pth.tar"), saved(tiny_release(*STAGE_2, salt=1))
    folder, _ = bring(*files, first_wins=True)
    assert "adapter.safetensors" not in names(folder)


def test_the_file_that_has_a2et_stands_first(saved):
    files = saved(other_keypoints(), "keypoints.pth.tar"), saved(tiny_release(*STAGE_2))
    line = r"audio2kptransformer of \S+ was not trained with keypoints\.pth\.tar's networks; give stage2"
    with pytest.raises(UserError, match=line):
        bring(*files, first_wins=True)


def test_an_editing_run_keeps_its_one_mapper_and_adapts_with_it(saved):
    folder, _ = bring(saved(tiny_release(*EDITED)))
    mapper = load_edit_mapper(folder)
    adapters = AdapterSet.load(folder / "adapter.safetensors", load_backbone("backbone", folder))
    context = adapters.context(torch.tensor([0, 4]))
    assert torch.equal(context.guidance, mapper(torch.zeros(2, 16), torch.ones(2, 1)))


def test_a_syncnet_file_becomes_the_sync_expert(saved):
    content = tiny_release("state_dict")
    folder, _ = bring(saved(content))
    expert = load_sync_expert(folder)
    first = content["state_dict"]["face_encoder.0.conv_block.0.weight"]
    assert torch.equal(expert.face[0].conv.weight, first)
    again = load_frozen(SyncNet(1), folder / "sync_expert.safetensors", what="sync expert", give="one")
    assert torch.equal(again.face[0].conv.weight, first)
    assert "backbone.safetensors" not in names(folder)


def test_the_same_import_is_done_once_and_another_is_refused(saved):
    file = saved(tiny_release(*STAGE_2))
    folder, _ = bring(file)
    before = (folder / "backbone.json").stat().st_mtime_ns
    assert bring(file)[1].startswith("done before")
    assert (folder / "backbone.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="already holds another import"):
        bring(saved(tiny_release(*STAGE_1), "stage1.pth.tar"))


@pytest.mark.parametrize("file", ["backbone.safetensors", "backbone.json", "leftovers.safetensors"])
def test_an_import_that_lost_a_file_is_not_done(saved, file):
    checkpoint = saved(tiny_release(*STAGE_1))
    folder, _ = bring(checkpoint)
    (folder / file).unlink()
    with pytest.raises(UserError, match=f"holds this import without {file}; import into a new") as caught:
        bring(checkpoint)
    assert caught.value.code == ExitCode.DATA_DAMAGED


def test_an_import_with_a_changed_byte_is_not_done(saved):
    checkpoint = saved(tiny_release(*STAGE_2))
    folder, _ = bring(checkpoint)
    adapter = folder / "adapter.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"but adapter\.safetensors is not what was written") as caught:
        bring(checkpoint)
    assert caught.value.code == ExitCode.DATA_DAMAGED


def test_a_folder_of_other_things_is_left_alone(saved):
    file = saved(tiny_release(*STAGE_2))
    (file.parent / "imported").mkdir()
    (file.parent / "imported" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already and is no import"):
        bring(file)
    assert names(file.parent / "imported") == {"notes.txt"}


def test_an_import_that_fails_leaves_nothing(saved, monkeypatch):
    file = saved(tiny_release(*STAGE_2))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(released, "write_record", full)
    with pytest.raises(UserError, match="disk is full") as caught:
        bring(file)
    assert caught.value.code == ExitCode.INTERRUPTED
    assert names(file.parent) == {file.name}


def test_two_files_of_one_name_are_refused(saved):
    file = saved(tiny_release(*STAGE_1))
    with pytest.raises(UserError, match=r"two files are called stage2\.pth\.tar"):
        bring(file, file)


# ------------------------------------------------------------------------------------- files that will not do


class Attack:
    """Pickled, it asks to run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


def changed(
    network: str, change: Callable[[dict[str, Any]], object], networks: tuple[str, ...] = STAGE_2
) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        content = tiny_release(*networks)
        change(content[network])
        return content

    return make


BAD = {
    "missing": (
        changed("generator", lambda net: net.pop("decoder.conv_img.bias")),
        r"generator of \S+ lacks decoder\.conv_img\.bias; it should be \(3,\); 1 of \d+ tensors are missing",
    ),
    "missing from the fused attention": (
        changed("sidetuning", lambda net: net.pop("transformer.encoder.layers.0.self_attn.in_proj_bias")),
        r"sidetuning of \S+ lacks transformer\.encoder\.layers\.0\.self_attn\.in_proj_bias",
    ),
    "missing under a spectral norm": (
        changed("generator", lambda net: net.pop("decoder.up_0.conv_0.weight_orig")),
        r"lacks decoder\.up_0\.conv_0\.weight_orig",
    ),
    "missing EAM": (
        changed(
            "generator", lambda net: [net.pop(f"ea3d.fc.{i}.{k}") for i in (0, 2) for k in ("weight", "bias")]
        ),
        r"generator of \S+ lacks ea3d\.fc\.0\.weight",
    ),
    "surplus": (
        changed("kp_detector", lambda net: net.update(extra=torch.ones(1))),
        r"kp_detector of \S+ has extra too many",
    ),
    "surplus layer": (
        changed("emotionprompt", lambda net: net.update({"mappingnet.unshared.8.0.bias": torch.ones(16)})),
        r"emotionprompt of \S+ has mappingnet\.unshared\.8\.0\.bias too many",
    ),
    "the shallow ablation's EAM": (
        changed(
            "audio2kptransformer",
            lambda net: [
                net.update({key.replace("fea.", "fadain."): net.pop(key)})
                for key in list(net)
                if key.startswith("fea.")
            ],
        ),
        r"audio2kptransformer of \S+ has fadain\.fc\.0\.weight; it is of the shallow ablation",
    ),
    "an EAM of another network": (
        changed("kp_detector", lambda net: net.update({"ea3d.fc.0.weight": torch.ones(1)})),
        r"kp_detector of \S+ has ea3d\.fc\.0\.weight too many",
    ),
    "an EAM in the mapper": (
        changed("emotionprompt", lambda net: net.update({"fea.junk": torch.ones(1)})),
        r"emotionprompt of \S+ has fea\.junk too many",
    ),
    "an EAM before there is emotion": (
        changed(
            "audio2kptransformer",
            lambda net: net.update({"audioencoder.decode.99.norm1.fc.7.junk": torch.ones(1)}),
            STAGE_1,
        ),
        r"audio2kptransformer of \S+ has audioencoder\.decode\.99\.norm1\.fc\.7\.junk too many",
    ),
    "a misshapen EAM before there is emotion": (
        changed(
            "audio2kptransformer",
            lambda net: net.update({"audioencoder.decode.0.norm1.fc.0.bias": torch.ones(99)}),
            STAGE_1,
        ),
        r"audioencoder\.decode\.0\.norm1\.fc\.0\.bias in audio2kptransformer of \S+ is \(99,\)",
    ),
    "more than an unused key": (
        changed("audio2kptransformer", lambda net: net.update({"embedding.weight_junk": torch.ones(1)})),
        r"audio2kptransformer of \S+ has embedding\.weight_junk too many",
    ),
    "more than an unused layer": (
        changed("audio2kptransformer", lambda net: net.update({"f0_model.detector.junk": torch.ones(1)})),
        r"audio2kptransformer of \S+ has f0_model\.detector\.junk too many",
    ),
    "a spectral norm's weight without one": (
        changed(
            "generator", lambda net: net.update({"first.conv.weight_orig": net.pop("first.conv.weight")})
        ),
        r"generator of \S+ has first\.conv\.weight_orig too many",
    ),
    "a plain weight under a spectral norm": (
        changed(
            "generator",
            lambda net: net.update(
                {"decoder.up_0.conv_0.weight": net.pop("decoder.up_0.conv_0.weight_orig")}
            ),
        ),
        r"generator of \S+ has decoder\.up_0\.conv_0\.weight too many",
    ),
    "a spectral norm's vector by another name": (
        changed(
            "generator",
            lambda net: net.update(
                {"decoder.up_0.conv_0.weight_orig_u": net.pop("decoder.up_0.conv_0.weight_u")}
            ),
        ),
        r"generator of \S+ has decoder\.up_0\.conv_0\.weight_orig_u too many",
    ),
    "sparse": (
        changed("sidetuning", lambda net: net.update({"emokp.weight": net["emokp.weight"].to_sparse()})),
        r"sidetuning/emokp\.weight of \S+ is no plain tensor; it is torch\.float32, torch\.sparse_coo",
    ),
    "a sparse constant": (
        changed("kp_detector", lambda net: net.update({"down.weight": net["down.weight"].to_sparse()})),
        r"kp_detector/down\.weight of \S+ is no plain tensor",
    ),
    "without values": (
        changed("sidetuning", lambda net: net.update({"emokp.bias": torch.ones(45, device="meta")})),
        r"sidetuning/emokp\.bias of \S+ is no plain tensor; it is torch\.float32, torch\.strided, on meta",
    ),
    "an optimiser without values": (
        changed("optimizer_generator", lambda state: state.update(step=torch.ones(1, device="meta"))),
        r"optimizer_generator/step of \S+ is no plain tensor",
    ),
    "an optimiser of terabytes": (
        changed("optimizer_generator", lambda state: state.update(step=torch.zeros(1).expand(2**44))),
        r"has tensors of more than 8 times its bytes; with optimizer_generator/step, \(17592186044416,\)",
    ),
    "one tensor a thousand times": (
        lambda: tiny_release(*STAGE_2) | {"optimizer_all": [torch.ones(2**18)] * 1000},
        r"has tensors of more than 8 times its bytes; with optimizer_all/\d+, \(262144,\)",
    ),
    "misshapen": (
        changed("sidetuning", lambda net: net.update({"emokp.weight": torch.ones(45, 15)})),
        r"emokp\.weight in sidetuning of \S+ is \(45, 15\), torch\.float32; it should be \(45, 16\)",
    ),
    "misshapen attention": (
        changed(
            "sidetuning",
            lambda net: net.update({"transformer.encoder.layers.0.self_attn.in_proj_bias": torch.ones(47)}),
        ),
        r"is \(47,\), torch\.float32; it should be \(48,\)",
    ),
    "another type": (
        changed("sidetuning", lambda net: net.update({"emokp.bias": torch.ones(45).half()})),
        r"emokp\.bias in sidetuning of \S+ is \(45,\), torch\.float16; it should be \(45,\), torch\.float32",
    ),
    "another blur": (
        changed("kp_detector", lambda net: net["down.weight"].mul_(1.1)),
        r"down\.weight in kp_detector of \S+ is not the constant that eatlab computes",
    ),
    "other positions": (
        changed("sidetuning", lambda net: net.update({"pos_enc.pos_table": torch.zeros(20, 16)})),
        r"pos_enc\.pos_table in sidetuning of \S+ is not the constant",
    ),
    "no tensor": (
        changed("sidetuning", lambda net: net.update({"emokp.bias": 3})),
        r"emokp\.bias in sidetuning of \S+ is of type int; it should be a tensor",
    ),
    "a network that is none": (
        lambda: tiny_release(*STAGE_2) | {"generator": [1]},
        r"generator of \S+ is of type list; it should be tensors by name",
    ),
    "an unknown entry": (
        lambda: tiny_release(*STAGE_2) | {"vocoder": {}},
        r'has the unknown entry "vocoder"; eatlab knows: kp_detector, ',
    ),
    "no network": (lambda: {"epoch": 3}, r"holds no network; there are: epoch"),
    "no table": (lambda: [1, 2], r"is no released checkpoint; it holds a list"),
    "another kind of value": (
        lambda: tiny_release(*STAGE_2) | {"epoch": torch.Size([3])},
        r"epoch is a Size; eatlab keeps numbers, texts, lists",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_leaves_nothing(saved, name):
    make, line = BAD[name]
    file = saved(make(), "bad.pth.tar")
    with pytest.raises(UserError, match=line) as caught:
        bring(file)
    assert caught.value.code == ExitCode.DATA_DAMAGED
    assert "\n" not in str(caught.value)
    assert names(file.parent) == {file.name}


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.0])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_damaged(tmp_path, kept, zipped):
    file = tmp_path / "cut.pth.tar"
    torch.save(tiny_release(*STAGE_1), file, _use_new_zipfile_serialization=zipped)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(UserError, match=r"cut\.pth\.tar is truncated or no checkpoint") as caught:
        bring(file)
    assert caught.value.code == ExitCode.DATA_DAMAGED
    assert "\n" not in str(caught.value)


def test_a_file_of_something_else_is_damaged(tmp_path):
    (tmp_path / "page.pth.tar").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="truncated or no checkpoint") as caught:
        bring(tmp_path / "page.pth.tar")
    assert caught.value.code == ExitCode.DATA_DAMAGED


def test_an_absent_file_is_bad_input(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth\.tar does not exist") as caught:
        bring(tmp_path / "none.pth.tar")
    assert caught.value.code == ExitCode.BAD_INPUT


ASKS = {2: "it asks for posix.mkdir", 3: "it asks for posix.mkdir"} | {
    protocol: f"its pickle of protocol {protocol} cannot be read without running it" for protocol in (4, 5)
}


@pytest.mark.parametrize("protocol", ASKS)
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(capsys, monkeypatch, tmp_path, form, protocol):
    monkeypatch.chdir(tmp_path)
    file, content = tmp_path / "evil.pth.tar", {"epoch": Attack(), "w": torch.ones(2)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content["epoch"], protocol))
    else:
        new = form == "zip"
        torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    assert cli.main(["import", str(file), "--out", "folder"]) == ExitCode.UNSAFE_FILE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert f"would run code when it is loaded; {ASKS[protocol]}; nothing of it was run" in said.err
    assert names(tmp_path) == {file.name}


def test_the_command_imports_and_says_what_it_did(saved, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(released, "Form", lambda: TINY)
    file, folder = saved(tiny_release(*STAGE_2), "a, b=c.pth.tar"), tmp_path / "new" / "folder"
    assert cli.main(["import", str(file), "--out", str(folder)]) == ExitCode.DONE
    assert f"written to {folder}: adapter.safetensors, backbone.json" in capsys.readouterr().out
    record = json.loads((folder / "released.json").read_text())
    assert record["sources"][0]["networks"] == [
        "kp_detector",
        "audio2kptransformer",
        "generator",
        "emotionprompt",
        "sidetuning",
    ]


def test_the_command_without_a_file_says_what_is_needed(capsys):
    assert cli.main(["import", "--out", "x"]) == ExitCode.BAD_INPUT
    assert "files is not given" in capsys.readouterr().err
