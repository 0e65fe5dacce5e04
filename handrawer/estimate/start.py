"""Where the fit starts: orientations from the palm's points, and fingers from their bones or the nearest gestures.

Everything here is a right hand, like in ``rig.py``.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ..hand.anatomy import anatomical_axes
from ..hand.gestures import GESTURES, gesture_angles
from ..hand.joints import FINGERS
from ..hand.skinning import axis_angle_to_matrix
from .rig import ANGLES, LandmarkRig, State

PALM = [0, 1, 5, 9, 13, 17]  # the landmarks that move little when fingers do
FINGER_JOINTS = torch.tensor(list(FINGERS.values()))
FINGER_OF_ANGLE = torch.tensor([0] * 5 + [finger for finger in range(1, 5) for _ in range(4)])
_YAWS = tuple(range(0, 360, 45))
_PITCHES = (-40, 0, 40)
DEPTH_RANGE = (0.05, 200.0)  # metres


def starts_from_world(rig: LandmarkRig, flat: Tensor, world: Tensor, weight: Tensor) -> State:
    """A start for each of N hands: the palm turned onto the world landmarks, the fingers' angles read from them.

    Args:
        flat: [N, 21, 2] landmarks as (x / z, y / z).
        world: [N, 21, 3] metres, in the camera frame.
        weight: [N, 21] how far each landmark is believed.
    """
    rest = _template_points(rig)[0]
    turn = kabsch(rest[PALM], world[:, PALM], _palm_weight(weight))
    angles = _angles_of_bones(rig, world @ turn)
    state = rig.within_limits(_state(rig, angles, turn))
    return _placed(rig, state, flat, weight)


def starts_from_picture(rig: LandmarkRig, flat: Tensor, weight: Tensor, count: int) -> State:
    """``count`` starts for each of N hands, hand by hand, from the picture alone.

    Each orientation of a grid is turned in the picture onto the palm's points, each finger takes the pose of the
    gesture that it resembles most, and the best are kept.
    """
    turned = _turned_templates(rig)  # [G, K, 21, 3]
    palm = _palm_weight(weight)
    roll, scale = _similarity(turned[:, 0, PALM, :2], flat[:, PALM], palm)  # [N, G]
    cosine, sine = (scale * roll.cos())[..., None, None], (scale * roll.sin())[..., None, None]
    x, y = turned[..., 0], turned[..., 1]
    drawn = torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)  # [N, G, K, 21, 2]
    shift = (flat[:, None, PALM] - drawn[:, :, 0, PALM]) * palm[:, None, :, None]
    shift = shift.sum(dim=2) / palm.sum(dim=1)[:, None, None]
    errors = (drawn + shift[:, :, None, None] - flat[:, None, None]).norm(dim=-1) * weight[:, None, None]
    by_finger = errors[..., FINGER_JOINTS].sum(dim=-1)  # [N, G, K, 5]
    least, chosen = by_finger.min(dim=2)
    total = errors[:, :, 0, PALM].sum(dim=2) + least.sum(dim=2)
    best = total.argsort(dim=1, stable=True)[:, :count]  # [N, count]
    hand = torch.arange(len(flat)).repeat_interleave(count)
    grid = best.flatten()
    angles = _templates(rig)[chosen[hand, grid][:, FINGER_OF_ANGLE], torch.arange(ANGLES)]
    zero = torch.zeros(len(hand), dtype=rig.dtype)
    about = axis_angle_to_matrix(torch.stack([zero, zero, roll[hand, grid]], dim=-1))
    orientation = about @ _orientation_grid().to(rig.dtype)[grid]
    return _placed(rig, _state(rig, angles, orientation), flat[hand], weight[hand])


def _state(rig: LandmarkRig, angles: Tensor, orientation: Tensor) -> State:
    """Of the mean shape, somewhere."""
    form = torch.cat([angles, rig.natural[ANGLES:].expand(len(angles), rig.shapes)], dim=1)
    return State(form, orientation.expand(len(angles), 3, 3), torch.zeros(len(angles), 3, dtype=rig.dtype))


def _palm_weight(weight: Tensor) -> Tensor:
    """[N, 6] of the palm's landmarks, never all nothing."""
    return weight[:, PALM] + 1e-6


def _placed(rig: LandmarkRig, state: State, flat: Tensor, weight: Tensor) -> State:
    """The states moved to where their landmarks project near ``flat`` [R, 21, 2]."""
    share = (weight + 1e-6)[..., None]
    share = share / share.sum(dim=1, keepdim=True)
    points = rig.points(state)[0][..., :2]
    middle, target = ((x * share).sum(dim=1) for x in (points, flat))
    spread, wanted = (
        ((x - m[:, None]).square() * share).sum(dim=(1, 2)).sqrt() for x, m in ((points, middle), (flat, target))
    )
    depth = (spread / wanted.clamp_min(1e-9)).clamp(*DEPTH_RANGE)
    place = torch.cat([target - middle / depth[:, None], depth.log()[:, None]], dim=1)
    return State(state.form, state.orientation, place)


