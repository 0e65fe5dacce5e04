"""Posing a hand: linear blend skinning, and the rotations that it is told in.

Everything here is differentiable, batched, and works in any floating point type on CPU and GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from .joints import RIG_JOINTS, TIP_JOINTS
from .model import HandModel


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

    Args:
        rotations: [B, 15, 3, 3] finger joints' rotations relative to their parents, rig order, always those of a right
            hand; identity is the rest pose.
        shape: [B, S] shape coefficients.
        orientation: [B, 3, 3] rotation of the (mirrored, for a left hand) hand in the camera frame.
        translation: [B, 3] where the wrist joint lies, metres.
        left: [B] bool, whether the hand is a left one.
    """
    _check(model, rotations, shape, orientation, translation, left)
    rest = model.template + torch.einsum("vcs,bs->bvc", model.shape_dirs, shape)
    rest_joints = model.joint_template + torch.einsum("jcs,bs->bjc", model.joint_shape_dirs, shape)
    if model.pose_dirs is not None:
        identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        features = rearrange(rotations - identity, "b j r c -> b (j r c)")
        rest = rest + torch.einsum("vcp,bp->bvc", model.pose_dirs, features)
    turned, joints = _forward_kinematics(rotations, rest_joints, model.parents)
    vertices = _blend(rest, rest_joints, turned, joints, model.weights)

    root = joints[:, :1]  # a shape may move the wrist; translation says where it lies
    mirror = torch.ones_like(translation)
    mirror[:, 0] = torch.where(left, -1.0, 1.0).to(mirror.dtype)
    placed = orientation * mirror[:, None, :]
    vertices = torch.einsum("bij,bvj->bvi", placed, vertices - root) + translation[:, None]
    joints = torch.einsum("bij,bkj->bki", placed, joints - root) + translation[:, None]
    turned = torch.einsum("bij,bkjl,bl->bkil", placed, turned, mirror)
    return PosedHand(vertices, _with_tips(joints, vertices, model.tip_vertices), turned)


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


def _forward_kinematics(rotations: Tensor, rest_joints: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Global rotations [B, 16, 3, 3] and joint positions [B, 16, 3], the wrist kept as it is at rest."""
    batch = rotations.shape[0]
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device).expand(batch, 3, 3)
    turned, joints = [identity], [rest_joints[:, 0]]
    for joint in range(1, len(parents)):
        parent = parents[joint]
        offset = rest_joints[:, joint] - rest_joints[:, parent]
        joints.append(joints[parent] + torch.einsum("bij,bj->bi", turned[parent], offset))
        turned.append(turned[parent] @ rotations[:, joint - 1])
    return torch.stack(turned, dim=1), torch.stack(joints, dim=1)


def _blend(rest: Tensor, rest_joints: Tensor, turned: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
    """Linear blend skinning: every vertex moves by the weighted mean of its joints' rigid motions."""
    shift = joints - torch.einsum("bkij,bkj->bki", turned, rest_joints)
    motion = torch.cat([turned, shift[..., None]], dim=-1)
    per_vertex = rearrange(weights @ rearrange(motion, "b k i j -> b k (i j)"), "b v (i j) -> b v i j", i=3, j=4)
    return torch.einsum("bvij,bvj->bvi", per_vertex[..., :3], rest) + per_vertex[..., 3]


def _with_tips(joints: Tensor, vertices: Tensor, tip_vertices: Tensor) -> Tensor:
    """The 21 joints from the 16 rig joints and the fingertips' vertices."""
    tips = vertices[:, tip_vertices]
    everything = torch.cat([joints, tips], dim=1)
    order = [0] * (len(RIG_JOINTS) + len(TIP_JOINTS))
    for place, joint in enumerate(RIG_JOINTS + TIP_JOINTS):
        order[joint] = place
    return everything[:, order]


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
    cross = _cross_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
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


def _cross_matrix(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, dim=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.stack(rows, dim=-2)
