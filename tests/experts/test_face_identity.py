"""ArcFace in ONNX: what it sees, what it says, and files that are no such network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eatlab.errors import ExitCode, UserError
from eatlab.experts.face_identity import load_face_identity
from tests.experts.onnx_files import TILE, write_embedder


def test_an_embedding_is_the_networks_word_on_the_scaled_rgb_face_at_length_1(tmp_path: Path) -> None:
    matrix = write_embedder(tmp_path / "net.onnx")
    face = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    scaled = (face.astype(float) - 127.5) / 127.5
    tiles = scaled.reshape(4, TILE, 4, TILE, 3).mean((1, 3))
    expected = tiles.transpose(2, 0, 1).ravel() @ matrix
    found = load_face_identity(tmp_path / "net.onnx")(face)
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"width": 128}, "it makes 1×128 of a face"),
        ({"flat": False}, "it makes 1×3×4×4 of a face"),
        ({"side": 224}, "Gemm"),
        ({"channels": 1}, "Gemm"),
    ],
)
def test_a_network_of_other_shapes_is_refused_in_one_line(
    tmp_path: Path, shape: dict[str, int], told: str
) -> None:
    write_embedder(tmp_path / "net.onnx", **shape)
    with pytest.raises(UserError, match=rf"net.onnx is no ArcFace in ONNX .*{told}") as error:
        load_face_identity(tmp_path / "net.onnx")
    assert error.value.code == ExitCode.UNSAFE_FILE
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no network at all"])
def test_a_file_that_is_no_onnx_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"net.onnx is no ArcFace in ONNX") as error:
        load_face_identity(tmp_path / "net.onnx")
    assert error.value.code == ExitCode.UNSAFE_FILE
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"net.onnx does not exist"):
        load_face_identity(tmp_path / "net.onnx")
