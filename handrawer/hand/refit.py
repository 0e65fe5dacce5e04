"""Fitting a hand model to known points in 3D: joints, and places of its surface.

Levenberg and Marquardt's method (Marquardt 1963, J. SIAM 11) over the rotations of all 16 joints, the shape and the
place, for all hands at once. No picture, no camera and no joint limits: the points are those of a hand that is known,
so the pose is not in doubt.

The derivatives are exact. Where a joint at p turns by a small vector w, what hangs on it moves by w x (y - p), and a
vertex by the weighted sum of that over the joints that carry it; a shape moves the rest pose, and pose correctives with
the turns.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from .joints import RIG_PARENTS
from .model import HandModel
from .skinning import at_rest, axis_angle_to_matrix, cross_matrix, forward_kinematics

TURNS = 48  # three for each of the 16 joints
SHAPE_SIGMA = 1.5  # standard deviations
TURN_SIGMA = 0.5  # radians from where a finger's joint starts; only what the points do not tell is left to it
ITERATIONS = 25
CONVERGED = 1e-4  # relative gain of a step that ends the search
_LEAST_DAMPING, _MOST_DAMPING = 1e-9, 1e6
_TURN_SCALE = 2**0.5 * TURN_SIGMA  # entries of a matrix differ by that much for an angle of one sigma


def _hanging() -> Tensor:
    """[16, 16] 1 where the joint of the row carries that of the column, or is it."""
    table = torch.eye(16, dtype=torch.float64)
    for joint in range(15, 0, -1):
        table[RIG_PARENTS[joint]] += table[joint]
    return table


_CARRIES = _hanging()
_PARENTS = list(RIG_PARENTS[1:])

CARRIERS: tuple[int, ...] = (0, *(1 + 3 * finger + min(bone, 2) for finger in range(5) for bone in range(4)))
"""For each of the 21 joints the rig joint whose bone it moves with: its own, a fingertip's the last one."""
_TIPS = [4, 8, 12, 16, 20]


