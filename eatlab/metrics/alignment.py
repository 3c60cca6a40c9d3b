"""Crops by landmarks: EAT's 128×128 face that PSNR, SSIM, FID and LMD read, and those that networks read.

Definitions: evaluation.md 2.1 (the face), 2.2 (SyncNet's) and 8 (the emotion judge's). All begin with a
similarity in the least-squares sense (Umeyama 1991). Landmarks are given; nothing is detected here.
"""

from __future__ import annotations

import numpy as np

FACE_POINTS = slice(27, 45)
"""Nose bridge and base, one eye, the first three points of the other (0-based)."""
FACE_TEMPLATE = np.array(
    [
        *[(65, 37), (65, 47), (65, 57), (66, 68), (54, 75), (60, 77), (66, 78), (71, 76), (77, 75)],
        *[(28, 39), (35, 35), (43, 35), (50, 40), (43, 42), (34, 42), (79, 40), (86, 34), (94, 34)],
    ],
    dtype=np.float64,
)
"""(18, 2) x, y where those points should lie. The release has it twice, for open and for closed eyes."""
FACE_SIDE = 128

SYNC_TARGET = np.array([(87, 59), (137, 59), (112, 120)], dtype=np.float64)
"""Where the two eyes and the mouth should lie in SyncNet's crop."""
SYNC_SIDE = 224
SMOOTHING = 0.2
"""Share of the last frame's correction that stays in the next one's."""
SYNC_PARTS = (slice(36, 42), slice(42, 48), slice(60, 68))

CHIP_POINTS = (45, 42, 36, 39, 33)
"""The corners of either eye, outer and inner, and the nose's base: dlib's five landmarks."""
CHIP_SIDE, CHIP_PADDING = 224, 0.25
CHIP_TEMPLATE = np.array(
    [
        *[(0.8595674595992, 0.2134981538014), (0.6460604764104, 0.2289674387677)],
        *[(0.1205750620789, 0.2137274526848), (0.3340850613712, 0.2290642403242)],
        (0.4901123135679, 0.6277975316475),
    ]
)
"""(5, 2) where they lie in dlib's `get_face_chip_details`, in shares of a chip without padding."""

IDENTITY_SIDE = 112
IDENTITY_TARGET = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where eyes, nose tip and mouth corners lie in the crop of ArcFace, as InsightFace aligns it."""


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that bring source nearest to target (Umeyama 1991, Eqs. 40-42).

    source, target: (n, 2) → (2, 3) float64, with target ≈ matrix @ (x, y, 1). Never a mirror image. Raises
    ValueError where the source's points are all one, or fewer than two.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or len(source) < 2:
        raise ValueError(f"no similarity between points of shapes {source.shape} and {target.shape}")
    middle, wanted = source.mean(0), target.mean(0)
    spread = ((source - middle) ** 2).sum() / len(source)
    if not spread > 0:
        raise ValueError("no similarity: the points to move are all one point, or not finite")
    U, D, Vt = np.linalg.svd((target - wanted).T @ (source - middle) / len(source))
    S = np.array([1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])  # Eq. 39: a turn, never a mirror
    turn = U @ np.diag(S) @ Vt  # Eq. 40
    scale = (D * S).sum() / spread  # Eq. 42
    return np.column_stack([scale * turn, wanted - scale * turn @ middle])  # Eq. 41


def align_matrix(landmarks: np.ndarray) -> np.ndarray:
    """(2, 3): from the template's coordinates to the frame's. landmarks: (68, 2) x, y px of the frame."""
    return similarity(FACE_TEMPLATE, np.asarray(landmarks[FACE_POINTS], np.float32))


def align_face(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The 128×128 crop: pixel (r, c) is the frame at template position (c + 1, r + 1) (evaluation.md 2.1).

    frame: (h, w, 3) uint8; matrix: of `align_matrix` → (128, 128, 3) uint8. Bilinear, black outside; cut off,
    not rounded, as in the release.
    """
    steps = np.arange(1, FACE_SIDE + 1)
    places = np.stack([*np.meshgrid(steps, steps), np.ones((FACE_SIDE, FACE_SIDE))])
    x, y = np.tensordot(matrix, places, 1)
    # In 0..1 and back, as the release: a whole value may come out a hair lower, and is cut to the next.
    return (_bilinear(frame / 255, x, y) * 255).astype(np.uint8)


