"""Exact landmarks of known hands are explained, under the limits; broken input gets a sentence or finite hands."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.estimate.calibration import mediapipe_points, mediapipe_points_2d
from handrawer.estimate.fit import JOINTS, MEDIAPIPE, fit_hands, fit_landmarks
from handrawer.estimate.rig import SHAPE_LIMIT
from handrawer.estimate.start import kabsch
from handrawer.evaluate.fitting import fit_known
from handrawer.evaluate.known_hands import random_hands
from handrawer.hand.anatomy import LIMITS, rotations_to_angles, sample_angles
from handrawer.hand.camera import Camera
from handrawer.hand.hands import make_hand, orientation_from_degrees
from handrawer.hand.model import load_open_hand
from handrawer.hand.skinning import axis_angle_to_matrix

MODEL = load_open_hand()


def random_hand(seed, side, width=640, height=480, camera=None):
    """A plausible hand seen from anywhere, somewhere in the picture."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(6, generator=generator)
    # Facing angles within what pictures show: palm or back, turned and leant, any roll.
    yaw = (0 if u[0] < 0.5 else 180) + float(u[1] - 0.5) * 100
    turn = orientation_from_degrees(yaw, float(u[2] - 0.5) * 80, float(u[3]) * 360)
    place = torch.tensor([float(u[4] - 0.5) * 0.3, float(u[5] - 0.5) * 0.3, 0.5 + float(u[0])])
    shape = (torch.randn(MODEL.shape_count, generator=generator) * 0.7).clamp(-1.5, 1.5)
    return make_hand(
        MODEL, angles=sample_angles(1, generator)[0], side=side, orientation=turn, translation=place, shape=shape,
        camera=camera, width=width, height=height,
    )  # fmt: skip


def landmarks(hands, width=640, height=480):
    points = torch.stack([mediapipe_points_2d(hand, width, height) for hand in hands])
    world = torch.stack([mediapipe_points(hand) for hand in hands])
    return points, world - world.mean(dim=1, keepdim=True)


def off(hand, points, width=640, height=480):
    """Mean distance of a hand's landmarks to given ones, over the longer side of their box, pixels."""
    size = torch.tensor([width, height])
    extent = float(((points.amax(0) - points.amin(0)) * size).max())
    return float(((mediapipe_points_2d(hand, width, height) - points) * size).norm(dim=-1).mean()) / extent


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), side=st.sampled_from(["left", "right"]), with_world=st.booleans())
def test_exact_landmarks_are_explained(seed, side, with_world):
    hand = random_hand(seed, side)
    points, world = landmarks([hand])
    fit = fit_landmarks(MODEL, points, 640, 480, [side], world if with_world else None)
    assert float(fit.residual[0]) < (0.01 if with_world else 0.015)
    assert bool((fit.angles >= LIMITS[:, 0] - 1e-9).all() and (fit.angles <= LIMITS[:, 1] + 1e-9).all())
    assert float(fit.shape.abs().max()) <= SHAPE_LIMIT + 1e-9
    (fitted,) = fit_hands(MODEL, points, 640, 480, [side], world if with_world else None, confidence=[0.7])
    assert fitted.side == side and fitted.confidence == 0.7 and fitted.model == MODEL.name
    # What the fit says of itself is what the finished hand does.
    assert off(fitted, points[0]) == pytest.approx(float(fit.residual[0]), abs=2e-4)


def test_a_batch_of_both_sides_and_its_mean():
    hands = [random_hand(seed, ("left", "right")[seed % 2]) for seed in range(20)]
    points, world = landmarks(hands)
    sides = [hand.side for hand in hands]
    fit = fit_landmarks(MODEL, points, 640, 480, sides, world)
    assert float(fit.residual.mean()) < 0.006
    angles = torch.stack([rotations_to_angles(MODEL, hand.rotations()[None])[0] for hand in hands])
    assert float((fit.angles - angles).abs().median()) < math.radians(8)
    turns = axis_angle_to_matrix(torch.stack([hand.orientation for hand in hands])).double()
    cosine = (torch.diagonal(fit.orientation @ turns.mT, dim1=1, dim2=2).sum(1) - 1) / 2
    assert float(cosine.clamp(-1, 1).acos().median()) < math.radians(10)
    # One at a time it comes to the same.
    for i in (0, 7):
        alone = fit_landmarks(MODEL, points[i : i + 1], 640, 480, sides[i : i + 1], world[i : i + 1])
        assert float(alone.residual[0]) == pytest.approx(float(fit.residual[i]), abs=1e-3)


def test_noise_is_not_explained_away_by_impossible_poses():
    hands = [random_hand(seed, "right") for seed in range(6)]
    points, world = landmarks(hands)
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0)) * 0.05
    fit = fit_landmarks(MODEL, points + noise, 640, 480, ["right"] * 6, world)
    assert bool((fit.angles >= LIMITS[:, 0] - 1e-9).all() and (fit.angles <= LIMITS[:, 1] + 1e-9).all())
    assert bool((fit.residual > 0.02).all())


