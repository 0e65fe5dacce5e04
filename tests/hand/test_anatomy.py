"""Angles: what they mean, their inverse, their limits, and random poses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.anatomy import (
    ANGLE_INDEX,
    ANGLE_NAMES,
    LIMITS,
    angles_to_rotations,
    clamp_angles,
    rest_angles,
    rotations_to_angles,
    sample_angles,
)
from handrawer.hand.gestures import gesture_angles
from handrawer.hand.joints import FINGER_NAMES, FINGERS
from handrawer.hand.model import load_open_hand
from handrawer.hand.sampling import finger_overlap
from handrawer.hand.skinning import axis_angle_to_matrix, pose_hand

MODEL = load_open_hand().to(dtype=torch.float64)


def posed_joints(angles):
    angles = angles.reshape(-1, len(ANGLE_NAMES))
    n = len(angles)
    eye = torch.eye(3, dtype=torch.float64).expand(n, 3, 3)
    zero = torch.zeros(n, 3, dtype=torch.float64)
    rotations = angles_to_rotations(MODEL, angles)
    left = torch.zeros(n, dtype=torch.bool)
    return pose_hand(MODEL, rotations, torch.zeros(n, 4, dtype=torch.float64), eye, zero, left).joints


def angles_with(**degrees):
    angles = torch.zeros(len(ANGLE_NAMES), dtype=torch.float64)
    angles[:5] = rest_angles(MODEL)[:5]
    for name, value in degrees.items():
        angles[ANGLE_INDEX[name]] = math.radians(value)
    return angles


def bone(joints, finger, part):
    a, b = FINGERS[finger][part], FINGERS[finger][part + 1]
    return torch.nn.functional.normalize(joints[0, b] - joints[0, a], dim=-1)


def test_names_and_limits():
    assert len(ANGLE_NAMES) == len(set(ANGLE_NAMES)) == 21
    assert LIMITS.shape == (21, 2)
    assert bool((LIMITS[:, 0] < LIMITS[:, 1]).all())
    rest = rest_angles(MODEL).float()
    assert bool(((rest > LIMITS[:, 0]) & (rest < LIMITS[:, 1])).all()), "the rest pose is possible"


def test_rest_angles_are_the_rest_pose():
    rotations = angles_to_rotations(MODEL, rest_angles(MODEL)[None])
    assert torch.allclose(rotations, torch.eye(3, dtype=torch.float64).expand(1, 15, 3, 3), atol=1e-12)


@pytest.mark.parametrize("finger", FINGER_NAMES[1:])
def test_zero_is_a_straight_finger_in_the_palms_plane(finger):
    joints = posed_joints(angles_with())
    for part in range(3):
        assert abs(float(bone(joints, finger, part)[2])) < 0.1 + 0.15 * (part == 2)
        assert float(bone(joints, finger, part)[1]) < -0.9
    assert float(bone(joints, finger, 0) @ bone(joints, finger, 1)) > 0.99


@pytest.mark.parametrize("finger", FINGER_NAMES[1:])
@pytest.mark.parametrize("joint, part", [("mcp", 0), ("pip", 1), ("dip", 2)])
def test_flexion_bends_towards_the_palm_by_its_angle(finger, joint, part):
    before = bone(posed_joints(angles_with()), finger, part)
    after = bone(posed_joints(angles_with(**{f"{finger}_{joint}_flexion": 60})), finger, part)
    assert float(after[2]) < -0.6, "the palm faces -z"
    assert math.degrees(math.acos(float(before @ after))) == pytest.approx(60, abs=3)


@pytest.mark.parametrize("finger, side", [("index", 1), ("middle", 1), ("ring", -1), ("little", -1)])
def test_abduction_goes_away_from_the_middle_finger(finger, side):
    before = bone(posed_joints(angles_with()), finger, 0)
    after = bone(posed_joints(angles_with(**{f"{finger}_mcp_abduction": 15})), finger, 0)
    assert side * float(after[0] - before[0]) > 0.2
    assert math.degrees(math.acos(float(before @ after))) == pytest.approx(15, abs=1e-6)


def test_thumb_moves_as_named():
    rest = posed_joints(angles_with())
    across = posed_joints(angles_with(thumb_cmc_flexion=0))
    assert float(across[0, 4, 0]) < float(rest[0, 4, 0]) - 0.02, "flexion sweeps it over the palm"
    out = posed_joints(angles_with(thumb_cmc_abduction=60))
    assert float(out[0, 4, 2]) < float(rest[0, 4, 2]) - 0.02, "abduction lifts it off the palm"
    palm = rest[0, [0, 5, 9, 17]].mean(dim=0)
    for angle in ("thumb_mcp_flexion", "thumb_ip_flexion"):
        bent = posed_joints(angles_with(**{angle: 60}))
        assert float((bent[0, 4] - palm).norm()) < float((rest[0, 4] - palm).norm()), "the tip comes towards the palm"


def test_opposition_turns_the_thumbs_pad_to_the_fingers():
    """In opposition the thumb's pad turns from the palm's front to its inside, by 25 degrees at least: pronation."""

    def pad(**degrees):
        straight = posed_joints(angles_with(thumb_ip_flexion=0, **degrees))[0, 4]
        bent = posed_joints(angles_with(thumb_ip_flexion=40, **degrees))[0, 4]
        return torch.nn.functional.normalize(bent - straight, dim=-1)

    beside, opposed = pad(), pad(thumb_cmc_flexion=-10, thumb_cmc_abduction=45)
    assert float(beside[0]) < -0.8, "beside the hand it looks to the fingers' side"
    assert float(opposed[2]) > float(beside[2]) + math.sin(math.radians(25))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_angles_come_back(seed):
    share = torch.rand(4, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    limits = LIMITS.double()
    angles = limits[:, 0] + share * (limits[:, 1] - limits[:, 0])
    assert torch.allclose(rotations_to_angles(MODEL, angles_to_rotations(MODEL, angles)), angles, atol=1e-9)


def test_projection_is_the_nearest_for_hinges_and_knuckles():
    """No small change of the projected angles brings the rotation nearer to one that is not a hand's."""
    generator = torch.Generator().manual_seed(0)
    angles = sample_angles(6, generator).double()
    noise = axis_angle_to_matrix(0.3 * torch.randn(6, 15, 3, dtype=torch.float64, generator=generator))
    wild = angles_to_rotations(MODEL, angles) @ noise
    found = rotations_to_angles(MODEL, wild)

    def misfit(candidate):
        return (angles_to_rotations(MODEL, candidate) - wild).square().sum(dim=(-1, -2))[:, 1:].sum(dim=1)

    best = misfit(found)
    for angle in range(2, 21):  # all but the thumb's base, which keeps its bone's direction instead
        for step in (-0.02, 0.02):
            other = found.clone()
            other[:, angle] += step
            assert bool((misfit(other) >= best - 1e-4).all()), ANGLE_NAMES[angle]


