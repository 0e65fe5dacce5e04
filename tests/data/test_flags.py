import pytest
import torch

from handrawer.data.flags import flags_of, view_of
from handrawer.data.items import Item, SourceHand
from handrawer.data.relabel import Found, Relabelled, flesh_box, relabel
from handrawer.data.words import describe, pose_phrase
from handrawer.hand.hands import Frame, hand_from_gesture

WIDTH = HEIGHT = 200


def hand(gesture="open", side="right", centre=(0.5, 0.5), yaw=0.0, residual=0.01):
    made = hand_from_gesture(gesture, side, WIDTH, HEIGHT, centre=centre, size=0.4, orientation=(yaw, 0, 0)).hands[0]
    return made.replace(joint_residual=torch.full((21,), residual))


def box_of(made):
    return tuple(flesh_box(made, WIDTH, HEIGHT).tolist())


def labelled(*hands, told=None, missing=(), how="picture", overlap=0.9):
    """Hands in the order of the source's, the rest without a word of the source."""
    told = told or ()
    found = tuple(
        Found(one, how, place if place < len(told) else None, overlap if place < len(told) else 0.0)
        for place, one in enumerate(hands)
    )
    frame = Frame(WIDTH, HEIGHT, tuple(hands))
    return Item("k", "k.jpg", hands=tuple(told) or None), Relabelled(frame, found, tuple(missing))


def reasons(*args, **settings):
    return [flag.reason for flag in flags_of(*labelled(*args, **settings))]


def test_a_good_picture_has_no_flag():
    palm = hand("open")
    assert reasons(palm, told=[SourceHand(box_of(palm), "palm", "right")]) == []


@pytest.mark.parametrize(
    ("gesture", "label", "flagged"),
    [("open", "palm", False), ("open", "fist", True), ("fist", "fist", False), ("fist", "palm", True),
     ("peace", "peace", False), ("peace", "peace inverted", False), ("peace", "three", True), ("peace", "one", True),
     ("call", "call", False), ("rock", "call", True), ("point", "holy", False), ("point", "no_gesture", False),
     ("flat", "stop", False), ("ok", "ok", False), ("four", "four", False), ("thumbs_up", "like", False)],
)  # fmt: skip
def test_a_gesture_is_compared_by_its_fingers(gesture, label, flagged):
    made = hand(gesture)
    found = flags_of(*labelled(made, told=[SourceHand(box_of(made), label)]))
    assert ["gesture"] * flagged == [flag.reason for flag in found]
    assert all(flag.hand == 0 and label.replace(" ", "_") in flag.text for flag in found)


def test_sides_fit_and_boxes():
    left = hand(side="left")
    assert reasons(left, told=[SourceHand(box_of(left), "palm", "right")]) == ["side"]
    assert reasons(left, told=[SourceHand(box_of(left), "palm", "left")]) == []
    assert reasons(hand(residual=0.2)) == ["fit"]
    assert reasons(left, told=[SourceHand(box_of(left))], overlap=0.2) == ["box"]


def test_missing_hands_and_stray_hands():
    one, other = hand(centre=(0.3, 0.3)), hand(centre=(0.7, 0.7))
    box = SourceHand(box_of(one))
    assert reasons() == ["hand_not_found"]
    assert reasons(told=[box], missing=[0]) == ["hand_not_found"]
    # The only hand lies elsewhere: the box is wrong, nothing is missing.
    item, found = labelled(other, told=[box], missing=[0])
    stray = Relabelled(found.frame, (Found(other, "picture"),), (0,))
    assert [(flag.reason, flag.hand) for flag in flags_of(item, stray)] == [("box", 0)]
    assert reasons(one, other, told=[box]) == ["box"]
    assert reasons(one, told=[box, SourceHand((0.6, 0.6, 0.9, 0.9))], missing=[1]) == ["hand_not_found"]
    # A source without boxes says nothing against another hand.
    assert reasons(one, other) == []


def test_damaged_annotations_are_flagged():
    _, found = labelled(hand())
    assert [f.reason for f in flags_of(Item("k", "f", faults=("box 0 is not usable",)), found)] == ["annotation"]


@pytest.mark.parametrize(("yaw", "view"), [(0, "palm"), (180, "back"), (90, "side")])
@pytest.mark.parametrize("side", ["left", "right"])
def test_views(yaw, view, side):
    assert view_of(hand(side=side, yaw=yaw)) == view


def test_captions_say_what_is_known_and_nothing_doubtful():
    made = hand("peace")
    item, found = labelled(made, told=[SourceHand(box_of(made), "two_up", "right")])
    item = Item(item.key, item.file, caption="a photo in a park", hands=item.hands)
    assert describe(item, found, [])["caption"] == ("a photo in a park, a right hand, two fingers together, palm view")
    # The source's doubtful word gives way to the pose's own name.
    item, found = labelled(made, told=[SourceHand(box_of(made), "fist", "right")])
    assert describe(item, found, flags_of(item, found))["caption"] == "a right hand, peace sign, palm view"
    two = describe(*labelled(hand("open"), hand("fist", "left", (0.8, 0.8))), [])
    assert two["caption"] == "two hands, a right hand: open palm, palm view, a left hand: fist, palm view"
    assert describe(*labelled(), [])["caption"] == ""
    assert pose_phrase(hand("thumbs_up")) == "thumbs up"


def test_boxes_and_landmarks_of_the_source_find_what_was_not_seen():
    """An even grey picture: nothing is seen, so that only landmarks can help."""
    grey = torch.full((HEIGHT, WIDTH, 3), 0.5)
    known = hand("fist", "left")
    from handrawer.estimate.calibration import mediapipe_points_2d

    points = tuple(map(tuple, mediapipe_points_2d(known, WIDTH, HEIGHT).tolist()))
    told = (SourceHand(box_of(known), "fist", "left", points), SourceHand((0.0, 0.0, 0.2, 0.2)))
    found = relabel(grey, Item("k", "k.jpg", hands=told))
    assert found.missing == (1,) and [one.how for one in found.found] == ["landmarks"]
    fitted = found.found[0].hand
    assert fitted.side == "left" and float((fitted.joints_2d - known.joints_2d).norm(dim=-1).mean()) < 0.03
    assert "source's landmarks" in " ".join(fitted.notes)
