"""A small robust Levenberg-Marquardt solver for many hands at once, and what it minimises.

Levenberg 1944, Marquardt 1963; bounds by projection with the parameters held that push against their limit (Bertsekas
1982, SIAM J. Control and Optimization 20); robust losses by iteratively reweighted least squares: Huber's (1964) far
from the solution, near it Cauchy's, under which a wrong landmark loses its pull the farther off it lies.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from .rig import LandmarkRig, State

BEND = 2.0  # in standard deviations, where the robust losses turn from squares to less
LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e7
BEHIND = 1e-3  # metres; points behind the camera count as so near to it, which is so far off that none stays there


@dataclass(frozen=True, eq=False)
class Problem:
    """The landmarks of N right hands and how far they are trusted; one row of a state for each."""

    rig: LandmarkRig
    flat: Tensor
    """[N, 21, 2] landmarks as (x / z, y / z)."""
    world: Tensor | None
    """[N, 21, 3] metres in the camera frame, about their mean."""
    weight: Tensor
    """[N, 21] in [0, 1]; 0 leaves a landmark out."""
    scale: Tensor
    """[N] one over the standard deviation of ``flat``."""
    world_scale: float
    """One over the standard deviation of ``world``."""
    prior_weight: float
    """Of natural poses and shapes."""
    expected: Tensor
    """[N, 21 + S] natural angles, and the shape to be expected."""
    known: Tensor
    """[N, 21 + S] bool: this one is not fitted."""
    extra: Tensor | None = None
    """[N, 21, 3] metres in the wrist's frame, added to the rig's landmarks."""

    def __getitem__(self, hands: Tensor) -> Problem:
        """The problem of some of the hands [R] int64, each as often as it is named."""
        tensors = {
            field.name: value[hands]
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **tensors)

    def normal_equations(self, state: State, cauchy: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Loss [N], half its gradient [N, P] and the Gauss-Newton matrix [N, P, P]; P = 21 + S + 3 + 3.

        Rows of a Jacobian with the residuals as one more column: its square holds matrix and gradient at once.
        """
        points, slopes = self.rig.points_and_slopes(state, self.extra)
        rows, count = len(points), slopes.shape[-1]
        far = state.place[:, 2:].exp()
        by_place = torch.diag_embed(far.expand(-1, 3))
        by_place[:, :2, 2] = state.place[:, :2] * far
        placed = points + by_place[:, None, :, 2]
        depth = placed[..., 2:].clamp_min(BEHIND)
        drawn = placed[..., :2] / depth
        off = (drawn - self.flat) * self.scale[:, None, None]
        loss, pull = _robust(off, self.weight, cauchy)
        root = pull.sqrt()[..., None]
        total = 42 if self.world is None else 105
        jacobian = points.new_zeros(rows, total, count + 4)
        flat = jacobian[:, :42].view(rows, 21, 2, count + 4)
        flat[..., :count] = slopes[:, :, :2] - drawn[..., None] * slopes[:, :, 2:]
        flat[..., count : count + 3] = by_place[:, None, :2] - drawn[..., None] * by_place[:, None, 2:]
        flat *= (root * self.scale[:, None, None] / depth)[..., None]
        flat[..., count + 3] = off * root
        if self.world is not None:
            apart = (points - self.world) * self.world_scale
            more, pull = _robust(apart, self.weight, cauchy)
            loss = loss + more
            root = pull.sqrt()[..., None]
            space = jacobian[:, 42:].view(rows, 21, 3, count + 4)
            torch.mul(slopes, (root * self.world_scale)[..., None], out=space[..., :count])
            torch.mul(apart, root, out=space[..., count + 3])
        square = jacobian.mT @ jacobian
        matrix, gradient = square[:, :-1, :-1], square[:, :-1, -1].contiguous()
        form = state.form.shape[1]
        away = state.form - self.expected
        stiffness = self.rig.stiffness * self.prior_weight**2
        pushed = away @ stiffness
        gradient[:, :form] += pushed
        matrix[:, :form, :form] += stiffness
        return loss + (away * pushed).sum(dim=1), gradient, matrix

    def held(self, state: State, gradient: Tensor) -> Tensor:
        """[N, 21 + S] bool: parameters that are known, or at a limit that a step downhill would push them over."""
        low, high = self.rig.limits
        slope = gradient[:, : state.form.shape[1]]
        return ((state.form <= low) & (slope > 0)) | ((state.form >= high) & (slope < 0)) | self.known