def _bilinear(frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A float frame (h, w, c) at places (...) → (..., c); beyond its edge it fades to black in one pixel.

    In full precision: cv2.warpAffine may round its weights to 1/32.
    """
    height, width = frame.shape[:2]
    framed = np.pad(frame, ((1, 1), (1, 1), (0, 0)))
    x, y = np.clip(x + 1, 0, width + 1), np.clip(y + 1, 0, height + 1)
    left, top = np.minimum(x.astype(int), width), np.minimum(y.astype(int), height)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]
    upper = framed[top, left] * (1 - right_share) + framed[top, left + 1] * right_share
    lower = framed[top + 1, left] * (1 - right_share) + framed[top + 1, left + 1] * right_share
    return upper * (1 - low_share) + lower * low_share


def sync_points(landmarks: np.ndarray) -> np.ndarray:
    """The means of either eye and of the inner lips. landmarks: (frames, 68, 2) px → (frames, 3, 2) px."""
    return np.stack([landmarks[:, part].mean(1) for part in SYNC_PARTS], 1)


def sync_matrices(points: np.ndarray, *, smoothing: float = SMOOTHING) -> np.ndarray:
    """Each frame's way into SyncNet's crop: one similarity a clip, and a smoothed shift a frame.

    points: (frames, 3, 2) px, of `sync_points`, in order of time → (frames, 2, 3): from the frame to the
    crop. What remains of the mouth's way r is followed with b_k = s b_(k-1) + (1 - s) r_k, b_0 = r_0
    (evaluation.md 2.2).
    """
    points = np.asarray(points, np.float64)
    mean = similarity(points.mean(0), SYNC_TARGET)
    residuals = SYNC_TARGET[2] - (points[:, 2] @ mean[:, :2].T + mean[:, 2])
    matrices = np.repeat(mean[None], len(points), 0)
    shift = residuals[0]
    for matrix, residual in zip(matrices, residuals, strict=True):
        shift = smoothing * shift + (1 - smoothing) * residual  # at first r_0 again
        matrix[:, 2] += shift
    return matrices


def sync_crop(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """SyncNet's crop, bilinear, black outside. frame: (h, w, 3) uint8; matrix: (2, 3) → (224, 224, 3)."""
    import cv2

    return cv2.warpAffine(frame, matrix, (SYNC_SIDE, SYNC_SIDE), flags=cv2.INTER_LINEAR)


def emotion_crop(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """dlib's chip of a face, bilinear, black outside (evaluation.md 8). Raises ValueError as `similarity`.

    frame: (h, w, 3) uint8; landmarks: (68, 2) px of it → (224, 224, 3). Differs: dlib halves a large face
    before it samples it.
    """
    import cv2

    template = CHIP_SIDE * (CHIP_TEMPLATE + CHIP_PADDING) / (1 + 2 * CHIP_PADDING)
    matrix = similarity(template, landmarks[list(CHIP_POINTS)])
    return cv2.warpAffine(
        frame, matrix, (CHIP_SIDE, CHIP_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def identity_crop(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """ArcFace's crop, bilinear, black outside. Raises ValueError as `similarity`.

    frame: (h, w, 3) uint8; landmarks: (68, 2) px of it → (112, 112, 3).
    """
    import cv2

    eyes = [landmarks[part].mean(0) for part in SYNC_PARTS[:2]]
    matrix = similarity(np.stack([*eyes, *landmarks[[30, 48, 54]]]), IDENTITY_TARGET)
    return cv2.warpAffine(frame, matrix, (IDENTITY_SIDE, IDENTITY_SIDE), flags=cv2.INTER_LINEAR)
