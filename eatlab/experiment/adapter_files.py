"""`eatlab inspect`, `eatlab merge`: what an adapter file holds; a plain backbone of it for one emotion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eatlab.adapters.files import HEADER, check_weights, read_adapter_file, safetensors_bytes
from eatlab.atomic import write_bytes, write_json
from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError, refuse_unknown

if TYPE_CHECKING:
    from eatlab.backbone.talking_head import TalkingHead


@dataclass(frozen=True)
class InspectConfig:
    """file: an adapter file. json: also write it there."""

    file: str
    json: str = ""


@dataclass(frozen=True)
class MergeConfig:
    """file: an adapter file of deltas of weights. emotion, intensity: the one that is merged.

    out: the file to write. backbone: an import's folder, or that of another zoo; empty: eatlab's own.
    """

    file: str
    out: str
    emotion: str
    intensity: float = 1.0
    backbone: str = ""


def described(path: Path) -> dict[str, Any]:
    """Header and counts of an adapter file, checked against its own sha256; no backbone is needed.

    Raises UserError: 2 if it is not there, 4 if it is damaged or no adapter file.
    """
    from eatlab.adapters.specs import split

    header, tensors = read_adapter_file(path)
    check_weights(path, tensors, header["weights"])
    names = split(header["spec"])
    parts = dict.fromkeys(names, 0)
    for key, tensor in tensors.items():
        kind, number, *_ = key.split(".")
        part = names[int(number)] if kind == "adapters" else "emotion mapper"
        parts[part] = parts.get(part, 0) + tensor.numel()
    return {
        "file": str(path),
        "header": {key: header[key] for key in sorted(header, key=[*HEADER, *sorted(header)].index)},
        "parameters": parts,
        "tensors": len(tensors),
        "bytes": path.stat().st_size,
    }


def run_inspect(config: InspectConfig) -> int:
    """Prints what a file holds; writes it as json if asked."""
    found = described(Path(config.file))
    print(found["file"])
    for key, value in found["header"].items():
        print(f"  {key:<14}{value}")
    for name, count in found["parameters"].items():
        print(f"  {name:<40}{count:>12,}")
    total = sum(found["parameters"].values())
    print(f"  {total:,} numbers in {found['tensors']} tensors, {found['bytes']:,} bytes")
    if config.json:
        write_json(Path(config.json), found)
    return int(ExitCode.DONE)


def run_merge(config: MergeConfig) -> int:
    """Writes the state dict of a plain backbone that speaks one emotion, whole or not at all.

    Raises UserError (2) for another backbone's file, adapters that do not merge, an emotion that is none.
    """
    import torch

    from eatlab.adapters.adapter_set import AdapterSet
    from eatlab.backbone.sites import fingerprint

    refuse_unknown("emotion", config.emotion, EMOTIONS)
    out = Path(config.out)
    if out.exists():
        raise UserError(f"{out} is there already", do="give another --out")
    backbone = backbone_in(config.backbone)
    adapters = AdapterSet.load(Path(config.file), backbone)
    asked = torch.tensor([EMOTIONS.index(config.emotion)])
    state = adapters.merged(backbone, adapters.context(asked, config.intensity))
    header = {
        "merged": adapters.spec_in_full,
        "emotion": config.emotion,
        "intensity": f"{config.intensity:g}",
        "backbone": fingerprint(backbone),
    }
    write_bytes(out, safetensors_bytes(state, header))
    print(f"{config.file} at {config.emotion}, intensity {config.intensity:g}, merged into {out}")
    return int(ExitCode.DONE)


def backbone_in(folder: str) -> TalkingHead:
    """The talking head, frozen, of an import's folder or of another zoo; eatlab's own if "".

    Raises UserError: 2 if it is not there, 4 if it is damaged.
    """
    from eatlab.zoo.folders import RECORD
    from eatlab.zoo.networks import load_backbone
    from eatlab.zoo.released_parts import BACKBONE

    if not folder:
        return load_backbone()
    if (Path(folder) / RECORD).is_file():
        return load_backbone(BACKBONE, Path(folder))
    return load_backbone(folder=Path(folder))
