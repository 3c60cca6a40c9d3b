"""`eatlab import` and `eatlab export`: released checkpoints become files of ours, and go back bit for bit.

An import's folder holds a backbone, an adapter and whatever else the files had, each as the zoo's loaders
read it, and the leftovers: what eatlab has no use for, kept so that the whole file can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import eatlab
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.budget import num_parameters
from eatlab.atomic import sha256_of_file
from eatlab.backbone.published.constants import released_constants
from eatlab.backbone.sites import fingerprint
from eatlab.emotions import EMOTIONS
from eatlab.errors import ExitCode, UserError
from eatlab.zoo.folders import RECORD
from eatlab.zoo.released_file import Leftovers, damaged, existing, read_checkpoint, whole_folder
from eatlab.zoo.released_parts import (
    ADAPTER,
    BACKBONE,
    EDIT_MAPPER,
    ESTIMATOR,
    NETWORKS,
    PARTS,
    SYNC_EXPERT,
    Form,
    Part,
    Source,
    parts_of,
)
from eatlab.zoo.released_report import report

LICENCE = "the EAT release is CC-BY-NC 4.0 (no commercial use), and its weights stay so in any form"
LEFTOVERS = "leftovers.safetensors"
BELONG_TOGETHER = (BACKBONE, ADAPTER, EDIT_MAPPER)
"""Files of ours whose networks were trained on each other, so they come from files that agree."""


@dataclass(frozen=True)
class ImportConfig:
    """files: released .pth.tar files; a later one fills what those before it lack. out: a new folder.

    first_wins: where two files differ in a network, the first file's is taken, and of the other file only
    what stands for itself (the head pose estimator, the sync expert).
    """

    files: tuple[str, ...]
    out: str
    first_wins: bool = False


class Imported(NamedTuple):
    """What RECORD says of a file: our files that have its tensors, its used networks, its outline."""

    file: str
    sha256: str
    files: list[str]
    networks: list[str]
    outline: Any


def run_import(config: ImportConfig) -> int:
    """Prints what was mapped, counts, fingerprint, and where it is."""
    if not config.files:
        raise UserError("no file is given", do="eatlab import RELEASED.pth.tar --out FOLDER")
    paths, folder = [Path(file) for file in config.files], Path(config.out).resolve()
    for line in import_released(paths, folder, first_wins=config.first_wins):
        print(line, flush=True)
    return ExitCode.DONE


def import_released(
    paths: Sequence[Path], folder: Path, *, first_wins: bool = False, form: Form | None = None
) -> list[str]:
    """Writes `folder`, whole or not at all; → lines that say what was done.

    Raises UserError: 2 for an absent file, a folder that is taken, files that differ or lack a network; 3 for
    a file that would run code; 4 for one that is damaged or no release's, and for an import that was done but
    is not whole any more.
    """
    check_names(paths)
    form = form or Form()
    known = {"size": form.backbone.name, "first_wins": first_wins, "licence": LICENCE}
    hashes = [sha256_of_file(path) for path in map(existing, paths)]
    if is_done(folder, known, hashes):
        return [f"done before: {folder} holds this import"]
    contents = [read_checkpoint(path) for path in paths]
    modules = form.modules()
    sources = [
        Source(path, sha256, content, parts_of(path, content, modules), set())
        for path, sha256, content in zip(paths, hashes, contents, strict=True)
    ]
    taken = chosen(sources, first_wins=first_wins)
    states = states_of(taken)
    with whole_folder(folder) as part:
        about = {"licence": LICENCE, "sources": [[s.path.name, s.sha256] for s in sources]}
        write_networks(part, states, modules, about, form)
        write_record(part, sources, known)
        written = sorted(file.name for file in part.iterdir())
    return [*report(sources, modules), f"written to {folder}: {', '.join(written)}", f"licence: {LICENCE}"]


def check_names(paths: Sequence[Path]) -> None:
    """An export asks for a file by its name, so no two have one name."""
    names = [path.name for path in paths]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two files are called {twice[0]}", do="give one file once, or rename one")


def is_done(folder: Path, known: Mapping[str, Any], hashes: list[str]) -> bool:
    """Whether the folder holds the import of these files.

    Raises UserError: 2 if it holds anything else, 4 if it holds that import no longer whole.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        there = json.loads((folder / RECORD).read_text())
        same = [each["sha256"] for each in there["sources"]] == hashes
        names = ", ".join(each["file"] for each in there["sources"])
        written = dict(there["written"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} is there already and is no import", do="give another --out") from None
    if not same or any(there.get(key) != value for key, value in known.items()):
        raise UserError(f"{folder} already holds another import", f"of {names}", "give another --out")
    check_whole(folder, written)
    return True


def check_whole(folder: Path, written: Mapping[str, str]) -> None:
    """Raises UserError (4) unless each file is there with its sha256."""
    for name, sha256 in written.items():
        path = folder / name
        if not path.is_file():
            raise damaged(f"{folder} holds this import without {name}", do="import into a new folder")
        if sha256_of_file(path) != sha256:
            asked = f"{folder} holds this import, but {name} is not what was written"
            raise damaged(asked, "sha256 differs", "import into a new folder")


def chosen(sources: Sequence[Source], *, first_wins: bool) -> dict[Part, dict[str, Tensor]]:
    """What our files get, by part; notes in each source what of it was taken.

    Raises UserError for networks that differ, and for a backbone or an adapter that lacks one.
    """
    found: dict[Part, dict[str, Tensor]] = {}
    owners: dict[Part, Path] = {}
    for source in sources:
        differing = [part for part in source.parts if part in found and not same(found[part], source, part)]
        if differing and not first_wins:
            raise differs(differing[0].network, owners[differing[0]], source.path)
        foreign = any(part.file in BELONG_TOGETHER for part in differing)
        for part, tensors in source.parts.items():
            if part in differing or (foreign and part not in found and part.file in BELONG_TOGETHER):
                continue
            found.setdefault(part, tensors)
            owners.setdefault(part, source.path)
            source.taken.add(part)
    for file, called in ((BACKBONE, "a talking head"), (ADAPTER, "an adapter")):
        check_complete(file, called, found, sources)
    return found


def same(tensors: Mapping[str, Tensor], source: Source, part: Part) -> bool:
    """Whether a file's network is this one, bit for bit; names and shapes are."""
    return all(torch.equal(bits(value), bits(source.parts[part][key])) for key, value in tensors.items())


def bits(value: Tensor) -> Tensor:
    """Its bytes: a NaN is equal to itself."""
    return value.reshape(-1).view(torch.uint8)


def differs(network: str, first: Path, second: Path) -> UserError:
    """The mistake of two files that do not belong together, or not wholly."""
    return UserError(
        f"{network} of {second} is not that of {first}",
        "files of one import agree in the networks that both have",
        f"leave one out, or say first_wins=true to take {first.name}'s",
    )


def check_complete(file: str, called: str, found: Mapping[Part, Any], sources: Sequence[Source]) -> None:
    """Raises UserError if a file of ours has some of its networks and lacks others, or may not take them."""
    parts = [part for part in PARTS if part.file == file]
    lacking = [part.network for part in parts if part not in found]
    if not lacking or len(lacking) == len(parts):
        return
    edited = any(part.file == EDIT_MAPPER for part in found)
    if file == ADAPTER and lacking == ["emotionprompt"] and edited:
        return
    for source in sources:
        if any(part.network == lacking[0] and part.file == file for part in source.parts):
            asked = f"{lacking[0]} of {source.path} was not trained with {sources[0].path.name}'s networks"
            raise UserError(asked, do=f"give {source.path.name} first")
    names = " and ".join(source.path.name for source in sources)
    there = f"{called} has {', '.join(dict.fromkeys(part.network for part in parts))}"
    raise UserError(f"no {lacking[0]} is in {names}", there, "give the file that has it too")


def states_of(found: Mapping[Part, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Our state dicts by file."""
    states: dict[str, dict[str, Tensor]] = {}
    for part, tensors in found.items():
        states.setdefault(part.file, {}).update({part.prefix + key: value for key, value in tensors.items()})
    if BACKBONE in states:
        states[BACKBONE] |= pca()
    if ADAPTER in states and EDIT_MAPPER in states:
        states[ADAPTER] = edited_mapper(states[EDIT_MAPPER]) | states[ADAPTER]
    return {file: states[file] for file in dict.fromkeys(part.file for part in PARTS) if file in states}


def pca() -> dict[str, Tensor]:
    """The components of E, which no released checkpoint holds; its coefficients are not in deviations."""
    constants = released_constants()
    deviation = torch.ones(constants.components.shape[1])
    basis = constants.components.T.contiguous()
    return {"a2et.pca.mean": constants.mean, "a2et.pca.basis": basis, "a2et.pca.deviation": deviation}


def edited_mapper(one: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mapper of an editing run as an adapter's: every emotion has its one branch.

    An editing run's file has no emotionprompt; its EDN and EAMs would else have no mapper to be used with.
    """
    begin = "branches.0."
    branches = {
        f"mapper.branches.{emotion}.{key.removeprefix(begin)}": value.clone()
        for emotion in range(len(EMOTIONS))
        for key, value in one.items()
        if key.startswith(begin)
    }
    return {f"mapper.{key}": value for key, value in one.items() if not key.startswith(begin)} | branches


def write_networks(
    folder: Path,
    states: Mapping[str, dict[str, Tensor]],
    modules: Mapping[str, nn.Module],
    about: dict[str, Any],
    form: Form,
) -> None:
    """Each network's file and, but for the adapter, whose header is one, its card."""
    for file, state in states.items():
        net = modules[file]
        net.load_state_dict(state, assign=True)
        if isinstance(net, AdapterSet):
            names = ", ".join(name for name, _ in about["sources"])
            net.save(folder / f"{file}.safetensors", modules[BACKBONE], source=names, licence=LICENCE)
            continue
        save_file(dict(net.state_dict()), folder / f"{file}.safetensors")
        card = {
            "name": file,
            "made_by": f"eatlab {eatlab.__version__} import",
            "sha256": sha256_of_file(folder / f"{file}.safetensors"),
            "stored_as": "fp32",
            "weights_fingerprint": fingerprint(net),
            "parameters": counts(net) if file == BACKBONE else num_parameters(net),
        }
        write_json(folder / f"{file}.json", card | about | sizes(form)[file])


def counts(head: nn.Module) -> dict[str, int]:
    """Parameters by child."""
    return {name: num_parameters(child) for name, child in head.named_children()}


def sizes(form: Form) -> dict[str, dict[str, Any]]:
    """What a loader must know of each network before it reads it."""
    a2et = form.backbone.a2et
    return {
        BACKBONE: {"size": form.backbone.name},
        ESTIMATOR: {"widths": list(form.estimator), "keypoints": form.backbone.keypoints},
        EDIT_MAPPER: {"num_tokens": 1 + a2et.layers, "width": a2et.width, "hidden": a2et.mapper_hidden},
        SYNC_EXPERT: {"width": form.sync},
    }


def write_json(path: Path, value: Any) -> None:
    """As the zoo's cards are written."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def write_record(folder: Path, sources: Sequence[Source], known: Mapping[str, Any]) -> None:
    """What the files were, in order, types and values, beside the tensors that no file of ours has.

    Also the sha256 of every file of the folder, so it comes last.
    """
    leftovers = Leftovers()
    told = []
    for source in sources:
        used = source.used()
        networks = [name for name in NETWORKS if any(where[0] == name for where in used)]
        outline = leftovers.outline(source.content, used)
        about = Imported(source.path.name, source.sha256, sorted(set(used.values())), networks, outline)
        told.append(about._asdict())
    save_file(leftovers.tensors, folder / LEFTOVERS)
    written = {file.name: sha256_of_file(file) for file in sorted(folder.iterdir())}
    record = {**known, "written": written, "sources": told}
    (folder / RECORD).write_text(json.dumps(record, separators=(",", ":")) + "\n")
