"""A hand of the wrong side, fitted again."""

import pytest
import torch

from handrawer.estimate.calibration import mediapipe_points_2d
from handrawer.estimate.sides import with_side
from handrawer.hand.camera import Camera
from handrawer.hand.hands import Frame, hand_from_gesture

SIZE = torch.tensor([400, 300])


def picture() -> Frame:
    left = hand_from_gesture("open", "left", 400, 300, centre=(0.3, 0.5), size=0.6, camera=Camera(1.2, 0.45, 0.55))
    right = hand_from_gesture("relaxed", "right", 400, 300, centre=(0.7, 0.5), size=0.6, orientation=(20, 10, 30))
    hands = left.hands + right.hands
    return Frame(400, 300, tuple(h.replace(weight=0.5, z_order=2, confidence=0.8, notes=("why",)) for h in hands), "n")


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_other_side_shows_the_same_points(side):
    frame = picture()
    changed = with_side(frame, (0, 1), side)
    assert [hand.side for hand in changed.hands] == [side, side] and changed.note == "n"
    for old, new in zip(frame.hands, changed.hands, strict=True):
        if old.side == side:
            assert new is old
            continue
        extent = float(((old.box[2:] - old.box[:2]) * SIZE).max())
        points = [mediapipe_points_2d(hand, 400, 300) * SIZE for hand in (old, new)]
        assert float((points[0] - points[1]).norm(dim=1).mean()) < 0.03 * extent
        assert (new.weight, new.z_order, new.confidence, new.notes) == (0.5, 2, 0.8, ("why",))
        assert new.camera == old.camera
        # the palm turns away: its normal changes sign
        normals = []
        for hand in (old, new):
            across, along = hand.joints[5] - hand.joints[17], hand.joints[9] - hand.joints[0]
            normals.append(torch.linalg.cross(across, along)[2] * (-1 if hand.left else 1))
        assert float(normals[0] * normals[1]) < 0


def test_only_the_chosen_ones():
    frame = picture()
    changed = with_side(frame, (), "left")
    assert changed.hands[1] is frame.hands[1]
    with pytest.raises(ValueError, match="'up'"):
        with_side(frame, (0,), "up")


def test_a_hand_of_an_unknown_model_is_refused():
    frame = picture()
    stranger = Frame(400, 300, (frame.hands[0].replace(model="stranger"),))
    with pytest.raises(ValueError, match="'stranger' cannot be fitted again without that model: load it first"):
        with_side(stranger, (0,), "right")
