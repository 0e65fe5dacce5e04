"""Painting over the hands that are known, so that another one among them comes to light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.joints import JOINT_PARENTS
from . import regions as places
from .merge import extents
from .regions import Pyramid

AROUND = 3.5  # side of the part that is painted in, in extents of the hand
LOCAL_SIDE = 560  # pixels of that part
BONE = 0.16  # a bone's thickness over the hand's extent
GREY = 0.5
BONES = [(joint, parent) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0]
PALM = [(5, 9), (9, 13), (13, 17), (1, 5), (0, 9), (0, 13), (2, 9)]


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


def without_hands(pyramid: Pyramid, hands: Tensor, number: int) -> tuple[Pyramid, Local]:
    """The surroundings of one of the hands [N, 21, 2], with all of the hands painted grey."""
    extent = float(extents(hands[number]))
    middle = (hands[number].amax(dim=0) + hands[number].amin(dim=0)) / 2
    side = AROUND * extent
    region = torch.tensor([[float(middle[0]), float(middle[1]), side, 0.0]])
    picture = pyramid.crops(region, LOCAL_SIDE)[0].permute(1, 2, 0).cpu()
    scale = side / LOCAL_SIDE
    origin = places.to_picture(region[0], torch.tensor([-0.5, -0.5]))
    local = (hands - origin) / scale
    for points in local:
        picture = torch.where(_silhouette(points)[..., None], torch.tensor(GREY), picture)
    half = 2.5 * extent / scale / 2
    centre = LOCAL_SIDE / 2
    box = torch.tensor([[centre - half, centre - half, centre + half, centre + half]])
    return Pyramid(picture.to(pyramid.device)), Local(origin, scale, box)


def _silhouette(points: Tensor) -> Tensor:
    """[LOCAL_SIDE, LOCAL_SIDE] bool: about where the hand with these joints [21, 2] is seen."""
    steps = torch.arange(LOCAL_SIDE, dtype=torch.float32)
    reach = BONE / 2 * extents(points)
    low = (points.amin(dim=0) - reach).floor().long().clamp(0, LOCAL_SIDE).tolist()
    high = (points.amax(dim=0) + reach).ceil().long().clamp(0, LOCAL_SIDE).tolist()
    covered = torch.zeros(LOCAL_SIDE, LOCAL_SIDE, dtype=torch.bool)
    if high[0] <= low[0] or high[1] <= low[1]:
        return covered
    y, x = torch.meshgrid(steps[low[1] : high[1]], steps[low[0] : high[0]], indexing="ij")
    place = torch.stack([x, y], dim=-1)
    near = torch.zeros(place.shape[:2], dtype=torch.bool)
    for a, b in BONES + PALM:
        start, along = points[a], points[b] - points[a]
        share = ((place - start) @ along / along.square().sum().clamp_min(1e-6)).clamp(0, 1)
        near |= (place - start - share[..., None] * along).norm(dim=-1) < reach
    covered[low[1] : high[1], low[0] : high[0]] = near
    return covered
