"""A first look at a film: its length, where its one face is, and the box to cut from it (data.md 2.2, 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from eatlab.data import crop
from eatlab.data.faces import Face, FaceFinder, overlap
from eatlab.data.media import FootageError, picture, show

EVERY = 5
"""Frames between two looks for faces: 0.2 s."""
FIRST_FACE_BEFORE = 25
SECOND_FACE_AREA = 0.25
SHARE_SEVERAL = 0.05
SHARE_NONE = 0.10
CUT_LUMA = 40.0
CUT_OVERLAP = 0.1
NARROWEST_JAW_PX = 32
"""Jaw width in source pixels below which a 96-pixel crop would be enlarged more than 1.5 times."""


@dataclass(frozen=True)
class Look:
    """One sampled frame: its place, its faces (the speaker's first), and a thumbnail of its luma."""

    place: int
    faces: list[Face]
    luma: np.ndarray


@dataclass(frozen=True)
class Survey:
    """num_frames at 25 a second, the speaker's face by place, the picture's size, the box and its frame."""

    num_frames: int
    speaker: dict[int, Face]
    size: tuple[int, int]
    first: int
    box: crop.Box
    recipe: str

    def near(self, place: int) -> Face:
        """The speaker's face in the sampled frame that is nearest."""
        return self.speaker[min(self.speaker, key=lambda sampled: (abs(sampled - place), sampled))]


def survey(film: Path, finder: FaceFinder, how: str) -> Survey:
    """Decodes the film once. `how`: "auto", "eat", "framed" or "none" (see `choose_box`).

    FootageError: corrupt, no_face, several_faces, cut, too_small, border.
    """
    looks: list[Look] = []
    anchor: tuple[int, tuple[int, int], np.ndarray] | None = None
    num_frames = 0
    for place, stop, image in sampled(film):
        num_frames = stop
        if image is None:
            continue
        looks.append(look(place, image, finder, looks))
        if anchor is None and looks[-1].faces and place <= FIRST_FACE_BEFORE:
            landmarks = finder.landmarks(image, looks[-1].faces[0])
            if landmarks is not None:
                anchor = (place, (image.shape[1], image.shape[0]), landmarks)
    if anchor is None:
        raise FootageError("no_face", why_no_face(looks))
    check_one_face(looks)
    check_no_cut(looks)
    first, size, landmarks = anchor
    recipe, box = choose_box(landmarks, size, how)
    speaker = {one.place: one.faces[0] for one in looks if one.faces}
    return Survey(num_frames, speaker, size, first, box, recipe)


def why_no_face(looks: list[Look]) -> str:
    """Why no look at the first second gave a face with landmarks."""
    early = [bool(one.faces) for one in looks if one.place <= FIRST_FACE_BEFORE]
    later = [bool(one.faces) for one in looks if one.place > FIRST_FACE_BEFORE]
    if any(early):
        found = f"{sum(early)} of {len(early)} looks at its first second"
        return f"a face in {found}, but no landmarks on it: turned away, or covered"
    return f"no face in its first second (later in {sum(later)} of {len(later)} looks)"


def sampled(film: Path) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """(place, length so far, picture at every fifth place or None) over a film."""
    for start, stop, frame in show(film):
        wanted = range(-(-start // EVERY) * EVERY, stop, EVERY)
        yield (wanted[0], stop, picture(frame)) if wanted else (start, stop, None)


def look(place: int, image: np.ndarray, finder: FaceFinder, before: list[Look]) -> Look:
    """The faces of one picture, first the one that goes on from the last look, else the largest."""
    faces = finder.faces(image)
    last = next((one.faces[0] for one in reversed(before) if one.faces), None)
    if last is not None and len(faces) > 1:
        faces = sorted(faces, key=lambda face: -overlap(face, last))
    # Now and then a lamp is taken for a face, but none as large as the speaker's: that is a head turned away.
    others = [face for face in faces[1:] if face.area >= faces[0].area or finder.confirms(image, face)]
    faces = faces[:1] + others
    luma = cv2.cvtColor(cv2.resize(image, (64, 36), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return Look(place, faces, luma.astype(np.float32))


def check_one_face(looks: list[Look]) -> None:
    """FootageError no_face in more than 10 % of the looks, several_faces in more than 5 %."""
    none = sum(not one.faces for one in looks) / len(looks)
    if none > SHARE_NONE:
        raise FootageError(
            "no_face", f"no face in {none:.0%} of the looks", value=round(none, 3), limit=SHARE_NONE
        )
    several = sum(any(f.area >= SECOND_FACE_AREA * one.faces[0].area for f in one.faces[1:]) for one in looks)
    if several / len(looks) > SHARE_SEVERAL:
        detail = f"a second face in {several} of {len(looks)} looks"
        raise FootageError("several_faces", detail, value=round(several / len(looks), 3), limit=SHARE_SEVERAL)


def check_no_cut(looks: list[Look]) -> None:
    """FootageError cut where picture and face jump together."""
    for last, one in pairwise(looks):
        difference = float(np.abs(one.luma - last.luma).mean())
        jumped = bool(last.faces and one.faces) and overlap(last.faces[0], one.faces[0]) < CUT_OVERLAP
        if jumped and difference > CUT_LUMA:
            detail = f"the shot changes before frame {one.place}"
            raise FootageError("cut", detail, value=round(difference, 1), limit=CUT_LUMA)


def choose_box(landmarks: np.ndarray, size: tuple[int, int], how: str) -> tuple[str, crop.Box]:
    """The recipe's name and the box. FootageError: too_small, border.

    "eat": inside the picture; "framed": over its edges too, for pictures cropped closer; "none": all of it;
    "auto": framed if the picture was cropped before, else eat.
    """
    if how == "auto":
        how = "framed" if crop.is_cropped(size) else "eat"
    jaw_px = float(np.ptp(landmarks[:, 0]))
    if jaw_px < NARROWEST_JAW_PX:
        raise FootageError(
            "too_small", f"the face is {jaw_px:.0f} px wide", value=round(jaw_px), limit=NARROWEST_JAW_PX
        )
    if how == "none":
        return how, crop.whole_box(size)
    box = (crop.framed_box if how == "framed" else crop.eat_box)(
        landmarks, size, jaw_widths=crop.PUPPET_JAW_WIDTHS
    )
    if box.share < crop.SMALLEST_SHARE:
        detail = f"only {box.share:.0%} of the face's box lie in the picture"
        raise FootageError("border", detail, value=round(box.share, 2), limit=crop.SMALLEST_SHARE)
    return how, box


def shoot(
    images: Iterable[tuple[int, np.ndarray]], surveyed: Survey, finder: FaceFinder, size: int
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """place → crop (size, size, 3) and its landmarks (68, 2), NaN where the mesh finds nothing."""
    shot = {}
    for place, image in images:
        found = finder.landmarks(image, surveyed.near(place))
        points = np.full((68, 2), np.nan) if found is None else crop.into_crop(found, surveyed.box, size)
        shot[place] = (crop.cut(image, surveyed.box, size), points)
    return shot


def check_landmarks(landmarks: np.ndarray, size: int) -> None:
    """landmarks (n, 68, 2) of the crop. FootageError no_face, moved."""
    none = float(np.isnan(landmarks[:, 0, 0]).mean())
    if none > SHARE_NONE:
        raise FootageError(
            "no_face", f"no landmarks in {none:.0%} of the frames", value=round(none, 3), limit=SHARE_NONE
        )
    outside = float(((landmarks < -0.5) | (landmarks > size - 0.5)).any(axis=(1, 2)).mean())
    if outside > SHARE_SEVERAL:
        detail = f"the face leaves its box in {outside:.0%} of the frames"
        raise FootageError("moved", detail, value=round(outside, 3), limit=SHARE_SEVERAL)
