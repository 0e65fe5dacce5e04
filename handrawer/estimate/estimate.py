"""A batch of pictures to the hands in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..counters import counters
from ..hand.camera import Camera
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel, load_open_hand
from .doubt import fit_judged
from .fit import hands_of_fit
from .landmarks import LandmarkDetector, Landmarks

logger = logging.getLogger("handrawer")

NO_HAND = "No hand was found."
NO_HAND_THERE = "No hand was found where it was to look."
SIDES = ("auto", "left", "right")
POOR_FIT = 0.05  # mean distance over the hand's size, from where a hand's note warns
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
    thoroughness: str | None = None,
    palm_confidence: float | None = None,
    side: str = "auto",
    boxes: Sequence[Tensor] | None = None,
    backend: str = "auto",
    device: torch.device | str = "cpu",
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
        thorough: the short form of ``thoroughness``: True is ``balanced``, False ``fast``.
        thoroughness, palm_confidence, backend, device: see ``LandmarkDetector``.
        side: ``left`` or ``right`` where all hands are known to be such; ``auto`` asks the detector and the fit.
        boxes: for each picture [K, 4] x0, y0, x1, y1, normalised: look there alone. Fewer than pictures start again at
            the first.

    Returns:
        One frame for each picture, its hands ordered from the largest. A picture without a hand gets an empty frame
        whose note says so. The same picture gives the same hands.

    Raises:
        ValueError: for what is no batch of pictures.
        ImportError, FileNotFoundError: see ``LandmarkDetector``.
    """
    counters.count("estimate")
    with torch.inference_mode(False), torch.no_grad():
        pictures = as_rgb(pictures)
        detector = LandmarkDetector(
            max_hands,
            min_confidence,
            thorough,
            thoroughness=thoroughness,
            palm_confidence=palm_confidence,
            backend=backend,
            device=device,
        )
        if side not in SIDES:
            raise ValueError(f"side is {side!r}, it must be one of {', '.join(SIDES)}.")
        if boxes is not None and not len(boxes):
            raise ValueError("boxes: there are none for any picture; give one list of boxes a picture, or None.")
        model = model or load_open_hand()
        frames = []
        for number, picture in enumerate(pictures):
            where = None if boxes is None else boxes[number % len(boxes)]
            found = detector(picture, where)
            frames.append(_frame(found, picture, model, camera, side, NO_HAND if where is None else NO_HAND_THERE))
            if progress is not None:
                progress(len(frames), len(pictures))
    return Hands(tuple(frames))


def _frame(
    found: list[Landmarks],
    picture: Tensor,
    model: HandModel,
    camera: Camera | None,
    side: str = "auto",
    nothing: str = NO_HAND,
) -> Frame:
    height, width = picture.shape[:2]
    if not found:
        return Frame(width, height, (), nothing)
    points, world = (torch.stack([getattr(hand, name) for hand in found]) for name in ("points", "world"))
    told = side != "auto"
    sides = [side if told else hand.side for hand in found]
    scores = None if told else [hand.score for hand in found]
    judged = fit_judged(model, points, width, height, sides, world, score=scores, camera=camera)
    fit = judged.fit
    notes = [note + _notes(float(r)) for note, r in zip(judged.notes, fit.residual, strict=True)]
    presence = [hand.presence for hand in found]
    hands = hands_of_fit(fit, model, judged.side, width, height, presence, camera, notes, judged.unsure)
    for number, (hand, residual) in enumerate(zip(hands, fit.residual.tolist(), strict=True)):
        logger.debug("hand %d: %s, landmarks explained to %.1f %% of its size", number, hand.side, 100 * residual)
    return Frame(width, height, _largest_first(hands, width, height))


def _notes(residual: float) -> tuple[str, ...]:
    if residual <= POOR_FIT:
        return ()
    return (
        f"The fitted hand misses the detector's points by {100 * residual:.0f} % of its size: "
        "the hand in the picture may be malformed or hidden.",
    )


def _largest_first(hands: list[Hand], width: int, height: int) -> tuple[Hand, ...]:
    def extent(hand: Hand) -> float:
        x0, y0, x1, y1 = hand.box.tolist()
        return max((x1 - x0) * width, (y1 - y0) * height)

    return tuple(sorted(hands, key=extent, reverse=True))


def as_rgb(pictures: Tensor) -> Tensor:
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
