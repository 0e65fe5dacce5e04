"""Which side a hand is of, and what it shows: right where it can be known, flagged where it cannot."""

import dataclasses

import pytest
import torch

from handrawer.estimate.doubt import fit_judged
from handrawer.estimate.fit import JOINTS, MEDIAPIPE
from handrawer.evaluate.fitting import judged_views
from handrawer.evaluate.known_hands import HEIGHT, WIDTH, viewed_gestures
from handrawer.hand.model import load_open_hand

MODEL = load_open_hand()


@pytest.fixture(scope="module")
def views():
    """16 gestures, both sides, 6 of the 24 directions."""
    return viewed_gestures(directions=6)


@pytest.mark.parametrize(("source", "in_3d", "told"), [(JOINTS, True, False), (JOINTS, False, True),
                                                       (MEDIAPIPE, True, False)])  # fmt: skip
def test_palm_back_and_side_are_right_from_exact_landmarks(views, source, in_3d, told):
    facing, side, unsure = judged_views(views, source, in_3d=in_3d, told=told)
    assert float((facing & side).double().mean()) >= 0.99
    if not source.calibrated:
        assert float(unsure.double().mean()) < 0.05, "exact joints leave little doubt"


def judge(views, row, side, score, **changes):
    points, world = views.landmarks(MEDIAPIPE)
    return fit_judged(MODEL, points[[row]], WIDTH, HEIGHT, [side], world[[row]], score=[score], **changes)


def row_of(views, wanted):
    """The first open hand with a cosine between palm normal and view that is wanted."""
    return next(i for i in range(12) if wanted(float(views.facing[i])))


def test_a_sure_detector_and_a_hand_that_fits_leave_no_doubt(views):
    row = row_of(views, lambda cosine: cosine > 0.5)
    judged = judge(views, row, views.side[row], 0.98)
    assert judged.side == [views.side[row]] and judged.unsure == [False] and judged.notes == [()]
    assert float(judged.side_probability[0]) > 0.8 and float(judged.facing[0]) > 0.4


def test_a_detector_that_is_unsure_is_passed_on_in_plain_words(views):
    row = row_of(views, lambda cosine: cosine > 0.5)
    judged = judge(views, row, views.side[row], 0.5)
    assert judged.side == [views.side[row]], "the fit decides"
    assert judged.unsure == [True] and 0.5 < float(judged.side_probability[0]) < 0.8
    assert judged.notes[0] == (
        f"Unsure whether it is a left or a right hand: it was taken for a {views.side[row]} one.",
    )


def test_a_side_that_was_told_stays(views):
    row = row_of(views, lambda cosine: cosine > 0.5)
    other = "left" if views.side[row] == "right" else "right"
    judged = judge(views, row, other, None)
    assert judged.side == [other] and not judged.notes[0] and float(judged.side_probability[0]) == 1
    assert float(judged.facing[0]) < 0, "as a hand of the other side it shows its back"


def test_a_wrong_label_of_an_unsure_detector_is_overruled_or_flagged(views):
    """Curled fingers, bent the other way, would be impossible; a flat hand's could be."""
    points, world = views.landmarks(MEDIAPIPE)
    rows = [i for i in range(len(points)) if abs(float(views.facing[i])) > 0.5][::7]
    wrong = ["left" if views.side[i] == "right" else "right" for i in rows]
    judged = fit_judged(MODEL, points[rows], WIDTH, HEIGHT, wrong, world[rows], score=[0.55] * len(rows))
    overruled = [judged.side[k] == views.side[i] for k, i in enumerate(rows)]
    assert sum(overruled) >= 0.6 * len(rows)
    assert all(o or unsure for o, unsure in zip(overruled, judged.unsure, strict=True))
    assert all(
        note[0].startswith("The detector took it for a") for note, o in zip(judged.notes, overruled, strict=True) if o
    )


def test_a_hand_seen_from_its_edge_is_flagged(views):
    row = row_of(views, lambda cosine: cosine > 0.5)
    turn = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    edge = dataclasses.replace(
        views, orientation=turn.expand_as(views.orientation), posed=dataclasses.replace(
            views.posed,
            joints=_turned(views.posed.joints, turn @ views.orientation.mT, views.translation),
            rotations=turn @ views.orientation.mT[:, None] @ views.posed.rotations,
        )
    )  # fmt: skip
    judged = judge(edge, row, views.side[row], 0.99)
    assert judged.unsure == [True] and abs(float(judged.facing[0])) < 0.2
    assert "palm or its back" in judged.notes[0][-1]


def _turned(points, turn, about):
    return (points - about[:, None]) @ turn.mT + about[:, None]


def test_no_hands():
    judged = fit_judged(MODEL, torch.zeros(0, 21, 2), 64, 64, [], score=[])
    assert judged.side == [] and judged.unsure == [] and judged.notes == []
