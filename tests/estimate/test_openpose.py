"""OpenPose's keypoints to hands and back, as real producers write them."""

import copy
import json
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.estimate.calibration import mediapipe_points_2d
from handrawer.estimate.openpose import hands_from_poses, wrists_say_exchanged
from handrawer.estimate.openpose_json import BODY, KEYS, poses_from_hands, read_poses
from handrawer.hand.hands import Frame, Hands, hand_from_gesture

WIDTH, HEIGHT = 640, 480
SIZE = torch.tensor([WIDTH, HEIGHT])


def person_with(hands: Frame, **changes) -> dict:
    """A person whose hands these are, with a body whose wrists lie a little beside theirs; pixels, as DWPose writes."""
    body = [[0.0, 0.0, 0.0] for _ in range(18)]
    person: dict = {"face_keypoints_2d": None, "hand_left_keypoints_2d": None, "hand_right_keypoints_2d": None}
    for hand in hands.hands:
        points = (mediapipe_points_2d(hand, WIDTH, HEIGHT) * SIZE).tolist()
        person[KEYS[hand.side]] = [x for point in points for x in (*point, 1.0)]
        body[{"right": 4, "left": 7}[hand.side]] = [points[0][0] + 3, points[0][1] - 4, 1.0]
    return {BODY: [x for point in body for x in point], **person, **changes}


@pytest.fixture(scope="module")
def two() -> Frame:
    left = hand_from_gesture("open", "left", WIDTH, HEIGHT, centre=(0.75, 0.5), size=0.5, orientation=(15, 5, 10))
    right = hand_from_gesture("peace", "right", WIDTH, HEIGHT, centre=(0.25, 0.5), size=0.4, orientation=(-10, 0, 0))
    return Frame(WIDTH, HEIGHT, left.hands + right.hands)


@pytest.fixture(scope="module")
def poses(two) -> list[dict]:
    return [{"people": [person_with(two)], "canvas_height": HEIGHT, "canvas_width": WIDTH}]


def misses(found: Frame, wanted: Frame) -> list[float]:
    """For each wanted hand the mean distance of its joints to those of the hand found on its side, in hand sizes."""
    far = []
    for hand in wanted.hands:
        (same,) = [other for other in found.hands if other.side == hand.side]
        distance = ((same.joints_2d - hand.joints_2d) * torch.tensor([found.width, found.height])).norm(dim=1).mean()
        far.append(float(distance / ((hand.box[2:] - hand.box[:2]) * SIZE).max()))
    return far


def test_hands_of_a_pose_are_fitted(two, poses):
    (frame,) = hands_from_poses(poses).frames
    assert (frame.width, frame.height, len(frame.hands), frame.note) == (WIDTH, HEIGHT, 2, "")
    assert max(misses(frame, two)) < 0.01
    assert all(hand.confidence == 1 and hand.notes == () for hand in frame.hands)


def as_openpose_node(poses: list[dict]) -> list[dict]:
    """Shares of the picture, the canvas scaled; what is missing is minus one pixel with confidence 1."""
    (frame,) = copy.deepcopy(poses)
    for person in frame["people"]:
        for values in person.values():
            if values is not None:
                values[0::3] = [x / WIDTH for x in values[0::3]]
                values[1::3] = [y / HEIGHT for y in values[1::3]]
        person[KEYS["right"]][12:15] = [-1 / 512, -1 / 384, 1.0]
    return [{**frame, "canvas_width": 512, "canvas_height": 384}]


def as_host_sdpose(poses: list[dict]) -> list[dict]:
    """Scores to a little above 1, both hands always there, minus ones, and left and right exchanged."""
    (frame,) = copy.deepcopy(poses)
    for person in frame["people"]:
        left, right = person[KEYS["left"]], person[KEYS["right"]]
        left[2::3], right[2::3] = [1.02] * 21, [0.6] * 21
        right[12:15] = [-1.0, -1.0, 0.0]
        person[KEYS["left"]], person[KEYS["right"]] = right, left
    frame["people"].append({BODY: [0.0] * 54, KEYS["left"]: [50.0, 60.0, 0.1] * 21, KEYS["right"]: [0.0] * 63})
    return [frame]


def as_cmu(poses: list[dict]) -> str:
    """The program's own file: JSON text, no canvas, BODY_25."""
    people = copy.deepcopy(poses[0]["people"])
    for person in people:
        person[BODY] += [0.0] * 21
    return json.dumps({"version": 1.3, "people": people})


