"""What every way of finding hands gives, and how pictures are made fit for it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

THOROUGHNESS = ("fast", "balanced", "thorough")
SMALL_SIDE = 256  # pixels; smaller pictures are enlarged to this, the networks look at crops of 192 and 224


@dataclass(frozen=True, eq=False)
class Landmarks:
    """One hand as the detector sees it."""

    points: Tensor
    """[21, 2] float32, normalised picture coordinates; may lie outside [0, 1]."""
    world: Tensor
    """[21, 3] float32 metres, x right, y down, z away from the camera, origin in the middle of the hand."""
    side: str
    """``"left"`` or ``"right"``, the person's own."""
    score: float
    """0.5 to 1: how sure the network is of the side."""
    presence: float = 1.0
    """0 to 1: how sure it is of seeing a hand, over all looks at it. MediaPipe does not tell: there it is ``score``."""


def resized(picture: Tensor, side: int) -> Tensor:
    """The picture [H, W, 3] at another size, its longer side ``side`` pixels."""
    ratio = side / max(picture.shape[:2])
    height, width = (max(1, round(length * ratio)) for length in picture.shape[:2])
    mode = "bicubic" if ratio > 1 else "area"
    return F.interpolate(picture.permute(2, 0, 1)[None], size=(height, width), mode=mode)[0].permute(1, 2, 0)