def _robust(off: Tensor, weight: Tensor, cauchy: bool) -> tuple[Tensor, Tensor]:
    """Loss [R] of distances [R, K, D] in standard deviations, and the weights [R, K] of their squares."""
    squared = off.square().sum(dim=-1)
    if cauchy:
        more = squared / BEND**2
        return (weight * BEND**2 * more.log1p()).sum(dim=1), weight / (1 + more)
    length = squared.sqrt()
    lines = length > BEND
    loss = torch.where(lines, 2 * BEND * length - BEND**2, squared)
    return (weight * loss).sum(dim=1), torch.where(lines, BEND / length, 1.0) * weight


def minimise(
    problem: Problem, state: State, iterations: int, *, cauchy: bool = False, converged: float = 2e-3
) -> tuple[State, Tensor]:
    """Improve N states, each for itself.

    Args:
        state: where to start; it is not changed.
        converged: a row rests once a step lessens its loss by a smaller share.

    Returns:
        The states and their losses [N], never greater than at the start.
    """
    state = problem.rig.within_limits(state)
    result, losses = state, None
    rows = torch.arange(len(state.form))
    loss, gradient, matrix = problem.normal_equations(state, cauchy)
    damping, done = torch.full_like(loss, 1e-2), torch.zeros_like(loss, dtype=torch.bool)
    for _ in range(iterations):
        step = _step(gradient, matrix, problem.held(state, gradient), damping)
        trial = problem.rig.within_limits(state.moved(step))
        trial_loss, trial_gradient, trial_matrix = problem.normal_equations(trial, cauchy)
        better = (trial_loss < loss) & ~done  # not where the step is not a number; a row that rests stays as it is
        done = done | (better & (loss - trial_loss < converged * loss)) | (damping > MOST_DAMPING)
        if bool(better.all()):
            state, loss, gradient, matrix = trial, trial_loss, trial_gradient, trial_matrix
        else:
            state = trial.where(better, state)
            loss = torch.where(better, trial_loss, loss)
            gradient = torch.where(better[:, None], trial_gradient, gradient)
            matrix = torch.where(better[:, None, None], trial_matrix, matrix)
        damping = torch.where(better, damping * 0.2, damping * 8).clamp_min(LEAST_DAMPING)
        resting = int(done.sum())
        if resting == len(done):
            break
        if resting >= 0.4 * len(done):  # copying the rows out costs less than working on those that rest
            if losses is None:
                result, losses = state[rows], loss.clone()  # copies
            else:
                result.put(rows, state)
                losses[rows] = loss
            active = torch.nonzero(~done)[:, 0]
            problem, rows, state, loss = problem[active], rows[active], state[active], loss[active]
            gradient, matrix, damping, done = gradient[active], matrix[active], damping[active], done[active]
    if losses is None:
        return state, loss
    result.put(rows, state)
    losses[rows] = loss
    return result, losses


def _step(gradient: Tensor, matrix: Tensor, held: Tensor, damping: Tensor) -> Tensor:
    """The damped Gauss-Newton step [N, P]."""
    free = torch.ones_like(gradient)
    free[:, : held.shape[1]] = ~held
    matrix = matrix * free[:, :, None] * free[:, None, :]
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    diagonal *= 1 + damping[:, None]
    diagonal += (1 + 1e-9) - free
    factor, _ = torch.linalg.cholesky_ex(matrix)
    return -torch.cholesky_solve((gradient * free)[..., None], factor)[..., 0]
