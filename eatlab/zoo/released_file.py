"""A released file as a whole: read without running code, kept as JSON and plain tensors, built again."""

from __future__ import annotations

import os
import pickletools
import re
import shutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from eatlab.atomic import disk_full, flush, is_full
from eatlab.errors import ExitCode, UserError

Where = tuple[Any, ...]
"""The keys and indices that lead from a file's top to a value."""

DEEPEST, MOST = 16, 1_000_000
"""A file may refer to one list many times over, so nesting and number of values are bounded."""
SWELLING = 8
"""Tensors may share storage (tied weights, expanded ones), up to so many times the bytes of their file."""
CALLS = {"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE"}
"""Opcodes of a pickle that name or call a function; tensors need none but torch's own, in protocol 2."""
DTYPES = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
DTYPES |= {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def damaged(asked: str, there: str = "", do: str = "") -> UserError:
    """The mistake of a file whose content will not do: exit code 4."""
    return UserError(asked, there, do, code=ExitCode.DATA_DAMAGED)


def existing(path: Path) -> Path:
    """path. Raises UserError if no file is there."""
    if not path.is_file():
        raise UserError(f"{path} does not exist", do="give the path of a released .pth.tar")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a torch file holds, a table by names, on the CPU; none of its code is run.

    Raises UserError: 2 if it is absent, 3 if it cannot be read without running code, 4 if it is damaged, no
    table, or has tensors that are not plain or far larger than itself.
    """
    existing(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # what will not do is said once, below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "filename", None):
            raise
        raise unreadable(path, error) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        kind = type(content).__name__
        raise damaged(f"{path} is no released checkpoint", f"it holds a {kind}, not networks by name")
    check_tensors(path, content)
    return content


def check_tensors(path: Path, content: Any) -> None:
    """Raises UserError (4) unless all tensors are plain and, together, not far larger than their file.

    An expanded tensor takes a few bytes of a file and can stand for terabytes.
    """
    left = SWELLING * path.stat().st_size
    for where, value in all_values(content, (), iter(range(MOST))):
        if not isinstance(value, Tensor):
            continue
        check_plain(value, f"{path_of(where)} of {path}")
        left -= value.numel() * value.element_size()
        if left < 0:
            asked = f"{path} has tensors of more than {SWELLING} times its bytes"
            raise damaged(asked, f"with {path_of(where)}, {tuple(value.shape)}")


def check_plain(value: Tensor, called: str) -> None:
    """Raises UserError (4) unless safetensors can hold it."""
    plain = value.layout == torch.strided and value.dtype in DTYPES and value.device.type == "cpu"
    if not plain or value.is_neg():
        there = f"it is {value.dtype}, {value.layout}, on {value.device}"
        raise damaged(f"{called} is no plain tensor", there)


def all_values(value: Any, where: Where, numbers: Iterator[int]) -> Iterator[tuple[Where, Any]]:
    """A value and all inside it, once for each reference to it, with where they stand.

    numbers: one is taken for each value. Raises UserError (4) when they end, or for deep nesting.
    """
    if len(where) > DEEPEST or next(numbers, None) is None:
        raise too_much(where)
    yield where, value
    for name, each in inside(value):
        yield from all_values(each, (*where, name), numbers)


def inside(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a list or table holds: name or index → value, keys too."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key, key
            yield key, each
    if isinstance(value, OrderedDict):
        yield "(attributes)", vars(value)
    if isinstance(value, list | tuple | set | frozenset):
        yield from enumerate(value)


def too_much(where: Where) -> UserError:
    """The mistake of a file that refers to its own lists until they outgrow it."""
    return damaged(f"{path_of(where[:3])} …", f"is nested deeper than {DEEPEST} or holds too much")


def unreadable(path: Path, error: Exception) -> UserError:
    """What torch's refusal of a file means.

    torch does not know the opcodes of newer pickles, as it does not know the bytes of a broken one.
    """
    text = str(error)
    call = call_in(path) if "Unsupported operand" in text else ""
    if "weights_only" not in text or ("Unsupported operand" in text and not call):
        why = " ".join(text.split("\n")[0].split(". ")[0].split())
        return damaged(
            f"{path} is truncated or no checkpoint", f"{type(error).__name__}: {why}", "fetch it again"
        )
    asks = re.search(r"GLOBAL ([\w.]+)", text)
    return UserError(
        f"{path} would run code when it is loaded",
        f"it asks for {asks[1]}" if asks else call or "it is no file of plain tensors",
        "nothing of it was run; take the file from where EAT was released",
        code=ExitCode.UNSAFE_FILE,
    )


def call_in(path: Path) -> str:
    """In words, the first call that a file's pickles can make, "" if what can be read of them makes none."""
    for stream in pickles_of(path):
        try:
            while True:  # an old file has several, one after another; the end of the last is a ValueError
                for opcode, argument, _ in pickletools.genops(stream):
                    if opcode.name in CALLS:
                        return f"its pickle has {opcode.name}"
                    if opcode.name == "PROTO" and (argument or 0) >= 4:
                        return f"its pickle of protocol {argument} cannot be read without running it"
        except Exception:  # whatever broken bytes can raise
            continue
    return ""


def pickles_of(path: Path) -> Iterator[IO[bytes]]:
    """The pickles of a torch file: members of a zip, or the file itself."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            file.seek(0)
            yield file
            return
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    if member.filename.endswith("data.pkl"):
                        yield archive.open(member)
        except Exception:  # a broken archive can raise much
            return


class Leftovers:
    """Makes outlines (JSON) of what files hold, and puts aside the tensors that have no other place.

    tensors: by number and path, on their own storage.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.num_values = 0

    def outline(self, value: Any, used: Mapping[Where, str], where: Where = ()) -> Any:
        """value as JSON that `rebuilt` reads.

        used: where → the file of ours that has the tensor. Numbers, texts and None stand for themselves, all
        else is [kind, …]. Raises UserError (4) for other kinds of values.
        """
        self.num_values += 1
        if len(where) > DEEPEST or self.num_values > MOST:
            raise too_much(where)
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind in (list, tuple):
            inside = [self.outline(each, used, (*where, index)) for index, each in enumerate(value)]
            return [kind.__name__, inside]
        if kind in (dict, OrderedDict):
            return [kind.__name__, *self.table(value, used, where)]
        if isinstance(value, Tensor):
            return self.tensor(value, used, where)
        raise damaged(
            f"{path_of(where)} is a {kind.__name__}", "eatlab keeps numbers, texts, lists, tables, tensors"
        )

    def table(self, value: dict[Any, Any], used: Mapping[Where, str], where: Where) -> list[Any]:
        """[pairs], and for an OrderedDict its attributes: state dicts have their `_metadata` there."""
        pairs = [
            [self.outline(key, {}, (*where, key)), self.outline(each, used, (*where, key))]
            for key, each in value.items()
        ]
        return (
            [pairs]
            if type(value) is dict
            else [pairs, self.outline(vars(value), {}, (*where, "(attributes)"))]
        )

    def tensor(self, value: Tensor, used: Mapping[Where, str], where: Where) -> list[Any]:
        """["used", file], ["kept", name], or either within ["parameter", does it learn, …]."""
        if isinstance(value, nn.Parameter):
            return ["parameter", value.requires_grad, self.tensor(value.detach(), used, where)]
        check_plain(value, path_of(where))
        if value.requires_grad:
            raise damaged(f"{path_of(where)} is no plain tensor", "it has a gradient and is no parameter")
        if where in used:
            return ["used", used[where]]
        name = f"{len(self.tensors)} {path_of(where)}".encode("ascii", "backslashreplace").decode()
        self.tensors[name] = alone(value)
        return ["kept", name]


def alone(value: Tensor) -> Tensor:
    """The same values in order, on a storage of their own: what safetensors takes."""
    return value.clone(memory_format=torch.contiguous_format)


def path_of(where: Where) -> str:
    """Where, in words."""
    return "/".join(map(str, where))


def rebuilt(outline: Any, tensor_at: Callable[[str, str, Where], Tensor], where: Where = ()) -> Any:
    """What `Leftovers.outline` was made of; types, order and values are the same.

    tensor_at: ("used" or "kept", file or name, where) → tensor. Raises ValueError for what is no outline.
    """
    match outline:
        case None | bool() | int() | float() | str():
            return outline
        case ["used" | "kept" as kind, str(place)]:
            return tensor_at(kind, place, where)
        case ["parameter", bool(learns), inner]:
            return nn.Parameter(rebuilt(inner, tensor_at, where), requires_grad=learns)
        case ["list" | "tuple" as kind, list(inside)]:
            values = [rebuilt(each, tensor_at, (*where, index)) for index, each in enumerate(inside)]
            return values if kind == "list" else tuple(values)
        case ["dict", list(pairs)]:
            return dict(rebuilt_pairs(pairs, tensor_at, where))
        case ["OrderedDict", list(pairs), attributes]:
            table = OrderedDict(rebuilt_pairs(pairs, tensor_at, where))
            vars(table).update(rebuilt(attributes, tensor_at, where))
            return table
    raise ValueError(f"{path_of(where)} is no outline of a value")


def rebuilt_pairs(
    pairs: list[Any], tensor_at: Callable[[str, str, Where], Tensor], where: Where
) -> Iterator[tuple[Any, Any]]:
    """Keys and values of a table."""
    for key, value in pairs:
        name = rebuilt(key, tensor_at, where)
        yield name, rebuilt(value, tensor_at, (*where, name))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write into; at the end it takes that name, or nothing of it stays.

    folder may be there if it is empty. A full disk is a UserError with exit code 75.
    """
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        for file in part.iterdir():
            flush(file)
        flush(part)
        os.replace(part, folder)
        flush(folder.parent)
    except Exception as error:
        if not is_full(error):
            raise
        raise disk_full(folder) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
