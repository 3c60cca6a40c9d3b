"""What an import says: each file's networks, which keys are used, why others are not, counts, fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.budget import num_parameters
from eatlab.backbone.sites import fingerprint
from eatlab.zoo.released_parts import (
    ADAPTER,
    BACKBONE,
    COMPUTED,
    NETWORKS,
    STATISTICS,
    Part,
    Source,
    carries_adapter,
    why_kept,
    why_unused_entry,
)

NOT_TAKEN = "another file's is taken"


def report(sources: Sequence[Source], modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """Lines about files, then about what was made of them; modules hold what was written."""
    for source in sources:
        yield f"{source.path.name}, sha256 {source.sha256[:16]}…"
        for name in source.content:
            if name in NETWORKS:
                yield from told_network(source, name, modules)
            else:
                yield f"  {name}: kept, not used: {why_unused_entry(name)}"
    files = {part.file for source in sources for part in source.taken}
    if BACKBONE in files:
        yield from told_budget(sources, modules, adapted=ADAPTER in files)


def told_network(source: Source, name: str, modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """A line for each file of ours that a released network goes to, and for each reason to leave keys."""
    used = [where for where in source.used() if where[0] == name]
    for part in (part for part in source.parts if part in source.taken and part.network == name):
        count = sum(part.takes(key) for _, key in used)
        yield f"  {name}: {count} keys → {part.file}, {parameters_of(part, modules):,} parameters"
    for why, keys in left(source, name).items():
        many, others = (f"{len(keys)} keys", " …") if len(keys) > 1 else ("1 key", "")
        yield f"  {name}: {many} kept, not used ({why}): {keys[0]}{others}"


def parameters_of(part: Part, modules: Mapping[str, nn.Module]) -> int:
    """How many parameters of ours a part fills."""
    begin = part.prefix + part.within
    return sum(p.numel() for name, p in modules[part.file].named_parameters() if name.startswith(begin))


def left(source: Source, name: str) -> dict[str, list[str]]:
    """The keys of a released network that are not used, by reason."""
    adapts, used = carries_adapter(source.content), source.used()
    found: dict[str, list[str]] = {}
    for key in source.content[name]:
        if (name, key) not in used:
            found.setdefault(why_kept(name, key, adapts=adapts) or NOT_TAKEN, []).append(key)
    return found


def told_budget(
    sources: Sequence[Source], modules: Mapping[str, nn.Module], *, adapted: bool
) -> Iterator[str]:
    """Parameters as the paper counts them: what the release carries without use is in the sum."""
    head, adapters = modules[BACKBONE], modules[ADAPTER]
    assert isinstance(adapters, AdapterSet)
    unused, total = num_unused(sources), num_parameters(head)
    yield f"backbone: {total:,} parameters, fingerprint {fingerprint(head)}"
    if adapted:
        budget = adapters.budget(head)
        parts = ", ".join(f"{name} {count:,}" for name, count in budget["parts"].items())
        yield f"adapter {adapters.spec}: {budget['total']:,} parameters ({parts})"
        total += budget["total"]
    yield f"in all: {total + unused:,} parameters, {unused:,} of them without use"


def num_unused(sources: Sequence[Source]) -> int:
    """Parameters inside the backbone's networks that nothing reads, of the file that gave A2ET."""
    giver = next(source for source in sources if ("audio2kptransformer", BACKBONE) in homes(source))
    return sum(
        giver.content[name][key].numel()
        for name, file in homes(giver)
        if file == BACKBONE
        for keys in left(giver, name).values()
        for key in keys
        if not re.fullmatch(f"{COMPUTED}|{STATISTICS}", key)
    )


def homes(source: Source) -> set[tuple[str, str]]:
    """(network, file of ours) of all that was taken."""
    return {(part.network, part.file) for part in source.taken}
