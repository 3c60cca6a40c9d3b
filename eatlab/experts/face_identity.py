"""Whose face it is: a network of the ArcFace family (Deng et al. 2019), in the ONNX form of InsightFace.

Its weights are the user's file. It is run by OpenCV; nothing of the file is executed but its layers.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from eatlab.errors import ExitCode, UserError

SIDE, WIDTH = 112, 512
SCALE = 127.5


class FaceIdentity:
    """Faces → directions; the cosine of two says how alike their persons are."""

    def __init__(self, network: cv2.dnn.Net) -> None:
        self.network = network

    def __call__(self, face: np.ndarray) -> np.ndarray:
        """(112, 112, 3) uint8 RGB, of `alignment.identity_crop` → (512,) float64 of length 1, or all 0."""
        found = self.features((face.transpose(2, 0, 1)[None] - SCALE) / SCALE)[0].astype(np.float64)
        return found / max(float(np.linalg.norm(found)), 1e-12)

    def features(self, faces: np.ndarray) -> np.ndarray:
        """(1, 3, 112, 112) in -1..1 → whatever the network puts out; (1, 512) of one of the family."""
        self.network.setInput(faces.astype(np.float32))
        return self.network.forward()


def load_face_identity(path: str | Path) -> FaceIdentity:
    """From an ONNX file such as InsightFace's w600k_r50.onnx.

    Raises UserError: 2 if there is none, 3 for a file that is no ONNX or a network of other shapes.
    """
    if not Path(path).is_file():
        raise UserError(f"face identity file {path} does not exist", do="give the path of an ArcFace in ONNX")
    try:
        net = FaceIdentity(cv2.dnn.readNetFromONNX(str(path)))
        shape = net.features(np.zeros((1, 3, SIDE, SIDE))).shape
    except cv2.error as error:
        raise _no_network(path, error.err.strip("> ").partition("\n")[0]) from error
    if shape != (1, WIDTH):
        raise _no_network(path, f"it makes {'×'.join(map(str, shape))} of a face")
    return net


def _no_network(path: str | Path, why: str) -> UserError:
    asked = f"{path} is no ArcFace in ONNX of 1×3×{SIDE}×{SIDE} → 1×{WIDTH}"
    return UserError(asked, why, code=ExitCode.UNSAFE_FILE)
