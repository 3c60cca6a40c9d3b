"""Names of places: dots in module keys, sites chosen by a word of their path, parameters by globs."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch

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


def matching(backbone: Backbone, targets: Iterable[str]) -> dict[str, torch.Size]:
    """Shapes of the reachable parameters that match a glob of `targets`; every glob must match something.

    Raises UserError with the names that are near, or the first ones that there are.
    """
    every = {name: parameter.shape for name, parameter in backbone.reachable().items()}
    for target in targets:
        if not any(fnmatchcase(name, target) for name in every):
            hint = did_you_mean(target, every) or f"there are {len(every)}: {', '.join([*every][:3])} …"
            raise UserError(f'no parameter matches "{target}"', hint)
    return {name: shape for name, shape in every.items() if any(fnmatchcase(name, t) for t in targets)}
