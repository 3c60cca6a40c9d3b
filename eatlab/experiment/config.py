"""Configs: a dataclass, `key=value` words laid over it, and 8 hex digits that name the result (after dora).

A config dataclass stands above the class that it configures; here is only the mechanism. Its section `host`
(workers, device, folders, W&B mode) says where and how a thing runs, not what it is: no part of its identity.
A class may say BOUNDS, field → (least, most): a number outside is refused before anything runs. LATER:
`eatlab/meaning.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eatlab.adapters.specs import listed
from eatlab.errors import UserError, did_you_mean, nearest
from eatlab.meaning import as_dict, meaning, plain

Config = TypeVar("Config")

HOST = "host"


def resolve(config_class: type[Config], overrides: Sequence[str] = (), *, file: Path | None = None) -> Config:
    """An instance of the dataclass `config_class`: its defaults, then the YAML `file`, then `overrides`.

    overrides: "key=value" each; dots lead into sections ("tune.steps=400"), lists are "a,b" or "[a, b]"
    (commas in parentheses part nothing), and a field of type str takes its value as it is written.
    Raises UserError for an unknown key (with the nearest), a value of the wrong type or out of bounds, an
    unreadable file.
    """
    config = _writable(OmegaConf.structured(config_class))
    for key, value in _flatten(_read(file), {key for key, _ in _leaves(config)}) if file else ():
        _assign(config, key, value)
    for override in overrides:
        key, value = split_override(override)
        _assign(config, key, _parse(value, _field_type(config, key)))
    return _build(config, config_class)


def identity(config: object) -> str:
    """8 hex digits of what the dataclass instance `config` means, without its `host` section."""
    values = meaning(config)
    values.pop(HOST, None)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def to_yaml(config: object) -> str:
    """The config as YAML that `resolve(..., file=)` reads back to an equal instance."""
    return yaml.safe_dump(as_dict(config), sort_keys=False, allow_unicode=True)


def known_keys(config_class: type | DictConfig) -> dict[str, str]:
    """Every key that may stand left of the `=`, dotted, in the dataclass's order → its default as written."""
    config = config_class if isinstance(config_class, DictConfig) else OmegaConf.structured(config_class)
    return {key: "(to be given)" if node._is_missing() else _written(node) for key, node in _leaves(config)}


def split_override(override: str) -> tuple[str, str]:
    """("tune.steps", "400") from "tune.steps=400"; UserError if there is no `=` or no key."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise UserError(
            f'"{override}" is not an override', "overrides look like key=value", "write the key, =, its value"
        )
    return key.strip(), value


# ---------------------------------------------------------------------------------------------------- below


def _assign(config: DictConfig, key: str, value: object) -> None:
    _check_key(config, key)
    try:
        OmegaConf.update(config, key, value, merge=False)
    except OmegaConfBaseException as error:
        there = f"{key} is of type {_type_name(_field_type(config, key))}, now {known_keys(config)[key]}"
        raise UserError(f"{key}={value} does not fit", there, str(error).splitlines()[0]) from error


def _check_key(config: DictConfig, key: str) -> None:
    leaves = [name for name, _ in _leaves(config)]
    if key in leaves:
        return
    if any(name.startswith(f"{key}.") for name in leaves):
        inside = ", ".join(name for name in leaves if name.startswith(f"{key}."))
        raise UserError(
            f'"{key}" is a section',
            f"in it are: {inside}",
            f"set one of them, as in {inside.split(',')[0]}=...",
        )
    raise UserError(f'key "{key}" is unknown', f"there are: {', '.join(leaves)}", _nearest_key(key, leaves))


def _nearest_key(key: str, leaves: Sequence[str]) -> str:
    """By the whole dotted key, or by its last part, so that "step" finds "tune.steps"."""
    whole = did_you_mean(key, leaves)
    last = {name.rpartition(".")[2]: name for name in reversed(leaves)}
    part = nearest(key.rpartition(".")[2], last)
    return whole or (f"did you mean {last[part]}?" if part else "")


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, node) of whatever holds a value; a section is entered, a free-form dict is a leaf."""
    for name in map(str, config):
        node = config._get_node(name)
        if isinstance(node, DictConfig) and OmegaConf.get_type(node) not in (dict, None):
            yield from _leaves(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", node


def _field_type(config: DictConfig, key: str) -> Any:
    _check_key(config, key)
    return dict(_leaves(config))[key]._metadata.ref_type


def _parse(text: str, wanted: Any) -> object:
    """The Python value that `text` stands for where a field of type `wanted` awaits it."""
    if wanted is str:
        return None if text == "null" else text
    if wanted is Path:
        return None if text in ("", "null", "none") else text
    is_sequence = getattr(wanted, "__origin__", wanted) in (list, tuple)
    if is_sequence and not text.lstrip().startswith(("[", "null")):
        of_words = str in getattr(wanted, "__args__", ())  # 0e739518 is a name there, not a number
        return listed(text) if of_words else [_scalar(part) for part in listed(text)]
    return _scalar(text)


def _scalar(text: str) -> object:
    """YAML's reading of one word; what is no YAML stays text, and 1e-3 is a number as everywhere else."""
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text())
    except FileNotFoundError as error:
        raise UserError(f"config {file} does not exist", do="give the path of a YAML file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"config {file} cannot be read", " ".join(str(error).split())) from error
    if not isinstance(values, dict | None):
        raise UserError(
            f"config {file} is not a table of keys",
            f"it is a {type(values).__name__}",
            "write key: value lines",
        )
    return values or {}


def _flatten(values: dict[str, Any], leaves: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of nested tables, down to `leaves`: a free-form dict is one and stays whole."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in leaves:
            yield from _flatten(value, leaves, f"{key}.")
        else:
            yield key, value


def _writable(config: DictConfig) -> DictConfig:
    """OmegaConf makes a frozen dataclass read-only; overrides come before its instance, so here it is not."""
    config._set_flag("readonly", None)
    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig):
            _writable(node)
    return config


def _build(config: DictConfig, config_class: type[Config]) -> Config:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"{missing[0]} is not given", "it has no default", f"add {missing[0]}=...")
    instance = OmegaConf.to_object(config)
    assert isinstance(instance, config_class)
    _check_bounds(instance)
    return instance


def _check_bounds(instance: Any, prefix: str = "") -> None:
    bounds = getattr(instance, "BOUNDS", {})
    for field in dataclasses.fields(instance):
        key, value = f"{prefix}{field.name}", getattr(instance, field.name)
        if dataclasses.is_dataclass(value):
            _check_bounds(value, f"{key}.")
        least, most = bounds.get(field.name, (-math.inf, math.inf))
        if field.name in bounds and not least <= value <= most:
            upwards = "" if most == math.inf else f" and at most {most}"
            raise UserError(f"{key}={value} will not do", f"it is at least {least}{upwards}")


def _written(node: Any) -> str:
    value = plain(OmegaConf.to_container(node) if OmegaConf.is_config(node) else node._value())
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ",".join(map(str, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _type_name(kind: Any) -> str:
    return (
        kind.__name__
        if isinstance(kind, type) and not hasattr(kind, "__origin__")
        else str(kind).replace("typing.", "")
    )
