"""Pictures to 21 landmarks a hand: MediaPipe's two hand networks, which ship with HanDrawer.

They run in torch, so that nothing else need be installed; or, where it is asked for, in the mediapipe package.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .find import SMALL_SIDE, THOROUGHNESS, Landmarks, resized
from .merge import extents
from .search import Search

__all__ = ["BACKENDS", "THOROUGHNESS", "LandmarkDetector", "Landmarks"]

BACKENDS = ("auto", "torch", "mediapipe")
LEAST_SIDE = 4  # pixels; a smaller picture cannot show a hand
LARGE_SIDE = 4096  # pixels; larger pictures are reduced
# Longer sides over shorter ones from where a picture is a line to both networks.
LONGEST = 64


class LandmarkDetector:
    """Finds the hands in one picture.

    Args:
        max_hands: at most so many are returned, the largest first.
        min_confidence: 0 to 1, how sure the landmark network must be that it sees a hand.
        thorough: the short form of ``thoroughness``: False is ``fast``, True is ``balanced``.
        thoroughness: ``fast`` looks at the whole picture once, as MediaPipe does: the plain judge for scores.
            ``balanced`` looks at overlapping parts too, at turned ones where it is unsure, and several times at
            whatever it finds, so that it finds small and overlapping hands and invents fewer than ``fast``.
            ``thorough`` looks at more scales and all four right-angle turns in any case.
        palm_confidence: 0 to 1, how sure the palm detector must be; ``min_confidence`` if None. It only says where the
            landmark network looks.
        backend: ``torch`` runs the networks here and needs nothing more. ``mediapipe`` takes the package of that name;
            it knows two levels only, so that ``thorough`` is ``balanced``. ``auto`` is ``torch``: a workflow gives the
            same hands on every machine, whatever is installed there.
        device: where torch runs the networks. The processor's hands are the same on every machine; a GPU's differ by
            its rounding, and ``thorough`` takes a small part of the time.

    Calling it is deterministic and safe from any thread. The networks are built once and kept.

    Raises:
        ValueError: a setting is out of its range.
        ImportError: on first use without mediapipe, where it is asked for.
        FileNotFoundError: where the networks' file is missing or damaged.
    """

    def __init__(
        self,
        max_hands: int = 10,
        min_confidence: float = 0.5,
        thorough: bool = False,
        *,
        thoroughness: str | None = None,
        palm_confidence: float | None = None,
        backend: str = "auto",
        device: torch.device | str = "cpu",
    ):
        if max_hands < 1:
            raise ValueError(f"max_hands is {max_hands}: the detector must be allowed at least one hand.")
        palm_confidence = min_confidence if palm_confidence is None else palm_confidence
        for name, value in (("min_confidence", min_confidence), ("palm_confidence", palm_confidence)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, it must lie between 0 and 1.")
        thoroughness = thoroughness or ("balanced" if thorough else "fast")
        if thoroughness not in THOROUGHNESS:
            raise ValueError(f"thoroughness is {thoroughness!r}, it must be one of {', '.join(THOROUGHNESS)}.")
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}, it must be one of {', '.join(BACKENDS)}.")
        self.max_hands = max_hands
        self.min_confidence = min_confidence
        self.palm_confidence = palm_confidence
        self.thoroughness = thoroughness
        self.backend = "torch" if backend == "auto" else backend
        self.device = device

    def __call__(self, picture: Tensor, boxes: Tensor | None = None) -> list[Landmarks]:
        """The hands in a picture, largest first.

        Args:
            picture: [H, W, 3] float in [0, 1] (clamped; NaN counts as 0).
            boxes: [K, 4] x0, y0, x1, y1, normalised: look there alone, for hands whose middle lies in one of them.
                None: look everywhere. No box: nowhere.
        """
        if picture.dim() != 3 or picture.shape[-1] != 3:
            raise ValueError(f"The detector takes a picture [height, width, 3], got {tuple(picture.shape)}.")
        long, short = max(picture.shape[:2]), min(picture.shape[:2])
        if long < LEAST_SIDE or long > LONGEST * short or (boxes is not None and not len(boxes)):
            return []
        picture = torch.nan_to_num(picture.detach().to("cpu", torch.float32), nan=0.0).clamp(0, 1)
        if long > LARGE_SIDE:
            picture = resized(picture, LARGE_SIDE)
        elif long < SMALL_SIDE:
            picture = resized(picture, SMALL_SIDE)
        size = torch.tensor([picture.shape[1], picture.shape[0]], dtype=torch.float32)
        if boxes is not None:
            boxes = boxes.detach().to("cpu", torch.float32) * size.repeat(2)
        hands = self._with_mediapipe(picture, boxes) if self.backend == "mediapipe" else self._find(picture, boxes)
        hands.sort(key=lambda hand: -float(extents(hand.points * size)))
        return hands[: self.max_hands]

    def _find(self, picture: Tensor, boxes: Tensor | None) -> list[Landmarks]:
        looks = Search(self.thoroughness, self.min_confidence, self.palm_confidence, self.device)(picture, boxes)
        size = torch.tensor([picture.shape[1], picture.shape[0]], dtype=torch.float32)
        return [
            Landmarks(
                points=points / size,
                world=world,
                side="right" if right >= 0.5 else "left",
                score=max(right, 1 - right),
                presence=presence,
            )
            for points, world, right, presence in zip(
                looks.points, looks.world, looks.right.tolist(), looks.presence.tolist(), strict=True
            )
        ]

    def _with_mediapipe(self, picture: Tensor, boxes: Tensor | None) -> list[Landmarks]:
        from .mediapipe_backend import find

        return find(picture, self.thoroughness != "fast", self.palm_confidence, self.min_confidence, boxes)
