import math

import pytest
import torch

from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.render.skeleton import BONE_COLOURS, BONES, JOINT_COLOUR, draw_joints, draw_line, draw_skeleton


def test_twenty_bones_in_the_rainbow_of_openpose():
    assert BONES[:5] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5)) and len(BONES) == 20
    assert BONE_COLOURS[0] == (1.0, 0.0, 0.0)
    assert BONE_COLOURS[5] == pytest.approx((0.5, 1.0, 0.0)) and BONE_COLOURS[10] == pytest.approx((0.0, 1.0, 1.0))
    assert BONE_COLOURS[19] == pytest.approx((1.0, 0.0, 0.3))


def test_every_joint_and_bone_is_drawn_at_its_place():
    frame = hand_from_gesture("open", width=512, height=384)
    picture = draw_skeleton(frame)
    assert picture.shape == (1, 384, 512, 3) and picture.min() >= 0 and picture.max() <= 1
    places = frame.hands[0].joints_2d * torch.tensor([512, 384])
    for x, y in places.int().tolist():
        assert picture[0, y, x].tolist() == list(JOINT_COLOUR)
    for (a, b), colour in list(zip(BONES, BONE_COLOURS, strict=True))[1::2]:
        x, y = ((places[a] + places[b]) / 2).int().tolist()
        assert float((picture[0, y, x] - torch.tensor(colour)).abs().max()) < 0.35


def test_lines_grow_with_the_picture():
    frame = hand_from_gesture("open", width=128, height=128)
    inked = [float((draw_skeleton(frame, n, n) > 0.5).any(-1).float().mean()) for n in (512, 1024)]
    assert inked[0] == pytest.approx(inked[1], rel=0.12)
    assert float(draw_skeleton(frame, scale=3).sum()) > 2 * float(draw_skeleton(frame).sum())


@pytest.mark.parametrize(("start", "end"), [((10.3, 12.8), (25.1, 20.4)), ((5, 5), (5, 30)), ((30, 8.5), (4, 8.5))])
def test_a_line_has_the_area_of_its_shape(start, end):
    canvas = torch.zeros(40, 40, 3)
    draw_line(canvas, start, end, 1.5, (1.0, 0.5, 0.0))
    length = math.dist(start, end)
    assert float(canvas[..., 0].sum()) == pytest.approx(3 * length + math.pi * 1.5**2, rel=0.03)
    assert torch.allclose(canvas[..., 1], canvas[..., 0] / 2) and canvas[..., 2].sum() == 0


def test_lines_over_the_edge_and_broken_points():
    inside, outside = torch.zeros(20, 20, 3), torch.zeros(60, 60, 3)
    draw_line(inside, (-10, 3), (30, 17), 2, (1.0, 1.0, 1.0))
    draw_line(outside, (10, 23), (50, 37), 2, (1.0, 1.0, 1.0))
    assert torch.allclose(inside, outside[20:40, 20:40], atol=1e-5) and inside.sum() > 100
    untouched = torch.zeros(8, 8, 3)
    draw_line(untouched, (float("nan"), 2), (3, 3), 2, (1.0, 1.0, 1.0))
    draw_line(untouched, (1e30, 2), (2e30, 3), 2, (1.0, 1.0, 1.0))
    assert untouched.sum() == 0
    joints = torch.full((21, 2), 4.0)
    joints[7] = torch.inf
    draw_joints(untouched, joints)
    assert untouched.isfinite().all() and untouched[4, 4, 2] > 0


def test_disabled_hands_empty_frames_and_tiny_pictures():
    frame = hand_from_gesture("open", width=32, height=32)
    off = Frame(32, 32, (frame.hands[0].replace(enabled=False),))
    assert draw_skeleton(Hands((off, Frame(32, 32)))).sum() == 0
    assert draw_skeleton(frame, 1, 1).shape == (1, 1, 1, 3)


def test_drawing_over_pictures_leaves_them_alone():
    frame = hand_from_gesture("open", width=64, height=48)
    below = torch.full((1, 48, 64, 3), 0.5)
    drawn = draw_skeleton(frame, pictures=below)
    assert (below == 0.5).all() and (drawn[0, 0] == 0.5).all()
    assert torch.equal((drawn != 0.5).any(-1), (draw_skeleton(frame) != 0).any(-1))
    with pytest.raises(ValueError, match="must be"):
        draw_skeleton(frame, pictures=torch.zeros(2, 48, 64, 3))