@dataclass(frozen=True, eq=False)
class RefitState:
    """Parameters of N right hands, float64: what ``pose_hand`` takes."""

    rotations: Tensor
    """[N, 15, 3, 3]."""
    shape: Tensor
    """[N, S]."""
    orientation: Tensor
    """[N, 3, 3]."""
    translation: Tensor
    """[N, 3]."""

    def moved(self, step: Tensor) -> RefitState:
        """After a step [N, 48 + 3 + S]: every joint turned by a vector in the parent's frame, the wrist moved, the
        shape changed."""
        turns, shift, shape = step.split([TURNS, 3, self.shape.shape[1]], dim=1)
        turned = axis_angle_to_matrix(turns.unflatten(1, (16, 3)))
        return RefitState(
            turned[:, 1:] @ self.rotations,
            self.shape + shape,
            turned[:, 0] @ self.orientation,
            self.translation + shift,
        )

    def __getitem__(self, rows: Tensor) -> RefitState:
        return RefitState(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))

    def where(self, chosen: Tensor, other: RefitState) -> RefitState:
        """This state in the rows chosen [N] bool, the other one's elsewhere."""
        pairs = [(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self)]
        return RefitState(*(torch.where(chosen.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs))


@dataclass(frozen=True, eq=False)
class Wanted:
    """Where the points of N hands shall be; metres, float64."""

    joints: Tensor
    """[N, 21, 3]."""
    surface: Tensor
    """[N, K, 3] for each of the reduced model's vertices after the five tips; K may be 0."""
    joint_sigma: float
    surface_sigma: float

    def __getitem__(self, rows: Tensor) -> Wanted:
        return dataclasses.replace(self, joints=self.joints[rows], surface=self.surface[rows])


def reduced(model: HandModel, vertices: Tensor) -> HandModel:
    """The model with its five tips and the vertices [K] alone, in this order, and no faces; float64 on the CPU."""
    model = model.to("cpu", torch.float64)
    kept = torch.cat([model.tip_vertices, vertices])
    return dataclasses.replace(
        model, template=model.template[kept], faces=model.faces[:0], shape_dirs=model.shape_dirs[kept],
        weights=model.weights[kept], parts=model.parts[kept], tip_vertices=torch.arange(5), regions={},
        pose_dirs=None if model.pose_dirs is None else model.pose_dirs[kept],
    )  # fmt: skip


def refit(model: HandModel, start: RefitState, wanted: Wanted, offsets: Tensor | None = None) -> RefitState:
    """The states for which a reduced model's points lie nearest to the wanted ones.

    Args:
        model: from ``reduced``; its vertices after the tips are those of ``wanted.surface``.
        start: N states.
        offsets: [21, 3] metres: the wanted joints lie so far from the model's, in the frames of the bones that carry
            them; zeros if None.
    """
    offsets = torch.zeros(21, 3, dtype=torch.float64) if offsets is None else offsets
    state, damping = start, torch.full((len(start.shape),), 1e-3, dtype=torch.float64)
    loss = _residuals(_pose(model, start, offsets), start, start, wanted).square().sum(dim=1)
    active = torch.arange(len(loss))
    for _ in range(ITERATIONS):
        here, first, target = state[active], start[active], wanted[active]
        posed = _pose(model, here, offsets)
        step = _step(_residuals(posed, here, first, target), _jacobian(model, posed, here, target), damping[active])
        trial = here.moved(step)
        trial_loss = _residuals(_pose(model, trial, offsets), trial, first, target).square().sum(dim=1)
        before = loss[active]
        better = trial_loss < before
        state = _put(state, active, trial.where(better, here))
        loss[active] = torch.where(better, trial_loss, before)
        damping[active] = torch.where(better, damping[active] * 0.1, damping[active] * 10).clamp_min(_LEAST_DAMPING)
        done = (better & (before - trial_loss < CONVERGED * before)) | (damping[active] > _MOST_DAMPING)
        active = active[~done]
        if len(active) == 0:
            break
    return state


@dataclass(frozen=True, eq=False)
class _Posed:
    """N hands of a reduced model, with what the derivatives need."""

    joints: Tensor  # [N, 21, 3] with their offsets
    vertices: Tensor  # [N, V, 3]
    turned: Tensor  # [N, 16, 3, 3] global rotations
    places: Tensor  # [N, 16, 3] of the rig's joints
    carried: Tensor  # [N, V, 16, 3] where each joint alone would carry each vertex
    offsets: Tensor  # [N, 21, 3] turned with their bones


def _pose(model: HandModel, state: RefitState, offsets: Tensor) -> _Posed:
    rest, rest_joints = at_rest(model, state.rotations, state.shape)
    turned, places = forward_kinematics(state.rotations, rest_joints, state.orientation, state.translation)
    shift = places - (turned @ rest_joints[..., None])[..., 0]
    carried = torch.einsum("nkij,njv->nvki", turned, rest) + shift[:, None]
    vertices = torch.einsum("vk,nvki->nvi", model.weights, carried)
    away = torch.einsum("nkij,kj->nki", turned[:, list(CARRIERS)], offsets)
    joints = places[:, list(CARRIERS)].clone()
    joints[:, _TIPS] = vertices[:, model.tip_vertices]
    return _Posed(joints + away, vertices, turned, places, carried, away)


def _residuals(posed: _Posed, state: RefitState, start: RefitState, wanted: Wanted) -> Tensor:
    """[N, 63 + 3 K + S + 135] in standard deviations."""
    joints = (posed.joints - wanted.joints) / wanted.joint_sigma
    surface = (posed.vertices[:, 5:] - wanted.surface) / wanted.surface_sigma
    turns = (state.rotations - start.rotations) / _TURN_SCALE
    return torch.cat([joints.flatten(1), surface.flatten(1), state.shape / SHAPE_SIGMA, turns.flatten(1)], dim=1)


def _jacobian(model: HandModel, posed: _Posed, state: RefitState, wanted: Wanted) -> Tensor:
    """[N, 63 + 3 K + S + 135, 48 + 3 + S] derivatives of the residuals by a step of ``RefitState.moved``."""
    count, shapes = state.shape.shape
    # How each finger joint's own rotation changes: [N, 15, 3 (of the turn), 3, 3].
    changed = cross_matrix(torch.eye(3, dtype=torch.float64)) @ state.rotations[:, :, None]
    joint_turns, vertex_turns = _turns(model, posed, changed)
    joint_shapes, vertex_shapes = _shapes(model, posed)
    shift = torch.eye(3, dtype=torch.float64)
    joints = torch.cat([joint_turns, shift.expand(count, 21, 3, 3), joint_shapes], dim=3)
    places = vertex_turns.shape[1] - 5
    surface = torch.cat([vertex_turns[:, 5:], shift.expand(count, places, 3, 3), vertex_shapes[:, 5:]], dim=3)
    priors = torch.zeros(count, shapes + 135, joints.shape[3], dtype=torch.float64)
    priors[:, :shapes, TURNS + 3 :] = torch.eye(shapes, dtype=torch.float64) / SHAPE_SIGMA
    for joint in range(15):
        rows, columns = shapes + 9 * joint, 3 * joint + 3
        priors[:, rows : rows + 9, columns : columns + 3] = changed[:, joint].flatten(2).mT / _TURN_SCALE
    by_points = [joints.flatten(1, 2) / wanted.joint_sigma, surface.flatten(1, 2) / wanted.surface_sigma]
    return torch.cat([*by_points, priors], dim=1)


def _turns(model: HandModel, posed: _Posed, changed: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives [N, 21, 3, 48] of the joints and [N, V, 3, 48] of the vertices."""
    eye = torch.eye(3, dtype=torch.float64).expand(len(changed), 1, 3, 3)
    frames = torch.cat([eye, posed.turned[:, _PARENTS]], dim=1)
    levers = torch.einsum("vk,jk,nvki->nvji", model.weights, _CARRIES, posed.carried)
    levers = levers - (model.weights @ _CARRIES.mT)[..., None] * posed.places[:, None]
    vertices = _about_joints(levers, frames)
    if model.pose_dirs is not None:
        moved = torch.einsum("vijf,njcf->nvijc", model.pose_dirs.unflatten(2, (15, 9)), changed.flatten(3))
        vertices[..., 3:] += _blended(model, posed) @ moved.flatten(3)
    hangs = _CARRIES.mT[list(CARRIERS)][..., None]
    joints = _about_joints(hangs * (posed.joints[:, :, None] - posed.places[:, None]), frames)
    by_offset = _about_joints(hangs[_TIPS] * posed.offsets[:, _TIPS, None], frames)
    joints[:, _TIPS] = vertices[:, model.tip_vertices] + by_offset
    return joints, vertices


def _about_joints(levers: Tensor, frames: Tensor) -> Tensor:
    """[N, M, 3, 48] of points that hang on 16 joints by levers [N, M, 16, 3], for turns in the frames [N, 16, 3, 3]."""
    return -(cross_matrix(levers) @ frames[:, None]).transpose(2, 3).flatten(3)


def _blended(model: HandModel, posed: _Posed) -> Tensor:
    """[N, V, 3, 3] the linear part of each vertex's motion."""
    return torch.einsum("vk,nkij->nvij", model.weights, posed.turned)


def _shapes(model: HandModel, posed: _Posed) -> tuple[Tensor, Tensor]:
    """Derivatives [N, 21, 3, S] of the joints and [N, V, 3, S] of the vertices."""
    dirs = model.joint_shape_dirs
    steps = posed.turned[:, _PARENTS] @ (dirs[1:] - dirs[_PARENTS])
    moved = torch.zeros(len(posed.turned), *dirs.shape, dtype=torch.float64)
    moved[:, 1:] = steps.unflatten(1, (5, 3)).cumsum(dim=2).flatten(1, 2)
    shift = moved - posed.turned @ dirs
    vertices = _blended(model, posed) @ model.shape_dirs + torch.einsum("vk,nkis->nvis", model.weights, shift)
    joints = moved[:, list(CARRIERS)]
    joints[:, _TIPS] = vertices[:, model.tip_vertices]
    return joints, vertices


def _step(residuals: Tensor, jacobian: Tensor, damping: Tensor) -> Tensor:
    """The damped Gauss-Newton step [N, P]."""
    gradient = (jacobian.mT @ residuals[..., None])[..., 0]
    hessian = jacobian.mT @ jacobian
    diagonal = torch.diagonal(hessian, dim1=1, dim2=2)
    hessian = hessian + torch.diag_embed(damping[:, None] * diagonal + 1e-12)
    return -torch.linalg.solve(hessian, gradient)


def _put(state: RefitState, rows: Tensor, part: RefitState) -> RefitState:
    """The state with some rows replaced."""
    changed = []
    for field in dataclasses.fields(state):
        value = getattr(state, field.name).clone()
        value[rows] = getattr(part, field.name)
        changed.append(value)
    return RefitState(*changed)
