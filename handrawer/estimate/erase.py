"""Painting over the hands that are known, so that another one among them comes to light.

They are filled in with what surrounds them, which is mostly the hand below: grey paint would cut that one in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from . import regions as places
from .looks import Looks
from .merge import BONE, covered, extents
from .regions import Pyramid

AROUND = 3.5  # side of the part that is painted in, in extents of the hand
LOCAL_SIDE = 560  # pixels of that part
LITTLE = 0.01  # share of a square that is known, from where its average counts


@dataclass(frozen=True, eq=False)
class Local:
    """A part of the picture as a picture of its own."""

    origin: Tensor
    """[2] where its upper left corner lies, pixels."""
    scale: float
    """Pixels of the picture for one of the part."""
    box: Tensor
    """[1, 4] where the hand lies in the part: the middle of it, with the longest of sides asked for."""

    def __call__(self, points: Tensor) -> Tensor:
        """Points [..., 2] of the part as points of the picture."""
        return points * self.scale + self.origin

    def looks(self, looks: Looks) -> Looks:
        """Looks at the part as looks at the picture."""
        return Looks(self(looks.points), looks.world, looks.presence, looks.right)

    def inverse(self, points: Tensor) -> Tensor:
        """Points [..., 2] of the picture as points of the part."""
        return (points - self.origin) / self.scale


def without_hands(pyramid: Pyramid, hands: Tensor, number: int) -> tuple[Pyramid, Local]:
    """The surroundings of one of the hands [N, 21, 2], with all of the hands painted over."""
    extent = float(extents(hands[number]))
    middle = (hands[number].amax(dim=0) + hands[number].amin(dim=0)) / 2
    side = AROUND * extent
    region = torch.tensor([[float(middle[0]), float(middle[1]), side, 0.0]])
    picture = pyramid.crops(region, LOCAL_SIDE)[0].permute(1, 2, 0).cpu()
    scale = side / LOCAL_SIDE
    origin = places.to_picture(region[0], torch.tensor([-0.5, -0.5]))
    known = torch.ones(LOCAL_SIDE, LOCAL_SIDE, dtype=torch.bool)
    for points in (hands - origin) / scale:
        known &= ~_silhouette(points)
    picture = filled_in(picture, known)
    half = 2.5 * extent / scale / 2
    centre = LOCAL_SIDE / 2
    box = torch.tensor([[centre - half, centre - half, centre + half, centre + half]])
    return Pyramid(picture.to(pyramid.device)), Local(origin, scale, box)


def filled_in(picture: Tensor, known: Tensor) -> Tensor:
    """The picture [H, W, 3], and where it is not ``known`` [H, W] bool its surroundings, the nearer the finer.

    Averages over squares of 2, 4, 8, ... pixels of what is known of them; each place takes the finest that knows
    anything there ("pull-push", Gortler et al. 1996, The Lumigraph).
    """
    weight = known.to(picture)[None, None]
    levels = [(picture.permute(2, 0, 1)[None] * weight, weight)]
    while max(levels[-1][1].shape[-2:]) > 1:
        total, weight = levels[-1]
        levels.append((F.avg_pool2d(total, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True)))
    colour = levels[-1][0] / levels[-1][1].clamp_min(LITTLE)
    for total, weight in reversed(levels[:-1]):
        coarse = F.interpolate(colour, size=total.shape[-2:], mode="bilinear", align_corners=False)
        colour = torch.where(weight >= LITTLE, total / weight.clamp_min(LITTLE), coarse)
    return colour[0].permute(1, 2, 0)


def _silhouette(points: Tensor) -> Tensor:
    """[LOCAL_SIDE, LOCAL_SIDE] bool: about where the hand with these joints [21, 2] is seen."""
    steps = torch.arange(LOCAL_SIDE, dtype=torch.float32)
    reach = BONE / 2 * extents(points)
    low = (points.amin(dim=0) - reach).floor().long().clamp(0, LOCAL_SIDE).tolist()
    high = (points.amax(dim=0) + reach).ceil().long().clamp(0, LOCAL_SIDE).tolist()
    inside = torch.zeros(LOCAL_SIDE, LOCAL_SIDE, dtype=torch.bool)
    if high[0] <= low[0] or high[1] <= low[1]:
        return inside
    y, x = torch.meshgrid(steps[low[1] : high[1]], steps[low[0] : high[0]], indexing="ij")
    inside[low[1] : high[1], low[0] : high[0]] = covered(points, torch.stack([x, y], dim=-1))
    return inside
