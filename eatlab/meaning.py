"""What a config dataclass says, as plain values, and which of that names the result.

A class may say LATER, names of fields that came when results were named already: they count only where they
differ from their default, so that what was made before keeps its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any


def as_dict(config: object) -> dict[str, Any]:
    """The dataclass instance as plain dicts, lists, numbers and strings, ready for YAML or JSON."""
    return {field.name: plain(getattr(config, field.name)) for field in _fields(config)}


def meaning(config: object) -> dict[str, Any]:
    """As `as_dict`, without the fields that are LATER and as their default, here and in its sections."""
    later = getattr(config, "LATER", ())
    told = [f for f in _fields(config) if f.name not in later or getattr(config, f.name) != _default(f)]
    return {field.name: plain(getattr(config, field.name), meaning) for field in told}


def plain(value: Any, of_section: Callable[[object], dict[str, Any]] = as_dict) -> Any:
    """A value as YAML and JSON know it; of_section: how a dataclass within is told."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return of_section(value)
    if isinstance(value, dict):
        return {str(key): plain(item, of_section) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, of_section) for item in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, Path) else value


def _fields(config: object) -> tuple[dataclasses.Field[Any], ...]:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"a config is an instance of a dataclass, not {config!r}")
    return dataclasses.fields(config)


def _default(field: dataclasses.Field[Any]) -> Any:
    """MISSING, which no value equals, if there is none."""
    if field.default_factory is dataclasses.MISSING:
        return field.default
    return field.default_factory()
