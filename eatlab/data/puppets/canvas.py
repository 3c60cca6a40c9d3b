"""A small antialiased canvas: polygons, soft fills, strokes and backdrops (OpenCV)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from eatlab.data.puppets.identity import Array, smoothstep


class Canvas:
    """RGB image with antialiased painting; points are float pixels (n, 2)."""

    def __init__(self, img: Array, origin: Array | tuple[float, float] = (0.0, 0.0)) -> None:
        self.img, self.origin = img, np.asarray(origin, float)

    def fixed(self, pts: Array) -> Array:
        """Points as OpenCV's fixed-point pixels of this canvas, four binary places."""
        return np.round((pts - self.origin) * 16).astype(np.int32)

    def _box(self, pts: Array, pad: float) -> tuple[int, int, int, int] | None:
        h, w = self.img.shape[:2]
        lo = np.floor(pts.min(0) - self.origin - pad - 1).astype(int)
        hi = np.ceil(pts.max(0) - self.origin + pad + 2).astype(int)
        x0, y0, x1, y1 = max(lo[0], 0), max(lo[1], 0), min(hi[0], w), min(hi[1], h)
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def mask(self, pts: Array, box: tuple[int, int, int, int] | None = None, level: float = 255) -> Array:
        """8-bit coverage of a polygon, over the canvas or a box (x0, y0, x1, y1) of it."""
        x0, y0, x1, y1 = box or (0, 0, self.img.shape[1], self.img.shape[0])
        m = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(m, [self.fixed(pts - (x0, y0))], level, cv2.LINE_AA, 4)
        return m

    def fill(
        self, pts: Array, colour: Array, alpha: float = 1.0, blur: float = 0.0, clip: Array | None = None
    ) -> None:
        """Polygon; blur is the softness in pixels; clip an 8-bit mask of the whole canvas."""
        if alpha < 0.02:
            return
        if alpha >= 1 and not blur and clip is None:
            cv2.fillPoly(self.img, [self.fixed(pts)], tuple(map(float, colour)), cv2.LINE_AA, 4)
        elif (box := self._box(pts, 2 * blur)) is not None:
            mask = self.mask(pts, box, 255 * min(alpha, 1.0))
            if blur:
                k = int(blur) * 2 + 1
                for _ in range(2):
                    mask = cv2.blur(mask, (k, k), borderType=cv2.BORDER_CONSTANT)
            if clip is not None:
                mask = cv2.multiply(mask, clip[box[1] : box[3], box[0] : box[2]], scale=1 / 255)
            self.blend(colour, mask, box)

    def blend(self, paint: Array, mask: Array, box: tuple[int, int, int, int] | None = None) -> None:
        """Blend a colour (3,) or a patch (h, w, 3) by an 8-bit mask (h, w), over the canvas or a box."""
        x0, y0, x1, y1 = box or (0, 0, self.img.shape[1], self.img.shape[0])
        roi, m = self.img[y0:y1, x0:x1], cv2.merge([mask] * 3)
        if np.ndim(paint) == 3:
            over = cv2.multiply(paint, m, scale=1 / 255)
        else:
            even = (*np.clip(paint, 0, 255).tolist(), 0.0)
            over = cv2.multiply(m, even, scale=1 / 255)  # type: ignore[call-overload]
        cv2.add(over, cv2.multiply(roi, cv2.bitwise_not(m), scale=1 / 255), dst=roi)

    def line(
        self,
        pts: Array,
        width: Array | float,
        colour: Array,
        alpha: float = 1.0,
        blur: float = 0.0,
        clip: Array | None = None,
    ) -> None:
        """Stroke along pts (n, 2) of a width (n,) or of one, in pixels."""
        if alpha < 0.02:
            return
        d = np.empty_like(pts)
        d[1:-1], d[0], d[-1] = pts[2:] - pts[:-2], pts[1] - pts[0], pts[-1] - pts[-2]
        off = d[:, ::-1] * (-0.5, 0.5) * (width / (np.sqrt((d * d).sum(1)) + 1e-6))[:, None]
        self.fill(np.concatenate([pts + off, (pts - off)[::-1]]), colour, alpha, blur, clip)

    def inside(self, pts: Array, paint: Callable[[Canvas], None]) -> None:
        """Let ``paint`` draw, and keep only what lies inside the polygon."""
        box = self._box(pts, 0)
        if box is None:
            return
        x0, y0, x1, y1 = box
        sub = Canvas(self.img[y0:y1, x0:x1].copy(), self.origin + np.array((x0, y0)))
        paint(sub)
        self.blend(sub.img, self.mask(pts, box), box)


def background(seed: int, size: int, busy: float) -> Array:
    """A soft backdrop (size, size, 3) uint8; busy 0 is a plain studio, 1 a blurred room."""
    g = np.random.default_rng((seed, 103))
    hue = np.array([0, 2, 4]) * np.pi / 3 + g.uniform(0, 2 * np.pi)
    base = g.uniform(110, 215) + g.uniform(8, 26) * np.cos(hue)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    img = base + (g.uniform(-22, 22) * y + g.uniform(-16, 16) * x - 14 * (x**2 + y**2))[..., None]
    for _ in range(round(busy * 9)):
        c, r, tint = (
            g.uniform(-1.2, 1.2, 2),
            g.uniform(0.15, 0.6, 2),
            g.uniform(-60, 60) + g.uniform(-30, 30, 3),
        )
        d = np.maximum(np.abs(x - c[0]) / r[0], np.abs(y - c[1]) / r[1])
        img = img + (tint * 0.8) * (1 - smoothstep(0.75, 1.15, d))[..., None]
    return cv2.resize(np.clip(img, 0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)


def hull(pts: Array) -> Array:
    """Convex hull (m, 2) float32 of points (n, 2)."""
    return cv2.convexHull(pts.astype(np.float32))[:, 0]


def smooth(pts: Array, closed: bool = True, k: int = 4) -> Array:
    """Catmull-Rom curve through pts (n, 2): k points a segment."""
    p = np.concatenate([pts[-1:], pts, pts[:2]]) if closed else np.concatenate([pts[:1], pts, pts[-1:]])
    f = np.linspace(0, 1, k + 1)[:-1, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    q = 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)
    q = q.transpose(1, 0, 2).reshape(-1, 2)
    return q if closed else np.concatenate([q, pts[-1:]])
