"""Files are whole or not there, and a full disk is one line."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from eatlab.atomic import is_full, write_bytes


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (RuntimeError("PytorchStreamWriter failed: no space left on device"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
    ],
)
def test_a_full_disk_is_known_by_number_or_by_the_words_of_a_library(error: Exception, full: bool) -> None:
    assert is_full(error) is full


def test_a_disk_that_really_refuses_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    code = f"""
import resource, signal
from pathlib import Path
from eatlab.atomic import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path({str(path)!r}), b"x" * 5000)
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "File too large"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
