"""Hands whose fingers were read off another hand that lies over them.

Where one hand covers another, the landmark network sees the upper one's fingers in both, and takes the lower one for a
hand of the upper one's side. Two hands of one side never have the same joints in the same places, so that such finds
are known by them. They are looked at again from all directions for a view of their own. What such views say of the side
is weighed with what is known beforehand: hands that lie on each other are mostly one person's two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import regions as places
from .looks import Looks, agreed_view, look_at_hands
from .merge import SAME_HAND, apart, extents
from .regions import Pyramid

SAME_JOINT = 0.15  # distance of two hands' joints of one name over the smaller extent, up to which they are one joint
BORROWED = 5  # so many common joints are no accident
DIRECTIONS = 16
SCALES = (1.0, 1.3)
ONE_PERSONS = 0.75  # probability that hands that lie on each other are of two sides


def common_joints(points: Tensor, others: Tensor) -> Tensor:
    """[N, M] how many joints hands [N, 21, 2] and [M, 21, 2] have in the same places."""
    distance = (points[:, None] - others[None]).norm(dim=-1)
    smaller = torch.minimum(extents(points)[:, None], extents(others)[None]).clamp_min(1e-6)
    return (distance < SAME_JOINT * smaller[..., None]).sum(dim=-1)


def borrowers(looks: Looks) -> dict[int, int]:
    """Which of N hands have joints of a surer hand of the same side, and of which: a dictionary of their numbers."""
    common = common_joints(looks.points, looks.points)
    same_side = (looks.right[:, None] > 0.5) == (looks.right[None] > 0.5)
    surer = looks.presence[None] > looks.presence[:, None]
    common = torch.where(same_side & surer, common, 0)
    return {i: int(row.argmax()) for i, row in enumerate(common) if len(row) and int(row.max()) >= BORROWED}


def with_own_views(pyramid: Pyramid, looks: Looks, presence: float) -> Looks:
    """The same hands; those that borrowed joints as they are seen apart from the hands over them, and their sides less
    sure.

    Args:
        presence: 0 to 1, how sure the landmark network must be of seeing a hand.
    """
    for number, lender in borrowers(looks).items():
        own = own_view(pyramid, looks[torch.tensor([number])], looks[torch.tensor([lender])], presence)
        right = _weighed(0.5 if own is None else float(own.right), float(looks.right[lender]) > 0.5)
        seen = looks[torch.tensor([number])] if own is None else own
        seen = Looks(seen.points, seen.world, seen.presence, torch.tensor([right]))
        looks = looks.replaced(number, seen)
    return looks


def own_view(pyramid: Pyramid, hand: Looks, lender: Looks, presence: float) -> Looks | None:
    """The view of a hand that most looks agree on, of those that share no joints with the hand over it; None where
    too few agree."""
    region = places.region_of_hand(hand.points)
    regions = torch.cat(
        [places.shifted(region, 0, 0, scale, math.tau * k / DIRECTIONS) for scale in SCALES for k in range(DIRECTIONS)]
    )
    views = Looks.joined([look_at_hands(pyramid, regions, mirrored) for mirrored in (False, True)])
    views = views[
        (views.presence >= presence)
        & (common_joints(views.points, lender.points)[:, 0] < BORROWED)
        & (apart(views.points, lender.points)[:, 0] > SAME_HAND)
    ]
    return agreed_view(views)


def _weighed(right: float, other_is_right: bool) -> float:
    """Probability of a right hand, seen with ``right``, that lies on a hand of a known side."""
    prior = 1 - ONE_PERSONS if other_is_right else ONE_PERSONS
    yes, no = right * prior, (1 - right) * (1 - prior)
    return yes / max(yes + no, 1e-6)
