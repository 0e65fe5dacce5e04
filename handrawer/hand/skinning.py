"""Posing a hand: linear blend skinning, and the rotations that it is told in.

Everything here is differentiable, batched, and works in any floating point type on CPU and GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .model import HandModel

FINGERS, BONES = 5, 3  # the rig after the wrist, in its order


@dataclass(frozen=True)
class PosedHand:
    """``vertices`` [B, V, 3] and ``joints`` [B, 21, 3] in metres in the camera frame, and ``rotations`` [B, 16, 3, 3].

    ``rotations`` are the rig joints' global rotations: they turn the rest pose of that side's hand (mirrored for a left
    hand) into the camera frame, and are proper rotations for both sides. ``rotations[:, 0]`` is the orientation.
    """

    vertices: Tensor
    joints: Tensor
    rotations: Tensor


def pose_hand(
    model: HandModel, rotations: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor, left: Tensor
) -> PosedHand:
    """Pose and place a batch of hands.

    Runs in the tensors' own precision, under autocast too: in bfloat16 a hand's surface would be knobbly.

    Args:
        rotations: [B, 15, 3, 3] finger joints' rotations relative to their parents, rig order, always those of a right
            hand; identity is the rest pose.
        shape: [B, S] shape coefficients.
        orientation: [B, 3, 3] rotation of the (mirrored, for a left hand) hand in the camera frame.
        translation: [B, 3] where the wrist joint lies, metres.
        left: [B] bool, whether the hand is a left one.
    """
    _check(model, rotations, shape, orientation, translation, left)
    with torch.autocast(rotations.device.type, enabled=False):
        return _pose(model, rotations, shape, orientation, translation, left)


def _pose(model: HandModel, rotations, shape, orientation, translation, left) -> PosedHand:
    rest, rest_joints = at_rest(model, rotations, shape)
    mirror = torch.ones_like(translation)
    mirror[:, 0] = torch.where(left, -1.0, 1.0).to(mirror.dtype)
    # The mirrored hand's placing goes into the joints' motions, not over the vertices again. Where the hand lies does
    # not: products in reduced precision (TF32) would move the vertices by fractions of that distance.
    origin = torch.zeros_like(translation)
    turned, joints = forward_kinematics(rotations, rest_joints, orientation * mirror[:, None, :], origin)
    vertices = _blend(rest, rest_joints, turned, joints, model.posing.weights)
    joints = _with_tips(joints, vertices.index_select(2, model.tip_vertices).mT)
    place = translation[:, None]
    rotations = turned * mirror[:, None, None, :]
    return PosedHand(vertices.mT.contiguous().add_(place), joints + place, rotations)


def at_rest(model: HandModel, rotations: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices [B, 3, V] and joints [B, 16, 3] before they turn: template, shape, correctives, in one product."""
    constants, coefficients = model.posing, shape
    if model.pose_dirs is not None:
        identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        coefficients = torch.cat([shape, (rotations - identity).flatten(1)], dim=1)
    moved = torch.addmm(constants.template, coefficients, constants.directions)
    count = 3 * len(model.template)
    return moved[:, :count].unflatten(1, (3, -1)), moved[:, count:].unflatten(1, (16, 3))


def _check(model: HandModel, rotations, shape, orientation, translation, left) -> None:
    batch = rotations.shape[0]
    wanted = {
        "rotations": (rotations, (batch, 15, 3, 3)),
        "shape": (shape, (batch, model.shape_count)),
        "orientation": (orientation, (batch, 3, 3)),
        "translation": (translation, (batch, 3)),
        "left": (left, (batch,)),
    }
    for name, (value, size) in wanted.items():
        if tuple(value.shape) != size:
            raise ValueError(f"pose_hand: {name} has shape {tuple(value.shape)}, expected {size}.")


