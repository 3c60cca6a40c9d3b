"""WebDataset tars with an index and checksums: written the same to the byte, read without trust (data.md 4).

Stock `webdataset.WebDataset(path)` reads them. Reading here goes by the index: sizes, checksums and counts
first, then headers and names, then contents; a torn or foreign file is named, and nothing is extracted or
executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self

from eatlab.atomic import write_bytes
from eatlab.data import members
from eatlab.data.members import DamagedError, RefusedError, Sample
from eatlab.data.samples import Clip
from eatlab.errors import ExitCode, UserError

MAX_SHARD_BYTES = 4 << 30
BLOCK = 512
NAME = re.compile(r"[a-z0-9_-]{1,40}")
ANEW = "delete the folder {folder} and run the same command: it will be made again"


class ShardWriter:
    """Writes clips in the order they come, `per_shard` to a tar, and the index last.

    A shard is put together in memory and gets its name when it is whole on the disk. An error (a full disk is
    a UserError, 75) leaves nothing behind: neither the half shard nor those before it, which no index names.
    Use as a context manager, or call `close` (`abort` after an error).
    """

    def __init__(
        self, folder: Path, set_name: str, split: str, *, per_shard: int, recipe: dict[str, Any]
    ) -> None:
        if not NAME.fullmatch(set_name) or not NAME.fullmatch(split) or per_shard < 1:
            raise ValueError(
                f"set {set_name!r}, split {split!r}, per_shard {per_shard}: {NAME.pattern} and ≥ 1 are needed"
            )
        self.folder, self.set_name, self.split = Path(folder), set_name, split
        self.per_shard, self.recipe = per_shard, recipe
        self.shards: list[dict[str, Any]] = []
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in ("emotion", "level", "identity")}
        self.keys: set[str] = set()
        self.num_frames = 0
        self._pending: list[Sample] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        index_path(self.folder, set_name, split).unlink(missing_ok=True)

    def write(self, clip: Clip | Sample) -> None:
        """Adds one clip, or one that a worker has encoded already (`members.encode`)."""
        sample = clip if isinstance(clip, Sample) else members.encode(clip, self.set_name)
        described = json.loads(sample.members["json"])
        if (described["set"], described["split"]) != (self.set_name, self.split):
            where = f"{described['set']}/{described['split']}"
            raise ValueError(f"clip {sample.key} is of {where}, not {self.set_name}/{self.split}")
        if sample.key in self.keys:
            raise ValueError(f"clip {sample.key} comes twice")
        self.keys.add(sample.key)
        for name, counter in self.counts.items():
            counter[str(described[name])] += 1
        self.num_frames += len(described["at"])
        self._pending.append(sample)
        if len(self._pending) == self.per_shard:
            self._finish_shard()

    def _finish_shard(self) -> None:
        name = f"{self.set_name}-{self.split}-base-{len(self.shards):06d}.tar"
        data = pack(self._pending)
        keys = [sample.key for sample in self._pending]
        self.shards.append(
            {
                "name": name,
                "bytes": len(data),
                "sha256": members.sha256(data),
                "samples": len(keys),
                "keys": keys,
            }
        )
        # After its entry, so that `abort` finds what a full disk left.
        write_bytes(self.folder / name, data)
        self._pending = []

    def close(self) -> Path:
        """Writes the last shard and the index; returns the index's path."""
        if self._pending:
            self._finish_shard()
        index = {
            "schema": members.SCHEMA,
            "set": self.set_name,
            "split": self.split,
            "recipe": self.recipe,
            "per_shard": self.per_shard,
            "samples": len(self.keys),
            "frames": self.num_frames,
            "counts": {name: dict(sorted(counter.items())) for name, counter in self.counts.items()},
            "shards": self.shards,
            "host": {"tools": tool_versions()},
        }
        index["fingerprint"] = fingerprint_of(index)
        path = index_path(self.folder, self.set_name, self.split)
        write_bytes(
            path,
            json.dumps(json.loads(members.canonical_json(index)), indent=1, sort_keys=True).encode() + b"\n",
        )
        return path

    def abort(self) -> None:
        """Removes what was written, the index first: without one nobody would read the shards."""
        index_path(self.folder, self.set_name, self.split).unlink(missing_ok=True)
        for shard in self.shards:
            (self.folder / shard["name"]).unlink(missing_ok=True)
        self.shards, self._pending = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return self.abort()
        try:
            self.close()
        except BaseException:
            self.abort()
            raise