def test_the_thumbs_base_keeps_its_direction():
    wild = torch.eye(3, dtype=torch.float64).repeat(1, 15, 1, 1)
    wild[0, 0] = axis_angle_to_matrix(torch.tensor([0.3, -0.2, 0.4], dtype=torch.float64))
    again = angles_to_rotations(MODEL, rotations_to_angles(MODEL, wild))
    metacarpal = MODEL.joint_template[2] - MODEL.joint_template[1]
    assert torch.allclose(wild[0, 0] @ metacarpal, again[0, 0] @ metacarpal, atol=1e-9)


def test_gradients_flow_both_ways():
    angles = sample_angles(2, torch.Generator().manual_seed(0)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: angles_to_rotations(MODEL, a), (angles,), fast_mode=True)
    back = rotations_to_angles(MODEL, angles_to_rotations(MODEL, angles))
    (gradient,) = torch.autograd.grad(back.sum(), angles)
    assert torch.allclose(gradient, torch.ones_like(gradient), atol=1e-6)


def test_rotations_are_rotations():
    rotations = angles_to_rotations(MODEL, sample_angles(32, torch.Generator().manual_seed(3)).double())
    eye = torch.eye(3, dtype=torch.float64).expand(32, 15, 3, 3)
    assert torch.allclose(rotations @ rotations.mT, eye, atol=1e-12)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(32, 15, dtype=torch.float64))


def test_clamp():
    wild = torch.full((3, 21), 9.0)
    assert torch.equal(clamp_angles(wild), LIMITS[:, 1].expand(3, 21))
    assert torch.equal(clamp_angles(-wild), LIMITS[:, 0].expand(3, 21))


def test_random_poses_are_possible_varied_and_repeatable():
    poses = sample_angles(3000, torch.Generator().manual_seed(5))
    assert poses.shape == (3000, 21)
    assert poses.dtype == torch.float32
    assert bool(((poses >= LIMITS[:, 0]) & (poses <= LIMITS[:, 1])).all())
    assert torch.equal(poses, sample_angles(3000, torch.Generator().manual_seed(5)))
    assert not torch.equal(poses, sample_angles(3000, torch.Generator().manual_seed(6)))
    spread = poses.std(dim=0) / (LIMITS[:, 1] - LIMITS[:, 0])
    assert float(spread.min()) > 0.06, "every angle is used"
    overlap = finger_overlap(load_open_hand(), poses)
    assert float((overlap > 0.005).float().mean()) < 0.02, "hardly any pose has a finger in another"
    assert sample_angles(0).shape == (0, 21)


def test_fingers_move_together():
    poses = sample_angles(3000, torch.Generator().manual_seed(5))
    pip = poses[:, [ANGLE_INDEX[f"{finger}_pip_flexion"] for finger in FINGER_NAMES[1:]]]
    dip = poses[:, [ANGLE_INDEX[f"{finger}_dip_flexion"] for finger in FINGER_NAMES[1:]]]
    assert float(torch.corrcoef(pip.T)[2, 3]) > 0.4
    assert float(torch.corrcoef(torch.stack([pip.ravel(), dip.ravel()]))[0, 1]) > 0.9


def test_overlap_sees_a_thumb_in_a_finger_and_in_the_palm():
    hand = load_open_hand()
    fist = gesture_angles("fist")
    assert float(finger_overlap(hand, fist[None])) == 0
    inside = fist.clone()
    inside[:5] = torch.tensor([math.radians(x) for x in (-5.0, 35.0, 5.0, 0.0, 0.0)])
    assert float(finger_overlap(hand, inside[None])) > 0.003
    through = gesture_angles("open")
    through[:5] = torch.tensor([math.radians(x) for x in (10.0, 0.0, 45.0, 0.0, 20.0)])
    assert float(finger_overlap(hand, through[None])) > 0.003
