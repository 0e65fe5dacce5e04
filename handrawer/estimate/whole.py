"""Hands of which only a part was seen, because another hand lies over the rest.

What shows of a hand below another one, a finger and some of the palm, may itself look like a small hand. But hands that
lie on each other are about one size, as they are mostly one person's. So a find that overlaps a much larger hand is
looked at once more where that hand is painted over, from all directions and in the larger hand's size: views that agree
on a whole hand of which the find is a part take its place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import regions as places
from .erase import without_hands
from .looks import Looks, agreed_view, look_at_hands
from .merge import ON_HAND, SAME_HAND, apart, covered, distinct
from .regions import Pyramid

SMALLER = 0.7  # of the side of the larger hand's region, under which what overlaps it may be a part of a hand
DIRECTIONS = 16
SCALES = (0.7, 0.85, 1.0)  # of the larger hand's region
FOLLOWED = (1.0, 1.2)  # of the region of what was seen, looked at once more
FAINT = 0.6  # share of the presence that is asked, from where a direction is followed


def parts_below(looks: Looks, sure: int | None = None) -> dict[int, int]:
    """Which of N hands may be parts of hands that another covers, and of which: a dictionary of their numbers.

    Such a find is much smaller than a hand whose joints' box it overlaps; of several such hands it is the largest.

    Args:
        sure: only so many of the hands, the first, can cover others. None: all.
    """
    sides = places.region_of_hand(looks.points)[:, 2]
    low, high = looks.points.amin(dim=1), looks.points.amax(dim=1)
    overlap = (torch.minimum(high[:, None], high[None]) > torch.maximum(low[:, None], low[None])).all(dim=-1)
    larger = torch.where(overlap & (sides[:, None] < SMALLER * sides[None]), sides[None], 0)[:, :sure]
    return {i: int(row.argmax()) for i, row in enumerate(larger) if len(row) and float(row.max()) > 0}


def with_whole_hands(pyramid: Pyramid, looks: Looks, presence: float, wavering: Looks | None = None) -> Looks:
    """The same hands, and in place of parts of covered hands these hands as a whole, each once.

    Args:
        presence: 0 to 1, how sure the landmark network must be of seeing a hand.
        wavering: more looks, which count only as parts: no hand is made of one where no whole hand is seen.
    """
    sure = len(looks)
    believed = set(range(sure))
    if wavering is not None:
        looks = Looks.joined([looks, wavering[_others(wavering, looks)]])
    for number, upper in parts_below(looks, sure).items():
        if upper not in believed or (number < sure and number not in believed):
            continue
        others, find = [upper, *sorted(believed - {number, upper})], looks.points[number]
        if any(_part_of(find, looks.points[i]) for i in others[1:]):
            continue
        whole = whole_view(pyramid, looks.points[others], find, presence)
        if whole is not None:
            looks = looks.replaced(number, whole)
            believed -= {i for i in others[1:] if _part_of(looks.points[i], whole.points[0])}
            believed.add(number)
    return looks[_rows(believed)]


def _others(looks: Looks, known: Looks) -> Tensor:
    """[M] int64: which looks show none of the known hands, each once."""
    points = torch.cat([known.points, looks.points])
    certainty = torch.cat([2 + known.presence, looks.presence])
    return _rows({i - len(known) for i in distinct(points, certainty) if i >= len(known)})


def whole_view(pyramid: Pyramid, others: Tensor, part: Tensor, presence: float) -> Looks | None:
    """The hand of which a find is a part, as it is seen once other hands are painted over; None where too few views
    agree on one.

    Args:
        others: [N, 21, 2] the hand that covers it, and all further ones.
        part: [21, 2] the find.
    """
    local, to_picture = without_hands(pyramid, others, 0)
    find = to_picture.inverse(part)
    side = float(places.region_of_hand(others[:1])[0, 2]) / to_picture.scale
    x, y = ((find.amin(dim=0) + find.amax(dim=0)) / 2).tolist()
    regions = torch.tensor(
        [(x, y, side * scale, math.tau * k / DIRECTIONS) for scale in SCALES for k in range(DIRECTIONS)]
    )
    views = look_at_hands(local, regions)
    views = views[(views.presence >= FAINT * presence) & _as_large(views, side)]
    seen = places.region_of_hand(views.points)
    followed = torch.cat([places.shifted(seen, 0, 0, scale, 0) for scale in FOLLOWED])
    views = Looks.joined([look_at_hands(local, followed, mirrored) for mirrored in (False, True)])
    whole = (views.presence >= presence) & _as_large(views, side)
    whole &= (apart(views.points, to_picture.inverse(others)) > SAME_HAND).all(dim=1)
    whole &= torch.tensor([_part_of(find, view) for view in views.points], dtype=torch.bool)
    found = agreed_view(views[whole])
    return None if found is None else to_picture.looks(found)


def _as_large(views: Looks, side: float) -> Tensor:
    """[N] bool: which views are of hands that are about as large as one whose region has this side."""
    return places.region_of_hand(views.points)[:, 2] >= SMALLER * side


def _part_of(find: Tensor, hand: Tensor) -> bool:
    """Whether most joints of a find [21, 2] lie on a hand [21, 2]."""
    return float(covered(hand, find).float().mean()) >= ON_HAND


def _rows(numbers: set[int]) -> Tensor:
    return torch.tensor(sorted(numbers), dtype=torch.long)
