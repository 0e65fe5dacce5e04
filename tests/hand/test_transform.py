"""Hands moved like their pictures: the projection of what was moved is what was projected, moved."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand import transform
from handrawer.hand.camera import Camera, contain, project
from handrawer.hand.hands import Frame, Hands, hand_from_gesture, make_hand, orientation_from_degrees, pose_parameters
from handrawer.hand.model import load_open_hand

WIDTH, HEIGHT = 640, 427
CAMERA = Camera(1.3, 0.46, 0.55)


def a_hand(side: str = "right"):
    return make_hand(
        side=side,
        orientation=orientation_from_degrees(40, 20, -70),
        translation=(0.03, -0.05, 0.6),
        shape=torch.linspace(-1, 1, load_open_hand().shape_count),
        camera=CAMERA,
        width=WIDTH,
        height=HEIGHT,
    )


HANDS = {side: a_hand(side) for side in ("left", "right")}


def drawn(hand, width: int, height: int):
    """The vertices' places in pixels."""
    return project(hand.vertices.double(), hand.camera, width, height) * torch.tensor([width, height])


sizes = st.integers(16, 1200)
signed = st.integers(-300, 300)


@st.composite
def steps(draw, width, height):
    kind = draw(st.sampled_from(["crop", "pad", "resize", "flip", "rotate", "quarter"]))
    if kind == "crop":
        return transform.crop(width, height, draw(signed), draw(signed), draw(sizes), draw(sizes))
    if kind == "pad":
        return transform.pad(width, height, *(draw(st.integers(0, 200)) for _ in range(4)))
    if kind == "resize":
        return transform.resize(width, height, draw(sizes), draw(sizes), draw(st.sampled_from(["contain", "cover"])))
    if kind == "flip":
        return transform.flip(width, height, draw(st.booleans()), draw(st.booleans()))
    degrees = draw(st.floats(-400, 400)) if kind == "rotate" else 90 * draw(st.integers(-5, 5))
    return transform.rotate(width, height, degrees, draw(st.booleans()))


@st.composite
def transforms(draw, most=3):
    found = [draw(steps(WIDTH, HEIGHT))]
    for _ in range(draw(st.integers(0, most - 1))):
        found.append(draw(steps(found[-1].target_width, found[-1].target_height)))
    return found


@settings(max_examples=200, deadline=None)
@given(transforms(), st.sampled_from(["left", "right"]))
def test_the_projection_of_the_moved_is_the_moved_projection(chain, side):
    """Vertices, joints and box, to a ten-thousandth of a pixel; with the scale, since pixels of the source grow."""
    whole, hand = transform.chain(chain), HANDS[side]
    moved = whole.hand(hand)
    size = (whole.target_width, whole.target_height)
    expected = whole.pixels(drawn(hand, WIDTH, HEIGHT))
    tolerance = 1e-4 * max(1.0, whole.scale)
    found = drawn(moved, *size)
    assert float((found - expected).abs().max()) < tolerance
    joints = whole.points(hand.joints_2d) - moved.joints_2d
    assert float((joints * torch.tensor(size)).abs().max()) < tolerance
    tight = torch.cat([found.amin(dim=0), found.amax(dim=0)])
    assert float((moved.box * torch.tensor(size * 2) - tight).abs().max()) < 10 * tolerance
    assert moved.side == (side if not whole.mirrored else {"left": "right", "right": "left"}[side])


@settings(max_examples=40, deadline=None)
@given(transforms())
def test_the_moved_parameters_are_the_moved_mesh(chain):
    """What is posed again from them (from JSON, for another model) is the same hand."""
    whole = transform.chain(chain)
    for hand in HANDS.values():
        moved = whole.hand(hand)
        again = pose_parameters(
            load_open_hand(), moved.pose, moved.orientation, moved.shape, moved.translation, moved.side
        )
        assert float((again.vertices[0] - moved.vertices).abs().max()) < 1e-6
        assert float((again.joints[0] - moved.joints).abs().max()) < 1e-6


@settings(max_examples=60, deadline=None)
@given(transforms())
def test_one_after_another_is_the_chain_and_the_inverse_undoes_it(chain):
    points = torch.tensor([[0.2, 0.7], [0.9, 0.1], [-0.3, 1.4]], dtype=torch.float64)
    whole = transform.chain(chain)
    stepwise = points
    for step in chain:
        stepwise = step.points(stepwise)
    assert torch.allclose(whole.points(points), stepwise, atol=1e-9, rtol=1e-9)
    assert torch.allclose(whole.inverse().points(stepwise), points, atol=1e-8)
    back = whole.inverse().hand(whole.hand(HANDS["right"]))
    assert back.side == "right"
    assert float((back.vertices - HANDS["right"].vertices).abs().max()) < 1e-6
    assert back.camera.focal == pytest.approx(CAMERA.focal) and back.camera.cx == pytest.approx(CAMERA.cx, abs=1e-9)


