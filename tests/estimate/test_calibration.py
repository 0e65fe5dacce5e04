"""MediaPipe's points on the rig: they turn, mirror and scale with the hand, and explain what the detector sees."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.estimate.calibration import (
    OFFSETS_FILE,
    OWN_BONE,
    PARENT_BONE,
    landmark_offsets,
    mediapipe_points,
    mediapipe_points_2d,
    palm_length,
    rig_to_mediapipe,
)
from handrawer.estimate.landmarks import LandmarkDetector
from handrawer.hand.anatomy import angles_to_rotations, sample_angles
from handrawer.hand.camera import project
from handrawer.hand.hands import make_hand
from handrawer.hand.joints import RIG_JOINT_NAMES
from handrawer.hand.model import load_open_hand
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand

MODEL = load_open_hand().to(dtype=torch.float64)
MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


def posed_points(seed, turn=None, shift=None, left=False):
    generator = torch.Generator().manual_seed(seed)
    angles = sample_angles(1, generator).double()
    shape = torch.randn(1, MODEL.shape_count, generator=generator, dtype=torch.float64)
    turn = torch.eye(3, dtype=torch.float64) if turn is None else turn
    shift = torch.zeros(3, dtype=torch.float64) if shift is None else shift
    side = torch.tensor([left])
    posed = pose_hand(MODEL, angles_to_rotations(MODEL, angles), shape, turn[None], shift[None], side)
    return rig_to_mediapipe(MODEL, posed, shape, side)[0], posed


def test_bones_of_tips_joints_and_wrist():
    names = [RIG_JOINT_NAMES[i] for i in OWN_BONE], [RIG_JOINT_NAMES[i] for i in PARENT_BONE]
    assert (names[0][0], names[1][0]) == ("wrist", "wrist")
    assert (names[0][5], names[1][5]) == ("index_mcp", "wrist")
    assert (names[0][7], names[1][7]) == ("index_dip", "index_pip")
    assert (names[0][8], names[1][8]) == ("index_dip", "index_pip")
    assert (names[0][4], names[1][4]) == ("thumb_ip", "thumb_mcp")


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_points_move_rigidly_with_the_hand(seed):
    generator = torch.Generator().manual_seed(seed)
    turn = axis_angle_to_matrix(torch.randn(3, generator=generator, dtype=torch.float64))
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    still, _ = posed_points(seed)
    moved, _ = posed_points(seed, turn, shift)
    assert torch.allclose(still @ turn.mT + shift, moved, atol=1e-9)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_left_hands_mirror_right_ones(seed):
    right, _ = posed_points(seed)
    left, _ = posed_points(seed, left=True)
    assert torch.allclose(left, right * MIRROR, atol=1e-9)


def test_offsets_are_there_and_modest():
    """A landmark lies beside its joint, not on another one: under a fifth of the palm at most."""
    points, posed = posed_points(0)
    apart = (points - posed.joints[0]).norm(dim=-1) / palm_length(MODEL, torch.zeros(1, MODEL.shape_count).double())
    assert float(apart.max()) < 0.3
    assert float(apart.mean()) > 0.02


def test_an_uncalibrated_model_keeps_its_joints():
    assert torch.equal(landmark_offsets("no such model"), torch.zeros(21, 2, 3, dtype=torch.float64))
    hand = make_hand(width=64, height=64)
    assert torch.equal(mediapipe_points(hand.replace(model="no such model")), hand.joints)


def test_2d_points_are_the_projection():
    hand = make_hand(side="left", width=300, height=200)
    expected = project(mediapipe_points(hand), hand.camera, 300, 200)
    assert torch.allclose(mediapipe_points_2d(hand, 300, 200), expected)


def test_the_file_says_what_it_was_measured_on():
    measured = json.loads(OFFSETS_FILE.read_text(encoding="utf-8"))["models"]["open"]["measured"]
    assert measured["used"] > 500 and measured["held_out_used"] > 250
    assert measured["held_out_error_with"] < 0.75 * measured["held_out_error_without"]


def test_the_detector_sees_the_calibrated_points_rather_than_the_joints(drawn):
    """On pictures that the calibration never saw."""
    scene = drawn.scene
    points = scene.project(rig_to_mediapipe(load_open_hand(), scene.posed, scene.shape, scene.left))
    raw, calibrated = [], []
    for i, picture in enumerate(drawn.pictures):
        joints = scene.joints_2d[i]
        extent = (joints.amax(0) - joints.amin(0)).max()
        for hand in LandmarkDetector(max_hands=1)(picture):
            error = (hand.points - joints).norm(dim=-1).mean() / extent
            if float(error) < 0.1:
                raw.append(float(error))
                calibrated.append(float((hand.points - points[i]).norm(dim=-1).mean() / extent))
    assert len(raw) >= 10
    assert sum(calibrated) < 0.75 * sum(raw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_differentiable(dtype):
    model = load_open_hand().to(dtype=dtype)
    angles = sample_angles(2, torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    shape = torch.zeros(2, model.shape_count, dtype=dtype)
    turn = torch.eye(3, dtype=dtype).expand(2, 3, 3)
    left = torch.tensor([True, False])
    posed = pose_hand(model, angles_to_rotations(model, angles), shape, turn, torch.zeros(2, 3, dtype=dtype), left)
    rig_to_mediapipe(model, posed, shape, left).square().sum().backward()
    assert angles.grad is not None and bool(torch.isfinite(angles.grad).all()) and float(angles.grad.abs().sum()) > 0
