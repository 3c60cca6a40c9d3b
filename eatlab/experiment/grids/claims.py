"""Claims: of any number of processes and machines that share a folder, one does a piece of work.

A claim is a numbered file, `claim-0000.json`, made whole and only if it is not there (a hard link, which is
atomic). A claim that was given back, or whose holder is gone, is followed by the next number; two that want
to follow the same one race for one name, and one of them wins. Each file is written by its own holder alone,
so a holder that was only asleep can harm no other's: it finds the next number there and stops.

A holder is gone when its process is (on the same machine), or when its last heartbeat is older than `stale_s`
(elsewhere: clocks of machines must agree to less than that). On NFS the link is atomic too; a listing there
may be some seconds old, which at worst lets a name be tried that is taken. Locks that some NFS servers lose
(flock, fcntl) are not used.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

NAME = re.compile(r"claim-(\d{4,})\.json")
STALE_S = 60.0
"""How old the last heartbeat of a holder may be."""
BEAT_S = 5.0
"""How often a holder tells that it works."""


@dataclass(frozen=True)
class Holding:
    """What a claim file says. worker: its name. host, space, pid, born: its process; `space` is the one in
    which the pid means something. began, beat: seconds since 1970. done, total, note: how far it is.
    """

    worker: str
    host: str
    space: str
    pid: int
    born: str
    began: float
    beat: float
    done: int = 0
    total: int = 0
    note: str = ""
    released: bool = False

    def is_gone(self, stale_s: float) -> bool:
        """Whether nobody works under this claim any more, without having given it back."""
        if self.released:
            return False
        if (self.host, self.space) == (socket.gethostname(), pid_space()):
            return birth(self.pid) != self.born
        return time.time() - self.beat > stale_s

    def is_live(self, stale_s: float) -> bool:
        return not self.released and not self.is_gone(stale_s)


class Claim:
    """The right to work in `folder`, until `release`. Made by `take` alone."""

    def __init__(self, folder: Path, number: int, holding: Holding) -> None:
        self.folder, self.number, self.holding = folder, number, holding

    @property
    def path(self) -> Path:
        return path_of(self.folder, self.number)

    def beat(self, done: int = 0, total: int = 0, note: str = "") -> None:
        """Tells that the holder works, and how far it is."""
        self.holding = replace(self.holding, beat=time.time(), done=done, total=total, note=note)
        self.tell()

    @property
    def is_lost(self) -> bool:
        """Whether another follows: this holder was taken for dead. What both write is the same, but one of
        them is enough.
        """
        return path_of(self.folder, self.number + 1).exists()

    def release(self) -> None:
        """Gives the work back, done or not."""
        self.holding = replace(self.holding, released=True)
        self.tell()

    def clear(self) -> None:
        """Removes the claims of work that is done. Who takes one after that finds it done."""
        for number in numbers(self.folder):
            path_of(self.folder, number).unlink(missing_ok=True)

    def tell(self) -> None:
        """Only this holder writes this file; no fsync, since a claim means nothing after a power cut."""
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(asdict(self.holding)), encoding="utf-8")
        os.replace(part, self.path)


def take(folder: Path, worker: str, *, stale_s: float = STALE_S) -> Claim | None:
    """The claim on the work in `folder`; None if somebody has it. Of several that try, one gets it."""
    folder.mkdir(parents=True, exist_ok=True)
    there = numbers(folder)
    if there and held(path_of(folder, there[-1])).is_live(stale_s):
        return None
    now = time.time()
    me = Holding(
        worker, socket.gethostname(), pid_space(), os.getpid(), birth(os.getpid()), began=now, beat=now
    )
    claim = Claim(folder, there[-1] + 1 if there else 0, me)
    return claim if create(claim.path, json.dumps(asdict(me))) else None


def holder(folder: Path, stale_s: float = STALE_S) -> Holding | None:
    """Who works in `folder` now."""
    there = numbers(folder)
    last = held(path_of(folder, there[-1])) if there else None
    return last if last is not None and last.is_live(stale_s) else None


def num_lost(folder: Path, before: int) -> int:
    """How many holders in a row, right before claim number `before`, went without giving their claim back."""
    lost = 0
    for number in reversed([n for n in numbers(folder) if n < before]):
        if held(path_of(folder, number)).released:
            break
        lost += 1
    return lost


# ---------------------------------------------------------------------------------------------------- below


def path_of(folder: Path, number: int) -> Path:
    return folder / f"claim-{number:04d}.json"


def numbers(folder: Path) -> list[int]:
    """Of the claims in a folder, ascending."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for name in names if (found := NAME.fullmatch(name)))


def held(path: Path) -> Holding:
    """What a claim file says. One that cannot be read (a power cut) holds until its age says that it is
    stale; one that was just cleared away is given back.
    """
    try:
        return Holding(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        pass
    except FileNotFoundError:
        return Holding("", "", "", 0, "", 0.0, 0.0, released=True)
    try:
        return Holding("", "", "", 0, "", 0.0, path.stat().st_mtime)
    except FileNotFoundError:
        return Holding("", "", "", 0, "", 0.0, 0.0, released=True)


def create(path: Path, text: str, link: Callable[[Any, Any], None] = os.link) -> bool:
    """Makes the file whole if it is not there; False if it is."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    part.write_text(text, encoding="utf-8")
    try:
        link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: exclusive too, but empty for a moment
        return create_exclusively(path, text)
    finally:
        part.unlink(missing_ok=True)
    return True


def create_exclusively(path: Path, text: str) -> bool:
    """As `create`; whoever reads the file while it is empty takes it for a fresh claim, by its age."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(text)
    return True


def birth(pid: int) -> str:
    """When a process began, in ticks since its machine did; empty if it is gone. Tells a pid from its next
    use.

    Without /proc it says only whether the process is there.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (
            "" if fields[0] in "ZX" else fields[19]
        )  # a zombie has ended; field 22 of the line is the start
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except OSError:
        return ""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "there"
    except OSError:
        return ""
    return "there"


@lru_cache(1)
def pid_space() -> str:
    """What tells processes of this machine since its start, and of this container, from others with their
    pids. Empty without /proc.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