def in_threes(poses: list[dict]) -> dict:
    """One frame alone, points as lists of three, and none where there is none."""
    (frame,) = copy.deepcopy(poses)
    for person in frame["people"]:
        for key, values in person.items():
            if values is not None:
                rows = [values[i : i + 3] for i in range(0, len(values), 3)]
                person[key] = [row if row[2] else None for row in rows]
    return frame


@pytest.mark.parametrize(
    ("change", "size"),
    [(lambda p: json.dumps({"fps": 24, "frames": p}), None), (lambda p: [p], None),
     (as_openpose_node, (WIDTH, HEIGHT)), (as_openpose_node, None), (as_host_sdpose, None), (as_cmu, (WIDTH, HEIGHT)),
     (in_threes, None), (lambda p: [{**p[0], "people": [{**p[0]["people"][0], BODY: None}]}], (320, 240))],
)  # fmt: skip
def test_what_producers_write_is_the_same_hand(two, poses, change, size):
    (frame,) = hands_from_poses(change(poses), *(size or ())).frames
    assert max(misses(frame, two)) < 0.012
    if size:
        assert (frame.width, frame.height) == size


def test_sides_follow_the_body_s_wrists_unless_told_otherwise(poses):
    exchanged = as_host_sdpose(poses)
    assert wrists_say_exchanged(read_poses(exchanged)) and not wrists_say_exchanged(read_poses(poses))
    (told,) = hands_from_poses(exchanged).frames
    assert "exchanged" in told.note
    (given,) = hands_from_poses(exchanged, sides="as given").frames
    assert [hand.side for hand in given.hands] == ["left", "right"] and given.note == ""
    first = given.hands[0].joints_2d.mean(dim=0)
    assert float(first[0]) < 0.5, "the right hand's points, called left"
    (turned,) = hands_from_poses(poses, sides="exchanged").frames
    assert float(turned.hands[0].joints_2d.mean(dim=0)[0]) > 0.5 and turned.hands[0].side == "right"
    with pytest.raises(ValueError, match="Unknown way of telling sides"):
        hands_from_poses(poses, sides="left")


def test_one_crossed_frame_does_not_exchange_the_others(poses):
    """Hands that a detector put to the wrong wrist for a moment."""
    assert not wrists_say_exchanged(read_poses([*poses, *poses, *poses, *as_host_sdpose(poses)]))
    bodiless = [{**poses[0], "people": [{**poses[0]["people"][0], BODY: None}]}]
    assert not wrists_say_exchanged(read_poses(bodiless))


def test_joints_that_were_not_found_follow_from_the_others(two, poses):
    frame = copy.deepcopy(poses[0])
    left = frame["people"][0][KEYS["left"]]
    for joint in (0, 4, 8, 12, 13, 17):
        left[3 * joint : 3 * joint + 3] = [999.0, 3.0, 0.2]  # unsure, and far off
    (found,) = hands_from_poses(frame).frames
    far = misses(found, two)
    assert far[0] < 0.06 and far[1] < 0.01
    (hand,) = [h for h in found.hands if h.side == "left"]
    assert hand.notes == ("6 of 21 joints were not found and follow from the others.",)
    assert hand.confidence == pytest.approx(15 / 21)
    (trusting,) = hands_from_poses(frame, min_confidence=0.1).frames
    assert misses(trusting, two)[0] > far[0]


def test_a_hand_seen_from_its_edge_is_flagged():
    edge = hand_from_gesture("open", "left", WIDTH, HEIGHT, size=0.5, orientation=(90, 0, 0))
    (found,) = hands_from_poses(poses_from_hands(Hands((edge,)))).frames
    assert found.hands[0].unsure and "seen from the edge" in found.hands[0].notes[0]


