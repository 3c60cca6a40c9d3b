"""Specs, which name adapters and their options: `deep_prompt`, `name(option=value,…)+name`."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from eatlab.adapters.registry import SUMS, find
from eatlab.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eatlab.adapters.attachments import Adapter
    from eatlab.backbone.sites import Backbone


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of an adapter without options."""


class Part(NamedTuple):
    """One adapter of a spec: its name, what makes it, and its options (None: it has none)."""

    name: str
    factory: Callable[..., Adapter]
    config: Any

    def build(self, backbone: Backbone) -> Adapter:
        return self.factory(backbone) if self.config is None else self.factory(backbone, self.config)

    def spelled(self, *, in_full: bool = False) -> str:
        """The part in its one spelling as a spec; options at their default are left out unless `in_full`."""
        options = [
            f"{field.name}={written(value)}"
            for field in sorted(dataclasses.fields(self.config or NoOptions), key=lambda field: field.name)
            if (value := getattr(self.config, field.name)) != field.default or in_full
        ]
        return f"{self.name}({','.join(options)})" if options else self.name


def parse(spec: str) -> list[Part]:
    """The parts of a spec, in order; a mistake in it is a UserError that says what there is."""
    parts = [read_part(text) for text in split(spec)]
    names = [part.spelled() for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f'"{twice[0]}" stands twice in "{spec}"', do="write it once")
    return parts


def split(spec: str) -> list[str]:
    """The texts between the + of a spec, without spaces, `SUMS` written out; nothing is imported."""
    texts = re.split(r"\+(?![^(]*\))", re.sub(r"\s", "", spec))
    return [part for text in texts for part in SUMS.get(text, (text,))]


def listed(text: str) -> list[str]:
    """The words between commas, as in "lora(rank=8,targets=x,y),bitfit": commas in parentheses part none."""
    return [word.strip() for word in re.split(r",(?![^(]*\))", text) if word.strip()]


def canonical(spec: str) -> str:
    """The one spelling of a spec: no spaces, options by name, none that is at its default."""
    return "+".join(part.spelled() for part in parse(spec))


def read_part(text: str) -> Part:
    """`name(option=value,…)` → Part; a piece without "=" continues the value before it: `a=x,y`."""
    found = re.fullmatch(r"([\w-]+)(?:\(([^()]*)\))?", text)
    if found is None:
        raise UserError(f'"{text}" is no adapter', do="write name or name(option=value,…), joined by +")
    name, inside = found[1], found[2] or ""
    factory = find(name)
    maker = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    config_type = get_type_hints(maker).get("config")
    given = [tuple(piece.split("=", 1)) for piece in re.split(r",(?=[\w-]*=)", inside) if piece]
    options = read_options(name, config_type or NoOptions, given)
    return Part(name, factory, options if config_type else None)


def read_options(name: str, config_type: type, given: list[tuple[str, ...]]) -> Any:
    """The adapter's config with these options; unknown or repeated ones and bad values are UserErrors."""
    types = get_type_hints(config_type)
    values: dict[str, Any] = {}
    for option, *text in given:
        if option not in types:
            there = f"its options: {', '.join(types)}" if types else "it has no options"
            raise UserError(f'adapter {name} has no option "{option}"', there, did_you_mean(option, types))
        if option in values or not text:
            raise UserError(f'adapter {name}: "{option}"', do=f"write {option}=value, once")
        values[option] = read_value(f"{name}({option}={text[0]})", types[option], text[0])
    return config_type(**values)


def read_value(asked: str, value_type: Any, text: str) -> Any:
    """The value that `text` writes for an option of a type in READERS."""
    wanted, read = READERS[value_type]
    try:
        return read(text)
    except (KeyError, ValueError) as error:
        raise UserError(f"{asked}: the value is not {wanted}") from error


def read_number(text: str) -> float:
    """A finite number."""
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def read_words(text: str) -> tuple[str, ...]:
    """Words joined by commas, none of them empty."""
    words = tuple(text.split(","))
    if "" in words:
        raise ValueError(text)
    return words


READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    bool: ("true or false", {"true": True, "false": False}.__getitem__),
    int: ("a whole number", int),
    float: ("a number", read_number),
    str: ("a word", lambda text: ",".join(read_words(text))),
    tuple[str, ...]: ("words joined by commas", read_words),
}
"""Types that an option may have: what a value is called, and how it is read."""


def written(value: Any) -> str:
    """A value as `read_value` reads it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
