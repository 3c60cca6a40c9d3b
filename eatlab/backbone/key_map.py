"""From a released state dict to ours and back, by a visible map; strict both ways, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

QKV = ("q", "k", "v")
"""Released attention keeps these as thirds of one parameter; a map writes `qkv` for it."""


class MisfitError(ValueError):
    """A state dict does not fit its map or module: `what` in words, and the first key that tells it."""


@dataclass(frozen=True)
class KeyMap:
    """rules: (pattern of a released key, ours), the first that fits counts.

    unused: (pattern of a whole key, why eatlab does not run it); such keys are kept beside, so that a file
    can go back.
    """

    rules: tuple[tuple[str, str], ...]
    unused: tuple[tuple[str, str], ...] = ()

    def why_unused(self, released: str) -> str:
        """The reason, or "" for a key that is used."""
        return next((why for pattern, why in self.unused if re.fullmatch(pattern, released)), "")

    def name(self, released: str) -> str:
        """Our name of a used key, `qkv` in it for three of ours. Raises MisfitError if none fits.

        A spectral norm's `weight_orig` is our `weight`; whether a layer has one, only its network can tell.
        """
        for pattern, ours in self.rules:
            if found := re.fullmatch(pattern + r"(?P<leaf>\w+)", released):
                leaf = "weight" if found["leaf"] == "weight_orig" else found["leaf"]
                return found.expand(ours) + leaf
        raise MisfitError(f"{released} is no key of this network")

    def names(self, released: str) -> list[str]:
        """Our keys that a released one fills: three for attention's fused projections."""
        name = self.name(released)
        return [name.replace("qkv", part) for part in QKV] if ".qkv." in name else [name]

    def back(self, ours: str) -> str:
        """The released key that fills a key of ours, "" if there is none.

        A spectral norm's undivided weight comes back as `weight`, where the release has `weight_orig`.
        """
        return next((key for pattern, name in self.rules if (key := spelled_back(pattern, name, ours))), "")

    def ours(self, released: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict of a released one, unused keys left out. Raises MisfitError for an unknown key."""
        used = {key: value for key, value in released.items() if not self.why_unused(key)}
        return {
            name: part
            for key, value in used.items()
            for name, part in zip(self.names(key), pieces(value, len(self.names(key))), strict=True)
        }

    def released(self, order: Iterable[str], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The released values of the used keys among `order`, from our state dict."""
        return {
            key: joined([ours[name] for name in self.names(key)]) for key in order if not self.why_unused(key)
        }


GROUP = r"\((?!\?)([^()]*)\)"


def spelled_back(pattern: str, name: str, ours: str) -> str:
    """The key that `pattern` reads as `ours`, by a rule (pattern, name); "" if it reads none so."""
    groups = re.findall(GROUP, pattern)
    texts = re.split(r"\\(\d)", name)  # text, number of a group, text …
    reads = [re.escape(text).replace("qkv", "[qkv]") for text in texts]
    reads[1::2] = [f"(?P<g{number}>{groups[int(number) - 1]})" for number in texts[1::2]]
    found = re.fullmatch("".join(reads) + r"(?P<leaf>\w+)", ours)
    if found is None:
        return ""
    numbers = iter(range(1, len(groups) + 1))
    key = re.sub(GROUP, lambda _: found[f"g{next(numbers)}"], pattern)
    first_choice = re.sub(r"\(\?:(\w+)[^()]*\)", r"\1", key)
    return first_choice.replace("\\", "") + found["leaf"]


def pieces(value: Tensor, count: int) -> tuple[Tensor, ...]:
    """value, or its thirds along the first axis."""
    return (value,) if count == 1 else value.chunk(count)


def joined(parts: list[Tensor]) -> Tensor:
    """What `pieces` took apart."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def check_fit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises MisfitError unless both have the same keys, and each key the same shape."""
    if missing := sorted(set(wanted) - set(found)):
        raise MisfitError(f"{len(missing)} of its {len(wanted)} tensors are missing: {missing[0]} …")
    if surplus := sorted(set(found) - set(wanted)):
        raise MisfitError(f"it has {len(surplus)} tensors too many: {surplus[0]} …")
    for key, value in wanted.items():
        if found[key].shape != value.shape:
            raise MisfitError(f"{key} is {tuple(found[key].shape)}, not {tuple(value.shape)}")