def test_a_stray_landmark_does_not_drag_the_others():
    hand = random_hand(3, "right")
    points, world = landmarks([hand])
    moved = points.clone()
    moved[0, 8] += 0.3
    fit = fit_landmarks(MODEL, moved, 640, 480, ["right"], world)
    rest = [k for k in range(21) if k not in (6, 7, 8)]
    extent = float(((points[0].amax(0) - points[0].amin(0)) * torch.tensor([640, 480])).max())
    error = ((fit.points[0] - points[0])[rest] * torch.tensor([640, 480])).norm(dim=-1) / extent
    assert float(error.mean()) < 0.03


def test_the_mirrored_picture_gives_the_mirrored_hand():
    hand = random_hand(11, "right", 500, 500)
    points, world = landmarks([hand], 500, 500)
    (right,) = fit_hands(MODEL, points, 500, 500, ["right"], world)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = points * flip[:2] + torch.tensor([1.0, 0.0])
    (left,) = fit_hands(MODEL, mirrored, 500, 500, ["left"], world * flip)
    assert torch.allclose(left.vertices * flip, right.vertices, atol=2e-3)


@pytest.mark.parametrize(("width", "height"), [(300, 900), (900, 300), (512, 512)])
def test_other_pictures_and_cameras(width, height):
    camera = Camera(2.0, 0.4, 0.6)
    hand = random_hand(5, "left", width, height, camera)
    points, world = landmarks([hand], width, height)
    (fitted,) = fit_hands(MODEL, points, width, height, ["left"], world, camera=camera)
    assert fitted.camera == camera
    assert off(fitted, points[0], width, height) < 0.01
    assert float((fitted.joints - hand.joints).norm(dim=-1).mean()) < 0.15  # depth follows from the hand's usual size


def test_in_the_hosts_inference_mode():
    hand = random_hand(2, "right")
    points, world = landmarks([hand])
    outside = fit_landmarks(MODEL, points, 640, 480, ["right"], world)
    with torch.inference_mode():
        inside = fit_landmarks(MODEL, points.clone(), 640, 480, ["right"], world.clone())
    assert torch.equal(inside.angles, outside.angles)
    assert not inside.angles.is_inference()


def test_the_input_is_left_alone_and_the_result_repeats():
    points, world = landmarks([random_hand(8, "left")])
    before = points.clone(), world.clone()
    first = fit_landmarks(MODEL, points, 640, 480, ["left"], world)
    torch.manual_seed(99)
    second = fit_landmarks(MODEL, points, 640, 480, ["left"], world)
    assert torch.equal(points, before[0]) and torch.equal(world, before[1])
    assert torch.equal(first.angles, second.angles)


def test_no_hands():
    assert fit_hands(MODEL, torch.zeros(0, 21, 2), 64, 64, []) == []


@pytest.mark.parametrize("spread", [0.0, 1e-7, 50.0])
def test_absurd_landmarks_give_a_finite_hand(spread):
    points = 0.5 + spread * (torch.rand(1, 21, 2, generator=torch.Generator().manual_seed(0)) - 0.5)
    (hand,) = fit_hands(MODEL, points, 64, 48, ["right"])
    assert bool(torch.isfinite(hand.vertices).all() and torch.isfinite(hand.joints_2d).all())


@pytest.mark.parametrize(
    ("points", "side", "world"),
    [
        (torch.zeros(1, 20, 2), ["left"], None),
        (torch.zeros(21, 2), ["left"], None),
        (torch.zeros(2, 21, 2), ["left"], None),
        (torch.zeros(1, 21, 2), ["Left"], None),
        (torch.zeros(1, 21, 2), ["left"], torch.zeros(1, 21, 2)),
        (torch.full((1, 21, 2), torch.nan), ["left"], None),
        (torch.zeros(1, 21, 2), ["left"], torch.full((1, 21, 3), torch.inf)),
    ],
)
def test_wrong_input_gets_a_sentence(points, side, world):
    with pytest.raises(ValueError, match=r"[Ll]andmarks|sides"):
        fit_landmarks(MODEL, points, 64, 64, side, world)


@given(seed=st.integers(0, 1000))
def test_kabsch_finds_the_rotation(seed):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    turn = axis_angle_to_matrix(torch.randn(3, generator=generator, dtype=torch.float64) * 2)
    assert torch.allclose(kabsch(points, points @ turn.mT + 3.0), turn, atol=1e-6)
    assert float(torch.linalg.det(kabsch(points, -points))) == pytest.approx(1.0)


