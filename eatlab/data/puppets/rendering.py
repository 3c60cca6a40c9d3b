"""Draws puppets: projected curves, skin, mouth, eyes, hair and light, antialiased by supersampling."""

from __future__ import annotations

import cv2
import numpy as np

from eatlab.data.puppets.canvas import Canvas, background, hull, smooth
from eatlab.data.puppets.geometry import Pose, geometry, hair, to_pixels
from eatlab.data.puppets.identity import AU_INDEX, Array, Identity, mix, smoothstep


def render(
    idn: Identity,
    aus: Array,
    artic: Array,
    gaze: Array,
    pose: Pose,
    size: int,
    backdrop: int = 0,
    busy: float = 0.0,
    light: float | None = None,
) -> dict[str, Array]:
    """Draw a clip.

    aus (T, 17, 2), artic (T, 5), gaze (T, 2); returns ``frames`` (T, size, size, 3) uint8 RGB, ``mask``
    (T, size, size) bool (face skin and features), ``landmarks`` (T, 68, 2) pixels, ``points`` (T, 68, 3)
    in the head frame.
    """
    ss = max(2, -(-192 // size)) if size < 200 else 2
    big = size * ss
    geo = geometry(idn, aus, artic, gaze)
    marks = geo["landmarks"]
    geo |= hair(idn)
    names, counts = list(geo), np.cumsum([v.shape[1] for v in geo.values()])[:-1]
    T = len(aus)
    K = pose.project(np.concatenate([np.broadcast_to(v, (T,) + v.shape[1:]) for v in geo.values()], 1))
    px = to_pixels(K, big)
    plate = background(backdrop, big, busy)
    frames, masks = np.empty((T, size, size, 3), np.uint8), np.empty((T, size, size), bool)
    light = idn.light if light is None else light
    for i in range(T):
        img, mask = _frame(
            idn,
            dict(zip(names, np.split(px[i], counts))),
            aus[i],
            pose.R[i],
            to_pixels(pose.t[i], big),
            pose.s[i] * big / 2,
            plate,
            light,
        )
        frames[i] = cv2.resize(img, (size, size), interpolation=cv2.INTER_AREA)
        masks[i] = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA) > 127
    return {
        "frames": frames,
        "mask": masks,
        "landmarks": to_pixels(pose.project(marks), size),
        "points": marks,
    }


def _frame(
    idn: Identity,
    g: dict[str, Array],
    aus: Array,
    R: Array,
    centre: Array,
    unit: float,
    plate: Array,
    light: float,
) -> tuple[Array, Array]:
    """One frame from projected curves (pixels): image (H, H, 3) and 8-bit face mask (H, H)."""
    c, img = idn.colours(), plate.copy()
    cv, H = Canvas(img), plate.shape[0]
    A = lambda k: np.clip(aus[AU_INDEX[k]], 0, 1.2)
    M = lambda k: float(A(k).mean())
    skin, dark, shade, hairc = c["skin"], c["dark"], c["shade"], c["hair"]
    old = max(0.0, idn.age - 0.35)
    yaw = float(np.arctan2(-R[0, 2], R[2, 2]))
    near = smoothstep(0.05, 0.22, np.array([-yaw, yaw]))
    w = lambda k: k * unit

    # body
    body = lambda xy: np.asarray(xy, float) * unit + centre
    hair_mask = cv.mask(hull(g["hair_hull"]))
    if "hair_curl" in g:
        r = int(w(0.15 if idn.hair == 4 else 0.30) * 16)
        for x, y in cv._fixed(g["hair_curl"]):
            cv2.circle(hair_mask, (int(x), int(y)), r, 255, -1, cv2.LINE_AA, 4)
    buzz = mix(skin, hairc, 0.75) if idn.hair == 0 else hairc
    cv.blend(buzz * 0.80, hair_mask)
    wn = 0.40 + 0.08 * idn.masc
    half = np.array([(0.62, 1.36), (1.15, 1.47), (1.50, 1.72), (1.62, 2.9)])
    chest = np.concatenate([half[::-1] * (-1, 1), [(0, 1.46)], half]) * (0.92 + 0.12 * idn.masc, 1)
    jaw = g["landmarks"][[4, 12]]
    jaw = mix(jaw.mean(0), jaw, 0.80)
    neck = np.concatenate(
        [jaw[:1], body([(-wn, 1.25), (-wn - 0.16, 1.44), (wn + 0.16, 1.44), (wn, 1.25)]), jaw[1:]]
    )
    cv.fill(smooth(body(chest)), c["shirt"])
    cv.fill(neck, shade)
    cv.fill(body([(-0.56, 1.38), (0, 1.62), (0.56, 1.38)]), shade)
    face = hull(g["face"])
    cv.fill(face + (0, w(0.13)), dark, 0.6, w(0.04), cv.mask(neck))

    # hair behind, ears, face
    bare = idn.hair not in (5, 6)  # ears and neck are not covered
    if bare:
        cv.blend(buzz * 0.80, hair_mask)

    def ear(k: int, alpha: float) -> None:
        cv.fill(g[f"ear{k}"], shade, alpha)
        cv.fill(mix(g[f"ear{k}"].mean(0), g[f"ear{k}"], 0.55), dark, 0.6 * alpha)

    if bare:
        ear(0, 1.0), ear(1, 1.0)
    cv.fill(face, skin)
    mask = cv.mask(face)

    # skin: sockets, cheeks, side of the nose, beard
    for s in (0, 1):
        cv.fill(g[f"socket{s}"], shade, 0.42 + 0.25 * old, w(0.07), mask)
        cv.fill(g[f"cheek{s}"], c["rosy"], 0.12 + 0.30 * idn.blush + 0.15 * float(A(6)[s]), w(0.08), mask)
    if idn.freckles > 0.25:
        for k in ("cheek0", "cheek1"):
            for p in np.concatenate([g[k][::3], mix(g[k].mean(0), g[k][::4], 0.5)]):
                cv.fill(p + w(0.016) * _CIRCLE, dark, 0.45 * idn.freckles)
    if idn.beard > 0.1:
        L = g["landmarks"]
        edge = np.stack(
            [
                L[0],
                L[1],
                mix(L[2], L[48], 0.25),
                mix(L[3], L[48], 0.62),
                mix(L[48], L[31], 0.45),
                mix(L[33], L[51], 0.25),
                mix(L[54], L[35], 0.45),
                mix(L[13], L[54], 0.62),
                mix(L[14], L[54], 0.25),
                L[15],
                L[16],
            ]
        )
        low = L[8] - (L[27] - L[8]) * 0.2
        below = np.stack([L[16] + (w(0.3), 0), low + (w(1), 0), low - (w(1), 0), L[0] - (w(0.3), 0)])
        poly = np.concatenate([smooth(edge, False), below])
        a = float(smoothstep(0.1, 0.55, np.float64(idn.beard)))
        cv.fill(poly, mix(hairc, skin, 0.15), 0.22 + 0.70 * a, w(0.03), mask)

    # nose
    for s in (0, 1):
        cv.fill(smooth(g[f"side{s}"]), mix(shade, dark, 0.25), 0.60 if s == int(light < 0) else 0.22, w(0.03))
    cv.fill(np.concatenate([g["wing"], (g["wing"][2] + (0, w(0.06)))[None]]), dark, 0.28, w(0.035), mask)
    for k in (0, 1):
        cv.line(smooth(g[f"ala{k}"], False), w(0.018), dark, 0.75)
        cv.fill(g[f"nostril{k}"], dark * 0.62, 0.9)
    cv.line(
        mix(g["ridge"], g["ridge"].mean(0), 0.12),
        w(np.array([0.02, 0.045, 0.06, 0.07])),
        c["light"],
        0.55,
        w(0.03),
    )

    # expression lines
    def fold(name: str, strength: float, width: float = 0.026) -> None:
        cv.line(g["fold_" + name], w(width) * _FOLD, dark, min(strength, 0.9), 0, mask)

    for k in (0, 1):
        a = lambda n: float(A(n)[k])
        fold(f"naso{k}", 0.55 * a(12) + 0.6 * a(10) + 0.4 * a(9) + 0.7 * old + 0.2 * a(15))
        fold(f"dimple{k}", 1.0 * a(14) + 0.25 * max(0, a(12) - 0.5))
        fold(f"frown{k}", 1.0 * a(4) * (1 - 0.4 * M(1)))
        fold(f"bag{k}", 0.45 * a(6) + 0.3 * a(7) + 0.8 * old, 0.02)
        fold(f"nose{k}", 1.0 * a(9)), fold(f"nosb{k}", 0.9 * a(9) - 0.15)
        for j in (0, 1):
            fold(f"crow{k}{j}", 0.6 * a(6) + 0.7 * old - 0.12, 0.018)
        fold(f"brow{k}", 0.75 * max(M(1), 0.8 * M(2)) - 0.15 + 0.6 * old, 0.020)

    # mouth
    red = c["lip"]
    cv.line(smooth(g["chin"], False), w(0.03), dark, 0.12 + 0.6 * M(17), w(0.012), mask)
    cv.fill(g["lip_up"], red * 0.90)
    cv.fill(g["lip_low"], red)
    cv.line(g["shine"], w(0.022), mix(red, (255, 235, 230), 0.5), 0.5, w(0.012))

    def mouth(m: Canvas) -> None:
        m.img[:] = (74, 22, 28)
        m.fill(g["tongue"], (196, 92, 96))
        m.fill(g["teeth_low"], (226, 220, 208))
        m.fill(g["teeth_up"], (246, 243, 236))

    cv.inside(g["cavity"], mouth)
    gap = np.linalg.norm(g["landmarks"][66] - g["landmarks"][62]) / unit
    cv.line(g["seam"], w(0.02), red * 0.55, 0.9 * float(1 - smoothstep(0.004, 0.03, gap)))

    # eyes
    for k in (0, 1):

        def eye(m: Canvas) -> None:
            m.img[:] = (248, 246, 242)
            m.fill(g[f"iris{k}"], c["iris"] * 0.55)
            m.fill(mix(g[f"iris{k}"], g[f"iris{k}"].mean(0), 0.14), c["iris"])
            m.fill(g[f"pupil{k}"], (18, 14, 16))
            m.fill(g[f"glint{k}"], (255, 255, 255))
            m.line(g[f"lash{k}"] + (0, w(0.02)), w(0.05), (120, 110, 118), 0.45)

        cv.line(g[f"crease{k}"], w(0.018) * _TAPER, dark, 0.65)
        cv.inside(g[f"eye{k}"], eye)
        cv.line(g[f"lower{k}"], w(0.012) * _TAPER, dark, 0.75)
        cv.line(g[f"lash{k}"], w(0.034 - 0.010 * idn.masc) * (_TAPER * 0.75 + 0.25), (38, 26, 26), 1.0)
        if idn.masc < 0.5:
            p = g[f"lash{k}"]
            tail = np.stack([p[2], p[0], p[0] + (p[0] - p[3]) * 0.45 - (0, w(0.012))])
            cv.line(tail, w(np.array([0.026, 0.024, 0.004])), (38, 26, 26))
        thick = idn.brow_w * 2 * np.array([0.75, 0.95, 1, 1, 0.96, 0.88, 0.74, 0.55, 0.25])
        brown = mix(hairc * 0.8, (60, 44, 38), 0.35 if idn.age < 0.8 else 0.1)
        cv.line(smooth(g[f"brow{k}"], False, 2), w(np.repeat(thick, 2)[:-1]), brown, 0.95)

    # hair in front, ears, glasses
    front = cv2.multiply(cv.mask(g["hair_line"]), hair_mask, scale=1 / 255)
    soft = cv2.multiply(cv2.blur(front, (int(w(0.05)) * 2 + 1,) * 2), mask, scale=1 / 255)
    cv.blend(buzz, front if idn.hair else soft)
    for k in range(6):
        if f"hair_strand{k}" in g:
            cv.line(
                g[f"hair_strand{k}"], w(0.03) * _FOLD, hairc * 0.72 if k % 2 else hairc + 14, 0.4, 0, front
            )
    if idn.hair == 4:
        for x, y in g["hair_curl"][::2]:
            cv.fill((x, y) + w(0.085) * _CIRCLE, hairc * 0.8 + 6, 0.5, 0, front)
    if bare:
        ear(0, float(near[0])), ear(1, float(near[1]))
    if idn.glasses > 0.3:
        rim = mix((30, 28, 34), (120, 70, 40), idn.shirt)
        for k in (0, 1):
            cv.fill(g[f"glass{k}"], (225, 238, 250), 0.13)
            cv.line(np.concatenate([g[f"glass{k}"], g[f"glass{k}"][:2]]), w(0.026), rim)
            arm = np.stack([g[f"glass{k}"][14 - 14 * k], g[f"ear{k}"][15]])
            cv.line(arm, w(0.022), rim, float(0.35 + 0.65 * near[k]) if near[1 - k] < 0.5 else 0.0)
        cv.line(np.stack([g["glass0"][0], g["glass1"][14]]), w(0.026), rim)

    # light: a lambertian ellipsoid over the whole head
    head = cv2.bitwise_or(mask, hair_mask)
    q = 48
    yy, xx = np.mgrid[0:q, 0:q].astype(np.float32)
    xx, yy = (
        ((xx + 0.5) * H / q - 0.5 - centre[0]) / (unit * 0.98),
        ((yy + 0.5) * H / q - 0.5 - centre[1]) / (unit * 1.22),
    )
    nz = np.sqrt(np.maximum(0, 1 - np.minimum(xx * xx + yy * yy, 1)))
    lum = 0.80 + 0.13 * (0.75 * np.sign(light) * (0.4 + 0.6 * abs(light)) * xx - 0.55 * yy) + 0.22 * nz
    lum = cv2.resize(lum.astype(np.float32), (H, H), interpolation=cv2.INTER_LINEAR)
    factor = 1 + (lum - 1) * (head.astype(np.float32) / 255)
    img = cv2.multiply(img, cv2.merge([factor] * 3), dtype=cv2.CV_8U)
    face_mask = cv2.subtract(mask, front) if idn.hair else mask
    return img, face_mask


_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 13)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 13)[:-1])], -1
)
_TAPER = np.sin(np.pi * np.linspace(0.04, 0.96, 17)) ** 0.6
_FOLD = 0.22 + np.sin(np.pi * np.linspace(0, 1, 9)) ** 0.7
