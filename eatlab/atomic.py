"""Files that are whole or not there: another name in the same folder, fsync, rename; and one line when the
disk is full.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eatlab.errors import ExitCode, UserError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file in the folder of `path`, then puts it in place; all or nothing.

    A full disk is a UserError with exit code 75: what was there before is untouched, and a second call goes
    on.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        flush(part)
        os.replace(part, path)
        flush(path.parent)
    except Exception as error:
        if not is_full(error):
            raise
        raise disk_full(path) from error
    finally:
        part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """fsync of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_full(error: BaseException) -> bool:
    """Whether the disk (or the quota) is the reason; safetensors and torch tell it only as text."""
    full, text = (errno.ENOSPC, errno.EDQUOT), str(error).lower()
    told = [f"os error {code})" for code in full] + ["no space left on device"]
    return getattr(error, "errno", None) in full or any(words in text for words in told)


def disk_full(path: Path) -> UserError:
    return UserError(
        f"cannot save {path.name} in {path.parent}: the disk is full",
        "what was saved before is untouched",
        "free some space and run the same command again to go on",
        code=ExitCode.INTERRUPTED,
    )


def write_bytes(path: Path, content: bytes) -> None:
    """A whole file or none."""
    write_atomically(path, lambda part: part.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """A whole text file or none."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """A whole JSON file or none; keys keep their order, NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A whole table or none: all columns that some row has; numbers keep all their digits."""
    columns, text = list(dict.fromkeys(name for row in rows for name in row)), io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def sha256_of_file(path: Path) -> str:
    """64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
