"""A small robust Levenberg-Marquardt solver for many hands at once.

Levenberg 1944, Marquardt 1963; bounds by projection with the parameters held that push against their limit (Bertsekas
1982, SIAM J. Control and Optimization 20); Huber's loss by iteratively reweighted least squares (Huber 1964). Jacobians
are forward differences in double precision: all steps of all hands go through the rig as one batch, which is faster
than any differentiation of so small a function, and works in inference mode too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .rig import State

DIFFERENCE = 1e-6
HUBER = 2.0  # in standard deviations, where the loss turns from squares to lines
LEAST_DAMPING, MOST_DAMPING = 1e-7, 1e8
CONVERGED = 1e-5  # relative decrease of the loss


@dataclass(frozen=True)
class Residuals:
    """Residuals of R hands in standard deviations.

    ``robust`` [R, K, D] are K vectors of D numbers each, whose lengths go through Huber's loss; ``plain`` [R, M] are
    squared.
    """

    robust: tuple[Tensor, ...]
    plain: Tensor

    def flat(self) -> Tensor:
        """[R, sum of K D + M]."""
        return torch.cat([*(block.flatten(1) for block in self.robust), self.plain], dim=1)

    def weights(self) -> Tensor:
        """Weights of ``flat`` for which weighted squares have the loss's gradient."""
        columns = []
        for block in self.robust:
            length = block.norm(dim=-1).clamp_min(1e-12)
            weight = (HUBER / length).clamp_max(1.0)
            columns.append(weight[..., None].expand_as(block).flatten(1))
        return torch.cat([*columns, torch.ones_like(self.plain)], dim=1)

    def loss(self) -> Tensor:
        """[R]"""
        total = self.plain.square().sum(dim=1)
        for block in self.robust:
            length = block.norm(dim=-1)
            total = total + torch.where(length < HUBER, length.square(), 2 * HUBER * length - HUBER**2).sum(dim=1)
        return total


def minimise(residuals: Callable[[State, Tensor], Residuals], state: State, iterations: int) -> tuple[State, Tensor]:
    """Improve R hands, each for itself.

    Args:
        residuals: of a state with any number of rows; the second argument [rows] says to which of the R hands each
            belongs.
        state: where to start, R rows.

    Returns:
        The states and their losses [R], never greater than at the start.
    """
    state = state.within_limits()
    rows = torch.arange(len(state.place))
    loss = residuals(state, rows).loss()
    damping = torch.full_like(loss, 1e-2)
    active = rows
    for _ in range(iterations):
        if len(active) == 0:
            break
        here = state[active]
        step = _step(residuals, here, active, damping[active])
        trial = here.moved(step).within_limits()
        trial_loss = residuals(trial, active).loss()
        before = loss[active]
        better = trial_loss < before
        gain = (before - trial_loss) / before.clamp_min(1e-12)
        state = _put(state, active, trial.where(better, here))
        loss[active] = torch.where(better, trial_loss, before)
        damping[active] = torch.where(better, damping[active] * 0.2, damping[active] * 8).clamp_min(LEAST_DAMPING)
        done = (better & (gain < CONVERGED)) | (damping[active] > MOST_DAMPING)
        active = active[~done]
    return state, loss


def _step(residuals: Callable, state: State, rows: Tensor, damping: Tensor) -> Tensor:
    """The damped Gauss-Newton step [R, P]."""
    count, size = len(rows), 21 + state.shape.shape[1] + 6
    steps = torch.cat([torch.zeros(1, size, dtype=torch.float64), torch.eye(size, dtype=torch.float64) * DIFFERENCE])
    repeated = rows.repeat_interleave(size + 1)
    each = torch.arange(count).repeat_interleave(size + 1)
    at = residuals(state[each].moved(steps.repeat(count, 1)), repeated)
    values = at.flat().view(count, size + 1, -1)
    weights = at.weights().view(count, size + 1, -1)[:, 0]
    value = values[:, 0]
    jacobian = ((values[:, 1:] - value[:, None]) / DIFFERENCE).mT  # [R, M, P]
    weighted = jacobian.mT * weights[:, None]
    gradient = (weighted @ value[..., None])[..., 0]
    hessian = weighted @ jacobian
    held = state.at_limits(gradient)
    free = (~held).to(hessian)
    hessian = hessian * free[:, :, None] * free[:, None, :]
    diagonal = torch.diagonal(hessian, dim1=1, dim2=2)
    hessian = hessian + torch.diag_embed(damping[:, None] * diagonal + held.to(hessian) + 1e-9)
    return -torch.linalg.solve(hessian, gradient * free)


def _put(state: State, rows: Tensor, part: State) -> State:
    changed = []
    for name in ("angles", "shape", "orientation", "place"):
        value = getattr(state, name).clone()
        value[rows] = getattr(part, name)
        changed.append(value)
    return State(*changed)
