"""Where the fit starts: orientations from the palm's points, and for each finger the nearest of the gestures' poses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..hand.gestures import GESTURES, gesture_angles
from ..hand.joints import FINGERS
from ..hand.skinning import axis_angle_to_matrix
from .rig import ANGLES, LandmarkRig, State, join

PALM = (0, 1, 5, 9, 13, 17)  # the landmarks that move little when fingers do
FINGER_ANGLES = (slice(0, 5), slice(5, 9), slice(9, 13), slice(13, 17), slice(17, 21))
_YAWS = tuple(range(0, 360, 45))
_PITCHES = (-40, 0, 40)
DEPTH_RANGE = (0.05, 200.0)  # metres


def starts(rig: LandmarkRig, flat: Tensor, left: Tensor, world: Tensor | None, flat_starts: int) -> State:
    """Starting states of N hands, ordered hand by hand, the same number for each.

    Args:
        flat: [N, 21, 2] landmarks as (x / z, y / z).
        left: [N] bool.
        world: [N, 21, 3] landmarks in metres, turned to the camera frame; None if not known.
        flat_starts: how many starts come from the picture alone.
    """
    templates = _templates(rig)
    per_hand = []
    for i in range(len(flat)):
        points = _template_points(rig, templates, bool(left[i]))
        found = [_from_picture(points, templates, flat[i], flat_starts)]
        if world is not None:
            found.append(_from_world(points, templates, flat[i], world[i]))
        per_hand.append(join(found))
    shape = torch.zeros(len(per_hand[0].place), rig.model.shape_count, dtype=torch.float64)
    return join([State(s.angles, shape, s.orientation, s.place) for s in per_hand])


def _templates(rig: LandmarkRig) -> Tensor:
    """[K, 21] angles: the natural mean and the gestures."""
    return torch.cat([rig.prior_mean[None], torch.stack([gesture_angles(name).double() for name in GESTURES])])


def _template_points(rig: LandmarkRig, templates: Tensor, left: bool) -> Tensor:
    """[K, 21, 3] landmarks of the templates at the identity orientation, wrist joint at the origin."""
    count = len(templates)
    state = State(
        templates,
        torch.zeros(count, rig.model.shape_count, dtype=torch.float64),
        torch.eye(3, dtype=torch.float64).expand(count, 3, 3),
        torch.zeros(count, 3, dtype=torch.float64),
    )
    return rig.points(state, torch.full((count,), left)) - torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def _from_world(points: Tensor, templates: Tensor, flat: Tensor, world: Tensor) -> State:
    """Two starts: the palm turned onto the world landmarks, with the nearest fingers and with natural ones."""
    turn = kabsch(points[0, PALM], world[list(PALM)])
    scale = _spread(world[list(PALM)]) / _spread(points[0, PALM])
    turned = points @ turn.mT * scale
    moved = turned - turned[:, PALM].mean(dim=1, keepdim=True) + world[list(PALM)].mean(dim=0)
    angles, _ = _nearest_fingers((moved - world).norm(dim=-1), templates)
    chosen = torch.stack([angles, templates[0]])
    posed = _composed(points, moved, world) @ turn.mT
    return State(chosen, _NO_SHAPE, turn.expand(2, 3, 3), _place(posed, flat).expand(2, 3))


def _from_picture(points: Tensor, templates: Tensor, flat: Tensor, count: int) -> State:
    """The ``count`` best of a grid of orientations, each turned in the picture onto the palm's points."""
    grid = _orientation_grid()
    turned = torch.einsum("gij,kpj->gkpi", grid, points)
    roll, scale = _similarity(turned[:, 0, PALM, :2], flat[list(PALM)])
    about = axis_angle_to_matrix(torch.stack([torch.zeros_like(roll), torch.zeros_like(roll), roll], dim=-1))
    turned = torch.einsum("gij,gkpj->gkpi", about, turned)
    drawn = turned[..., :2] * scale[:, None, None, None]
    drawn = drawn - drawn[:, :, PALM].mean(dim=2, keepdim=True) + flat[list(PALM)].mean(dim=0)
    errors = (drawn - flat).norm(dim=-1)  # [G, K, 21]
    choices = [_nearest_fingers(error, templates) for error in errors]
    palm = errors[:, 0, PALM].sum(dim=1)
    total = palm + torch.stack([error for _, error in choices])
    best = total.argsort(stable=True)[:count]
    states = []
    for g in best.tolist():
        orientation = about[g] @ grid[g]
        posed = _composed(turned[g], drawn[g], flat)
        states.append(State(choices[g][0][None], _NO_SHAPE, orientation[None], _place(posed, flat)[None]))
    return join(states)


