"""Gestures look like their names, in millimetres and degrees."""

import pytest
import torch

from handrawer.hand.anatomy import ANGLE_NAMES, LIMITS, angles_to_rotations
from handrawer.hand.gestures import GESTURES, gesture_angles
from handrawer.hand.joints import FINGERS
from handrawer.hand.model import load_open_hand
from handrawer.hand.sampling import finger_overlap
from handrawer.hand.skinning import pose_hand

WANTED = {"open", "fist", "point", "peace", "ok", "thumbs_up", "pinch", "relaxed", "three", "four", "call", "rock",
          "spread", "flat", "claw", "gun"}  # fmt: skip
EXTENDED = {
    "open": "thumb index middle ring little", "spread": "thumb index middle ring little", "fist": "",
    "flat": "thumb index middle ring little", "point": "index", "peace": "index middle", "thumbs_up": "thumb",
    "three": "index middle ring", "four": "index middle ring little", "call": "thumb little", "rock": "index little",
    "gun": "thumb index", "ok": "middle ring little",
}  # fmt: skip


@pytest.fixture(scope="module")
def joints():
    model = load_open_hand()
    names = list(GESTURES)
    n = len(names)
    rotations = angles_to_rotations(model, torch.stack([gesture_angles(name) for name in names]))
    posed = pose_hand(model, rotations, torch.zeros(n, 4), torch.eye(3).expand(n, 3, 3), torch.zeros(n, 3),
                      torch.zeros(n, dtype=torch.bool))  # fmt: skip
    return dict(zip(names, posed.joints, strict=True))


def millimetres(joints, one, other):
    return 1000 * float((joints[one] - joints[other]).norm())


def straightness(joints, finger):
    """1 for a straight finger: base to tip as the crow flies, over the way along the bones."""
    chain = joints[list(FINGERS[finger])]
    return float((chain[-1] - chain[0]).norm() / chain.diff(dim=0).norm(dim=1).sum())


def test_all_are_there_with_titles_and_within_the_limits():
    assert set(GESTURES) >= WANTED
    for name, gesture in GESTURES.items():
        assert gesture.name == name
        assert gesture.title
        assert gesture.angles.shape == (len(ANGLE_NAMES),)
        assert bool(((gesture.angles >= LIMITS[:, 0]) & (gesture.angles <= LIMITS[:, 1])).all())


@pytest.mark.parametrize("name", sorted(WANTED))
def test_no_finger_is_in_another(name):
    assert float(finger_overlap(load_open_hand(), gesture_angles(name)[None])) < 0.002


@pytest.mark.parametrize("name", sorted(EXTENDED))
def test_the_right_fingers_are_straight(joints, name):
    for finger in ("index", "middle", "ring", "little"):
        straight = straightness(joints[name], finger) > 0.93
        assert straight == (finger in EXTENDED[name].split()), finger
    if "thumb" in EXTENDED[name]:
        assert straightness(joints[name], "thumb") > 0.93


@pytest.mark.parametrize("name", ["ok", "pinch"])
def test_thumb_and_index_touch(joints, name):
    assert millimetres(joints[name], 4, 8) < 12


def test_fist_has_the_thumb_over_the_fingers(joints):
    fist = joints["fist"]
    for tip in (8, 12, 16, 20):
        assert millimetres(fist, 0, tip) < 95, "fingertips come back to the palm"
    assert float(fist[4, 2]) < float(fist[[8, 12], 2].min()), "the thumb lies before the fingers (palm side, -z)"
    assert float(fist[4, 0]) < float(fist[5, 0]), "and across them"


def test_thumbs_up_has_the_thumb_away_from_the_fist(joints):
    up = joints["thumbs_up"]
    assert millimetres(up, 4, 5) > 60
    bone = torch.nn.functional.normalize(up[4] - up[2], dim=0)
    assert float(bone[0]) > 0.8, "square to the forearm, so a hand rolled by 90 degrees shows it upwards"


def test_spread_is_wider_than_open_is_wider_than_flat(joints):
    wide = {name: millimetres(joints[name], 8, 20) for name in ("spread", "open", "flat")}
    assert wide["spread"] > wide["open"] + 15 > wide["flat"] + 30


def test_gesture_angles_are_copies_and_unknown_names_are_listed():
    gesture_angles("fist").zero_()
    assert float(gesture_angles("fist").abs().sum()) > 1
    with pytest.raises(ValueError, match=r"choose one of .*thumbs_up"):
        gesture_angles("vulcan")
