"""Draws puppets: body, face, hair and light, each frame antialiased by supersampling."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from eatlab.data.puppets.canvas import Canvas, background, hull, smooth
from eatlab.data.puppets.geometry import geometry
from eatlab.data.puppets.hair import BUZZ, COVERS_EARS, CURLY, NUM_STRANDS, hair
from eatlab.data.puppets.head import Pose, to_pixels
from eatlab.data.puppets.identity import Array, Identity, mix, smoothstep
from eatlab.data.puppets.painting import (
    CIRCLE,
    STROKE,
    Sitting,
    paint_brow,
    paint_ear,
    paint_eye,
    paint_glasses,
    paint_mouth,
    paint_nose,
    paint_skin,
    paint_wrinkles,
)

_SHOULDER = np.array([(0.62, 1.36), (1.15, 1.47), (1.50, 1.72), (1.62, 2.9)])
_LIT_SIDE_PX = 48


class Rendered(NamedTuple):
    """frames (T, size, size, 3) uint8 RGB; mask (T, size, size) bool, face skin and features; landmarks
    (T, 68, 2) px."""

    frames: Array
    mask: Array
    landmarks: Array


class Studio(NamedTuple):
    """What is around the puppet: the backdrop (H, H, 3) uint8, and the lamp from -1 (left) to 1 (right)."""

    plate: Array
    light: float


def render(
    who: Identity,
    aus: Array,
    artic: Array,
    gaze: Array,
    pose: Pose,
    *,
    size: int,
    backdrop: int,
    busy: float,
    light: float,
) -> Rendered:
    """Draws a clip from aus (T, 17, 2), artic (T, 5), gaze (T, 2); backdrop and busy: see `background`."""
    drawn_size = size * (max(2, -(-192 // size)) if size < 200 else 2)
    curves = geometry(who, aus, artic, gaze)
    landmarks = to_pixels(pose.project(curves["landmarks"]), size)
    pixels = project_all(curves | hair(who), pose, drawn_size)
    centres = to_pixels(pose.t, drawn_size)
    studio, colours = Studio(background(backdrop, drawn_size, busy), light), who.colours()
    frames, masks = np.empty((len(aus), size, size, 3), np.uint8), np.empty((len(aus), size, size), bool)
    for i, curves_px in enumerate(pixels):
        canvas = Canvas(studio.plate.copy())
        sitting = Sitting(who, colours, curves_px, aus[i], pose.s[i] * drawn_size / 2, canvas)
        image, mask = paint(sitting, studio, pose.R[i], centres[i])
        frames[i] = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        masks[i] = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA) > 127
    return Rendered(frames, masks, landmarks)


def project_all(curves: dict[str, Array], pose: Pose, size: int) -> list[dict[str, Array]]:
    """All curves of each frame in pixels, projected at once."""
    num_frames = len(pose.R)
    points = [np.broadcast_to(curve, (num_frames, *curve.shape[1:])) for curve in curves.values()]
    pixels = to_pixels(pose.project(np.concatenate(points, 1)), size)
    ends = np.cumsum([curve.shape[1] for curve in curves.values()])[:-1]
    return [dict(zip(curves, np.split(frame, ends), strict=True)) for frame in pixels]


def paint(s: Sitting, studio: Studio, R: Array, centre: Array) -> tuple[Array, Array]:
    """One frame from back to front: image (H, H, 3) and 8-bit face mask (H, H); centre: of the head, px."""
    who = s.who
    ears = who.hair not in COVERS_EARS
    yaw = float(np.arctan2(-R[0, 2], R[2, 2]))
    near = smoothstep(0.05, 0.22, np.array([-yaw, yaw]))
    hair_mask = hair_coverage(s)
    s.canvas.blend(hair_colour(s) * 0.80, hair_mask)
    paint_body(s, centre)
    if ears:
        s.canvas.blend(hair_colour(s) * 0.80, hair_mask)
        paint_ear(s, 0, 1.0)
        paint_ear(s, 1, 1.0)
    face = hull(s.curves["face"])
    s.canvas.fill(face, s.colours["skin"])
    s.mask = s.canvas.mask(face)
    paint_skin(s)
    paint_nose(s, studio.light)
    paint_wrinkles(s)
    paint_mouth(s)
    for side in (0, 1):
        paint_eye(s, side)
        paint_brow(s, side)
    front = paint_hair(s, hair_mask)
    if ears:
        paint_ear(s, 0, float(near[0]))
        paint_ear(s, 1, float(near[1]))
    if who.glasses > 0.3:
        paint_glasses(s, near)
    image = lit(s, studio.light, cv2.bitwise_or(s.mask, hair_mask), centre)
    return image, s.mask if who.hair == BUZZ else cv2.subtract(s.mask, front)


def hair_colour(s: Sitting) -> Array:
    """Of the hair; where it is cut very short, the skin shines through."""
    hair_rgb = s.colours["hair"]
    return mix(s.colours["skin"], hair_rgb, 0.75) if s.who.hair == BUZZ else hair_rgb


def hair_coverage(s: Sitting) -> Array:
    """8-bit silhouette (H, H) of the hair, locks or bun included."""
    coverage = s.canvas.mask(hull(s.curves["hair_hull"]))
    if "hair_curl" in s.curves:
        radius = int((0.15 if s.who.hair == CURLY else 0.30) * s.unit * 16)
        for x, y in s.canvas.fixed(s.curves["hair_curl"]):
            cv2.circle(coverage, (int(x), int(y)), radius, 255, -1, cv2.LINE_AA, 4)
    return coverage


def paint_body(s: Sitting, centre: Array) -> None:
    """Shirt, neck, and the shadow of the head on it; the body does not turn."""

    def place(points: Array | list[tuple[float, float]]) -> Array:
        return np.asarray(points, float) * s.unit + centre

    who, jaw = s.who, s.curves["landmarks"][[4, 12]]
    shoulders = np.concatenate([_SHOULDER[::-1] * (-1, 1), [(0, 1.46)], _SHOULDER])
    jaw = mix(jaw.mean(0), jaw, 0.80)
    wide = 0.40 + 0.08 * who.masc
    base = place([(-wide, 1.25), (-wide - 0.16, 1.44), (wide + 0.16, 1.44), (wide, 1.25)])
    neck = np.concatenate([jaw[:1], base, jaw[1:]])
    s.canvas.fill(smooth(place(shoulders * (0.92 + 0.12 * who.masc, 1))), s.colours["shirt"])
    s.canvas.fill(neck, s.colours["shade"])
    s.canvas.fill(place([(-0.56, 1.38), (0, 1.62), (0.56, 1.38)]), s.colours["shade"])
    shadow = hull(s.curves["face"]) + np.array((0, 0.13 * s.unit))
    s.canvas.fill(shadow, s.colours["dark"], 0.6, 0.04 * s.unit, s.canvas.mask(neck))


def paint_hair(s: Sitting, hair_mask: Array) -> Array:
    """Hair above the hairline, strands, locks; returns its 8-bit coverage (H, H)."""
    canvas, colour = s.canvas, s.colours["hair"]
    front = cv2.multiply(canvas.mask(s.curves["hair_line"]), hair_mask, scale=1 / 255)
    if s.who.hair == BUZZ:
        soft = cv2.blur(front, (int(0.05 * s.unit) * 2 + 1,) * 2)
        canvas.blend(hair_colour(s), cv2.multiply(soft, s.mask, scale=1 / 255))
    else:
        canvas.blend(hair_colour(s), front)
    for k in range(NUM_STRANDS):
        if (line := s.curves.get(f"hair_strand{k}")) is not None:
            tint = colour * 0.72 if k % 2 else colour + 14
            canvas.line(line, 0.03 * s.unit * STROKE, tint, 0.4, 0, front)
    if s.who.hair == CURLY:
        for lock in s.curves["hair_curl"][::2]:
            canvas.fill(lock + 0.085 * s.unit * CIRCLE, colour * 0.8 + 6, 0.5, 0, front)
    return front


def lit(s: Sitting, light: float, head: Array, centre: Array) -> Array:
    """The image under a soft lamp: a lambertian ellipsoid over the head, an 8-bit mask (H, H)."""
    side_px, q = len(head), _LIT_SIDE_PX
    y, x = np.mgrid[0:q, 0:q].astype(np.float32)
    x = ((x + 0.5) * side_px / q - 0.5 - centre[0]) / (s.unit * 0.98)
    y = ((y + 0.5) * side_px / q - 0.5 - centre[1]) / (s.unit * 1.22)
    nearness = np.sqrt(np.maximum(0, 1 - np.minimum(x * x + y * y, 1)))
    slope = 0.75 * np.sign(light) * (0.4 + 0.6 * abs(light)) * x - 0.55 * y
    luminance = (0.80 + 0.13 * slope + 0.22 * nearness).astype(np.float32)
    luminance = cv2.resize(luminance, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    factor = 1 + (luminance - 1) * (head.astype(np.float32) / 255)
    return cv2.multiply(s.canvas.img, cv2.merge([factor] * 3), dtype=cv2.CV_8U)
