"""Hands that fill a box, from every side."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.camera import Camera, project
from handrawer.hand.framing import NEAREST, place_in_box
from handrawer.hand.gestures import GESTURES
from handrawer.hand.hands import Hand, hand_from_gesture


def off(hand: Hand, centre: tuple[float, float], size: float, width: int, height: int) -> float:
    """How far the box is from what was asked for, in shares of the picture's shorter side."""
    pixels = torch.tensor([width, height])
    middle = (hand.box[:2] + hand.box[2:]) / 2 * pixels - torch.tensor(centre) * pixels
    longer = float(((hand.box[2:] - hand.box[:2]) * pixels).max())
    return max(float(middle.abs().max()), abs(longer - size * min(width, height))) / min(width, height)


@pytest.mark.parametrize("name", ["relaxed", "open", "fist"])
def test_hands_that_point_at_the_camera(name: str):
    """Perspective is strongest there: the wrist is thrice as far as the fingertips."""
    for pitch in range(-180, 180, 15):
        hand = hand_from_gesture(name, width=300, height=300, size=0.85, orientation=(0, pitch, 0)).hands[0]
        assert off(hand, (0.5, 0.5), 0.85, 300, 300) < 1e-4, pitch


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(GESTURES)), st.sampled_from(["left", "right"]), st.floats(0.02, 1.5),
    st.tuples(st.floats(-1, 2), st.floats(-1, 2)), st.tuples(*[st.floats(-180, 180)] * 3),
    st.sampled_from([(512, 512), (300, 900), (1600, 400)]),
)  # fmt: skip
def test_any_hand_in_any_place(name, side, size, centre, turned, picture):
    width, height = picture
    hand = hand_from_gesture(name, side, width, height, centre=centre, size=size, orientation=turned).hands[0]
    nearest = float(hand.vertices[:, 2].min())
    assert nearest > NEAREST - 1e-4
    if nearest > NEAREST + 1e-3:  # else the hand is as large as it can be
        assert off(hand, centre, size, width, height) < 2e-3 * max(1, size)


@pytest.mark.parametrize("size", [4.0, 50.0])
def test_a_hand_stays_before_the_camera(size: float):
    hand = hand_from_gesture("open", width=256, height=256, size=size).hands[0]
    nearest = float(hand.vertices[:, 2].min())
    assert nearest < NEAREST + 2e-3 or off(hand, (0.5, 0.5), size, 256, 256) < 1e-3
    assert nearest > NEAREST - 1e-4
    middle = (hand.box[:2] + hand.box[2:]) / 2
    assert float((middle - 0.5).abs().max()) < 0.02 * size


def test_the_four_sides_of_a_box():
    """A flat square, whose place is known: as deep as its size asks, in the middle."""
    square = torch.tensor([[-0.1, -0.1, 0.0], [0.1, -0.1, 0.0], [-0.1, 0.1, 0.0], [0.1, 0.1, 0.0]])
    camera = Camera(focal=1.0)
    box = torch.tensor([0.2, 0.2, 0.6, 0.8])
    place = place_in_box(square, box, camera, 100, 100)
    assert torch.allclose(place, torch.tensor([-0.05, 0.0, 0.5], dtype=torch.float64), atol=1e-6)
    drawn = project((square + place).float(), camera, 100, 100)
    assert torch.allclose(drawn.amin(dim=0), torch.tensor([0.2, 0.3]), atol=1e-5)