def test_progress_counts_hands_and_may_stop_the_work(poses):
    seen = []
    hands_from_poses(poses * 20, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(32, 40), (40, 40)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hands_from_poses(poses, progress=stop)


@pytest.mark.parametrize(
    ("people", "sentence"),
    [
        ([], "No hand: there are no people in the pose."),
        (None, "No hand: there are no people in the pose."),
        ([{BODY: [1.0] * 54}], "No hand: the pose has no keypoints of hands; switch them on in the pose node."),
        ([{KEYS["left"]: None, KEYS["right"]: []}], "No hand: the pose has no keypoints of hands"),
        ([{KEYS["left"]: [0.0] * 63}], "No hand: none of the pose's 1 has 6 joints that are sure enough."),
        ([{KEYS["left"]: [5.0, 5.0, 1.0] * 21}], "No hand: none of the pose's 1"),
        ([{KEYS["left"]: [float("nan"), 5.0, 1.0] * 21}], "No hand: none of the pose's 1"),
    ],
)
def test_no_hand_is_no_error(people, sentence):
    (frame,) = hands_from_poses([{"people": people, "canvas_width": 30, "canvas_height": 20}]).frames
    assert (frame.width, frame.height, frame.hands) == (30, 20, ())
    assert frame.note.startswith(sentence)
    animals = {"version": "ap10k", "animals": [[[1, 2, 1]]], "canvas_width": 30, "canvas_height": 20}
    assert hands_from_poses([animals]).frames[0].hands == ()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("{", "it is not JSON"),
        ([], "a list of pictures"),
        (None, "a list of pictures"),
        ([3], "has people in every picture"),
        ({"people": 3, "canvas_width": 3, "canvas_height": 3}, "not a list of keypoints"),
        ({"people": [], "canvas_width": 0, "canvas_height": 3}, "has the size 0 x 3"),
        ({"people": [], "canvas_width": "wide", "canvas_height": 3}, "has the size wide x 3"),
        ({"people": [], "canvas_width": 10**9, "canvas_height": 3}, "has the size 1000000000 x 3"),
        ({"people": [], "canvas_width": float("inf"), "canvas_height": 3}, "has the size inf x 3"),
        ({"people": [], "canvas_width": float("nan"), "canvas_height": 3}, "has the size nan x 3"),
        ({"people": [{KEYS["left"]: [1.0] * 60}], "canvas_width": 9, "canvas_height": 9}, "20 points, a hand has 21"),
        ({"people": [{KEYS["left"]: [1.0] * 62}], "canvas_width": 9, "canvas_height": 9}, "x, y and confidence"),
        ({"people": [{KEYS["left"]: 7}], "canvas_width": 9, "canvas_height": 9}, "x, y and confidence"),
        ({"people": [{KEYS["left"]: [1.0, 2.0, 1.0] * 21}]}, "connect the picture"),
        ({"people": []}, "connect the picture"),
    ],
)
def test_what_is_no_pose_is_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        hands_from_poses(wrong)
    assert str(caught.value).count(".") == 1 or "(" in str(caught.value)


NUMBERS = st.one_of(st.floats(), st.integers(), st.sampled_from([-1, 0, 10**400, 1e308, True, None, "1"]))
VALUES = st.one_of(
    NUMBERS, st.text(max_size=3), st.lists(NUMBERS, max_size=64), st.lists(NUMBERS, min_size=63, max_size=63),
    st.lists(st.lists(NUMBERS, min_size=2, max_size=4), max_size=22), st.dictionaries(st.text(max_size=2), NUMBERS),
)  # fmt: skip
PEOPLE = st.one_of(VALUES, st.lists(st.dictionaries(st.sampled_from([BODY, *KEYS.values()]), VALUES), max_size=2))
POSES = st.fixed_dictionaries({}, optional={"people": PEOPLE, "canvas_width": NUMBERS, "canvas_height": NUMBERS})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.one_of(POSES, st.lists(st.one_of(POSES, VALUES), max_size=2), VALUES))
def test_whatever_comes_is_read_or_refused_with_a_sentence(poses):
    said, frames = "This is no pose: ", ()
    try:
        frames = read_poses(poses)
    except ValueError as error:
        said = str(error)
    assert said.startswith(("This is no pose: ", "This pose is damaged: ", "These poses do not say"))
    for frame in frames:
        assert all(bool(torch.isfinite(hand.points).all()) for hand in frame.hands)


def test_points_beyond_all_reason_are_not_believed(two, poses):
    frame = copy.deepcopy(poses[0])
    frame["people"][0][KEYS["left"]][9:12] = [1e300, -1e300, 1.0]
    frame["people"][0][KEYS["right"]] = [x * 1e12 for x in frame["people"][0][KEYS["right"]]]
    (found,) = hands_from_poses(frame).frames
    assert [hand.side for hand in found.hands] == ["left"]
    assert misses(found, Frame(WIDTH, HEIGHT, two.hands[:1]))[0] < 0.02


