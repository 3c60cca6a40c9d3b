"""`eatlab adapters`: every registered adapter, what it does, where it acts, and what it costs."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eatlab.atomic import write_json

MANY = 4
"""More kinds of places than these are told by network."""


@dataclass(frozen=True)
class CatalogueHost:
    """json: also write it there."""

    json: str = ""


@dataclass(frozen=True)
class CatalogueConfig:
    """size: of the backbone that places and parameters are counted for."""

    size: str = "small"
    host: CatalogueHost = field(default_factory=CatalogueHost)


def catalogue(size: str) -> list[dict[str, Any]]:
    """One entry an adapter, in the order of the registry. Raises UserError for an unknown size."""
    import torch

    from eatlab.adapters.adapter_set import AdapterSet
    from eatlab.adapters.registry import find, names
    from eatlab.adapters.specs import parse
    from eatlab.experiment.costs import imagined

    head, entries = imagined(size), []
    for name in names():
        adapter = find(name)
        with torch.device("meta"):
            alone = AdapterSet(name, head)
        attachments = alone.adapters[0].attachments()  # type: ignore[operator]
        budget = alone.budget(head)
        entries.append(
            {
                "name": name,
                "does": first_sentence(inspect.getdoc(adapter) or ""),
                "source": getattr(adapter, "source", ""),
                "spec": parse(name)[0].spelled(in_full=True),
                "places": summary([x.place for x in attachments]),
                "formula": getattr(adapter, "formula", ""),
                "parameters": budget["total"],
                "percent": budget["percent"],
                "starts_exact": alone.starts_exact,
                "merges": alone.merges,
                "sees_emotion": alone.sees_emotion,
            }
        )
    return entries


def first_sentence(text: str) -> str:
    """Of a docstring, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"[.;] (?=[A-Z])", paragraph)[0].rstrip(".;")


def summary(places: list[str]) -> str:
    """Places with numbers written *, and how many each stands for; where they are many, their networks."""
    found = Counter(re.sub(r"(?<=\.)\d+", "*", place) for place in places)
    if len(found) > MANY:
        parts = Counter(".".join(place.split(".")[:2]) for place in places)
        return f"{len(places)} places: " + ", ".join(f"{count} in {part}" for part, count in parts.items())
    return ", ".join(f"{count} × {place}" if count > 1 else place for place, count in found.items()) or "none"


def as_text(entries: list[dict[str, Any]], size: str) -> str:
    """A block for each adapter."""
    from textwrap import fill

    from eatlab.adapters.registry import SUMS

    blocks = []
    for entry in entries:
        answers = (
            f"starts as the frozen model: {yes_no(entry['starts_exact'])}",
            f"merges: {yes_no(entry['merges'])}",
            f"sees the emotion: {yes_no(entry['sees_emotion'])}",
        )
        count = f"{entry['parameters']:,} at {size}, {entry['percent']:.2f} % of the frozen backbone"
        lines = (
            entry["does"],
            f"spec: {entry['spec']}",
            f"source: {entry['source'] or '–'}",
            f"acts at: {entry['places']}",
            f"parameters: {entry['formula'] or '–'}: {count}",
            " · ".join(answers),
        )
        indented = (fill(line, 110, initial_indent="  ", subsequent_indent="      ") for line in lines)
        blocks.append("\n".join([entry["name"], *indented]))
    sums = (f"{name} is {'+'.join(parts)}" for name, parts in SUMS.items())
    return "\n\n".join([*blocks, "Any sum of them is a spec: " + ", ".join(sums)])


def yes_no(value: bool) -> str:
    return "yes" if value else "no"


def run_catalogue(config: CatalogueConfig) -> int:
    """Prints the adapters; writes them as json if asked."""
    entries = catalogue(config.size)
    print(as_text(entries, config.size))
    if config.host.json:
        write_json(Path(config.host.json), entries)
    return 0
