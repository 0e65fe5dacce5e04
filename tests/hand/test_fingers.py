import pytest
import torch

from handrawer.hand.fingers import count_extended, extensions
from handrawer.hand.hands import hand_from_gesture

# Thumb to little finger; None where people would differ.
EXTENDED = {
    "open": (1, 1, 1, 1, 1), "spread": (1, 1, 1, 1, 1), "flat": (None, 1, 1, 1, 1), "fist": (0, 0, 0, 0, 0),
    "point": (0, 1, 0, 0, 0), "peace": (0, 1, 1, 0, 0), "ok": (None, None, 1, 1, 1), "thumbs_up": (1, 0, 0, 0, 0),
    "three": (0, 1, 1, 1, 0), "four": (0, 1, 1, 1, 1), "call": (1, 0, 0, 0, 1), "rock": (0, 1, 0, 0, 1),
    "gun": (1, 1, 0, 0, 0), "pinch": (None, None, 0, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("gesture", EXTENDED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_named_gestures_show_their_fingers(gesture, side):
    joints = hand_from_gesture(gesture, side, orientation=(40, -20, 70)).hands[0].joints
    found = extensions(joints)
    for wanted, value in zip(EXTENDED[gesture], found.tolist(), strict=True):
        if wanted is not None:
            assert abs(value - wanted) < 0.25, (gesture, found)
    if None not in EXTENDED[gesture]:
        assert int(count_extended(joints)) == sum(EXTENDED[gesture])


def test_neither_size_nor_place_counts():
    joints = torch.stack([hand_from_gesture(name).hands[0].joints for name in ("peace", "call")])
    torch.testing.assert_close(extensions(joints * 7 + 3), extensions(joints), atol=1e-4, rtol=0)
    assert count_extended(joints).tolist() == [2, 2]
