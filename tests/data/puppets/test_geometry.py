"""The head in three dimensions: landmarks sit where K = s R Kc + t says, muscles move what they should."""

from __future__ import annotations

import numpy as np
import pytest

from eatlab.backbone.pose import rotation as backbone_rotation
from eatlab.data.puppets.corpus import draw
from eatlab.data.puppets.geometry import geometry
from eatlab.data.puppets.hair import STYLES, hair
from eatlab.data.puppets.head import Head, rotation, to_pixels
from eatlab.data.puppets.identity import ARTICULATORS, AU_INDEX, AUS, Identity, emotion_aus
from eatlab.data.puppets.performance import ClipSpec
from eatlab.emotions import EMOTIONS

LEFT_CORNER, RIGHT_CORNER, UPPER_LIP, LOWER_LIP, CHIN = 48, 54, 62, 66, 8
WHO = Identity.from_seed(4)


def face(who: Identity = WHO, *, artic: dict[str, float] | None = None, **units: float) -> np.ndarray:
    """(68, 3) landmarks in the head frame, with AUs like au12=1 (both sides) and articulators like jaw=1."""
    aus, speech = np.zeros((1, len(AUS), 2)), np.zeros((1, len(ARTICULATORS)))
    for name, strength in units.items():
        aus[0, AU_INDEX[int(name[2:])]] = strength
    for name, strength in (artic or {}).items():
        speech[0, ARTICULATORS.index(name)] = strength
    return geometry(who, aus, speech, np.zeros((1, 2)))["landmarks"][0]


@pytest.mark.parametrize("wild", [False, True])
def test_jaw_landmarks_are_the_posed_head_to_a_thousandth_of_a_pixel(wild: bool) -> None:
    """The jaw line's ends have no expression: K = s R Kc + t gives their pixels from the pose alone."""
    spec = ClipSpec(identity=21, sentence=5, take=2, emotion="angry", wild=wild, frames=16)
    _, _, truth = draw(spec, (0, 9, 15))
    canonical = Head(Identity.from_seed(21)).ring(np.radians(np.array([-93.0, -105.0, 105.0, 93.0])))
    pose = truth["pose"].astype(float)
    turn, place, scale = rotation(*np.radians(pose[:, :3]).T), pose[:, 3:6], pose[:, 6]
    K = scale[:, None, None] * np.einsum("tij,nj->tni", turn, canonical) + place[:, None]
    np.testing.assert_allclose(truth["landmarks"][:, [0, 1, 15, 16]], to_pixels(K, spec.size), atol=1e-3)


def test_rotations_are_rz_roll_rx_pitch_ry_yaw_and_those_of_the_backbone() -> None:
    import torch

    angles = np.random.default_rng(0).uniform(-40, 40, (5, 3))
    ours = rotation(*np.radians(angles).T)
    np.testing.assert_allclose(
        ours @ ours.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (5, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(ours), 1)
    pose = torch.tensor(np.concatenate([angles, np.zeros((5, 4))], 1))
    np.testing.assert_allclose(ours, backbone_rotation(pose).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("degrees", "axis", "sign"), [((20, 0, 0), 0, 1), ((0, 20, 0), 1, -1), ((0, 0, 20), None, 0)]
)
def test_the_nose_goes_where_the_head_turns(
    degrees: tuple[float, float, float], axis: int | None, sign: int
) -> None:
    """yaw > 0 to the image right, pitch > 0 up, roll > 0 clockwise (the crown goes to the image right)."""
    turn = rotation(*(np.array([np.radians(angle)]) for angle in degrees))[0]
    nose, crown = turn @ np.array([0, 0, -1.0]), turn @ np.array([0, -1.0, 0])
    if axis is None:
        assert crown[0] > 0.3
    else:
        assert np.sign(nose[axis]) == sign


def test_a_smile_lifts_and_widens_the_corners() -> None:
    rest, smile = face(), face(au12=1)
    assert (smile[[LEFT_CORNER, RIGHT_CORNER], 1] < rest[[LEFT_CORNER, RIGHT_CORNER], 1] - 0.05).all()
    assert np.ptp(smile[[LEFT_CORNER, RIGHT_CORNER], 0]) > np.ptp(rest[[LEFT_CORNER, RIGHT_CORNER], 0])


def test_sorrow_lowers_the_corners() -> None:
    assert (
        face(au15=1)[[LEFT_CORNER, RIGHT_CORNER], 1] > face()[[LEFT_CORNER, RIGHT_CORNER], 1] + 0.05
    ).all()


def test_brows_rise_with_surprise_and_knit_with_anger() -> None:
    rest, raised, knit = face(), face(au1=1, au2=1), face(au4=1)
    assert (raised[17:27, 1] < rest[17:27, 1]).all()
    assert (knit[[21, 22], 1] > rest[[21, 22], 1]).all()
    assert np.ptp(knit[[21, 22], 0]) < np.ptp(rest[[21, 22], 0])


def test_the_jaw_opens_the_mouth_and_lowers_the_chin() -> None:
    rest, opened = face(), face(artic={"jaw": 1})
    assert np.linalg.norm(rest[LOWER_LIP] - rest[UPPER_LIP]) < 0.02
    assert np.linalg.norm(opened[LOWER_LIP] - opened[UPPER_LIP]) > 0.15
    assert opened[CHIN, 1] > rest[CHIN, 1] + 0.1
    closed = face(artic={"jaw": 0.3, "press": 1})
    assert np.linalg.norm(closed[LOWER_LIP] - closed[UPPER_LIP]) < 0.02


def test_a_blink_closes_both_eyes() -> None:
    shut, wide = face(au45=1), face(au5=1)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        rest_gap = face()[lower, 1] - face()[upper, 1]
        assert shut[lower, 1] - shut[upper, 1] < 0.15 * rest_gap
        assert wide[lower, 1] - wide[upper, 1] > rest_gap


@pytest.mark.parametrize("seed", range(6))
def test_contempt_is_one_sided_and_everything_else_nearly_even(seed: int) -> None:
    shown = emotion_aus(Identity.from_seed(seed))
    dimple = shown[EMOTIONS.index("contempt"), AU_INDEX[14]]
    assert dimple.min() < 0.2 * dimple.max()
    others = [i for i, emotion in enumerate(EMOTIONS) if emotion != "contempt"]
    assert np.abs(shown[others, :, 0] - shown[others, :, 1]).max() < 0.4
    assert not shown[EMOTIONS.index("neutral")].any()


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_every_hair_style_can_be_worn(style: int) -> None:
    curves = hair(next(who for who in map(Identity.from_seed, range(300)) if who.hair == style))
    assert {"hair_hull", "hair_line"} <= set(curves)
    for points in curves.values():
        assert points.shape[0] == 1
        assert points.shape[2] == 3
        assert np.isfinite(points).all()


def test_landmarks_lie_in_the_picture_and_the_inner_ones_on_the_face() -> None:
    frames, _, truth = draw(ClipSpec(identity=30, sentence=2, take=1, emotion="happy", frames=12), (5,))
    landmarks = truth["landmarks"][0]
    assert landmarks.min() > 0
    assert landmarks.max() < frames.shape[1] - 1
    x, y = np.round(landmarks[27:]).astype(int).T
    assert truth["mask"][0][y, x].mean() > 0.95
