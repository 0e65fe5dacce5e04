"""The hand poser's state, and what a page needs to pose hands."""

import base64
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.anatomy import LIMITS, sample_angles
from handrawer.hand.camera import Camera
from handrawer.hand.gestures import GESTURES
from handrawer.hand.hands import Frame, Hands, hand_from_gesture, make_hand
from handrawer.hand.library import library
from handrawer.hand.model import load_open_hand
from handrawer.hand.poser import (
    PosedHandState,
    PoserState,
    browser_model,
    browser_poses,
    dump_state,
    frame_to_state,
    parse_state,
    start_state,
    state_to_frame,
)

numbers = st.floats(-3, 3, allow_nan=False)


@st.composite
def hand_states(draw) -> PosedHandState:
    angles, orientation, translation, shape = (
        tuple(draw(st.lists(numbers, min_size=n, max_size=n))) for n in (21, 3, 3, 4)
    )
    camera = Camera(draw(st.floats(0.1, 9)), draw(numbers), draw(numbers))
    return PosedHandState(draw(st.sampled_from(("left", "right"))), angles, orientation, translation, shape, camera)


@settings(max_examples=30)
@given(st.integers(1, 9000), st.integers(1, 9000), st.lists(hand_states(), max_size=3))
def test_a_state_is_read_back_without_loss(width, height, hands):
    state = PoserState(width, height, tuple(hands))
    assert parse_state(dump_state(state)) == state


def test_where_nothing_was_posed_there_is_no_state():
    assert parse_state("") is None and parse_state(" \n") is None


def test_the_start_is_one_relaxed_right_hand_in_the_middle():
    frame = state_to_frame(start_state(), 512, 512)
    (hand,) = frame.hands
    wanted = hand_from_gesture("relaxed", "right", 512, 512).hands[0]
    assert hand.side == "right"
    torch.testing.assert_close(hand.vertices, wanted.vertices, atol=3e-6, rtol=0)
    x0, y0, x1, y1 = state_to_frame(start_state(), 900, 600).hands[0].box.tolist()
    assert (x0 + x1) / 2 == pytest.approx(0.5, abs=1e-3) and (y0 + y1) / 2 == pytest.approx(0.5, abs=1e-3)
    assert (x1 - x0) * 900 / ((y1 - y0) * 600) == pytest.approx(
        float((wanted.box[2] - wanted.box[0]) / (wanted.box[3] - wanted.box[1])), rel=1e-3
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_hands_become_a_state_and_the_same_hands_again(side):
    angles = sample_angles(3, torch.Generator().manual_seed(1))
    hands = tuple(
        make_hand(
            angles=pose, side=side, orientation=(0.3 * i, -0.2, 1.1), translation=(0.05 * i, 0.0, 0.6),
            shape=(0.5, -0.5, 1.0, 0.2), camera=Camera(1.7, 0.4, 0.6), width=640, height=480,
        )
        for i, pose in enumerate(angles)
    )  # fmt: skip
    state, note = frame_to_state(Frame(640, 480, hands))
    assert note == ""
    limits = LIMITS.tolist()
    assert all(
        low - 1e-5 <= a <= high + 1e-5 for h in state.hands for a, (low, high) in zip(h.angles, limits, strict=True)
    )
    for hand, again in zip(hands, state_to_frame(state, 640, 480).hands, strict=True):
        assert again.side == side
        torch.testing.assert_close(again.vertices, hand.vertices, atol=1e-5, rtol=0)
        torch.testing.assert_close(again.joints_2d, hand.joints_2d, atol=1e-4, rtol=0)


def test_another_picture_size_shows_all_of_it():
    state = PoserState(512, 512, start_state().hands)
    wanted = Hands((state_to_frame(state, 512, 512),)).placed(1024, 640).frames[0].hands[0]
    torch.testing.assert_close(state_to_frame(state, 1024, 640).hands[0].joints_2d, wanted.joints_2d)


def test_more_hands_than_the_poser_takes():
    frame = hand_from_gesture("open", "left", 256, 256)
    state, note = frame_to_state(Frame(256, 256, frame.hands * 23))
    assert len(state.hands) == 20 and "20 of 23" in note


def changed(**changes) -> str:
    return json.dumps({**json.loads(dump_state(start_state())), **changes})


def hand(**changes) -> str:
    data = json.loads(dump_state(start_state()))
    data["hands"][0].update(changes)
    return json.dumps(data)


WRONG = {
    "no JSON": ("{", "not JSON"),
    "another file": ('{"format": "handrawer-hands"}', 'no "format": "handrawer-poser"'),
    "a list": ("[]", 'no "format"'),
    "no version": (changed(version=None), "no version"),
    "newer": (changed(version=2), "update HanDrawer"),
    "no size": (changed(width=0), "width"),
    "hands": (changed(hands={}), "hands is not a list"),
    "too many hands": (changed(hands=json.loads(changed())["hands"] * 21), "at most 20"),
    "side": (hand(side="both"), "neither left nor right"),
    "angles": (hand(angles=[0.0] * 20), "angles is not a list of 21"),
    "not a number": (hand(angles=["a"] * 21), "angles is not a number"),
    "infinite": (hand(translation=[0.0, 0.0, float("inf")]), "translation is not a number"),
    "camera": (hand(camera={"focal": 1.0}), "'cx' is missing"),
    "no camera": (hand(camera=None), "damaged"),
    "focal": (hand(camera={"focal": -1.0, "cx": 0.5, "cy": 0.5}), "positive focal length"),
    "another model": (hand(model="mano"), "not 'mano'"),
}


@pytest.mark.parametrize("text, said", WRONG.values(), ids=WRONG)
def test_what_is_no_state_is_a_sentence(text, said):
    with pytest.raises(ValueError) as error:
        parse_state(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_hand_behind_the_camera_is_refused():
    with pytest.raises(ValueError, match="behind the camera"):
        state_to_frame(parse_state(hand(translation=[0.0, 0.0, -1.0])) or start_state(), 64, 64)


def unpacked(packed) -> torch.Tensor:
    kind = {"float32": "<f4", "uint16": "<u2"}[packed["type"]]
    values = np.frombuffer(base64.b64decode(packed["data"]), kind).reshape(packed["shape"])
    return torch.from_numpy(values.astype(kind[1:]).astype("int64" if kind == "<u2" else "float32"))


def test_the_page_gets_the_model_to_the_last_bit():
    model, data = load_open_hand(), json.loads(json.dumps(browser_model(), allow_nan=False))
    for name in ("template", "faces", "shape_dirs", "joint_template", "joint_shape_dirs"):
        assert torch.equal(unpacked(data[name]), getattr(model, name)), name
    dense = torch.zeros_like(model.weights).scatter_(1, unpacked(data["weight_joints"]), unpacked(data["weights"]))
    assert torch.equal(dense, model.weights)
    assert len(json.dumps(data)) < 400_000
    assert parse_state(json.dumps(data["start"])) == start_state()


def test_the_page_gets_every_named_pose():
    poses = json.loads(json.dumps(browser_poses(library().values())))
    assert {pose["name"] for pose in poses} >= set(GESTURES) and len(poses) >= 40
    assert all(len(pose["angles"]) == 21 and len(pose["orientation"]) == 3 and pose["title"] for pose in poses)
