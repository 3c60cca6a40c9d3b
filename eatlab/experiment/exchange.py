"""`eatlab import`, `eatlab export`: files of others become ours and go back; what is given says which others.

Released checkpoints are the zoo's work (`zoo/released.py`, `zoo/released_export.py`); here are the folders of
the peft library, of one adapter each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eatlab.errors import ExitCode, UserError, refuse_unknown

FORMATS = ("released", "peft")


@dataclass(frozen=True)
class ImportConfig:
    """files: released .pth.tar files, a later one fills what those before it lack; or one folder of peft's.

    out: a new folder; for a folder of peft's, the adapter file to write. first_wins: where two released files
    differ in a network, the first file's is taken, and of the other file only what stands for itself (the
    head pose estimator, the sync expert). backbone: what a folder of peft's is for, an import's folder or
    that of another zoo; empty: eatlab's own.
    """

    files: tuple[str, ...]
    out: str
    first_wins: bool = False
    backbone: str = ""


@dataclass(frozen=True)
class ExportConfig:
    """path: an import's folder, or for peft an adapter file (lora, dora or ia3, with each=false).

    out: the file to write; for peft, a new folder. format: "released", as the EAT release has it, or "peft".
    adapter: another adapter file of deep_prompt+edn+eam on that backbone, in place of the imported one.
    source: which of the imported files comes back, by name; the first if empty.
    backbone: what an adapter file is for, an import's folder or that of another zoo; empty: eatlab's own.
    """

    path: str
    out: str
    format: str = "released"
    adapter: str = ""
    source: str = ""
    backbone: str = ""


def run_import(config: ImportConfig) -> int:
    """Prints what was made of the files, and where it is. Raises UserError as the two imports do."""
    if any(Path(file).is_dir() for file in config.files):
        return import_peft(config)
    refuse_beside("released files", backbone=config.backbone)
    from eatlab.zoo import released

    return released.run_import(released.ImportConfig(config.files, config.out, config.first_wins))


def run_export(config: ExportConfig) -> int:
    """Writes the file or folder, whole or not at all. Raises UserError as the two exports do."""
    refuse_unknown("format", config.format, FORMATS)
    if config.format == "peft":
        return export_peft(config)
    refuse_beside("--format released", backbone=config.backbone)
    if Path(config.path).is_file():
        raise UserError(
            f"{config.path} is no import", "it is a file", "for an adapter file write --format peft"
        )
    from eatlab.zoo import released_export

    return released_export.run_export(
        released_export.ExportConfig(config.path, config.out, config.format, config.adapter, config.source)
    )


def refuse_beside(what: str, **options: object) -> None:
    """Raises UserError for an option that would be left unread."""
    for name, value in options.items():
        if value:
            raise UserError(f"{name}={value} says nothing beside {what}", do="leave it out")


def new(out: str) -> Path:
    """A path where nothing is yet."""
    path = Path(out).resolve()
    if path.exists():
        raise UserError(f"{out} is there already", do="give another --out")
    return path


def export_peft(config: ExportConfig) -> int:
    """Writes peft's folder.

    Raises UserError: 2 for an adapter that this layout cannot say or another backbone's, 4 for a damaged one.
    """
    from eatlab.adapters.adapter_set import AdapterSet
    from eatlab.adapters.files import safetensors_bytes
    from eatlab.adapters.peft_config import CONFIG
    from eatlab.adapters.peft_layout import WEIGHTS, exported
    from eatlab.atomic import write_bytes, write_json
    from eatlab.backbone.sites import fingerprint
    from eatlab.experiment.adapter_files import backbone_in
    from eatlab.zoo.released_file import whole_folder

    refuse_beside("--format peft", adapter=config.adapter, source=config.source)
    out, backbone = new(config.out), backbone_in(config.backbone)
    adapters = AdapterSet.load(Path(config.path), backbone)
    tensors, about = exported(adapters, backbone)
    with whole_folder(out) as part:
        header = {"format": "pt", "backbone": fingerprint(backbone)}  # peft writes the first
        write_bytes(part / WEIGHTS, safetensors_bytes(tensors, header))
        write_json(part / CONFIG, about)
    print(f"written to {out}: {len(tensors)} tensors of {adapters.spec}")
    return int(ExitCode.DONE)


def import_peft(config: ImportConfig) -> int:
    """Writes the adapter file of a folder of peft's.

    Raises UserError: 2 for what has no counterpart here or does not fit the backbone, 3 for weights that need
    code to be read, 4 for damaged files.
    """
    from eatlab.adapters.peft_layout import imported
    from eatlab.experiment.adapter_files import backbone_in

    refuse_beside("a folder of peft's", first_wins=config.first_wins)
    if len(config.files) > 1:
        raise UserError(
            f"{len(config.files)} paths, a folder among them", do="give one folder of peft's alone"
        )
    folder, out = Path(config.files[0]), new(config.out)
    about, header, tensors = read_folder(folder)
    backbone = backbone_in(config.backbone)
    check_backbone(folder, header, backbone)
    adapters = imported(tensors, about, backbone)
    adapters.save(out, backbone, source=f"a folder of peft's, {folder.resolve().name}")
    print(f"written to {out}: {adapters.spec}")
    return int(ExitCode.DONE)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """Config, header and tensors of a folder of peft's; only safetensors are read."""
    from eatlab.adapters.files import read_safetensors
    from eatlab.adapters.peft_config import CONFIG
    from eatlab.adapters.peft_layout import WEIGHTS

    for name in (CONFIG, WEIGHTS):
        if (folder / name).is_file():
            continue
        if name == WEIGHTS and (pickled := folder / "adapter_model.bin").exists():
            do = "save it again as safetensors; nothing of it was run"
            raise UserError(f"{pickled} may run code when it is read", do=do, code=ExitCode.UNSAFE_FILE)
        raise UserError(
            f"{folder} is no adapter of peft's", f"it has no {name}", "give the folder that has it"
        )
    return read_config(folder / CONFIG), *read_safetensors(folder / WEIGHTS)


def read_config(path: Path) -> dict[str, Any]:
    """A table of JSON. Raises UserError (4) for anything else."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} is damaged", why, "save it again", code=ExitCode.DATA_DAMAGED) from error
    if not isinstance(config, dict):
        there = f"it holds a {type(config).__name__}, not fields by name"
        raise UserError(f"{path} is damaged", there, "save it again", code=ExitCode.DATA_DAMAGED)
    return config


def check_backbone(folder: Path, header: dict[str, str], backbone: Any) -> None:
    """UserError if eatlab wrote the folder for another backbone; peft itself does not say which it was."""
    from eatlab.backbone.sites import fingerprint

    here = fingerprint(backbone)
    if header.get("backbone", here) != here:
        made = f"{folder} was made for backbone {header['backbone']}"
        raise UserError(made, f"this one is {here}", "name its folder by backbone=")
