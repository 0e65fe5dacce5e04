"""A hand that was taken for one of the wrong side, fitted again as one of the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from ..hand.hands import SIDES, Frame, Hand
from ..hand.model import known_model
from .calibration import mediapipe_points_2d
from .fit import fit_landmarks, hands_of_fit


def with_side(frame: Frame, places: Sequence[int], side: str) -> Frame:
    """Some of a picture's hands fitted again as hands of the given side, to their own points in the picture.

    A mirrored hand would lie elsewhere, and a hand that is only renamed would be bent the wrong way: the fit finds the
    hand of that side that shows the same 21 points, which for most views is the palm where the back was, or the other
    way round. Hands that are of that side already stay as they are. What else a hand knows stays: confidence, weight,
    order, and its notes.

    Args:
        places: of the hands in the picture's list.
        side: ``left`` or ``right``, the person's own.

    Raises:
        ValueError: an unknown side; a hand of a model that is not at hand.
    """
    if side not in SIDES:
        raise ValueError(f"A hand's side is 'left' or 'right', not {side!r}.")
    hands = list(frame.hands)
    for place in places:
        if hands[place].side != side:
            hands[place] = _refitted(hands[place], side, frame.width, frame.height)
    return dataclasses.replace(frame, hands=tuple(hands))


def _refitted(hand: Hand, side: str, width: int, height: int) -> Hand:
    model = known_model(hand.model)
    if model is None:
        raise ValueError(
            f"A hand of the model {hand.model!r} cannot be fitted again without that model: load it first."
        )
    with torch.inference_mode(False), torch.no_grad():
        points = mediapipe_points_2d(hand, width, height, model)[None].double()
        fit = fit_landmarks(model, points, width, height, [side], camera=hand.camera)
        (found,) = hands_of_fit(fit, model, [side], width, height, [hand.confidence], hand.camera, [hand.notes])
        return found.replace(weight=hand.weight, enabled=hand.enabled, z_order=hand.z_order)
