"""Where the faces of a picture are, and their 68 landmarks: mediapipe 0.10.14, imported only here.

Its models come inside the package, so that nothing is downloaded. The mesh's 478 points become 68 in the
iBUG order by the usual table; its jaw line lies further in than iBUG's, so that the two are never mixed in
one set.
"""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import Any, NamedTuple, Self

import cv2
import numpy as np

from eatlab.errors import UserError

MODEL = "mediapipe 0.10.14: FaceDetection, FaceMesh refined, 68 of 478 points"
HOW_TO_INSTALL = (
    "pip install --no-deps mediapipe==0.10.14 && "
    "pip install absl-py attrs flatbuffers matplotlib 'protobuf>=4.25.3,<5' sounddevice"
)
DETECTION_PX = 360
"""The shorter side at which faces are looked for."""
MESH_PX = 256
LEAST_SCORE = 0.5
SAME_FACE = 0.3
"""Intersection over union from which two boxes are of one face."""
IBUG_68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
)


class Face(NamedTuple):
    """A face's box in pixels of the picture."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return max(self.x1 - self.x0, 0) * max(self.y1 - self.y0, 0)


def overlap(a: Face, b: Face) -> float:
    """Intersection over union."""
    shared = Face(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)).area
    if a.x0 > b.x1 or b.x0 > a.x1 or a.y0 > b.y1 or b.y0 > a.y1:
        return 0.0
    return shared / max(a.area + b.area - shared, 1e-9)


class FaceFinder:
    """Finds faces and their landmarks, picture by picture (no tracking: equal pictures, equal answers)."""

    def __init__(self) -> None:
        solutions = import_mediapipe()
        detection = solutions.face_detection.FaceDetection
        self._near = detection(model_selection=0, min_detection_confidence=LEAST_SCORE)
        self._far = detection(model_selection=1, min_detection_confidence=LEAST_SCORE)
        self._mesh = solutions.face_mesh.FaceMesh(
            static_image_mode=True,
            max_num_faces=1,
            refine_landmarks=True,
            min_detection_confidence=LEAST_SCORE,
        )

    def close(self) -> None:
        """Gives the models' memory back."""
        for solution in (self._near, self._far, self._mesh):
            solution.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def faces(self, image: np.ndarray) -> list[Face]:
        """Faces of (height, width, 3) uint8 RGB, the largest first, each once."""
        scale = DETECTION_PX / min(image.shape[:2])
        small = (
            image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        )
        found = self._detect(self._far, small, image.shape) + self._detect(self._near, small, image.shape)
        kept: list[Face] = []
        for face in sorted(found, key=lambda face: -face.area):
            if all(overlap(face, other) < SAME_FACE for other in kept):
                kept.append(face)
        return kept

    @staticmethod
    def _detect(detector: Any, small: np.ndarray, shape: tuple[int, ...]) -> list[Face]:
        height, width = shape[:2]
        faces = []
        for detection in detector.process(small).detections or ():
            box = detection.location_data.relative_bounding_box
            x0, y0 = box.xmin * width, box.ymin * height
            faces.append(Face(x0, y0, x0 + box.width * width, y0 + box.height * height))
        return faces

    def landmarks(self, image: np.ndarray, face: Face) -> np.ndarray | None:
        """(68, 2) float32 pixels of the picture, or None where the mesh finds no face around the box."""
        side = 2.0 * max(face.x1 - face.x0, face.y1 - face.y0)
        centre = np.array([(face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2])
        corner = centre - side / 2
        to_crop = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]]) * (MESH_PX / side)
        crop = cv2.warpAffine(
            image, to_crop, (MESH_PX, MESH_PX), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        meshes = self._mesh.process(crop).multi_face_landmarks
        if not meshes:
            return None
        points = np.array([[meshes[0].landmark[i].x, meshes[0].landmark[i].y] for i in IBUG_68])
        return np.asarray(points * side + corner - 0.5, np.float32)

    def confirms(self, image: np.ndarray, face: Face) -> bool:
        """Whether the mesh, too, sees a face just there: detectors now and then take a lamp for one."""
        points = self.landmarks(image, face)
        return (
            points is not None and overlap(Face(*points.min(axis=0), *points.max(axis=0)), face) > SAME_FACE
        )


def import_mediapipe() -> Any:
    """mediapipe's solutions, without its chatter. UserError if it is not installed."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype", category=UserWarning)
    try:
        import mediapipe

        return mediapipe.solutions
    except (ImportError, AttributeError) as error:
        raise UserError(
            "faces are found with mediapipe 0.10.14", f"it cannot be used here ({error})", HOW_TO_INSTALL
        ) from error
