"""The volume of the keypoints' convex hull, by which the release scales expressions (eat-networks.md 7)."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from eatlab.errors import UserError


def hull_volume(keypoints: Tensor) -> Tensor:
    """(b, k, 3) → volumes (b,), computed in float64; no gradient flows.

    Raises UserError for keypoints that lie in one plane, or that are not finite.
    """
    points = keypoints.detach().double().cpu().numpy()
    return keypoints.new_tensor([volume(each) for each in points])


def volume(points: np.ndarray) -> float:
    """Of points (k, 3)."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return float(ConvexHull(points).volume)
    except (QhullError, ValueError) as error:
        finite = bool(np.isfinite(points).all())
        raise UserError(
            "the hull of the keypoints has no volume",
            f"the {len(points)} keypoints " + ("lie in one plane" if finite else "are not all finite"),
            "give a portrait that shows a face, and poses that are finite",
        ) from error
