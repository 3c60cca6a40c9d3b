"""A grid file: many tunings in a few lines, expanded and checked before anything runs.

    common: {puppets: small, schedule: {steps: 120}}                # any keys of an ablation
    over: {adapter: [lora, eat], share: [0.25, 1], seeds: [0, 1]}   # key: its values; all combinations
    points: [{adapter: full, seeds: 0}]                             # and more, one by one

A file with none of these words is an ablation's: its adapters × its seeds. `command: pretrain` before them
makes points pretrainings of the renderer, whose keys are those of `experiment/pretraining.py`:

    command: pretrain
    common: {puppets: small, seeds: [0, 1], render: {steps: 600}}
    points: [{name: OSFV, render: {keypoints: {prior: 5}}}, {name: Enhanced}]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from eatlab.adapters.specs import canonical, listed
from eatlab.errors import UserError, did_you_mean, refuse_unknown
from eatlab.experiment.ablation import AblationConfig, LayoutConfig
from eatlab.experiment.config import Config, identity, known_keys, resolve, split_override
from eatlab.metrics.reference import ROWS

if TYPE_CHECKING:
    from eatlab.experiment.pretraining import PretrainingConfig

WORDS = ("command", "common", "over", "points")
COMMANDS = ("ablation", "pretrain")
SAID_FIRST = ("adapter", "compare", "seeds", "name")
ALIKE = ("share",)
"""What a grid varies that does not part rows: each share has a table of its own."""
LEFT_OUT = {
    "host": ("it says where a grid runs, not what its points are", "give it as a word: host.workers=2"),
    "together": ("each point of a grid is tuned by itself", "leave it out"),
    "render.seed": ("each point of a grid has its own", "give seeds, as in seeds=0,1,2"),
    "render.processes": ("a grid's workers are processes already", "leave it out"),
}
"""Keys of a command that points of a grid do not have."""

Values = dict[str, Any]
"""Dotted key → value, as YAML or a word gives it."""


@dataclass(frozen=True)
class GridPoint:
    """One tuning, or pretraining, as a file asks for it. config: with this adapter and this seed alone. also:
    what else the file varies, key → value.
    """

    config: AblationConfig | PretrainingConfig
    also: tuple[tuple[str, str], ...] = ()

    @property
    def tuning(self) -> AblationConfig | None:
        """What is asked of a tuning; None of a pretraining."""
        return self.config if isinstance(self.config, AblationConfig) else None

    @property
    def asked(self) -> str:
        """Identity of what is to be run, by whatever name."""
        if isinstance(self.config, AblationConfig):
            return identity(self.config)
        return identity(replace(self.config, name=""))

    @property
    def adapter(self) -> str:
        """The spec; of a pretraining, which has none, what it is called."""
        return self.config.adapter if isinstance(self.config, AblationConfig) else self.config.row

    @property
    def seed(self) -> int:
        return self.config.seeds[0]

    @property
    def share(self) -> float:
        """Of the training clips."""
        return self.tuning.share if self.tuning else 1.0

    @property
    def row(self) -> str:
        """Its row's name in a report: the spec or name, and what else the grid varies."""
        return " ".join([self.adapter, *(f"{key}={value}" for key, value in self.also if key not in ALIKE)])

    @property
    def name(self) -> str:
        """For people: adapter, seed, and what else the file varies."""
        return " ".join([self.adapter, f"seed {self.seed}", *(f"{key}={value}" for key, value in self.also)])


@dataclass(frozen=True)
class GridFile:
    """The parts of a file, keys dotted."""

    command: str
    common: Values
    over: dict[str, list[Any]]
    points: list[Values]


def read_grid(path: Path, words: Sequence[str] = ()) -> list[GridPoint]:
    """The points of a grid file, each once, in its order; nothing is looked at but the file.

    words: "key=value" laid over everything; where the file has values of that key under `over`, they are its
    values ("seeds=0,1" as "over.seeds=0,1"). Raises UserError for a file that cannot be read, an unknown key,
    a value that does not fit or a spec that is none, naming the entry.
    """
    file = parts_of(path)
    over, laid = dict(file.over), dict[str, Any]()
    for key, value in map(split_override, words):
        axis = key.removeprefix("over.")
        if axis in over or axis != key:
            over[axis] = listed(value)
        else:
            laid[key] = value
    check_axes(path, over)
    entries = [dict(zip(over, values, strict=True)) for values in product(*over.values())]
    entries = [*(entries if over or not file.points else []), *file.points]
    found: dict[str, GridPoint] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            for point in points_of(file, entry, laid):
                found.setdefault(identity(point.config), point)
        except UserError as error:
            told = ", ".join(f"{key}={as_word(value)}" for key, value in entry.items())
            where = f"{path}, entry {number} ({told})" if told else str(path)
            raise UserError(where, str(error), code=error.code) from error
    refuse_namesakes(path, list(found.values()))
    return list(found.values())


def refuse_namesakes(path: Path, points: Sequence[GridPoint]) -> None:
    """Raises UserError where two points would stand in a row as one seed, or one point in two rows."""
    names = [point.name for point in points]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(
            f'{path}: two different points are called "{twice}"', do="give each a name of its own"
        )
    called: dict[str, str] = {}
    for point in points:
        if (other := called.setdefault(point.asked, point.name)) != point.name:
            asked = f'{path}: "{other}" and "{point.name}" are the same pretraining'
            raise UserError(asked, do="leave one out, or let them differ")


