"""Which finds are one hand: by their joints, never by their boxes alone, so that two hands that cross stay two."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..hand.joints import JOINT_PARENTS

SAME_HAND = 0.2  # mean distance of the joints over the larger hand's extent, up to which two finds are one hand
NEAR_MIDDLE, NEAR_SIZE, NEAR_ANGLE = 0.12, 0.25, 0.35  # two regions show one hand alike: shares of the side; log; rad
SAME_PLACE = 0.3  # middles of two regions over the larger side: the two may show the same hand, seen otherwise
FRAGMENT_INSIDE, FRAGMENT_SIZE = 0.7, 0.45  # a find that lies so far in another's box and is so small is part of it
ON_HAND, PART_SIZE = 0.9, 0.6  # the same of one that has such a share of its joints on the other hand itself
BONE = 0.16  # a bone's thickness over the hand's extent
BONES = [(joint, parent) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0]
BONES += [(5, 9), (9, 13), (13, 17), (1, 5), (0, 9), (0, 13), (2, 9)]  # the palm between them


def extents(points: Tensor) -> Tensor:
    """[...] the longer sides of the boxes round joints [..., 21, 2]."""
    return (points.amax(dim=-2) - points.amin(dim=-2)).amax(dim=-1)


def apart(points: Tensor, others: Tensor) -> Tensor:
    """[N, M] mean distances of the joints of hands [N, 21, 2] and [M, 21, 2], over the larger one's extent."""
    distance = (points[:, None] - others[None]).norm(dim=-1).mean(dim=-1)
    return distance / torch.maximum(extents(points)[:, None], extents(others)[None]).clamp_min(1e-6)


def distinct(points: Tensor, certainty: Tensor) -> list[int]:
    """The numbers of the hands that are left of [N, 21, 2] once each is there once: the more certain of two."""
    distances = apart(points, points)
    kept: list[int] = []
    for i in certainty.argsort(descending=True, stable=True).tolist():
        if all(distances[i, j] > SAME_HAND for j in kept):
            kept.append(i)
    return kept


def distinct_regions(regions: Tensor, scores: Tensor, alike: int) -> list[int]:
    """The numbers of the regions [N, 4] worth a look: none that shows the same as a better one, and of those in one
    place at most ``alike``."""
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not kept:
            kept.append(i)
            continue
        others = regions[kept]
        side = torch.maximum(others[:, 2], regions[i, 2])
        away = (others[:, :2] - regions[i, :2]).norm(dim=-1) / side
        size = (others[:, 2] / regions[i, 2]).log().abs()
        turn = (others[:, 3] - regions[i, 3] + math.pi).remainder(2 * math.pi) - math.pi
        same = (away < NEAR_MIDDLE) & (size < NEAR_SIZE) & (turn.abs() < NEAR_ANGLE)
        here = (away < SAME_PLACE) & (size < 2 * NEAR_SIZE)
        if not bool(same.any()) and int(here.sum()) < alike:
            kept.append(i)
    return kept


def fragments(points: Tensor, certainty: Tensor, sure: float) -> Tensor:
    """[N] bool: the finds that are a part of a larger one, a finger taken for a hand.

    Args:
        points: [N, 21, 2] joints.
        certainty: [N]; what is at least ``sure`` counts as a hand of its own, as a child's in an adult's.
    """
    low, high = points.amin(dim=1), points.amax(dim=1)
    common = (torch.minimum(high[:, None], high[None]) - torch.maximum(low[:, None], low[None])).clamp_min(0).prod(-1)
    inside = common / (high - low).prod(dim=-1)[:, None].clamp_min(1e-6)
    extent = extents(points)
    smaller = extent[:, None] / extent[None].clamp_min(1e-6)
    part = (inside > FRAGMENT_INSIDE) & (smaller < FRAGMENT_SIZE) | on_hands(points) & (smaller < PART_SIZE)
    return part.any(dim=1) & (certainty < sure)


def covered(hand: Tensor, spots: Tensor) -> Tensor:
    """[...] bool: which spots [..., 2] lie on the hand with these joints [21, 2], about."""
    reach = BONE / 2 * extents(hand)
    near = torch.zeros(spots.shape[:-1], dtype=torch.bool)
    for a, b in BONES:
        start, along = hand[a], hand[b] - hand[a]
        share = ((spots - start) @ along / along.square().sum().clamp_min(1e-6)).clamp(0, 1)
        near |= (spots - start - share[..., None] * along).norm(dim=-1) < reach
    return near


def on_hands(points: Tensor) -> Tensor:
    """[N, N] bool: whether most joints of the first of two finds [N, 21, 2] lie on the second."""
    lying = [covered(hand, points).float().mean(dim=1) >= ON_HAND for hand in points]
    return torch.stack(lying, dim=1) if lying else torch.zeros(0, 0, dtype=torch.bool)
