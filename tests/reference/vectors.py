"""Reads reference vectors: weights and inputs made from names and shapes, and the outputs stored for them.

A folder of vectors has a json and an npz for each network. What a vector is (salt, batch, frames, recipes
of its inputs) stands in its json and nowhere here; key lists are read from the folder KEYS.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.reference import fill

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "reference"
KEYS = SHARED if SHARED.is_dir() else HERE / "vectors"
FOLDER = Path(os.environ.get("EATLAB_REFERENCE") or KEYS)
TOLERANCE = 1e-3
SCORES: dict[str, dict[str, float]] = {}
"""network → tensor → score, as far as the tests have run; printed at the end."""

CALL = re.compile(r'(normal|uniform|image)\("([^"]+)"(?:\.\.\.)?,')
ALSO = re.compile(r"; \.(\w+) (\([\dnB,]+\)) ([\d.]+)")
SINES = re.compile(r"([\d.]+)((?: sin\(2pi\*[\d.]+ t\))+)")


@dataclass(frozen=True)
class Vector:
    """One network's stored outputs."""

    name: str

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What its json says."""
        return json.loads((FOLDER / f"{self.name}.json").read_text())

    @cached_property
    def stored(self) -> Mapping[str, np.ndarray]:
        """Its arrays."""
        return np.load(FOLDER / f"{self.name}.npz")

    @property
    def salt(self) -> int:
        """Which of the many fillings it is."""
        return self.meta["fill_salt"]

    @property
    def sizes(self) -> dict[str, int]:
        """B and n, as its recipes use them."""
        return self.meta.get("batch", {})

    def weights(self, network: str = "") -> dict[str, Tensor]:
        """The released state dict by the rule; of another network, with this vector's salt, if named."""
        name = f"{network or self.name}.json"
        folder = KEYS if (KEYS / name).is_file() else FOLDER
        spec = json.loads((folder / name).read_text())["state_dict"]
        return {key: torch.from_numpy(value) for key, value in fill.fill(spec, self.salt).items()}

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Inputs by name; a recipe of several ("yaw|pitch|roll") gives several."""
        found: dict[str, np.ndarray] = {}
        for name, recipe in self.meta["inputs"].items():
            found |= self.made(name, recipe, found)
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}

    def made(self, name: str, recipe: str, before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What one line of the json's inputs describes."""
        if recipe == "stored":
            return {name: self.stored[name]}
        if found := re.fullmatch(r"(arange|zeros)\((\w+)\)", recipe):
            return {name: getattr(np, found[1])(self.number(found[2])).astype(np.int64)}
        if "sin(" in recipe:
            return {name: self.wave(recipe)}
        call = CALL.search(recipe)
        if call is None:
            return {}
        drawn = self.drawn(name, recipe, call)
        if recipe.startswith(tuple(before)) and " + " in recipe:
            drawn = {key: before[recipe.split(" + ")[0]] + value for key, value in drawn.items()}
        return {key: self.shaped(value, recipe) for key, value in drawn.items()}

    def drawn(self, name: str, recipe: str, call: re.Match[str]) -> dict[str, np.ndarray]:
        """The call's arrays, one for each of the names that "a|b|c" joins."""
        make, source = getattr(fill, call[1]), call[2]
        arguments = [self.number(text) for text in split_arguments(recipe[call.end() :])]
        stem = source.rpartition(".")[0]
        last = name if "|" in name else source
        several = last.rpartition(".")[2].split("|")
        if len(several) == 1:
            return {name: make(source, *arguments, salt=self.salt)}
        owner = name.rpartition(".")[0] if "|" in name else name
        owner = f"{owner}." if owner else ""
        found = {f"{owner}{each}": make(f"{stem}.{each}", *arguments, salt=self.salt) for each in several}
        for each, shape, scale in ALSO.findall(recipe):
            value = fill.normal(f"{stem}.{each}", self.number(shape), float(scale), salt=self.salt)
            found[f"{owner}{each}"] = value
        return found

    def shaped(self, value: np.ndarray, recipe: str) -> np.ndarray:
        """As the words behind the call ask."""
        if found := re.search(r"reshaped to (\(.*\))", recipe):
            value = value.reshape(self.number(found[1]))
        if found := re.search(r"\)\[:(\w+)\]", recipe):
            value = value[: self.number(found[1])]
        return value

    def wave(self, recipe: str) -> np.ndarray:
        """A sum of products of sines, plus noise: "0.4 sin(2pi*220 t) + …, t = arange(32000)/16000, …"."""
        count, rate = map(int, re.search(r"t = arange\((\d+)\)/(\d+)", recipe).groups())  # type: ignore[union-attr]
        t = np.arange(count) / rate
        total = np.zeros(count)
        for amplitude, sines in SINES.findall(recipe):
            term = np.full(count, float(amplitude))
            for frequency in re.findall(r"2pi\*([\d.]+)", sines):
                term = term * np.sin(2 * np.pi * float(frequency) * t)
            total = total + term
        call = CALL.search(recipe)
        noise = self.drawn("noise", recipe, call)["noise"] if call else 0
        return (total.astype(np.float32) + noise).astype(np.float32)

    def number(self, text: str) -> Any:
        """A number, or a tuple of them, of digits, B, n and * only."""
        return evaluated(ast.parse(text.strip(), mode="eval").body, self.sizes)

    def check(self, outputs: Mapping[str, Tensor]) -> None:
        """Fails unless every stored tensor was given and is near enough; notes the scores."""
        missing = set(self.meta["tensors"]) - set(outputs)
        assert not missing, f"{self.name}: not given: {sorted(missing)}"
        scores = {key: self.score(key, outputs[key]) for key in self.meta["tensors"]}
        SCORES[self.name] = scores
        far = {key: f"{score:.1e}" for key, score in scores.items() if not score < TOLERANCE}
        assert not far, f"{self.name} differs: {far}"

    def score(self, key: str, output: Tensor) -> float:
        """Largest difference (pictures: the mean one) over the standard deviation of what is stored."""
        about = self.meta["tensors"][key]
        got = output.detach().double().numpy()
        assert list(got.shape) == about["shape"], f"{self.name}.{key} is {got.shape}, not {about['shape']}"
        picture = "stored" in about
        wanted = self.stored[key].astype(np.float64).ravel() / (65535 if picture else 1)
        off = np.abs(got.ravel()[:: about["stride"]] - wanted)
        spread = max(about.get("std", 0.0), 1e-3 * about.get("absmax", 1.0), 1e-6)
        return float((off.mean() if picture else off.max()) / spread)


def split_arguments(text: str) -> list[str]:
    """The arguments up to the parenthesis that closes the call, split at commas outside of parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def evaluated(node: ast.expr, sizes: Mapping[str, int]) -> Any:
    """A constant, a name of `sizes`, a product, a negative, or a tuple of such."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return sizes[node.id]
        case ast.Tuple():
            return tuple(evaluated(each, sizes) for each in node.elts)
        case ast.BinOp(op=ast.Mult()):
            return evaluated(node.left, sizes) * evaluated(node.right, sizes)
        case ast.UnaryOp(op=ast.USub()):
            return -evaluated(node.operand, sizes)
    raise ValueError(f"a recipe may not hold {ast.dump(node)}")


def there(name: str) -> bool:
    """Whether the folder has this vector."""
    return all((FOLDER / f"{name}.{ending}").is_file() for ending in ("npz", "json"))


def vector(name: str) -> Vector:
    """The vector, or the test is skipped where the folder has none."""
    if not there(name):
        pytest.skip(f"the folder of reference vectors has no {name}")
    return Vector(name)
