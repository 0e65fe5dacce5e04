"""Many hands' parameters to finished hands, posed in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..hand.anatomy import angles_to_rotations
from ..hand.boxes import box_around
from ..hand.camera import Camera, project
from ..hand.hands import Hand
from ..hand.model import HandModel
from ..hand.skinning import PosedHand, matrix_to_axis_angle, pose_hand

NEAREST = 0.02  # metres, of any vertex to the camera


def build_hands(
    model: HandModel, angles: Tensor, side: Sequence[str], orientation: Tensor, translation: Tensor, shape: Tensor,
    camera: Camera, width: int, height: int,
) -> list[Hand]:  # fmt: skip
    """What ``make_hand`` makes of one hand, of N at once.

    A hand that would reach behind the camera is moved away along the wrist's ray: landmarks of a real picture never ask
    for that, absurd ones must not stop the batch.

    Args:
        angles: [N, 21] radians; side: of each; orientation: [N, 3, 3]; translation: [N, 3] metres; shape: [N, S].
        camera, width, height: of the one picture that all of them belong to.
    """
    if not len(side):
        return []
    model = model.to("cpu", torch.float32)
    rotations = angles_to_rotations(model, angles.to("cpu", torch.float32))
    pose = matrix_to_axis_angle(rotations)
    turn = orientation.to("cpu", torch.float32)
    about = matrix_to_axis_angle(turn)
    moved, posed = _before_the_camera(model, rotations, shape.float(), turn, translation.float(), side)
    joints_2d, flat = (project(p, camera, width, height) for p in (posed.joints, posed.vertices))
    boxes = torch.cat([flat.amin(dim=1), flat.amax(dim=1)], dim=1)
    return [
        Hand(model=model.name, side=side[i], pose=pose[i], orientation=about[i], shape=shape[i].float(),
             translation=moved[i], camera=camera, joints=posed.joints[i], vertices=posed.vertices[i],
             joints_2d=joints_2d[i], box=boxes[i])
        for i in range(len(side))
    ]  # fmt: skip


def _before_the_camera(
    model: HandModel, rotations: Tensor, shape: Tensor, turn: Tensor, translation: Tensor, side: Sequence[str]
) -> tuple[Tensor, PosedHand]:
    """Translations [N, 3] for which all vertices lie before the camera, and the hands there."""
    left = torch.tensor([s == "left" for s in side])
    posed = pose_hand(model, rotations, shape, turn, translation, left)
    missing = (NEAREST - posed.vertices[..., 2].amin(dim=1)).clamp_min(0)
    if not bool(missing.any()):
        return translation, posed
    deep = translation[:, 2:].clamp_min(1e-6)
    shift = translation * (missing[:, None] / deep)
    moved = PosedHand(posed.vertices + shift[:, None], posed.joints + shift[:, None], posed.rotations)
    return translation + shift, moved


def pose_again(
    hands: Sequence[Hand], model: HandModel, rotations: Tensor, translation: Tensor, shape: Tensor, width: int,
    height: int,
) -> list[Hand]:  # fmt: skip
    """Hands of one model in other poses and places; what else they know stays.

    Args:
        rotations: [N, 16, 3, 3] orientation, and the finger joints relative to their parents.
        translation: [N, 3] metres; shape: [N, S].
        width, height: of the pictures that they belong to.
    """
    model, rotations = model.to("cpu", torch.float32), rotations.float()
    side = [hand.side for hand in hands]
    moved, posed = _before_the_camera(
        model, rotations[:, 1:], shape.float(), rotations[:, 0], translation.float(), side
    )
    about = matrix_to_axis_angle(rotations)
    return [
        hand.replace(
            pose=about[i, 1:], orientation=about[i, 0], shape=shape[i], translation=moved[i], joints=posed.joints[i],
            vertices=posed.vertices[i], joints_2d=project(posed.joints[i], hand.camera, width, height),
            box=box_around(project(posed.vertices[i], hand.camera, width, height)),
        )
        for i, hand in enumerate(hands)
    ]  # fmt: skip
