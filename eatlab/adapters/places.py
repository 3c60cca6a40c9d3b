"""Names of places: dots in module keys, and feature sites chosen by a word of their path."""

from __future__ import annotations

from collections.abc import Iterable

from eatlab.backbone.sites import Backbone, Site
from eatlab.errors import UserError, did_you_mean


def escaped(place: str) -> str:
    """A place as a key of ModuleDict or ParameterDict, which may hold no dots."""
    return place.replace(".", "/")


def unescaped(key: str) -> str:
    """The place that `escaped` wrote."""
    return key.replace("/", ".")


def feature_sites(backbone: Backbone, words: Iterable[str]) -> dict[str, Site]:
    """Feature sites with one of `words` in their dotted path, by name; every word must match something."""
    sites = {name: site for name, site in backbone.sites().items() if site.kind == "features"}
    for word in words:
        if not any(word in name.split(".") for name in sites):
            steps = {step for name in sites for step in name.split(".")}
            there = f"this backbone has: {', '.join(sites)}"
            raise UserError(f'features at "{word}"', there, did_you_mean(word, steps))
    return {name: site for name, site in sites.items() if set(words) & set(name.split("."))}
