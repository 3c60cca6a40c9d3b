"""`eatlab export`: what an import made goes back into a file of the release's names, order and types.

Also here: loaders of what an import writes beside backbone and adapter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.emotion import EmotionMapper
from eatlab.adapters.files import read_safetensors
from eatlab.adapters.specs import parse
from eatlab.atomic import sha256_of_file, write_atomically
from eatlab.backbone.key_map import joined
from eatlab.backbone.published.head_pose import PublishedEstimator
from eatlab.backbone.talking_head import TalkingHead
from eatlab.errors import ExitCode, UserError, refuse_unknown
from eatlab.experts.syncnet import SyncNet
from eatlab.zoo.folders import RECORD
from eatlab.zoo.networks import load_backbone, load_network, read_card
from eatlab.zoo.released import LEFTOVERS, Imported
from eatlab.zoo.released_file import Where, damaged, rebuilt
from eatlab.zoo.released_parts import (
    ADAPTER,
    BACKBONE,
    EDIT_MAPPER,
    ESTIMATOR,
    SPEC,
    SYNC_EXPERT,
    released_names,
)

FORMATS = ("released",)
BEGINNINGS = {"init", "start"}
"""Options of a spec that say how its weights began, not what it computes."""


@dataclass(frozen=True)
class ExportConfig:
    """folder: an import's. out: the file to write. format: "released", as the EAT release has it.

    adapter: another adapter file of deep_prompt+edn+eam on that backbone, in place of the imported one.
    source: which of the imported files comes back, by name; the first if empty.
    """

    folder: str
    out: str
    format: str = "released"
    adapter: str = ""
    source: str = ""


def run_export(config: ExportConfig) -> int:
    """Writes the file, whole or not at all."""
    refuse_unknown("format", config.format, FORMATS)
    out = Path(config.out)
    if out.exists():
        raise UserError(f"{out} is there already", do="give another --out")
    adapter = Path(config.adapter) if config.adapter else None
    content = exported(Path(config.folder), adapter=adapter, source=config.source)
    write_atomically(out, lambda part: torch.save(content, part))
    print(f"written to {out}: {', '.join(content)}; from {adapter or config.folder}")
    return ExitCode.DONE


def exported(folder: Path, *, adapter: Path | None = None, source: str = "") -> dict[str, Any]:
    """What a released file held: every tensor bit for bit, dtypes, order, python values (all on the CPU).

    Raises UserError: 2 for a folder that is no import, another backbone's or another kind of adapter; 4 for
    damaged files.
    """
    sha256, sources = read_record(folder)
    name = source or next(iter(sources))
    refuse_unknown(f"source of {folder}", name, sources)
    about = sources[name]
    if adapter is not None and not {"emotionprompt", "sidetuning"} <= set(about.networks):
        raise UserError(f"{name} has no place for an adapter", "none came with it", "import a stage 2 file")
    states = our_states(folder, about.files, adapter)
    kept = read_leftovers(folder / LEFTOVERS, sha256)

    def tensor_at(kind: str, place: str, where: Where) -> Tensor:
        if kind == "kept":
            return kept[place]
        _, names = released_names(*where)
        return joined([states[place][name] for name in names]).contiguous()

    try:
        return rebuilt(about.outline, tensor_at)
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise spoiled(folder / RECORD, error) from error


def read_record(folder: Path) -> tuple[str, dict[str, Imported]]:
    """The leftovers' sha256, and what an import noted of its files, by name, in order."""
    path = folder / RECORD
    if not path.is_file():
        raise UserError(f"{folder} is no import", f"it has no {RECORD}", "give an import's folder")
    try:
        record = json.loads(path.read_text())
        sources = [Imported(**each) for each in record["sources"]]
        if not sources:
            raise ValueError("it names no file")
        return record["written"][LEFTOVERS], {each.file: each for each in sources}
    except (ValueError, KeyError, TypeError) as error:
        raise spoiled(path, error) from error


def spoiled(path: Path, error: Exception) -> UserError:
    """The mistake of a record or card that cannot be followed."""
    why = f"{type(error).__name__}: {error}".partition("\n")[0]
    return damaged(f"{path} is damaged", why, "import the file again")


@contextmanager
def following(card: Path) -> Iterator[None]:
    """Makes what a wrong card leads to a UserError (4)."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise spoiled(card, error) from error


def our_states(folder: Path, files: list[str], adapter: Path | None) -> dict[str, dict[str, Tensor]]:
    """State dicts of our files, each checked as it is loaded."""
    loaders: dict[str, Callable[[Path], nn.Module]] = {
        BACKBONE: partial(load_backbone, BACKBONE),
        ESTIMATOR: load_estimator,
        EDIT_MAPPER: load_edit_mapper,
        SYNC_EXPERT: load_sync_expert,
    }
    nets: dict[str, nn.Module] = {}
    for file in (file for file in files if file in loaders):
        with following(folder / f"{file}.json"):
            nets[file] = loaders[file](folder)
    head = nets.get(BACKBONE)
    if ADAPTER in files and isinstance(head, TalkingHead):
        nets[ADAPTER] = load_adapter(adapter or folder / f"{ADAPTER}.safetensors", head)
    return {file: net.state_dict() for file, net in nets.items()}


def load_adapter(path: Path, head: TalkingHead) -> AdapterSet:
    """An adapter that the release can hold. Raises UserError for another spec or backbone."""
    adapters = AdapterSet.load(path, head)
    if as_released(adapters.spec_in_full) != SPEC:
        raise UserError(f"{path} is an adapter {adapters.spec}", f"the released format holds {SPEC} only")
    return adapters


def as_released(spec: str) -> str:
    """The spec without how its weights began, which does not change what it computes."""
    return "+".join(part._replace(config=begun_by_default(part.config)).spelled() for part in parse(spec))


def begun_by_default(config: Any) -> Any:
    """An adapter's options without BEGINNINGS."""
    if config is None:
        return None
    return type(config)(**{name: value for name, value in vars(config).items() if name not in BEGINNINGS})


def read_leftovers(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors that no file of ours has."""
    _, tensors = read_safetensors(path)
    if sha256_of_file(path) != sha256:
        raise damaged(f"{path} is not the file that was imported", "sha256 differs", "import the file again")
    return tensors


def load_estimator(folder: Path) -> PublishedEstimator:
    """The imported head pose and expression estimator, frozen."""
    card = read_card(ESTIMATOR, folder)
    net = PublishedEstimator(tuple(card["widths"]), card["keypoints"])
    load_network(net, ESTIMATOR, folder)
    return net


def load_edit_mapper(folder: Path) -> EmotionMapper:
    """The imported mapper of an editing run, frozen: one domain."""
    card = read_card(EDIT_MAPPER, folder)
    net = EmotionMapper(card["num_tokens"], card["width"], card["hidden"], domains=1)
    load_network(net, EDIT_MAPPER, folder)
    return net


def load_sync_expert(folder: Path) -> SyncNet:
    """The imported SyncNet, frozen."""
    net = SyncNet(read_card(SYNC_EXPERT, folder)["width"])
    load_network(net, SYNC_EXPERT, folder)
    return net
