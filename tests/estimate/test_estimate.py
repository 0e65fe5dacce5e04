"""Pictures to hands, whole: batches, channels, empty pictures, repeatability, and how the meshes sit."""

import pytest
import torch

from handrawer.counters import counters
from handrawer.estimate import estimate as module
from handrawer.estimate import estimate_hands
from handrawer.estimate.calibration import mediapipe_points, mediapipe_points_2d
from handrawer.estimate.estimate import NO_HAND
from handrawer.estimate.fit import fit_landmarks
from handrawer.estimate.landmarks import LandmarkDetector, Landmarks
from handrawer.hand.camera import Camera
from handrawer.hand.hands import Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand


def same(a: Hands, b: Hands) -> bool:
    return a.to_json() == b.to_json()


def test_the_shipped_picture_has_its_two_hands(example):
    (frame,) = estimate_hands(example).frames
    height, width = example.shape[1:3]
    assert (frame.width, frame.height) == (width, height) and frame.note == ""
    big, small = frame.hands
    assert (big.side, small.side) == ("right", "left")
    assert float(small.joints_2d[0, 0]) < 0.5 < float(big.joints_2d[0, 0])
    detected = LandmarkDetector()(example[0])
    size = torch.tensor([width, height])
    for hand in frame.hands:
        assert 0.5 < hand.confidence <= 1
        points = mediapipe_points_2d(hand, width, height)
        extent = float(((points.amax(0) - points.amin(0)) * size).max())
        nearest = min(float(((points - d.points) * size).norm(dim=-1).mean()) for d in detected)
        assert nearest < 0.03 * extent


def test_known_hands_are_found_where_they_are(drawn):
    """Fitted joints against the drawn ones, in 2D: the detector's errors included."""
    found = estimate_hands(drawn.pictures, max_hands=1, thorough=False)
    errors = []
    for i, frame in enumerate(found.frames):
        for hand in frame.hands:
            joints = drawn.scene.joints_2d[i]
            extent = (joints.amax(0) - joints.amin(0)).max()
            errors.append(float((hand.joints_2d - joints).norm(dim=-1).mean() / extent))
    assert len(errors) >= 12
    assert float(torch.tensor(errors).median()) < 0.04


def test_a_batch_with_an_empty_picture_and_progress(example):
    pictures = torch.cat([torch.full_like(example, 0.4), example])
    told = []
    found = estimate_hands(pictures, thorough=False, progress=lambda done, total: told.append((done, total)))
    assert [len(frame.hands) for frame in found.frames] == [0, 2]
    assert found.frames[0].note == NO_HAND and found.frames[1].note == ""
    assert told == [(1, 2), (2, 2)]
    alone = estimate_hands(example, thorough=False)
    assert same(Hands(found.frames[1:]), alone)


def test_the_same_picture_gives_the_same_hands(example):
    before = counters.as_dict()["estimate"]
    first = estimate_hands(example)
    torch.manual_seed(5)
    assert same(first, estimate_hands(example))
    assert counters.as_dict()["estimate"] == before + 2


def test_in_the_hosts_inference_mode(example):
    outside = estimate_hands(example, thorough=False)
    with torch.inference_mode():
        inside = estimate_hands(example.clone(), thorough=False)
    assert same(outside, inside)
    assert not inside.frames[0].hands[0].vertices.is_inference()


def test_channels(example):
    colour = estimate_hands(example, thorough=False)
    opaque = torch.cat([example, torch.ones_like(example[..., :1])], dim=-1)
    assert same(estimate_hands(opaque, thorough=False), colour)
    transparent = torch.cat([example, torch.zeros_like(example[..., :1])], dim=-1)
    assert estimate_hands(transparent, thorough=False).count == 0
    grey = estimate_hands(example.mean(dim=-1, keepdim=True), thorough=False)
    assert grey.count >= 1


def test_odd_numbers_count_as_what_they_nearly_are(example):
    broken = example.clone()
    broken[0, :30, :30] = torch.nan
    broken[0, 30:40] *= 1.5
    kept = broken.clone()
    found = estimate_hands(broken, thorough=False)
    assert found.count == 2
    assert torch.equal(broken.nan_to_num(7), kept.nan_to_num(7))  # the caller's picture is not touched


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (64, 64)])
def test_tiny_and_plain_pictures_have_no_hand(size):
    (frame,) = estimate_hands(torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(0)) * 0.1).frames
    assert frame.hands == () and frame.note == NO_HAND
    assert (frame.width, frame.height) == (size[1], size[0])


@pytest.mark.parametrize(
    "pictures",
    [
        torch.zeros(8, 8, 3),
        torch.zeros(1, 8, 8, 2),
        torch.zeros(0, 8, 8, 3),
        torch.zeros(1, 8, 8, 3, dtype=torch.uint8),
    ],
)
def test_what_is_no_picture_gets_a_sentence(pictures):
    with pytest.raises(ValueError, match="Pictures"):
        estimate_hands(pictures)


def test_what_progress_raises_stops_the_work(example):
    class Stop(Exception):
        pass

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        estimate_hands(example, thorough=False, progress=stop)


def test_a_given_camera_is_used(example):
    camera = Camera(2.5)
    found = estimate_hands(example, thorough=False, camera=camera)
    assert {hand.camera for hand in found.frames[0].hands} == {camera}


def as_detected(hand, side, world):
    points = mediapipe_points_2d(hand, 512, 512)
    return Landmarks(points, world, side, 0.9)


def test_a_wrong_side_is_put_right_and_said():
    """Landmarks of a left hand labelled right: no right hand bends so."""
    (hand,) = hand_from_gesture("three", "left", 512, 512, orientation=(20, 10, 0)).hands
    world = mediapipe_points(hand)
    wrong = as_detected(hand, "right", world)
    model = load_open_hand()
    as_right = fit_landmarks(model, wrong.points[None], 512, 512, ["right"], world[None])
    as_left = fit_landmarks(model, wrong.points[None], 512, 512, ["left"], world[None])
    assert float(as_left.loss[0]) < float(as_right.loss[0])
    frame = module._frame([wrong], torch.zeros(512, 512, 3), model, None)
    assert frame.hands[0].side == "left"
    assert "took it for a right hand" in frame.hands[0].notes[0]


def test_impossible_landmarks_are_noted():
    points = torch.rand(21, 2, generator=torch.Generator().manual_seed(3))
    odd = Landmarks(points, torch.zeros(21, 3), "right", 0.9)
    frame = module._frame([odd], torch.zeros(100, 100, 3), load_open_hand(), None)
    assert any("malformed" in note for note in frame.hands[0].notes)
