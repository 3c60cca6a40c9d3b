"""ONNX files in the form of ArcFace, written byte by byte: mean colours of 4×4 tiles times a matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TILE = 28


def write_embedder(
    path: Path, *, channels: int = 3, side: int = 112, width: int = 512, flat: bool = True
) -> np.ndarray:
    """→ the network's matrix, (channels · tiles, width). Not `flat`: it ends with the mean colours."""
    matrix = np.random.default_rng(0).normal(size=(channels * (side // TILE) ** 2, width)).astype("<f4")
    nodes = [node("AveragePool", ["face"], "tiles", ints("kernel_shape"), ints("strides"))]
    if flat:
        nodes += [node("Flatten", ["tiles"], "row"), node("MatMul", ["row", "matrix"], "embedding")]
    weights = b"".join(field(1, size) for size in matrix.shape) + field(2, 1)
    graph = b"".join(field(1, each) for each in nodes) + field(2, "embedder")
    graph += field(5, weights + field(8, "matrix") + field(9, matrix.tobytes()))
    graph += field(11, value("face", (1, channels, side, side)))
    graph += field(12, value("embedding" if flat else "tiles", (1, width)))
    path.write_bytes(field(1, 7) + field(7, graph) + field(8, field(1, "") + field(2, 13)))
    return matrix


def node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    """NodeProto."""
    ends = b"".join(field(1, name) for name in inputs) + field(2, output)
    return ends + field(3, output) + field(4, kind) + b"".join(field(5, each) for each in attributes)


def ints(name: str) -> bytes:
    """AttributeProto of a tile's two sides."""
    return field(1, name) + 2 * field(8, TILE) + field(20, 7)


def value(name: str, shape: tuple[int, ...]) -> bytes:
    """ValueInfoProto of float32."""
    sizes = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sizes)))


def field(number: int, content: int | str | bytes) -> bytes:
    """One field of a protobuf message: a whole number, or bytes behind their length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Seven bits a byte, the low ones first; the highest bit says that more follow."""
    rest, low = number >> 7, number & 127
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])
