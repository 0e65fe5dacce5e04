"""A batch of pictures to the hands in them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ..counters import counters
from ..hand.camera import Camera
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel, load_open_hand
from .fit import Fit, fit_landmarks, hands_of_fit
from .landmarks import LandmarkDetector, Landmarks

logger = logging.getLogger("handrawer")

NO_HAND = "No hand was found."
POOR_FIT = 0.05  # mean distance over the hand's size, from where a hand's note warns
OTHER_SIDE = 0.6  # the other side's loss must be under this share of the detector's side's to be believed
TRANSPARENT = 0.5  # grey that is put behind transparent pictures


def estimate_hands(
    pictures: Tensor,
    *,
    max_hands: int = 10,
    min_confidence: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
    model: HandModel | None = None,
    camera: Camera | None = None,
    thorough: bool = True,
) -> Hands:
    """Find the hands in each picture and fit the hand model to every one.

    Args:
        pictures: [B, H, W, C] float in [0, 1] (clamped; NaN counts as 0), any size, any device. C is 3 (RGB), 4 (with
            transparency, which is put on grey) or 1 (grey).
        max_hands: at most so many hands of each picture, the largest.
        min_confidence: 0 to 1, how sure the detector must be.
        progress: called as ``progress(pictures done, pictures)``; what it raises stops the work.
        model: the open hand if None.
        camera: ``default_camera`` if None.
        thorough: also look for small and overlapping hands in parts of each picture, which takes longer.

    Returns:
        One frame for each picture, its hands ordered from the largest. A picture without a hand gets an empty frame
        whose note says so. The same picture gives the same hands.

    Raises:
        ValueError: for what is no batch of pictures.
        ImportError, FileNotFoundError: see ``LandmarkDetector``.
    """
    counters.count("estimate")
    with torch.inference_mode(False), torch.no_grad():
        pictures = _rgb(pictures)
        detector = LandmarkDetector(max_hands, min_confidence, thorough)
        model = model or load_open_hand()
        frames = []
        for picture in pictures:
            frames.append(_frame(detector(picture), picture, model, camera))
            if progress is not None:
                progress(len(frames), len(pictures))
    return Hands(tuple(frames))


def _frame(found: list[Landmarks], picture: Tensor, model: HandModel, camera: Camera | None) -> Frame:
    height, width = picture.shape[:2]
    if not found:
        return Frame(width, height, (), NO_HAND)
    fit, sides = _fit(found, model, width, height, camera)
    notes = [_notes(hand, side, float(r)) for hand, side, r in zip(found, sides, fit.residual, strict=True)]
    hands = hands_of_fit(fit, model, sides, width, height, [hand.score for hand in found], camera, notes)
    for number, (hand, residual) in enumerate(zip(hands, fit.residual.tolist(), strict=True)):
        logger.debug("hand %d: %s, landmarks explained to %.1f %% of its size", number, hand.side, 100 * residual)
    return Frame(width, height, _largest_first(hands, width, height))


def _fit(
    found: list[Landmarks], model: HandModel, width: int, height: int, camera: Camera | None
) -> tuple[Fit, list[str]]:
    """The fit, and the side of each hand: the detector's, unless the other one explains the landmarks far better."""
    points = torch.stack([hand.points for hand in found])
    world = torch.stack([hand.world for hand in found])
    sides = [hand.side for hand in found]
    fit = fit_landmarks(model, points, width, height, sides, world, camera=camera)
    doubtful = [i for i, residual in enumerate(fit.residual.tolist()) if residual > POOR_FIT]
    if not doubtful:
        return fit, sides
    other = ["left" if sides[i] == "right" else "right" for i in doubtful]
    mirrored = fit_landmarks(model, points[doubtful], width, height, other, world[doubtful], camera=camera)
    for row, i in enumerate(doubtful):
        if float(mirrored.loss[row]) < OTHER_SIDE * float(fit.loss[i]):
            sides[i] = other[row]
            fit = fit.replaced(i, mirrored, row)
    return fit, sides


def _notes(hand: Landmarks, side: str, residual: float) -> tuple[str, ...]:
    notes = []
    if side != hand.side:
        notes.append(f"The detector took it for a {hand.side} hand; as a {side} hand it is anatomically possible.")
    if residual > POOR_FIT:
        notes.append(
            f"The fitted hand misses the detector's points by {100 * residual:.0f} % of its size: "
            "the hand in the picture may be malformed or hidden."
        )
    return tuple(notes)


def _largest_first(hands: list[Hand], width: int, height: int) -> tuple[Hand, ...]:
    def extent(hand: Hand) -> float:
        x0, y0, x1, y1 = hand.box.tolist()
        return max((x1 - x0) * width, (y1 - y0) * height)

    return tuple(sorted(hands, key=extent, reverse=True))


def _rgb(pictures: Tensor) -> Tensor:
    """[B, H, W, 3] float32 in [0, 1] on the CPU, never the caller's own memory."""
    if not isinstance(pictures, Tensor) or pictures.dim() != 4 or not pictures.is_floating_point():
        shape = tuple(pictures.shape) if isinstance(pictures, Tensor) else type(pictures).__name__
        raise ValueError(f"Pictures are a float tensor [batch, height, width, channels] from 0 to 1, got {shape}.")
    if pictures.shape[-1] not in (1, 3, 4) or 0 in pictures.shape:
        raise ValueError(f"Pictures have 1, 3 or 4 channels and at least one pixel, got {tuple(pictures.shape)}.")
    clean = torch.nan_to_num(pictures.detach().clone().to("cpu", torch.float32), nan=0.0).clamp(0, 1)
    if clean.shape[-1] == 4:
        alpha = clean[..., 3:]
        return clean[..., :3] * alpha + TRANSPARENT * (1 - alpha)
    return clean.expand(*clean.shape[:-1], 3)
