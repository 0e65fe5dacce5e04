"""The measure of the fit measures: no error for the truth, the known one for a known change, and whole tables."""

import dataclasses

import pytest
import torch

from handrawer.estimate.fit import JOINTS, MEDIAPIPE, Fit
from handrawer.evaluate.fitting import exact_table, views_table
from handrawer.evaluate.fitting_pictures import look_at_pictures, table_by
from handrawer.evaluate.known_hands import (
    HEIGHT,
    HINGES,
    PITCHES,
    WIDTH,
    YAWS,
    disturbed,
    errors_of,
    procrustes,
    random_hands,
    viewed_gestures,
)
from handrawer.hand.camera import default_camera, project
from handrawer.hand.gestures import GESTURES
from handrawer.hand.skinning import axis_angle_to_matrix

KNOWN = random_hands(6, 0)


def the_truth() -> Fit:
    zero = torch.zeros(6, dtype=torch.float64)
    return Fit(
        angles=KNOWN.angles, shape=KNOWN.shape, orientation=KNOWN.orientation, translation=KNOWN.translation,
        points=torch.zeros(6, 21, 2), residual=zero, loss=zero, joint_residual=torch.zeros(6, 21),
        joint_confidence=torch.ones(6, 21),
    )  # fmt: skip


def test_the_truth_has_no_errors():
    errors = errors_of(the_truth(), KNOWN)
    assert float(errors.aligned.max()) < 1e-9 and float(errors.rooted.max()) == 0
    assert not bool(errors.wrong_way.any()) and bool(errors.facing.all()) and bool(errors.within.all())


def test_known_changes_have_known_errors():
    truth = the_truth()
    moved = errors_of(dataclasses.replace(truth, translation=truth.translation + 0.05), KNOWN)
    assert float(moved.rooted.max()) < 1e-9, "the wrists are put together"
    half_turn = truth.orientation @ torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))
    turned = errors_of(dataclasses.replace(truth, orientation=half_turn), KNOWN)
    assert float(turned.rooted.min()) > 10 and float(turned.aligned.max()) < 1e-9
    assert not bool(turned.facing.any())
    bent = truth.angles.clone()
    bent[:, HINGES[3]] = -0.5 * bent[:, HINGES[3]].sign()
    assert bool(errors_of(dataclasses.replace(truth, angles=bent), KNOWN).wrong_way[:, 3].all())
    beyond = truth.angles.clone()
    beyond[2, 7] = 3.0
    assert (
        errors_of(dataclasses.replace(truth, angles=beyond), KNOWN).within.tolist() == [True] * 2 + [False] + [True] * 3
    )


def test_procrustes_undoes_a_similarity_but_no_reflection():
    points = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = axis_angle_to_matrix(torch.tensor([[0.3, -2.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64))
    assert torch.allclose(procrustes(1.7 * points @ turn.mT + 3, points), points, atol=1e-12)
    mirrored = procrustes(points * torch.tensor([-1.0, 1.0, 1.0]), points)
    assert float((mirrored - points).norm(dim=-1).mean()) > 0.1


@pytest.mark.parametrize("source", [JOINTS, MEDIAPIPE])
def test_landmarks_are_those_of_the_hands(source):
    points, world = KNOWN.landmarks(source)
    assert torch.allclose(world.mean(dim=1), torch.zeros(6, 3).double(), atol=1e-12)
    distances = torch.cdist(world, world)
    if not source.calibrated:
        assert torch.allclose(distances, torch.cdist(KNOWN.posed.joints, KNOWN.posed.joints), atol=1e-6)
        assert torch.allclose(points, project(KNOWN.posed.joints, default_camera(WIDTH, HEIGHT), WIDTH, HEIGHT))


def test_disturbed_landmarks_have_noise_and_one_wrong():
    known = random_hands(60, 1)
    points, world = known.landmarks(JOINTS)
    noisy, _ = disturbed(points, world, 3)
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    extent = ((points.amax(dim=1) - points.amin(dim=1)) * size).amax(dim=1)
    off = ((noisy - points) * size).norm(dim=-1) / extent[:, None]
    assert bool(((off > 0.3).sum(dim=1) == 1).all())
    rest = off[off < 0.3]
    assert 0.022 < float(rest.mean()) < 0.028, "the mean length of noise with a deviation of 0.02 in two directions"


def test_views_are_all_gestures_both_sides_24_directions():
    views = viewed_gestures()
    assert len(views.left) == len(GESTURES) * 2 * len(YAWS) * len(PITCHES) == 768
    assert int(views.left.sum()) == 384
    assert float(views.facing.abs().min()) > 0.02, "none exactly from the edge"
    assert 0.3 < float((views.facing > 0).double().mean()) < 0.7


def test_tables_of_exact_landmarks():
    lines = exact_table(4).splitlines()
    assert len(lines) == 8 and {line.count("|") for line in lines} == {10}
    assert lines[2].startswith("| joints, 2D and 3D, exact, thickness known | 0.0")
    views = views_table(viewed_gestures(directions=1)).splitlines()
    assert len(views) == 7 and views[2].endswith("| 100.0 % |")


def test_pictures_are_looked_at_and_counted():
    seen = look_at_pictures(3, 5, "fast")
    assert len(seen) == 3 and any(s.hand is not None for s in seen)
    table = table_by(seen, lambda s: s.side, "side").splitlines()
    assert table[-1].startswith("| all | 3 | ")
    for s in seen:
        if s.hand is not None:
            assert 0 < s.aligned < 100 and 0 < s.flat < 0.4
