"""Batches joined and merged."""

import torch

from handrawer.hand.batch import join, merge
from handrawer.hand.hands import Frame, Hands, hand_from_gesture


def one(side: str, width=200, height=100, note="") -> Frame:
    frame = hand_from_gesture("fist", side, width, height, size=0.5)
    return Frame(width, height, frame.hands, note)


def sides(hands: Hands) -> list[list[str]]:
    return [[hand.side for hand in frame.hands] for frame in hands.frames]


def test_joined_pictures_follow_each_other():
    joined, moved = join([Hands((one("left"), Frame(200, 100, (), "none"))), Hands((one("right"),))])
    assert sides(joined) == [["left"], [], ["right"]] and not moved
    assert joined.frames[1].note == "none"


def test_joined_pictures_get_the_first_one_s_size():
    joined, moved = join([Hands((one("left"),)), Hands((one("right", 100, 100),))])
    assert moved and {(f.width, f.height) for f in joined.frames} == {(200, 100)}
    hand, source = joined.frames[1].hands[0], one("right", 100, 100).hands[0]
    pixels = (hand.box[2:] - hand.box[:2]) * torch.tensor([200, 100])
    assert torch.allclose(pixels, (source.box[2:] - source.box[:2]) * 100, atol=1e-3), "not stretched"


def test_merged_hands_share_pictures_and_the_shorter_one_repeats():
    merged, moved = merge(Hands((one("left"), one("left"), Frame(200, 100))), Hands((one("right"),)))
    assert sides(merged) == [["left", "right"], ["left", "right"], ["right"]] and not moved
    merged, _ = merge(Hands((one("left"),)), Hands((one("right"), Frame(200, 100))))
    assert sides(merged) == [["left", "right"], ["left"]]


def test_merged_notes_stay_true():
    nothing = Hands((Frame(200, 100, (), "No hand was found."),))
    some = Hands((one("left", note="Look."),))
    assert merge(nothing, some)[0].frames[0].note == "Look."
    assert merge(nothing, nothing)[0].frames[0].note == "No hand was found."
    merged, moved = merge(nothing, Hands((one("left", 50, 50),)))
    assert moved and (merged.frames[0].width, merged.frames[0].height) == (200, 100)