def forward_kinematics(
    rotations: Tensor, rest_joints: Tensor, placed: Tensor, translation: Tensor
) -> tuple[Tensor, Tensor]:
    """Global linear maps [B, 16, 3, 3] and positions [B, 16, 3] of the joints, rig order, the five fingers at once.

    ``placed`` [B, 3, 3] is what the wrist's is, a reflection for a left hand.
    """
    bones = rotations.unflatten(1, (FINGERS, BONES))
    at = rest_joints[:, 1:].unflatten(1, (FINGERS, BONES))
    wrist = placed[:, None]
    first = wrist @ bones[:, :, 0]
    second = first @ bones[:, :, 1]
    third = second @ bones[:, :, 2]
    offsets = torch.stack([at[:, :, 0] - rest_joints[:, :1], at[:, :, 1] - at[:, :, 0], at[:, :, 2] - at[:, :, 1]], 2)
    turned = torch.stack([first, second, third], dim=2)
    carriers = torch.stack([wrist.expand_as(first), first, second], dim=2)
    steps = (carriers @ offsets[..., None])[..., 0].cumsum(dim=2)
    joints = translation[:, None] + steps.flatten(1, 2)
    return torch.cat([wrist, turned.flatten(1, 2)], dim=1), torch.cat([translation[:, None], joints], dim=1)


def _blend(rest: Tensor, rest_joints: Tensor, turned: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
    """Linear blend skinning [B, 3, V]: every vertex moves by the weighted mean of its joints' rigid motions.

    Vertices come last, so that every step runs over long rows.
    """
    shift = joints - (turned @ rest_joints[..., None])[..., 0]
    motion = torch.cat([turned, shift[..., None]], dim=-1)
    by_x, by_y, by_z, shifted = (motion.flatten(2).mT @ weights).unflatten(1, (3, 4)).unbind(dim=2)
    x, y, z = rest[:, None].unbind(dim=2)
    return torch.addcmul(shifted, by_x, x).addcmul(by_y, y).addcmul(by_z, z)


def _with_tips(joints: Tensor, tips: Tensor) -> Tensor:
    """The 21 joints [B, 21, 3] from the 16 rig joints and the five fingertips [B, 5, 3]."""
    fingers = torch.cat([joints[:, 1:].unflatten(1, (FINGERS, BONES)), tips[:, :, None]], dim=2)
    return torch.cat([joints[:, :1], fingers.flatten(1, 2)], dim=1)


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rotation vectors [..., 3] (axis times angle, radians) to matrices [..., 3, 3], by Rodrigues' formula.

    The gradient is finite everywhere, at the zero vector too.
    """
    squared = (axis_angle * axis_angle).sum(dim=-1)[..., None, None]
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24, 2 * (angle / 2).sin().square() / safe)  # (1 - cos) / angle^2
    cross = cross_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    with torch.autocast(axis_angle.device.type, enabled=False):
        return identity + sine * cross + cosine * (cross @ cross)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] to rotation vectors [..., 3] with angles in [0, pi]; inverse of the above.

    It goes through the quaternion, whose greatest component is taken first, so that half turns are exact as well.
    """
    quaternion = _matrix_to_quaternion(matrix)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    sign = torch.where(real < 0, -torch.ones_like(real), torch.ones_like(real))
    real, imaginary = real * sign, imaginary * sign
    squared = (imaginary * imaginary).sum(dim=-1, keepdim=True)
    small = squared < 1e-12
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    scale = torch.where(small, 2 / real.clamp_min(0.5), 2 * torch.atan2(length, real) / length)
    return imaginary * scale


def _matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """[..., 3, 3] to unit quaternions [..., 4], real part first (Shepperd 1978: divide by the greatest component)."""
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    candidates = torch.stack(
        [
            torch.stack([1 + m[0][0] + m[1][1] + m[2][2], m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]], -1),
            torch.stack([m[2][1] - m[1][2], 1 + m[0][0] - m[1][1] - m[2][2], m[0][1] + m[1][0], m[0][2] + m[2][0]], -1),
            torch.stack([m[0][2] - m[2][0], m[0][1] + m[1][0], 1 - m[0][0] + m[1][1] - m[2][2], m[1][2] + m[2][1]], -1),
            torch.stack([m[1][0] - m[0][1], m[0][2] + m[2][0], m[1][2] + m[2][1], 1 - m[0][0] - m[1][1] + m[2][2]], -1),
        ],
        dim=-2,
    )
    greatest = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(dim=-1)
    index = greatest[..., None, None].expand(*greatest.shape, 1, 4)
    chosen = torch.gather(candidates, -2, index)[..., 0, :]
    return torch.nn.functional.normalize(chosen, dim=-1)


def cross_matrix(vector: Tensor) -> Tensor:
    """[..., 3, 3] for which the product with w is the cross product of the vector [..., 3] with w."""
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, dim=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.stack(rows, dim=-2)