def test_a_flipped_right_hand_is_a_left_one_in_the_mirrored_place():
    frame = hand_from_gesture("point", "right", 300, 200, centre=(0.25, 0.5), orientation=(20, 10, 30))
    (flipped,) = transform.flip(300, 200).frame(frame).hands
    (hand,) = frame.hands
    assert flipped.side == "left" and torch.equal(flipped.pose, hand.pose)
    assert torch.equal(flipped.vertices * torch.tensor([-1.0, 1.0, 1.0]), hand.vertices)
    assert (1 - flipped.box[[2, 1, 0, 3]])[[0, 2]].tolist() == pytest.approx(hand.box[[0, 2]].tolist(), abs=1e-6)
    expected = hand_from_gesture("point", "left", 300, 200, centre=(0.75, 0.5), orientation=(-20, 10, -30))
    assert torch.allclose(flipped.joints_2d, expected.hands[0].joints_2d, atol=2e-4)


def test_upside_down_is_a_flip_and_half_a_turn():
    upside_down = transform.flip(30, 20, horizontally=False, vertically=True)
    expected = transform.flip(30, 20).then(transform.rotate(30, 20, 180))
    points = torch.rand(9, 2, dtype=torch.float64)
    assert upside_down.mirrored and torch.allclose(upside_down.points(points), expected.points(points))
    assert upside_down.points(points)[:, 1].tolist() == pytest.approx((1 - points[:, 1]).tolist())


def test_quarter_turns_go_clockwise_and_exchange_the_sides():
    quarter = transform.rotate(30, 20, 90)
    assert (quarter.target_width, quarter.target_height) == (20, 30)
    assert quarter.points(torch.tensor([0.0, 0.0])).tolist() == [1.0, 0.0], "left top goes to right top"
    four = transform.chain([quarter, transform.rotate(20, 30, 90), transform.rotate(30, 20, 90)])
    again = four.then(transform.rotate(20, 30, 90))
    assert again == transform.identity(30, 20)
    assert transform.rotate(30, 20, -90) == transform.rotate(30, 20, 630)


def test_an_oblique_turn_holds_the_whole_picture():
    turned = transform.rotate(300, 200, 30)
    corners = turned.points(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert float(corners.min()) > -1e-6 and float(corners.max()) < 1 + 1e-6
    kept = transform.rotate(300, 200, 30, expand=False)
    assert (kept.target_width, kept.target_height) == (300, 200)
    assert kept.points(torch.tensor([0.5, 0.5])).tolist() == pytest.approx([0.5, 0.5])


def test_resizing_is_placing():
    for mode, placement in (("contain", contain(848, 565, 256, 256)),):
        assert transform.resize(848, 565, 256, 256, mode) == transform.of_placement(placement)
    hand = HANDS["left"]
    placed, moved = hand.placed(contain(WIDTH, HEIGHT, 99, 300)), transform.resize(WIDTH, HEIGHT, 99, 300).hand(hand)
    assert torch.equal(placed.vertices, moved.vertices) and torch.allclose(placed.box, moved.box)
    assert placed.camera.focal == pytest.approx(moved.camera.focal)


@pytest.mark.parametrize(
    ("new", "kept"), [((512, 341), True), ((424, 282), True), ((1, 1), True), ((512, 512), False), ((512, 345), False)]
)
def test_whether_a_new_size_stretches(new, kept):
    assert transform.keeps_shape(848, 565, *new) == kept


def test_frames_keep_what_else_they_know():
    frame = Frame(WIDTH, HEIGHT, (HANDS["left"].replace(weight=0.5, z_order=3, enabled=False, notes=("a",)),), "note")
    (moved,) = transform.transform_hands(Hands((frame,)), [transform.rotate(WIDTH, HEIGHT, 33)]).frames
    (hand,) = moved.hands
    assert moved.note == "note"
    assert (hand.weight, hand.z_order, hand.enabled, hand.notes) == (0.5, 3, False, ("a",))
    assert transform.crop(WIDTH, HEIGHT, 1, 2, 3, 4).frame(Frame(WIDTH, HEIGHT)).hands == ()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: transform.crop(10, 10, 0, 0, 0, 5),
        lambda: transform.resize(10, 10, 20, 20, "stretch"),
        lambda: transform.Transform(1.0, 0.5, 0.5, False, 0, 0, 9, 9, 9, 9),
        lambda: transform.Transform(0.0, 1.0, 0.0, False, 0, 0, 9, 9, 9, 9),
        lambda: transform.flip(10, 10).then(transform.flip(10, 11)),
        lambda: transform.flip(10, 10).frame(Frame(11, 10)),
    ],
)
def test_what_has_no_camera_is_refused(wrong):
    with pytest.raises(ValueError):
        wrong()
