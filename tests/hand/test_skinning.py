"""Posing: rigid motions, mirroring, batches, gradients, and rotation vectors there and back."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handrawer.hand.anatomy import angles_to_rotations, sample_angles
from handrawer.hand.joints import RIG_JOINTS, TIP_JOINTS
from handrawer.hand.model import load_open_hand
from handrawer.hand.skinning import axis_angle_to_matrix, matrix_to_axis_angle, pose_hand

MODEL = load_open_hand().to(dtype=torch.float64)
MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


def random_input(n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    return {
        "rotations": angles_to_rotations(MODEL, sample_angles(n, generator).double()),
        "shape": normal(n, 4),
        "orientation": axis_angle_to_matrix(2 * normal(n, 3)),
        "translation": normal(n, 3) * 0.1 + torch.tensor([0, 0, 0.6], dtype=torch.float64),
        "left": torch.arange(n) % 2 == 1,
    }


def test_identity_is_the_template():
    eye = torch.eye(3, dtype=torch.float64)
    posed = pose_hand(MODEL, eye.expand(1, 15, 3, 3), torch.zeros(1, 4).double(), eye[None],
                      torch.zeros(1, 3).double(), torch.tensor([False]))  # fmt: skip
    assert torch.allclose(posed.vertices[0], MODEL.template, atol=1e-12)
    assert torch.allclose(posed.joints[0, list(RIG_JOINTS)], MODEL.joint_template, atol=1e-12)
    assert torch.equal(posed.joints[0, list(TIP_JOINTS)], posed.vertices[0, MODEL.tip_vertices])
    assert torch.equal(posed.rotations[0], eye.expand(16, 3, 3))


def test_orientation_and_translation_move_the_hand_rigidly():
    given_ = random_input()
    eye, zero = torch.eye(3, dtype=torch.float64).expand(3, 3, 3), torch.zeros(3, 3, dtype=torch.float64)
    still = pose_hand(MODEL, **{**given_, "orientation": eye, "translation": zero})
    moved = pose_hand(MODEL, **given_)
    for name in ("vertices", "joints"):
        rigid = getattr(still, name) @ given_["orientation"].mT + given_["translation"][:, None]
        assert torch.allclose(getattr(moved, name), rigid, atol=1e-12)
    assert torch.allclose(moved.joints[:, 0], given_["translation"], atol=1e-12), "translation is where the wrist lies"
    assert torch.allclose(moved.rotations[:, 0], given_["orientation"], atol=1e-12)


def test_a_left_hand_is_the_mirrored_right_hand():
    given_ = random_input()
    eye, zero = torch.eye(3, dtype=torch.float64).expand(3, 3, 3), torch.zeros(3, 3, dtype=torch.float64)
    still = {**given_, "orientation": eye, "translation": zero}
    right = pose_hand(MODEL, **{**still, "left": torch.zeros(3, dtype=torch.bool)})
    left = pose_hand(MODEL, **{**given_, "left": torch.ones(3, dtype=torch.bool)})
    mirrored = (right.vertices * MIRROR) @ given_["orientation"].mT + given_["translation"][:, None]
    assert torch.allclose(left.vertices, mirrored, atol=1e-12)
    assert torch.allclose(torch.linalg.det(left.rotations), torch.ones(3, 16, dtype=torch.float64))


@pytest.mark.parametrize("left", [False, True])
def test_global_rotations_turn_the_bones(left):
    """The end bones are rigid: a fingertip's offset from its last joint is turned by that joint's rotation."""
    given_ = random_input()
    given_["left"] = torch.full((3,), left)
    given_["shape"] = torch.zeros(3, 4, dtype=torch.float64)
    posed = pose_hand(MODEL, **given_)
    for finger, joint in enumerate((3, 6, 9, 12, 15)):
        vertex = int(MODEL.tip_vertices[finger])
        assert float(MODEL.weights[vertex, joint]) > 0.95
        rest = MODEL.template[vertex] - MODEL.joint_template[joint]
        rest = rest * MIRROR if left else rest
        offset = posed.joints[:, TIP_JOINTS[finger]] - posed.joints[:, RIG_JOINTS[joint]]
        assert torch.allclose(posed.rotations[:, joint] @ rest, offset, atol=2e-3)


def test_bones_keep_their_length():
    given_ = random_input(8)
    given_["shape"] = torch.zeros(8, 4, dtype=torch.float64)
    joints = pose_hand(MODEL, **given_).joints[:, list(RIG_JOINTS)]
    for joint in range(1, 16):
        parent = MODEL.parents[joint]
        length = (joints[:, joint] - joints[:, parent]).norm(dim=1)
        rest = (MODEL.joint_template[joint] - MODEL.joint_template[parent]).norm()
        assert torch.allclose(length, rest.expand(8), atol=1e-12)


def test_a_batch_is_its_members():
    given_ = random_input(4)
    together = pose_hand(MODEL, **given_)
    for i in range(4):
        alone = pose_hand(MODEL, **{name: value[i : i + 1] for name, value in given_.items()})
        assert torch.allclose(alone.vertices[0], together.vertices[i], atol=1e-12)
        assert torch.allclose(alone.joints[0], together.joints[i], atol=1e-12)


def test_gradients_are_right():
    """Against finite differences, for every input."""
    given_ = random_input(2)
    names = ("rotations", "shape", "orientation", "translation")
    probe = torch.randn(2, len(MODEL.template), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def value(*inputs):
        posed = pose_hand(MODEL, **dict(zip(names, inputs, strict=True)), left=given_["left"])
        return (posed.vertices * probe).sum() + posed.joints.square().sum()

    inputs = [given_[name].clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True)


def test_pose_correctives_are_added_before_skinning():
    correctives = torch.zeros(len(MODEL.template), 3, 135, dtype=torch.float64)
    correctives[:, 2, 0] = 0.5  # a vertex moves in z with the first entry of (the first rotation - identity)
    import dataclasses

    model = dataclasses.replace(MODEL, pose_dirs=correctives)
    given_ = random_input(1)
    given_["rotations"] = torch.eye(3, dtype=torch.float64).repeat(1, 15, 1, 1)
    same = pose_hand(model, **given_).vertices
    assert torch.allclose(same, pose_hand(MODEL, **given_).vertices)
    given_["rotations"][0, 0, 0, 0] += 0.1
    lifted, plain = pose_hand(model, **given_).vertices, pose_hand(MODEL, **given_).vertices
    forearm = MODEL.regions["forearm"]
    up = given_["orientation"][0] @ torch.tensor([0.0, 0.0, 0.05], dtype=torch.float64)
    assert torch.allclose((lifted - plain)[0, forearm], up.expand(len(forearm), 3), atol=1e-3)


def test_a_wrong_shape_is_named():
    given_ = random_input(2)
    with pytest.raises(ValueError, match="shape has shape"):
        pose_hand(MODEL, **{**given_, "shape": torch.zeros(2, 9)})
    with pytest.raises(ValueError, match="left has shape"):
        pose_hand(MODEL, **{**given_, "left": torch.tensor([True])})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(0, math.pi))
def test_rotation_vectors_there_and_back(direction, angle):
    axis = torch.tensor(direction, dtype=torch.float64)
    if float(axis.norm()) < 1e-3:
        axis = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    vector = axis / axis.norm() * angle
    matrix = axis_angle_to_matrix(vector)
    assert torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert float(torch.linalg.det(matrix)) == pytest.approx(1)
    back = matrix_to_axis_angle(matrix)
    assert float(back.norm()) <= math.pi + 1e-9
    assert torch.allclose(axis_angle_to_matrix(back), matrix, atol=1e-7)
    if angle < math.pi - 1e-3:
        assert torch.allclose(back, vector, atol=1e-6)


def test_half_turns_and_tiny_turns():
    for axis in torch.eye(3, dtype=torch.float64):
        assert torch.allclose(matrix_to_axis_angle(axis_angle_to_matrix(axis * math.pi)).abs(), axis * math.pi)
    tiny = torch.tensor([1e-9, -2e-9, 0.0], dtype=torch.float64)
    assert torch.allclose(matrix_to_axis_angle(axis_angle_to_matrix(tiny)), tiny, atol=1e-15)


def test_rotation_gradients_are_finite_at_zero():
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(axis_angle_to_matrix(vector)[2, 1], vector)
    assert gradient.tolist() == [1, 0, 0]
    matrix = torch.eye(3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(matrix_to_axis_angle(matrix)[0], matrix)
    assert gradient.tolist() == [[0, 0, 0], [0, 0, -0.5], [0, 0.5, 0]]


def naive(model, rotations, shape, orientation, translation, left):
    """The definition, joint by joint and vertex by vertex in words: MANO (Romero et al. 2017), equations 2 to 5."""
    vertices = model.template + torch.einsum("vcs,bs->bvc", model.shape_dirs, shape)
    rest = model.joint_template + torch.einsum("jcs,bs->bjc", model.joint_shape_dirs, shape)
    if model.pose_dirs is not None:
        features = (rotations - torch.eye(3).to(rotations)).flatten(1)
        vertices = vertices + torch.einsum("vcp,bp->bvc", model.pose_dirs, features)
    turned, places = [torch.eye(3).to(rotations).expand(len(left), 3, 3)], [rest[:, 0]]
    for joint in range(1, 16):
        parent = model.parents[joint]
        offset = rest[:, joint] - rest[:, parent]
        places.append(places[parent] + (turned[parent] @ offset[..., None])[..., 0])
        turned.append(turned[parent] @ rotations[:, joint - 1])
    moved = torch.zeros_like(vertices)
    for joint in range(16):
        rigid = (vertices - rest[:, joint, None]) @ turned[joint].mT + places[joint][:, None]
        moved = moved + model.weights[:, joint, None] * rigid
    mirror = torch.where(left[:, None, None], MIRROR, torch.ones(3).to(MIRROR)).to(vertices)
    place = torch.stack(places, dim=1)
    moved, place = (((x - rest[:, :1]) * mirror) @ orientation.mT + translation[:, None] for x in (moved, place))
    return moved, place


@pytest.mark.parametrize("correctives", [False, True])
def test_equals_the_definition(correctives: bool):
    model = MODEL
    if correctives:
        generator = torch.Generator().manual_seed(3)
        dirs = 1e-3 * torch.randn(len(MODEL.template), 3, 135, generator=generator, dtype=torch.float64)
        model = dataclasses.replace(MODEL, pose_dirs=dirs)
    given_ = random_input(6)
    posed = pose_hand(model, **given_)
    vertices, joints = naive(model, **given_)
    assert torch.allclose(posed.vertices, vertices, atol=1e-7)  # the file's weights are float32
    assert torch.allclose(posed.joints[:, list(RIG_JOINTS)], joints, atol=1e-12)


def test_gradients_reach_the_model_too():
    """The numbers laid out for posing are kept with the model, but not where they are to be learned."""
    learned = dataclasses.replace(MODEL, template=MODEL.template.clone().requires_grad_())
    for _ in range(2):
        learned.template.grad = None
        pose_hand(learned, **random_input(2)).vertices.sum().backward()
        assert learned.template.grad is not None and float(learned.template.grad.abs().min()) > 0
    assert MODEL.posing is MODEL.posing


def test_a_model_first_used_in_inference_mode_can_be_fitted_later():
    model = dataclasses.replace(MODEL)
    with torch.inference_mode():
        pose_hand(model, **random_input(1))
    given_ = random_input(1)
    shape = given_["shape"].clone().requires_grad_()
    pose_hand(model, **{**given_, "shape": shape}).vertices.square().sum().backward()
    assert shape.grad is not None and float(shape.grad.abs().max()) > 0


def test_another_tree_of_joints_is_refused():
    with pytest.raises(ValueError, match="five fingers of three"):
        dataclasses.replace(MODEL, parents=(-1, *range(15)))


def test_autocast_leaves_a_hand_as_it_is():
    """In bfloat16 the surface would be knobbly, and pictures drawn inside an autocast region worth nothing."""
    model = load_open_hand()
    pose = torch.randn(2, 15, 3, generator=torch.Generator().manual_seed(4)) * 0.3

    def posed():
        rotations, turn = axis_angle_to_matrix(pose), axis_angle_to_matrix(pose[:, 0])
        left = torch.tensor([True, False])
        return pose_hand(model, rotations, pose[:, 0, :1].expand(2, 4), turn, torch.ones(2, 3), left)

    plain = posed()
    with torch.autocast("cpu", torch.bfloat16):
        cast = posed()
    for name in ("vertices", "joints", "rotations"):
        assert torch.equal(getattr(plain, name), getattr(cast, name)), name