def test_no_detector_is_needed(two, poses, monkeypatch):
    """Nothing of it asks for mediapipe."""
    for name in [name for name in sys.modules if name.split(".")[0] == "mediapipe"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    assert len(hands_from_poses(poses).frames[0].hands) == 2
    assert poses_from_hands(Hands((two,)))


def test_a_picture_of_another_shape_is_refused(poses):
    with pytest.raises(ValueError, match="canvas of 640 x 480 pixels, the picture has 640 x 640 and another shape"):
        hands_from_poses(poses, 640, 640)


def test_frames_of_a_batch_keep_their_order(two, poses):
    empty = {**poses[0], "people": []}
    small = {"people": [person_with(Frame(WIDTH, HEIGHT, two.hands[:1]))], "canvas_width": 640, "canvas_height": 481}
    found = hands_from_poses([empty, *poses, small])
    assert [len(frame.hands) for frame in found.frames] == [0, 2, 1]
    assert [frame.height for frame in found.frames] == [480, 480, 481]


def test_hands_to_poses_and_back(two):
    """Each joint in its place, in pixels and as shares."""
    for normalised in (False, True):
        poses = json.loads(json.dumps(poses_from_hands(Hands((two, Frame(WIDTH, HEIGHT))), normalised=normalised)))
        assert [len(frame["people"]) for frame in poses] == [2, 0]
        assert poses[1] == {"people": [], "canvas_width": WIDTH, "canvas_height": HEIGHT}
        for person, hand in zip(poses[0]["people"], two.hands, strict=True):
            flat = torch.tensor(person[KEYS[hand.side]]).view(21, 3)
            expected = mediapipe_points_2d(hand, WIDTH, HEIGHT) * (1 if normalised else SIZE)
            assert torch.allclose(flat[:, :2], expected, atol=1e-3) and bool((flat[:, 2] == 1).all())
            assert {key: len(values) for key, values in person.items()} == {
                BODY: 54, "face_keypoints_2d": 210, KEYS["left"]: 63, KEYS["right"]: 63,
            }  # fmt: skip
    again = hands_from_poses(poses_from_hands(Hands((two,)))).frames[0]
    assert max(misses(again, two)) < 0.01


def test_hands_go_to_the_people_whose_wrists_they_are_at(two, poses):
    apart = {**person_with(Frame(WIDTH, HEIGHT)), "name": "nobody near"}
    body = [{**poses[0], "people": [apart, {**person_with(two), KEYS["left"]: None}], "extra": 5}]
    kept = copy.deepcopy(body)
    disabled = two.hands[1].replace(enabled=False)
    far = hand_from_gesture("fist", "left", WIDTH, HEIGHT, centre=(0.2, 0.2), size=0.2).hands[0]
    (made,) = poses_from_hands(Hands((Frame(WIDTH, HEIGHT, (far, two.hands[0], disabled)),)), body)
    assert body == kept, "the input is not changed"
    assert made["extra"] == 5 and len(made["people"]) == 3
    assert made["people"][0] == apart
    assert made["people"][1][KEYS["right"]] == body[0]["people"][1][KEYS["right"]], "the other hand stays"
    left = torch.tensor(made["people"][1][KEYS["left"]]).view(21, 3)[:, :2]
    assert torch.allclose(left, mediapipe_points_2d(two.hands[0], WIDTH, HEIGHT) * SIZE, atol=1e-3)
    assert made["people"][2][BODY] == [0.0] * 54 and any(made["people"][2][KEYS["left"]])


def test_bodies_say_where_and_how_the_hands_are_written(two, poses):
    """Shares where the bodies are shares, pixels of their canvas elsewhere; poses repeat over a longer batch."""
    shares = as_openpose_node(poses)
    made = poses_from_hands(Hands((two, two)), shares)
    assert len(made) == 2 and made[0]["canvas_width"] == 512
    flat = torch.tensor(made[1]["people"][0][KEYS["left"]]).view(21, 3)[:, :2]
    assert torch.allclose(flat, mediapipe_points_2d(two.hands[0], WIDTH, HEIGHT), atol=1e-5)
    half = [{"people": [], "canvas_width": 320, "canvas_height": 240}]
    (made,) = poses_from_hands(Hands((two,)), half)
    flat = torch.tensor(made["people"][0][KEYS["left"]]).view(21, 3)[:, :2]
    assert torch.allclose(flat, mediapipe_points_2d(two.hands[0], WIDTH, HEIGHT) * SIZE / 2, atol=1e-3)
