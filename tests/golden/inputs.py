"""The inputs of the golden cases, made from their formulas (README.md of this folder)."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MASK = np.uint64(0xFFFFFFFF)


def image(ph: float, h: int = 128, w: int = 128) -> np.ndarray:
    """(h, w, 3) uint8 RGB of slanted waves."""
    y, x = np.mgrid[:h, :w][:, :, :, None]
    k = np.arange(3)
    waves = np.sin(2 * np.pi * (x * (k + 1) / 64 + y * (k + 2) / 96) + ph * (k + 1))
    return np.clip(np.rint(127.5 + 100 * waves), 0, 255).astype(np.uint8)


def video(T: int, ph0: float, dph: float, h: int = 128, w: int = 128) -> np.ndarray:
    """(T, h, w, 3) uint8 RGB."""
    return np.stack([image(ph0 + dph * t, h, w) for t in range(T)])


def landmarks(
    T: int, s: float = 0, scale: float = 1, dx: float = 0, dy: float = 0, wob: float = 1
) -> np.ndarray:
    """(T, 68, 2) px: points on a wobbling oval."""
    t, i = np.arange(T)[:, None], np.arange(68)
    x = 64 + (30 + i % 7) * np.cos(2 * np.pi * i / 68) + wob * 2 * np.sin(0.3 * t + i + s)
    y = 64 + (35 + i % 5) * np.sin(2 * np.pi * i / 68) + wob * 1.5 * np.cos(0.2 * t + 0.5 * i - s)
    return scale * np.stack([x, y], -1) + (dx, dy)


def feats(n: int, d: int, s: float = 0, scale: float = 1, off: float = 0) -> np.ndarray:
    """(n, d) float64."""
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, d + 1)
    return scale * (np.sin(0.7 * i * np.sqrt(j) + s) + 0.5 * np.cos(0.3 * i * j + s)) + off


def wave(T: int, f0: float = 220, am: float = 3, amp: float = 8000) -> np.ndarray:
    """(640 T,) int16 at 16 kHz."""
    t = np.arange(T * 640) / 16_000
    tone = amp * np.sin(2 * np.pi * f0 * t + 3 * np.sin(2 * np.pi * 5 * t))
    return np.rint(tone * (0.6 + 0.4 * np.sin(2 * np.pi * am * t))).astype(np.int16)


MADE = {"image": image, "video": video, "landmarks": landmarks, "feats": feats, "wave": wave}


def made(recipe: Mapping[str, Any]) -> np.ndarray:
    """What one of the cases' recipes describes: {"image": {...}}, {"constant": 100, "h": ..., "w": ...}, …"""
    if "constant" in recipe:
        return np.full((recipe["h"], recipe["w"], 3), recipe["constant"], np.uint8)
    if "video_BGR" in recipe:
        return video(**recipe["video_BGR"])[..., ::-1]
    (name,) = MADE.keys() & recipe.keys()
    array = MADE[name](**recipe[name])
    if "then_add" in recipe:
        array = np.clip(array.astype(int) + recipe["then_add"], 0, 255).astype(np.uint8)
    return array


FUNCTIONS = {"sin": np.sin, "cos": np.cos, "abs": np.abs, "roll": np.roll, "feats": feats}
BARE_FACTOR = re.compile(r"(?<![a-z0-9.])([\d.]+)(?=[a-z])(?!e[-+]?\d)")
"""The 3 of 3sin(t), not the 1 of 1e-6."""
SIGNS = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply}


def evaluated(text: str, **names: Any) -> Any:
    """What a sentence of a case computes: "20+2*sin(i)" of a named i. A factor may lack its sign."""
    return _value(ast.parse(BARE_FACTOR.sub(r"\1*", text), mode="eval").body, names)


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return names[node.id]
        case ast.Tuple():
            return [_value(each, names) for each in node.elts]
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, names)
        case ast.BinOp():
            return SIGNS[type(node.op)](_value(node.left, names), _value(node.right, names))
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            given = {word.arg: _value(word.value, names) for word in node.keywords if word.arg}
            return FUNCTIONS[name](*(_value(each, names) for each in node.args), **given)
    raise ValueError(f"a case may not hold {ast.dump(node)}")


def to_frames(pictures: np.ndarray) -> Tensor:
    """(…, h, w, 3) as eatlab has frames: (…, 3, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3)))


def hash_fill(net: nn.Module) -> nn.Module:
    """Weights that are a function of place alone; in .eval(), no gradients."""
    for k, (name, tensor) in enumerate(net.state_dict().items()):
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(hashed(name, tuple(tensor.shape), k)))
    return net.eval().requires_grad_(False)


def hashed(name: str, shape: tuple[int, ...], k: int) -> np.ndarray:
    """float32 entry k of a state dict."""
    size = int(np.prod(shape))
    u = (np.arange(size, dtype=np.uint64) * np.uint64(2654435761)) & MASK
    u = (u + np.uint64((k + 1) * 2246822519)) & MASK
    u ^= u >> np.uint64(15)
    u = (u * np.uint64(2246822519)) & MASK
    u ^= u >> np.uint64(13)
    u = (u * np.uint64(3266489917)) & MASK
    u ^= u >> np.uint64(16)
    v = (u.astype(np.float64) / 2**32 * 2 - 1).reshape(shape)
    kind = name.rpartition(".")[2]
    if kind == "running_var":
        v = 1 + 0.1 * v
    elif kind == "running_mean":
        v = 0.1 * v
    elif len(shape) >= 2:
        v = v * np.sqrt(6 / np.prod(shape[1:]))
    elif kind == "weight":
        v = 1 + 0.1 * v
    else:
        v = 0.1 * v
    return v.astype(np.float32)