def _angles_of_bones(rig: LandmarkRig, points: Tensor) -> Tensor:
    """[N, 21] angles whose bones point as those of landmarks [N, 21, 3] in the wrist's frame do, roughly.

    Knuckles are read from the first bone's direction, hinges from the angle between two bones about the axis that the
    knuckle's angles give.
    """
    axes = anatomical_axes(rig.model)
    base = [0, 3, 6, 9, 12]
    first, second, along = (a[base].to(rig.dtype) for a in (axes.flexion, axes.abduction, axes.bone))
    bones = torch.nn.functional.normalize(points[:, FINGER_JOINTS].diff(dim=2), dim=-1)  # [N, 5, 3, 3]
    side, forward = torch.linalg.cross(second, along), torch.linalg.cross(first, along)
    ahead, out, up = ((bones[:, :, 0] * axis).sum(dim=-1) for axis in (along, forward, side))
    flexion, abduction = torch.atan2(out, ahead), torch.atan2(up, torch.hypot(ahead, out))
    angles = rig.natural[:ANGLES].expand(len(points), ANGLES).clone()
    angles[:, _FLEXION], angles[:, _ABDUCTION] = flexion, abduction
    state = _state(rig, angles, torch.eye(3, dtype=rig.dtype))
    hinge = (rig.rotations(state)[1][:, :, 3] @ rig.axes[:, 3, :, None])[..., 0]
    angles[:, _MIDDLE] = _bend(hinge, bones[:, :, 0], bones[:, :, 1])
    angles[:, _LAST] = _bend(hinge, bones[:, :, 1], bones[:, :, 2])
    return angles


_FLEXION, _ABDUCTION = [0, 5, 9, 13, 17], [1, 6, 10, 14, 18]
_MIDDLE, _LAST = [2, 7, 11, 15, 19], [4, 8, 12, 16, 20]


def _bend(axis: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Signed angles about axes [..., 3] from one bone to the next."""
    up = (axis * torch.linalg.cross(before, after)).sum(dim=-1)
    return torch.atan2(up, (before * after).sum(dim=-1) - (axis * before).sum(dim=-1) * (axis * after).sum(dim=-1))


@functools.lru_cache(maxsize=8)
def _templates(rig: LandmarkRig) -> Tensor:
    """[K, 21] angles: the natural mean and the gestures."""
    gestures = torch.stack([gesture_angles(name) for name in GESTURES]).to(rig.dtype)
    return torch.cat([rig.natural[None, :ANGLES], gestures])


@functools.lru_cache(maxsize=8)
def _template_points(rig: LandmarkRig) -> Tensor:
    """[K, 21, 3] landmarks of the templates at the identity orientation, about their middle."""
    return rig.points(_state(rig, _templates(rig), torch.eye(3, dtype=rig.dtype)))[0]


@functools.lru_cache(maxsize=8)
def _turned_templates(rig: LandmarkRig) -> Tensor:
    """[G, K, 21, 3] the templates at the grid's orientations."""
    return torch.einsum("gij,kpj->gkpi", _orientation_grid().to(rig.dtype), _template_points(rig))


@functools.lru_cache(maxsize=1)
def _orientation_grid() -> Tensor:
    """[G, 3, 3]: turned about the hand's long axis in eighths, leant to the camera and away from it."""
    turns = [(yaw, pitch) for yaw in _YAWS for pitch in _PITCHES]
    zero = torch.zeros(len(turns), dtype=torch.float64)
    yaw, pitch = (torch.tensor(column, dtype=torch.float64) * (math.pi / 180) for column in zip(*turns, strict=True))
    about_y = axis_angle_to_matrix(torch.stack([zero, yaw, zero], dim=-1))
    about_x = axis_angle_to_matrix(torch.stack([pitch, zero, zero], dim=-1))
    return about_x @ about_y


def _similarity(points: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Angles and scales [N, G] of the similarities that take points [G, P, 2] nearest to targets [N, P, 2]."""
    share = (weight / weight.sum(dim=1, keepdim=True))[:, None, :, None]  # [N, 1, P, 1]
    a = points - (points * share).sum(dim=2, keepdim=True)
    b = target[:, None] - (target[:, None] * share).sum(dim=2, keepdim=True)
    dot = (a * b * share).sum(dim=(2, 3))
    cross = ((a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) * share[..., 0]).sum(dim=2)
    return torch.atan2(cross, dot), torch.hypot(dot, cross) / (a.square() * share).sum(dim=(2, 3)).clamp_min(1e-12)


def kabsch(points: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """[..., 3, 3] the rotations that take centred points [..., P, 3] nearest to centred targets (Kabsch 1976).

    Args:
        weight: [..., P], 1 if None.
    """
    share = torch.ones_like(target[..., 0]) if weight is None else weight
    share = (share / share.sum(dim=-1, keepdim=True))[..., None]
    a, b = (x - (x * share).sum(dim=-2, keepdim=True) for x in (points, target))
    u, _, vh = torch.linalg.svd((b * share).mT @ a)
    sign = torch.linalg.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    return (u * flip[..., None, :]) @ vh