_NO_SHAPE = torch.zeros(0, 0, dtype=torch.float64)  # filled in by ``starts``


def _nearest_fingers(errors: Tensor, templates: Tensor) -> tuple[Tensor, Tensor]:
    """For each finger the template with the least error [K, 21]: angles [21] and the sum of the least errors."""
    angles, total = torch.empty(ANGLES, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for joints, columns in zip(FINGERS.values(), FINGER_ANGLES, strict=True):
        error = errors[:, list(joints)].sum(dim=1)
        best = int(error.argmin())
        angles[columns] = templates[best, columns]
        total = total + error[best]
    return angles, total


def _composed(points: Tensor, aligned: Tensor, target: Tensor) -> Tensor:
    """[21, 3] of ``points`` [K, 21, 3], each finger from the template whose ``aligned`` points are nearest."""
    errors = (aligned - target).norm(dim=-1)
    chosen = points[0].clone()
    for joints in FINGERS.values():
        chosen[list(joints)] = points[int(errors[:, list(joints)].sum(dim=1).argmin()), list(joints)]
    return chosen


def _place(points: Tensor, flat: Tensor) -> Tensor:
    """[3] (x / z, y / z, log z) of the wrist for which turned points [21, 3] project near ``flat`` [21, 2]."""
    middle, target = points.mean(dim=0), flat.mean(dim=0)
    scale = _spread(flat) / _spread(points[:, :2]).clamp_min(1e-9)  # one over the depth
    depth = (1 / scale.clamp_min(1e-9)).clamp(*DEPTH_RANGE)
    wrist = target * depth - middle[:2]
    near = depth - middle[2]
    near = near.clamp_min(DEPTH_RANGE[0])
    return torch.cat([wrist / near, near.log()[None]])


def _similarity(points: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Angles [G] and scales [G] of the similarity that takes points [G, P, 2] nearest to target [P, 2]."""
    a = points - points.mean(dim=1, keepdim=True)
    b = target - target.mean(dim=0)
    dot = (a * b).sum(dim=(1, 2))
    cross = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(dim=1)
    return torch.atan2(cross, dot), torch.hypot(dot, cross) / a.square().sum(dim=(1, 2)).clamp_min(1e-12)


def kabsch(points: Tensor, target: Tensor) -> Tensor:
    """[3, 3] the rotation that takes centred points [P, 3] nearest to the centred target [P, 3] (Kabsch 1976)."""
    a, b = points - points.mean(dim=0), target - target.mean(dim=0)
    u, _, vh = torch.linalg.svd(b.mT @ a)
    sign = torch.linalg.det(u @ vh)
    return u @ torch.diag(torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign])) @ vh


def _spread(points: Tensor) -> Tensor:
    return (points - points.mean(dim=0)).norm()


def _orientation_grid() -> Tensor:
    """[G, 3, 3]: turned about the hand's long axis in eighths, leant to the camera and away from it."""
    turns = [(yaw, pitch) for yaw in _YAWS for pitch in _PITCHES]
    zero = torch.zeros(len(turns), dtype=torch.float64)
    yaw, pitch = (torch.tensor(column, dtype=torch.float64) * (math.pi / 180) for column in zip(*turns, strict=True))
    about_y = axis_angle_to_matrix(torch.stack([zero, yaw, zero], dim=-1))
    about_x = axis_angle_to_matrix(torch.stack([pitch, zero, zero], dim=-1))
    return about_x @ about_y
