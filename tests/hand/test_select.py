"""Which hands are meant."""

import pytest

from handrawer.hand.hands import Frame, hand_from_gesture
from handrawer.hand.select import WAYS, choose_hands, parse_numbers


def picture() -> Frame:
    """A small left hand to the left, a large right one in the middle, a right one of middle size to the right."""
    places = (("left", 0.1, 0.2), ("right", 0.45, 0.8), ("right", 0.9, 0.4))
    hands = [hand_from_gesture("open", side, 400, 200, centre=(x, 0.5), size=size).hands[0] for side, x, size in places]
    return Frame(400, 200, tuple(hands))


@pytest.mark.parametrize(
    ("which", "options", "expected"),
    [
        ("all", {}, (0, 1, 2)),
        ("numbers", {"numbers": (2, 0, 2)}, (0, 2)),
        ("numbers", {"numbers": (-1, 7)}, (2,)),
        ("numbers", {}, ()),
        ("left", {}, (0,)),
        ("right", {}, (1, 2)),
        ("largest", {}, (1,)),
        ("nearest", {"x": 0.8, "y": 0.5}, (2,)),
        ("nearest", {"x": -1.0, "y": -1.0}, (0,)),
        ("nearest", {"x": 0.44, "y": 0.5}, (1,)),
    ],
)
def test_ways_of_choosing(which, options, expected):
    frame = picture()
    assert choose_hands(frame, which, **options) == expected
    others = tuple(n for n in range(3) if n not in expected)
    assert choose_hands(frame, which, invert=True, **options) == others


@pytest.mark.parametrize("which", WAYS)
def test_no_hand_is_no_choice(which):
    assert choose_hands(Frame(8, 8), which, numbers=(0,)) == ()
    assert choose_hands(Frame(8, 8), which, numbers=(0,), invert=True) == ()


def test_nearest_counts_pixels_and_prefers_the_hand_that_holds_the_point():
    frame = picture()
    # In normalised units the lower picture edge is as far as the left one; in pixels it is half as far.
    wide = Frame(4000, 10, tuple(hand_from_gesture("open", "right", 4000, 10, centre=(x, 0.5), size=0.5).hands[0]
                                 for x in (0.3, 0.6)))  # fmt: skip
    assert choose_hands(wide, "nearest", x=0.44, y=2.0) == (0,)
    _, y0, x1, y1 = frame.hands[1].box.tolist()
    assert choose_hands(frame, "nearest", x=x1 - 1e-3, y=(y0 + y1) / 2) == (1,)


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="nicest"):
        choose_hands(picture(), "nicest")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", ()), (" ", ()), ("0", (0,)), ("0,2", (0, 2)), ("0; 2 4", (0, 2, 4)), ("1-3, 0", (1, 2, 3, 0)), ("-1", (-1,))],
)
def test_lists_of_numbers(text, numbers):
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize("text", ["a", "1.5", "3-1", "0,,x", "0-100000"])
def test_what_is_no_list_of_numbers_is_a_sentence(text):
    with pytest.raises(ValueError, match=r"^'.*' is no (number|range) .*: write "):
        parse_numbers(text)