def test_points_that_are_not_believed_play_no_part():
    """Three points far off, with weight 0: the hand is the one that the others show."""
    hands = [random_hand(seed, ("left", "right")[seed % 2]) for seed in range(4)]
    points, _ = landmarks(hands)
    sides = [hand.side for hand in hands]
    wrong, weights = points.clone(), torch.ones(4, 21)
    wrong[:, [4, 11, 17]] += torch.tensor([0.05, -0.04])
    weights[:, [4, 11, 17]] = 0
    fit = fit_landmarks(MODEL, wrong, 640, 480, sides, weights=weights)
    clean = fit_landmarks(MODEL, points, 640, 480, sides)
    believed = weights[0].bool()
    size = torch.tensor([640.0, 480.0])
    distance = ((fit.points - points) * size).norm(dim=-1)
    assert float(distance[:, believed].mean()) < 1.5
    assert float(fit.residual.mean()) < float(clean.residual.mean()) + 0.003
    # Half a weight pulls half as much: the losses follow the weights.
    light = fit_landmarks(MODEL, wrong, 640, 480, sides, weights=torch.full((4, 21), 0.2))
    heavy = fit_landmarks(MODEL, wrong, 640, 480, sides)
    assert bool((light.loss < heavy.loss).all())


@pytest.mark.parametrize("weights", [torch.ones(1, 20), torch.full((1, 21), 1.5), torch.full((1, 21), -0.1),
                                     torch.full((1, 21), math.nan)])  # fmt: skip
def test_weights_are_shares(weights):
    points, _ = landmarks([random_hand(1, "left")])
    with pytest.raises(ValueError, match=r"from 0 to 1 of shape \(1, 21\)"):
        fit_landmarks(MODEL, points, 640, 480, ["left"], weights=weights)


# What the issue asks of the fit, on a smaller sample than `python -m handrawer.evaluate.fitting` takes.


@pytest.fixture(scope="module")
def known():
    return random_hands(150, 7)


def test_exact_joints_of_known_thickness_give_the_mesh(known):
    errors = fit_known(known, JOINTS, in_3d=True, thickness=True)
    assert float(errors.aligned.mean()) < 0.2, "millimetres at 190 mm; the issue asks for 2"
    assert float(errors.rooted.mean()) < 0.4, "the issue asks for 4"
    assert not bool(errors.wrong_way.any()) and bool(errors.facing.all()) and bool(errors.within.all())


def test_exact_joints_in_2d_are_met_in_the_picture(known):
    errors = fit_known(known, JOINTS, in_3d=False)
    assert float(errors.residual.mean()) < 0.002 and float(errors.residual.quantile(0.95)) < 0.005
    assert float(errors.aligned.mean()) < 3 and float(errors.wrong_way.double().mean()) < 0.03
    assert float(errors.facing.double().mean()) >= 0.98


@pytest.mark.parametrize("in_3d", [True, False])
def test_noise_and_a_wrong_landmark_leave_a_possible_hand(known, in_3d):
    errors = fit_known(known, MEDIAPIPE, in_3d=in_3d, noise_seed=1)
    assert bool(errors.within.all())
    assert float(errors.aligned.mean()) < (5 if in_3d else 7), "millimetres; the landmarks are 3.8 off on average"


def test_the_wrong_landmark_is_the_one_that_is_not_believed():
    hand = random_hand(3, "right")
    points, world = landmarks([hand])
    points[0, 8] += 0.2
    (fitted,) = fit_hands(MODEL, points, 640, 480, ["right"], world)
    assert fitted.joint_confidence is not None and fitted.joint_residual is not None
    assert int(fitted.joint_residual.argmax()) == int(fitted.joint_confidence.argmin()) == 8
    others = torch.arange(21) != 8
    assert float(fitted.joint_confidence[8]) < 0.1 and float(fitted.joint_confidence[others].median()) > 0.9


def test_views_of_one_hand_get_one_shape():
    """Two hands, three views each, with noise: one shape for each, and the known coefficients stay."""
    generator = torch.Generator().manual_seed(2)
    shapes = torch.randn(2, MODEL.shape_count, generator=generator)
    hands = [
        make_hand(MODEL, angles=sample_angles(1, generator)[0], shape=shapes[i % 2], width=640, height=480,
                  orientation=orientation_from_degrees(15.0 * i, 10.0, 0.0), translation=(0, 0, 0.6))
        for i in range(6)
    ]  # fmt: skip
    points, world = landmarks(hands)
    known = torch.full((6, MODEL.shape_count), math.nan)
    known[:, 1] = shapes[torch.arange(6) % 2, 1]
    group = [0, 1, 0, 1, 0, 1]
    fit = fit_landmarks(MODEL, points, 640, 480, ["right"] * 6, world, shape=known, group=group)
    assert torch.equal(fit.shape[0], fit.shape[2]) and torch.equal(fit.shape[1], fit.shape[5])
    assert not torch.allclose(fit.shape[0], fit.shape[1], atol=0.1)
    assert torch.allclose(fit.shape[:, 1].float(), known[:, 1].clamp(-SHAPE_LIMIT, SHAPE_LIMIT), atol=1e-6)
    assert float(fit.residual.max()) < 0.02


@pytest.mark.parametrize(
    "changes",
    [{"group": [1, 2]}, {"shape": torch.zeros(2, MODEL.shape_count)}, {"shape": torch.zeros(1, 9)}],
)
def test_wrong_groups_and_shapes_get_a_sentence(changes):
    points, _ = landmarks([random_hand(1, "left")])
    with pytest.raises(ValueError, match=r"group numbers|Known shapes"):
        fit_landmarks(MODEL, points, 640, 480, ["left"], **changes)
