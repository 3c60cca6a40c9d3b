"""What a config says, and which of it names a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import ClassVar

import pytest

from eatlab.meaning import as_dict, meaning


class Colour(Enum):
    RED = 1


@dataclass(frozen=True)
class Toy:
    steps: int = 350
    betas: tuple[float, float] = (0.5, 0.999)


@dataclass(frozen=True)
class Grown(Toy):
    LATER: ClassVar = ("share", "names")

    share: float = 1.0
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Holder:
    tune: Toy = field(default_factory=Toy)
    place: Path = Path("a/b")
    colours: dict[int, Colour] = field(default_factory=lambda: {3: Colour.RED})


def test_a_config_is_told_in_plain_values_sections_too() -> None:
    told = {"tune": {"steps": 350, "betas": [0.5, 0.999]}, "place": "a/b", "colours": {"3": "RED"}}
    assert as_dict(Holder()) == meaning(Holder()) == told


def test_a_field_that_came_later_means_nothing_until_it_says_something_else() -> None:
    assert meaning(Grown()) == meaning(Toy())
    assert meaning(Holder(Grown())) == meaning(Holder())
    assert meaning(Grown(share=0.5)) == meaning(Toy()) | {"share": 0.5}
    assert meaning(Holder(Grown(names=["a"])))["tune"] == meaning(Toy()) | {"names": ["a"]}
    assert as_dict(Grown())["share"] == 1.0, "it is written all the same"


def test_only_instances_of_dataclasses_are_configs() -> None:
    for wrong in (Toy, {"steps": 1}, 3):
        with pytest.raises(TypeError, match="an instance of a dataclass"):
            as_dict(wrong)
