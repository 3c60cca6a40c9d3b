"""A run folder: `runs/<8 hex digits of the config>`. The same config finds the same folder, and goes on or is
done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eatlab.atomic import sha256_of_file, write_json, write_text
from eatlab.experiment.config import identity, to_yaml
from eatlab.experiment.record import environment, read_record


@dataclass(frozen=True)
class Run:
    """Where a config's results lie. Nothing is on disk until `begin`."""

    folder: Path
    config: Any

    @classmethod
    def of(cls, config: Any, runs: Path, *, meant: Any = None) -> Run:
        """The run of a config dataclass. `meant`: what decides the identity in its place, where a config
        names files.
        """
        return cls(runs / identity(config if meant is None else meant), config)

    @property
    def name(self) -> str:
        """8 hex digits; also the W&B id."""
        return self.folder.name

    def begin(self) -> None:
        """Makes the folder with config.yaml and env.json; on a second call env.json tells of the second."""
        write_text(self.folder / "config.yaml", to_yaml(self.config))
        write_json(self.folder / "env.json", environment())

    def record(self) -> dict[str, Any] | None:
        """The record, if the run is done and its files still are what the record says; else None."""
        found = read_record(self.folder)
        if found is None or found.get("identity") != self.name:
            return None
        kept = found.get("files", {})
        return found if all(is_file(self.folder / name, digest) for name, digest in kept.items()) else None


def is_file(path: Path, sha256: str) -> bool:
    """Whether a file is there with that content."""
    return path.is_file() and sha256_of_file(path) == sha256


def digests(folder: Path, *names: str) -> dict[str, str]:
    """Name → sha256, for the record's `files`."""
    return {name: sha256_of_file(folder / name) for name in names}