def points_of(file: GridFile, entry: Values, laid: Values) -> Iterator[GridPoint]:
    """The points that one entry asks for: one, or adapters × seeds where it names several."""
    values = {**file.common, **entry, **laid}
    for key in values:
        if told := LEFT_OUT.get(key, LEFT_OUT.get(key.partition(".")[0])):
            raise UserError(f"{key} has no place in a grid", *told)
    also = tuple((key, as_word(values[key])) for key in entry if key not in SAID_FIRST)
    yield from (tunings if file.command == "ablation" else pretrainings)(values, also)


def tunings(values: Values, also: tuple[tuple[str, str], ...]) -> Iterator[GridPoint]:
    """Adapters × seeds."""
    adapter = as_word(values.pop("adapter", AblationConfig.adapter))
    config = replace(resolved(AblationConfig, words_of(values)), adapter=adapter)
    specs = [canonical(spec) for spec in (*(listed(config.adapter) or [config.adapter]), *config.compare)]
    for spec, seed in product(specs, some(config.seeds)):
        alone = replace(config, adapter=spec, compare=(), seeds=(seed,), layout=LayoutConfig())
        yield GridPoint(alone, also)


def pretrainings(values: Values, also: tuple[tuple[str, str], ...]) -> Iterator[GridPoint]:
    """One a seed; a named one is told by its name alone."""
    from eatlab.experiment.pretraining import RENDERING

    config = resolved(config_class_of("pretrain"), words_of(values))
    if config.name in ROWS:
        asked = f'a pretraining called "{config.name}"'
        raise UserError(asked, f"every table has rows {', '.join(ROWS)} already", "call it otherwise")
    for part in config.render.trained:
        refuse_unknown("part", part, RENDERING)
    named = () if config.name else also
    for seed in some(config.seeds):
        yield GridPoint(replace(config, seeds=(seed,), render=replace(config.render, seed=seed)), named)


# ---------------------------------------------------------------------------------------------------- below


@lru_cache(256)
def resolved(config_class: type[Config], words: tuple[str, ...]) -> Config:
    """A config takes its time, and points that differ in their adapter alone share it."""
    return resolve(config_class, words)


def words_of(values: Values) -> tuple[str, ...]:
    return tuple(f"{key}={as_word(value)}" for key, value in values.items())


def some(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Raises UserError if there is none."""
    if not seeds:
        raise UserError("seeds=[] will not do", "each seed is one point", "give some, as in seeds=0,1,2")
    return seeds


def config_class_of(command: str) -> type:
    """Whose keys a file's points have. Pretraining, which takes torch, is imported only if asked for."""
    if command == "ablation":
        return AblationConfig
    from eatlab.experiment.pretraining import PretrainingConfig

    return PretrainingConfig


def keys_of(path: Path) -> tuple[str, dict[str, str]]:
    """The command of a grid file, and the keys that its points have, with their defaults."""
    command = parts_of(path).command
    return command, known_keys(config_class_of(command))


def parts_of(path: Path) -> GridFile:
    """Raises UserError for a file that is none, and for a word beside the four."""
    told = read_yaml(path)
    if told.keys().isdisjoint(WORDS):
        return GridFile("ablation", dotted(told, AblationConfig), {}, [])
    if unknown := [word for word in told if word not in WORDS]:
        do = did_you_mean(str(unknown[0]), WORDS) or f"keys of every point stand under common: {unknown[0]}"
        raise UserError(f'{path}: "{unknown[0]}" is unknown', f"a grid has: {', '.join(WORDS)}", do)
    command = str(told.get("command", "ablation"))
    refuse_unknown("command", command, COMMANDS)
    common, over, points = told.get("common") or {}, told.get("over") or {}, told.get("points") or []
    if not isinstance(common, dict) or not isinstance(over, dict) or not isinstance(points, list):
        raise UserError(
            f"{path} is no grid",
            "common and over are tables of keys",
            "write points as a list, as in points: [{adapter: eat}]",
        )
    if wrong := [point for point in points if not isinstance(point, dict)]:
        raise UserError(
            f"{path}: {wrong[0]!r} is no point", do="a point is key: value, as in {adapter: eat, seeds: 0}"
        )
    # What is not compared is not tuned: an ablation's default beside the adapter has no place in a grid.
    first: Values = {"compare": []} if command == "ablation" else {}
    of = partial(dotted, config_class=config_class_of(command))
    return GridFile(command, first | of(common), of(over), [of(point) for point in points])


def check_axes(path: Path, over: Mapping[str, Any]) -> None:
    """Raises UserError unless every key has a list of values."""
    for key, values in over.items():
        if not isinstance(values, list) or not values:
            do = f"write over: {{{key}: [one, another]}}"
            raise UserError(f"{path}: over.{key}={as_word(values)}", "it is a list of values", do)


def read_yaml(path: Path) -> dict[Any, Any]:
    """The table in a file. Raises UserError if there is none."""
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = sorted(str(each) for each in path.parent.glob("*.yaml"))
        near = f"there are: {', '.join(there)}" if there else ""
        raise UserError(f"grid {path} does not exist", near, did_you_mean(str(path), there)) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"grid {path} cannot be read", " ".join(str(error).split())) from error
    if not isinstance(told, dict):
        raise UserError(
            f"grid {path} is not a table", f"it is a {type(told).__name__}", "write common, over, points"
        )
    return told


def dotted(values: Mapping[Any, Any], config_class: type, prefix: str = "") -> Values:
    """Nested tables as dotted keys; a key whose value is a table (layout.rows) stays whole."""
    found: Values = {}
    leaves = known_keys(config_class)
    for name, value in values.items():
        key, inner = f"{prefix}{name}", isinstance(value, dict)
        found |= dotted(value, config_class, f"{key}.") if inner and key not in leaves else {key: value}
    return found


def as_word(value: Any) -> str:
    """A value as it would stand right of the = on the command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