def write_shards(
    folder: Path,
    set_name: str,
    split: str,
    clips: Iterable[Clip | Sample],
    *,
    per_shard: int,
    recipe: dict[str, Any],
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Writes all clips in their order, returns the index's path; `progress` hears how many are written."""
    with ShardWriter(folder, set_name, split, per_shard=per_shard, recipe=recipe) as writer:
        for number, clip in enumerate(clips, 1):
            writer.write(clip)
            if progress is not None:
                progress(number)
    return index_path(folder, set_name, split)


def read_shards(
    folder: Path, set_name: str, split: str, *, verify: bool = True, remedy: str | None = None
) -> Iterator[Clip]:
    """The clips in the index's order.

    UserError DATA_DAMAGED for a wrong size, checksum or count, UNSAFE_FILE for what we never write; both
    name shard and key and say `remedy` (default: delete the folder). `verify=False` skips the checksums,
    nothing else.
    """
    index = read_index(folder, set_name, split)
    remedy = remedy or ANEW.format(folder=folder)
    for shard in index["shards"]:
        path = Path(folder) / shard["name"]
        at = ""
        try:
            keys = []
            for sample in read_samples(path, shard, verify=verify):
                at = f", sample {sample.key}"
                keys.append(sample.key)
                yield members.decode(sample, verify=verify)
            at = ""
            if keys != shard["keys"]:
                raise DamagedError(
                    f"{len(keys)} samples are there, {len(shard['keys'])} are listed in the index"
                )
        except (RefusedError, DamagedError) as error:
            refuse(error, f"{path}{at}", remedy)


def refuse(error: ValueError, where: str, remedy: str) -> NoReturn:
    """Turns what is wrong with a file into the user's error."""
    if isinstance(error, RefusedError):
        raise UserError(f"{where} is refused", str(error), remedy, code=ExitCode.UNSAFE_FILE) from error
    raise UserError(f"{where} is damaged", str(error), remedy, code=ExitCode.DATA_DAMAGED) from error


def has_shards(folder: Path, set_name: str, split: str) -> bool:
    """Whether the set was written to its end: the index is the last file."""
    return index_path(folder, set_name, split).is_file()


def data_fingerprint(folder: Path, set_name: str, split: str) -> str:
    """16 hex digits that name this very data: the index with its checksums, whatever the machine."""
    return str(read_index(folder, set_name, split)["fingerprint"])


def index_path(folder: Path, set_name: str, split: str) -> Path:
    """Where the index of a split lies."""
    return Path(folder) / f"{set_name}-{split}.index.json"


def read_index(folder: Path, set_name: str, split: str) -> dict[str, Any]:
    """The index, checked: its own fingerprint, and shard names that stay in the folder."""
    path = index_path(folder, set_name, split)
    if not path.is_file():
        there = sorted(p.name.removesuffix(".index.json") for p in Path(folder).glob("*.index.json"))
        raise UserError(
            f"no shards of {set_name}-{split} in {folder}",
            f"there are: {', '.join(there) or 'none'}",
            "make them first",
        )
    remedy = ANEW.format(folder=folder)
    try:
        index = json.loads(path.read_bytes())
        shards = [(s["name"], s["bytes"], s["sha256"], s["samples"], s["keys"]) for s in index["shards"]]
        if index["schema"] != members.SCHEMA or index["fingerprint"] != fingerprint_of(index):
            raise DamagedError("its fingerprint is not that of its content")
        wanted = [f"{set_name}-{split}-base-{number:06d}.tar" for number in range(len(shards))]
        if [name for name, *_ in shards] != wanted:
            raise RefusedError("it names files that are not its shards")
    except (RefusedError, DamagedError) as error:
        refuse(error, str(path), remedy)
    except (ValueError, KeyError, TypeError) as error:
        refuse(DamagedError(f"it is no index ({error})"), str(path), remedy)
    return dict(index)


def fingerprint_of(index: dict[str, Any]) -> str:
    """sha256 of the index without itself and without what differs between machines; 16 hex digits."""
    kept = {name: value for name, value in index.items() if name not in ("fingerprint", "host")}
    return members.sha256(members.canonical_json(kept))[:16]


def tool_versions() -> dict[str, str]:
    """The packages that decide the bytes."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("numpy", "opencv-python-headless", "webdataset"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def pack(samples: Iterable[Sample]) -> bytes:
    """A tar: USTAR, mode 0444, no owner, no time; of each sample the json first, then the others by name."""
    from webdataset import TarWriter

    stream = io.BytesIO()
    with TarWriter(
        stream, user="", group="", mode=0o444, encoder=False, mtime=0, format="USTAR_FORMAT"
    ) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, "json": sample.members["json"]})
            writer.write({"__key__": sample.key, **{s: d for s, d in sample.members.items() if s != "json"}})
    return stream.getvalue()


def read_samples(path: Path, shard: dict[str, Any], *, verify: bool) -> Iterator[Sample]:
    """The samples of one shard, once its size and (if `verify`) checksum are what the index says."""
    if path.is_symlink() or not path.is_file():
        raise DamagedError("it is missing")
    size = path.stat().st_size
    if size > MAX_SHARD_BYTES:
        raise RefusedError(f"it has {size} bytes; at most {MAX_SHARD_BYTES} are allowed")
    if size != shard["bytes"]:
        raise DamagedError(f"it has {size} bytes, the index says {shard['bytes']}")
    with open(path, "rb") as file:
        if verify and hashlib.file_digest(file, "sha256").hexdigest() != shard["sha256"]:
            raise DamagedError("its checksum is not that of the index")
        file.seek(0)
        yield from group(read_members(file, size))


def group(named: Iterable[tuple[str, str, bytes]]) -> Iterator[Sample]:
    """Members that follow one another under one key → samples; doubled or interleaved ones are refused."""
    sample: Sample | None = None
    seen: set[str] = set()
    for key, suffix, data in named:
        if sample is not None and key != sample.key:
            yield sample
            sample = None
        if sample is None:
            if key in seen:
                raise RefusedError(f"the members of {key} are not next to one another")
            seen.add(key)
            sample = Sample(key, {})
        if suffix in sample.members:
            raise RefusedError(f"{key}.{suffix} comes twice")
        sample.members[suffix] = data
    if sample is not None:
        yield sample


def read_members(file: BinaryIO, size: int) -> Iterator[tuple[str, str, bytes]]:
    """(key, suffix, content) of each member of a plain USTAR stream.

    Not `tarfile.open`: it follows long-name, sparse and pax headers, whose sizes nobody has checked.
    """
    while True:
        header = file.read(BLOCK)
        if len(header) == BLOCK and not any(header):
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise DamagedError(
                f"it is torn or no tar at byte {file.tell() - len(header)} ({error})"
            ) from error
        key, _, suffix = member.name.partition(".")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise RefusedError(f"member {member.name!r} is no plain file")
        if not members.KEY.fullmatch(key) or not members.SUFFIX.fullmatch(suffix):
            raise RefusedError(f"member {member.name!r} has a name that we never write")
        if not 0 <= member.size <= members.MAX_MEMBER_BYTES:
            raise RefusedError(f"member {member.name!r} claims {member.size} bytes")
        if file.tell() + member.size > size:
            raise DamagedError(f"it is torn within {member.name}")
        yield key, suffix, file.read(member.size)
        file.seek(-member.size % BLOCK, io.SEEK_CUR)
