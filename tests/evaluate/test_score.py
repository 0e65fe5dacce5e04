"""The score: against detectors whose answer is known, and with the real one on drawn hands."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.estimate.calibration import mediapipe_points_2d, rig_to_mediapipe
from handrawer.estimate.landmarks import Landmarks
from handrawer.evaluate.score import (
    MEASURES,
    PCK_RADIUS,
    Score,
    hand_box,
    score_picture,
    score_pictures,
    summarise,
)
from handrawer.hand.boxes import box_around
from handrawer.hand.hands import Frame, Hands, hand_from_gesture
from handrawer.hand.model import load_open_hand
from handrawer.mini.picture import draw_pictures, make_skin
from handrawer.mini.scene import draw_scenes, hand_vertices

WANTED = torch.rand(21, 2, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
BOX = torch.tensor([0.2, 0.1, 0.7, 0.9])
PICTURE = torch.zeros(100, 200, 3)  # the box is 100 x 80 pixels


def saw(*points, side="right", score=0.9):
    return lambda picture: [Landmarks(p, torch.zeros(21, 3), side, score) for p in points]


def test_exactly_there():
    score = score_picture(PICTURE, WANTED, BOX, "right", saw(WANTED))
    assert score.found and score.side_match and score.confidence == 0.9
    assert score.pck == 1 and score.joint_error == 0


def test_nothing_found_is_all_wrong():
    score = score_picture(PICTURE, WANTED, BOX, "right", saw())
    assert not score.found and not score.side_match and score.confidence == 0
    assert score.pck == 0 and math.isinf(score.joint_error)


@given(joint=st.integers(0, 20), pixels=st.floats(0, 60), angle=st.floats(0, 6.28))
def test_errors_are_pixels_over_the_longer_side(joint, pixels, angle):
    points = WANTED.clone()
    points[joint] += torch.tensor([pixels * math.cos(angle) / 200, pixels * math.sin(angle) / 100])
    score = score_picture(PICTURE, WANTED, BOX, "left", saw(points))
    assert float(score.errors[joint]) == pytest.approx(pixels / 100, abs=1e-5)
    if abs(pixels / 100 - PCK_RADIUS) > 1e-4:
        assert score.pck == pytest.approx(1.0 if pixels / 100 < PCK_RADIUS else 20 / 21)
    assert score.found and not score.side_match


def test_the_nearest_of_several_counts():
    score = score_picture(PICTURE, WANTED, BOX, "right", saw(WANTED + 0.3, WANTED + 0.01, WANTED - 0.3))
    assert score.pck == 1 and score.joint_error < 0.05


@pytest.mark.parametrize(("wanted", "box"), [(WANTED[:20], BOX), (WANTED, BOX[:3]), (WANTED, BOX[[0, 1, 0, 1]])])
def test_wrong_input_gets_a_sentence(wanted, box):
    with pytest.raises(ValueError):
        score_picture(PICTURE, wanted, box, "right", saw())


def test_the_box_leaves_the_forearm_out():
    (hand,) = hand_from_gesture("open", "left", 400, 400).hands
    box = hand_box(hand, 400, 400)
    assert float(box[3]) < float(hand.box[3]) - 0.02
    assert torch.allclose(box[:3], hand.box[:3], atol=1e-5)
    assert torch.equal(hand_box(hand.replace(model="unknown"), 400, 400), hand.box)


def test_batches_and_frames():
    frames = tuple(hand_from_gesture(name, side, 200, 100) for name, side in (("open", "left"), ("peace", "right")))
    first = mediapipe_points_2d(frames[0].hands[0], 200, 100)
    told = []
    scores = score_pictures(
        PICTURE.expand(3, -1, -1, -1),
        Hands(frames),
        detector=saw(first, side="left"),
        progress=lambda done, total: told.append((done, total)),
    )
    assert [score.pck for score in scores[::2]] == [1.0, 1.0] and scores[1].pck < 1
    assert [score.side_match for score in scores] == [True, False, True]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_frames_that_cannot_be_scored():
    frame = hand_from_gesture("open", "left", 200, 200)
    with pytest.raises(ValueError, match="place the hand"):
        score_pictures(PICTURE[None], Hands((frame,)), detector=saw())
    for hands in ((), frame.hands * 2):
        with pytest.raises(ValueError, match="one hand"):
            score_pictures(PICTURE[None], Hands((Frame(200, 100, hands),)), detector=saw())


def scores_of(errors):
    return [Score(not math.isinf(e), 0.5, torch.full((21,), e), True) for e in errors]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.05, 0.2, math.inf]), min_size=1, max_size=30), st.integers(0, 5))
def test_summaries(errors, seed):
    scores = scores_of(errors)
    for measure in MEASURES:
        summary = summarise(scores, measure, seed=seed)
        if summary.count == 0:
            assert measure == "joint_error" and math.isnan(summary.mean)
            continue
        assert summary.low <= summary.mean + 1e-9 and summary.mean <= summary.high + 1e-9
        assert summary == summarise(scores, measure, seed=seed)
    assert summarise(scores).mean == pytest.approx(sum(e < 0.1 for e in errors) / len(errors))
    assert summarise(scores, "joint_error").count == sum(not math.isinf(e) for e in errors)


def test_the_interval_is_that_of_the_mean():
    """For 400 coin tosses, 95 % of means lie within 1.96 standard errors, 0.049."""
    summary = summarise(scores_of([0.05, 0.2] * 200))
    assert summary.mean == 0.5 and summary.count == 400
    assert summary.low == pytest.approx(0.451, abs=0.006) and summary.high == pytest.approx(0.549, abs=0.006)


def test_nothing_to_summarise_and_unknown_measures():
    assert summarise([]).count == 0 and math.isnan(summarise([]).mean)
    with pytest.raises(ValueError, match="pck"):
        summarise([], "beauty")


def test_drawn_hands_score_high_and_another_hand_low():
    """The real judge: the ceiling is high, and somebody else's hand in the same box scores low."""
    model = load_open_hand()
    scene = draw_scenes(99, torch.arange(12), model)
    pictures = draw_pictures(scene, model, make_skin(model), size=256).permute(0, 2, 3, 1)
    points = scene.project(rig_to_mediapipe(model, scene.posed, scene.shape, scene.left))
    boxes = box_around(scene.project(scene.posed.vertices[:, hand_vertices(model)]))
    sides = ["left" if left else "right" for left in scene.left.tolist()]
    own = [score_picture(p, w, b, s) for p, w, b, s in zip(pictures, points, boxes, sides, strict=True)]
    other = [score_picture(p, w, b, s) for p, w, b, s in zip(pictures, points.roll(1, 0), boxes, sides, strict=True)]
    assert summarise(own).mean > 0.6
    assert summarise(other).mean < 0.6 * summarise(own).mean
    assert summarise(own, "found").mean > 0.7
