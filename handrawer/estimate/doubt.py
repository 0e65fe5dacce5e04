"""Left or right, palm or back: what the landmarks say, what the detector says, and when neither is enough.

The detector tells a side and how sure it is of it. The other side's hand can be fitted to the same landmarks too; how
much better one side explains them is evidence of its own. Both are weighed by a logistic rule that was fitted to
renders of known side (``python -m handrawer.evaluate.fitting`` measures what it achieves). Given the side, the
landmarks show palm or back, but for a hand that is seen from its edge. Hands in doubt are flagged, with a note.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.camera import Camera
from ..hand.model import HandModel
from .fit import MEDIAPIPE, Fit, Source, fit_landmarks

# Log odds of the detector's side: by the log odds of its score, by how much more is left unexplained by the other
# side's hand, and without either. Fitted to 541 renders.
BY_SCORE, BY_LOSS, BASE = 0.95, 0.03, 0.2
MOST_LOSS = 40.0  # differences beyond it say no more, but where
BY_FAR = 0.35  # one side's loss is under this share of the other's: real landmarks of the right side never do that
POOR_LOSS = 60.0  # a side that leaves more is compared with the other, however sure the detector is
SURE = 0.8  # the least probability of a side that is not in doubt
EDGE, EXACT_EDGE = 0.2, 0.02  # cosine between palm normal and view, under which palm and back look alike


@dataclass(frozen=True, eq=False)
class Judged:
    """A fit of N hands, and what is certain about them."""

    fit: Fit
    side: list[str]
    """The side of each hand; where no side was certain, the more probable one."""
    side_probability: Tensor
    """[N] 0.5 to 1, of that side; 1 where it was told."""
    facing: Tensor
    """[N] cosine: 1 shows the palm squarely, -1 the back, 0 the edge."""
    unsure: list[bool]
    notes: list[tuple[str, ...]]
    """Why a hand is unsure, and whether the detector was overruled, in plain words."""


def fit_judged(
    model: HandModel,
    points: Tensor,
    width: int,
    height: int,
    side: Sequence[str | None],
    world: Tensor | None = None,
    *,
    score: Sequence[float | None] | None = None,
    camera: Camera | None = None,
    weights: Tensor | None = None,
    shape: Tensor | None = None,
    source: Source = MEDIAPIPE,
) -> Judged:
    """Fit hands whose sides are not certain.

    Args:
        side: "left", "right", or None where nothing is known of it.
        score: for each hand, how sure the detector is of its side, 0.5 to 1. None: the side was told and stays.
        points, world and the others: as in ``fit_landmarks``.
    """
    count = len(side)
    first = [s or "right" for s in side]
    odds = [_odds(s, None if score is None else score[i]) for i, s in enumerate(side)]

    def fitted(rows: list[int], sides: list[str]) -> Fit:
        some = [None if value is None else value[rows] for value in (world, weights, shape)]
        return fit_landmarks(model, points[rows], width, height, sides, some[0], camera=camera, weights=some[1],
                             shape=some[2], source=source)  # fmt: skip

    # Only where the other side's fit could change the answer, or take the doubt away, is it worth its time. Most of
    # that is known before, and both sides in one batch cost little more than one.
    certain = BY_LOSS * MOST_LOSS + _log_odds(SURE)
    open_ = [i for i in range(count) if odds[i] < certain]
    both = fitted([*range(count), *open_], first + [_OTHER[first[i]] for i in open_])
    fit, mirrored = both[:count], both[count:]
    chosen = list(first)
    odds = _weighed(odds, open_, fit, mirrored, source)
    late = [i for i in range(count) if i not in open_ and odds[i] < math.inf and float(fit.loss[i]) > POOR_LOSS]
    late_mirrored = fitted(late, [_OTHER[first[i]] for i in late])
    odds = _weighed(odds, late, fit, late_mirrored, source)
    for rows, other in ((open_, mirrored), (late, late_mirrored)):
        for row, i in enumerate(rows):
            if odds[i] < 0:
                chosen[i], fit = _OTHER[first[i]], fit.replaced(i, other, row)
    probability = torch.tensor([1 / (1 + math.exp(-abs(o))) for o in odds], dtype=torch.float64)
    facing = _facing(fit)
    edge = facing.abs() < (EDGE if source.calibrated else EXACT_EDGE)
    unsure = (edge | (probability < SURE)).tolist()
    notes = [_notes(side[i], chosen[i], float(probability[i]), float(facing[i]), bool(edge[i])) for i in range(count)]
    return Judged(fit, chosen, probability, facing, unsure, notes)


_OTHER = {"left": "right", "right": "left"}


def _weighed(odds: list[float], rows: list[int], fit: Fit, mirrored: Fit, source: Source) -> list[float]:
    """Log odds with the evidence of the other side's fits, which belong to the hands ``rows``."""
    gain = _evidence(source, fit.loss[rows], mirrored.loss).tolist()
    return [o + gain[rows.index(i)] if i in rows else o for i, o in enumerate(odds)]


def _odds(side: str | None, score: float | None) -> float:
    """Log odds of the first side that is tried, before anything is fitted."""
    if side is None:
        return 0.0
    if score is None:
        return math.inf
    return BASE + BY_SCORE * _log_odds(min(max(score, 1e-4), 1 - 1e-4))


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _evidence(source: Source, loss: Tensor, other: Tensor) -> Tensor:
    """[N] log odds of a side that leaves ``loss`` where the other side leaves ``other``.

    Losses are twice a negative log likelihood. The errors of detected landmarks hang together, so that little of it
    counts; of exact ones, all.
    """
    difference = other - loss
    if not source.calibrated:
        return difference / 2
    by_far = torch.minimum(loss, other) < BY_FAR * torch.maximum(loss, other)
    most = torch.where(by_far, 3 * MOST_LOSS, MOST_LOSS)
    return BY_LOSS * torch.minimum(torch.maximum(difference, -most), most)


def _facing(fit: Fit) -> Tensor:
    """[N] cosine between where the palm looks and where the camera is."""
    view = torch.nn.functional.normalize(fit.translation, dim=1)
    return (fit.orientation[:, :, 2] * view).sum(dim=1)


def _notes(told: str | None, side: str, probability: float, facing: float, edge: bool) -> tuple[str, ...]:
    notes = []
    if told is not None and told != side:
        notes.append(f"The detector took it for a {told} hand; as a {side} hand it is anatomically possible.")
    if probability < SURE:
        notes.append(f"Unsure whether it is a left or a right hand: it was taken for a {side} one.")
    if edge:
        shown = "palm" if facing > 0 else "back"
        notes.append(f"Unsure whether it shows its palm or its back: it is seen from the edge, as if from the {shown}.")
    return tuple(notes)
