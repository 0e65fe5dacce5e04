"""Smooth Hands on the host."""

import importlib

import pytest
import torch

from handrawer.hand.hands import Frame, Hands, hand_from_gesture


@pytest.fixture(scope="module")
def moving(plugin):
    """Six pictures of a hand that goes to the right; in the third it was missed."""
    frames = []
    for number in range(6):
        frame = hand_from_gesture("open", width=256, height=256, centre=(0.3 + 0.05 * number, 0.5), size=0.5)
        frames.append(frame if number != 2 else Frame(256, 256, (), "No hand was found."))
    module = importlib.import_module(f"{plugin.__name__}.handrawer.hand.hands")
    return module.Hands.from_json(Hands(tuple(frames)).to_json())


def test_a_missed_hand_is_filled_in_inside_inference_mode(nodes, moving):
    node = nodes("video").HanDrawerSmoothHands
    with torch.inference_mode():
        found, note = node.execute(hands=moving, strength=0.5, fill_gaps=4, hold=0).result
    assert [len(frame.hands) for frame in found.frames] == [1] * 6
    assert note == "1 hand through 6 pictures, 1 place filled in."
    (hand,) = found.frames[2].hands
    assert hand.notes and 0.39 < float(hand.box[[0, 2]].mean()) < 0.41
    assert not hand.vertices.is_inference()


def test_its_defaults_are_those_of_the_library(nodes, moving):
    schema = nodes("video").HanDrawerSmoothHands.define_schema()
    assert [i.id for i in schema.inputs] == ["hands", "strength", "fill_gaps", "hold"]
    defaults = {i.id: i.default for i in schema.inputs if i.id != "hands"}
    assert defaults == {"strength": 0.5, "fill_gaps": 4, "hold": 0}


def test_strength_zero_changes_nothing(nodes, moving):
    found, note = nodes("video").HanDrawerSmoothHands.execute(hands=moving, strength=0.0, fill_gaps=0, hold=0).result
    assert found.to_json() == moving.to_json()
    assert note == "1 hand through 6 pictures."
