"""A small robust Levenberg-Marquardt solver for many hands at once, and what it minimises.

Levenberg 1944, Marquardt 1963; bounds by projection with the parameters held that push against their limit (Bertsekas
1982, SIAM J. Control and Optimization 20); robust losses by iteratively reweighted least squares: Huber's (1964) far
from the solution, near it Cauchy's, under which a wrong landmark loses its pull the farther off it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .rig import ANGLES, LandmarkRig, State

BEND = 2.0  # in standard deviations, where the robust losses turn from squares to less
LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e7
BEHIND = 1e-3  # metres; points behind the camera count as so near to it, which is so far off that none stays there


@dataclass(frozen=True, eq=False)
class Problem:
    """The landmarks of N right hands and how far they are trusted. Rows of states belong to hands by number."""

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
    shape: Tensor
    """[N, S] the shape to be expected."""
    shape_known: Tensor
    """[N, S] bool: this coefficient is not fitted."""
    extra: Tensor | None = None
    """[N, 21, 3] metres in the wrist's frame, added to the rig's landmarks."""

    def normal_equations(self, state: State, hand: Tensor, cauchy: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Loss [R], half its gradient [R, P] and the Gauss-Newton matrix [R, P, P]; P = 21 + S + 3 + 3.

        With B the slope [2, 3] of a point's projection, a and b the weights of its errors in the picture and in space,
        a point adds S^T (a B^T B + b I) S for its slopes S. The matrix in the middle is written as three squares, so
        that both errors cost one product.
        """
        points, slopes = self.rig.points_and_slopes(state, None if self.extra is None else self.extra[hand])
        rows, count = len(points), slopes.shape[-1]
        u, v, depth, off, a = self._in_picture(points, state, hand)
        weight = self.weight[hand]
        loss, pull = _robust(off, weight, cauchy)
        a = a * a * pull
        push = off * pull[..., None] * self.scale[hand][:, None, None] / depth[..., None]
        force = torch.stack([push[..., 0], push[..., 1], -u * push[..., 0] - v * push[..., 1]], dim=-1)
        far = state.place[:, 2].exp()[:, None]
        right, down = state.place[:, :1] - u, state.place[:, 1:2] - v
        # How the projection follows the place: far * [[1, 0, right], [0, 1, down]]; and B^T times that.
        one, zero = torch.ones_like(u), torch.zeros_like(u)
        follows = torch.stack([one, zero, right, zero, one, down], dim=-1).view(rows, 21, 2, 3)
        weighted = follows * (a * far)[..., None, None]
        pulled = torch.cat(
            [weighted, -u[..., None, None] * weighted[:, :, :1] - v[..., None, None] * weighted[:, :, 1:]], 2
        )
        place_gradient = (force.sum(dim=1)[:, None] @ self._place_slope(state))[:, 0]
        place_matrix = (weighted * far[..., None, None]).view(rows, 42, 3).mT @ follows.view(rows, 42, 3)
        b = None
        if self.world is not None:
            apart = (points - self.world[hand]) * self.world_scale
            more, pull = _robust(apart, weight, cauchy)
            force = force + apart * (pull * self.world_scale)[..., None]
            b = pull * self.world_scale**2
            loss = loss + more
        squares = _squares(slopes, u, v, a, b)
        beside = torch.cat([pulled, force[..., None]], dim=-1).view(rows, 63, 4)
        beside = slopes.view(rows, 63, count).mT @ beside
        matrix = torch.empty(rows, count + 3, count + 3, dtype=points.dtype)
        matrix[:, :count, :count] = squares.mT @ squares
        matrix[:, :count, count:] = beside[..., :3]
        matrix[:, count:, :count] = beside[..., :3].mT
        matrix[:, count:, count:] = place_matrix
        prior, slope = self._prior(state, hand)
        gradient = torch.cat([beside[..., 3], place_gradient], dim=1)
        gradient[:, : slope.shape[1]] += slope
        matrix[:, :ANGLES, :ANGLES] += self.rig.prior_matrix * self.prior_weight**2
        torch.diagonal(matrix, dim1=1, dim2=2)[:, ANGLES : slope.shape[1]] += self.prior_weight**2
        return loss + prior, gradient, matrix

    def _in_picture(self, points: Tensor, state: State, hand: Tensor) -> tuple[Tensor, ...]:
        """x / z, y / z, depth [R, 21], error [R, 21, 2] in standard deviations, and what one metre makes [R, 21]."""
        placed = points + state.middle[:, None]
        depth = placed[..., 2].clamp_min(BEHIND)
        drawn = placed[..., :2] / depth[..., None]
        scale = self.scale[hand][:, None]
        off = (drawn - self.flat[hand]) * scale[..., None]
        return drawn[..., 0], drawn[..., 1], depth, off, scale / depth

    @staticmethod
    def _place_slope(state: State) -> Tensor:
        """[R, 3, 3] the middle's derivative by place."""
        far = state.place[:, 2].exp()
        zero = torch.zeros_like(far)
        u, v = state.place[:, 0] * far, state.place[:, 1] * far
        return torch.stack([far, zero, u, zero, far, v, zero, zero, far], dim=-1).view(-1, 3, 3)

    def held(self, state: State, gradient: Tensor, hand: Tensor) -> Tensor:
        """[R, P] bool: parameters that are known, or at a limit that a step downhill would push them over."""
        both = torch.cat([state.angles, state.shape], dim=1)
        low, high = self.rig.limits
        slope = gradient[:, : both.shape[1]]
        held = torch.zeros_like(gradient, dtype=torch.bool)
        held[:, : both.shape[1]] = ((both <= low) & (slope > 0)) | ((both >= high) & (slope < 0))
        held[:, ANGLES : both.shape[1]] |= self.shape_known[hand]
        return held

    def _prior(self, state: State, hand: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [R] and half gradient [R, 21 + S] of natural poses and shapes."""
        scale = self.rig.prior_scale * self.prior_weight
        natural = (state.angles - self.rig.prior_mean) @ scale.mT
        shape = (state.shape - self.shape[hand]) * self.prior_weight
        loss = natural.square().sum(dim=1) + shape.square().sum(dim=1)
        return loss, torch.cat([natural @ scale, shape * self.prior_weight], dim=1)


def _squares(slopes: Tensor, u: Tensor, v: Tensor, a: Tensor, b: Tensor | None) -> Tensor:
    """[R, 42 or 63, P] whose squares are sum of S^T (a B^T B + b I) S, B = [[1, 0, -u], [0, 1, -v]]."""
    rows, count = len(slopes), slopes.shape[-1]
    both = a if b is None else a + b
    root = both.sqrt()
    lean = root * (1.0 if b is None else a / both.clamp_min(1e-30))
    lean = torch.stack([lean * u, lean * v], dim=-1)
    flat = slopes[:, :, :2] * root[..., None, None] - slopes[:, :, 2:] * lean[..., None]
    if b is None:
        return flat.view(rows, 42, count)
    deep = (b + a * b / both.clamp_min(1e-30) * (u * u + v * v)).sqrt()
    return torch.cat([flat, slopes[:, :, 2:] * deep[..., None, None]], dim=2).view(rows, 63, count)


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
    problem: Problem, state: State, hand: Tensor, iterations: int, *, cauchy: bool = False, converged: float = 3e-4
) -> tuple[State, Tensor]:
    """Improve R states, each for itself.

    Args:
        state: where to start; it is not changed.
        hand: [R] int64, the hand that each row belongs to.
        converged: a row rests once a step lessens its loss by a smaller share.

    Returns:
        The states and their losses [R], never greater than at the start.
    """
    state = problem.rig.within_limits(state[torch.arange(len(hand))])
    result, losses = state, None
    rows = torch.arange(len(hand))
    loss, gradient, matrix = problem.normal_equations(state, hand, cauchy)
    damping = torch.full_like(loss, 1e-2)
    for _ in range(iterations):
        step = _step(gradient, matrix, problem.held(state, gradient, hand), damping)
        trial = problem.rig.within_limits(state.moved(step))
        trial_loss, trial_gradient, trial_matrix = problem.normal_equations(trial, hand, cauchy)
        better = trial_loss < loss  # not where the step is not a number
        done = (better & (loss - trial_loss < converged * loss)) | (damping > MOST_DAMPING)
        state = trial.where(better, state)
        loss = torch.where(better, trial_loss, loss)
        gradient = torch.where(better[:, None], trial_gradient, gradient)
        matrix = torch.where(better[:, None, None], trial_matrix, matrix)
        damping = torch.where(better, damping * 0.2, damping * 8).clamp_min(LEAST_DAMPING)
        active = torch.nonzero(~done)[:, 0]
        if len(active) == 0:
            break
        if len(active) <= 0.6 * len(done):  # copying the rows out costs less than working on those that rest
            if losses is None:
                result, losses = state, loss
            else:
                result.put(rows, state)
                losses[rows] = loss
            rows, hand, state, loss = rows[active], hand[active], state[active], loss[active]
            gradient, matrix, damping = gradient[active], matrix[active], damping[active]
    if losses is None:
        return state, loss
    result.put(rows, state)
    losses[rows] = loss
    return result, losses


def _step(gradient: Tensor, matrix: Tensor, held: Tensor, damping: Tensor) -> Tensor:
    """The damped Gauss-Newton step [R, P]."""
    free = (~held).to(matrix)
    matrix = matrix * free[:, :, None] * free[:, None, :]
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    diagonal += damping[:, None] * diagonal + held.to(matrix) + 1e-9
    factor, _ = torch.linalg.cholesky_ex(matrix)
    return -torch.cholesky_solve((gradient * free)[..., None], factor)[..., 0]
