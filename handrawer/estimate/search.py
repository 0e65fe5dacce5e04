"""Every hand of one picture, and none that is not there: where to look, and what to believe.

``fast`` is one look at the whole picture, as MediaPipe does it. The others look at parts of it at several scales and
turns, which finds small, turned and overlapping hands, but also takes folds, ears and fingers for hands. What tells
them apart is that a hand is seen again: each find is looked at several more times, a little moved, scaled, turned and
mirrored. On hands the landmark network stays sure at every look; on anything else it wavers. What a plain look at the
whole picture finds is likelier a hand than what shows in some part of it, so there most of the looks are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from . import regions as places
from .borrowed import with_own_views
from .erase import Local, without_hands
from .looks import Looks, find_palms, look_at_hands
from .merge import SAME_HAND, apart, covered, distinct, distinct_regions, extents, fragments
from .regions import Pyramid
from .whole import with_whole_hands

# dx, dy (shares of the side), scale, turn (radians), mirrored
AGAIN = (
    (0.0, 0.0, 1.0, 0.0, False),
    (0.06, 0.03, 1.15, 0.25, False),
    (-0.06, -0.03, 0.9, -0.25, False),
    (0.0, 0.06, 1.25, 0.0, True),
    (0.0, -0.06, 1.0, 0.5, False),
    (0.0, 0.0, 1.1, -0.5, True),
)
FIRST = (2, 3)  # parts of the picture that are always looked at, its longer side over these
PALM_SHARE = 0.6  # of the palm's threshold, where what is found is looked at again
CANDIDATE = 0.6  # share of the presence that is asked, from where a find is looked at again
DOUBTFUL = 0.85  # the same of the mean presence, from where a find that was refused makes a picture unsure
# Mean presence that is asked, as the part of the way from ``presence`` to 1: of hands whose side all looks agree on,
# and of those whose side wavers as it does on faces and folds.
STEADY, WAVERING = 0.6, 0.92
SIDE_WAVERS, SIDE_STEADY = 0.6, 1.0  # certainty of the side, 0 to 1
AGREEING = 0.75  # share of the looks that must see the hand in one place
AGREEING_PLAIN = 0.5  # the same, of what a plain look at the whole picture finds
SURE = 0.95  # mean presence from where a small find inside a larger hand is a hand of its own
TINY = 32  # pixels; whatever forks looks like so small a hand, so that it must be sure
OTHER_OF_SIDE = 0.5  # distance from which what shows below a hand is another hand of the same side
PAINTED = 0.8  # share of the joints of what shows below a hand that lie on that hand, from where it is no other
MOST_BELOW = 10  # hands, the largest, that are painted over one by one: in a crowd the parts see enough
ERASED_SIDES = (1.8, 2.5)  # squares round a hand that was painted over, in extents of the hand
BOX_SIDES = (1.2, 1.8)  # squares round a box that the user gave
BOX_TURNS = 8  # directions in which a hand that fills such a box may point
LEAST_PART = 128  # pixels; smaller parts show the networks nothing new


@dataclass(frozen=True)
class Plan:
    """What one thoroughness looks at."""

    finer: tuple[float, ...]
    """Parts of the picture that are looked at upright after the whole and ``FIRST``: its longer side over these."""
    turned: tuple[float, ...]
    """Parts that are looked at turned by the three other right angles too, as the whole picture is."""
    always: bool
    """Whether these further looks are taken in any case, or where the first are unsure."""
    again: int
    """How many of ``AGAIN`` a find is looked at."""
    alike: int
    """How many palms in one place are followed."""
    turns: tuple[int, ...]
    """Right angles by which the surroundings of a found hand are turned in the search for another below it."""


PLANS = {
    "balanced": Plan(finer=(), turned=(2,), always=False, again=4, alike=2, turns=(0,)),
    "thorough": Plan(finer=(1.4, 4), turned=(2,), always=True, again=6, alike=3, turns=(0, 1, 2, 3)),
}


@dataclass(frozen=True, eq=False)
class Finds:
    """Hands that are believed."""

    looks: Looks
    """Points, world, mean presence and mean right-handedness over the looks that agree."""
    doubtful: bool = False
    """Whether something else was nearly believed."""
    wavering: Looks | None = None
    """What is surely a hand, but seen in one place by half of the looks alone, as a part of a covered hand is."""


Wanted = Callable[[Looks], Tensor]
"""[N] bool: which looks are worth more of them."""


@dataclass(frozen=True)
class Search:
    """How to look.

    Attributes:
        thoroughness: one of ``find.THOROUGHNESS``.
        presence: 0 to 1, how sure the landmark network must be of seeing a hand.
        palm: 0 to 1, how sure the palm detector must be.
        device: where the networks run.
    """

    thoroughness: str
    presence: float
    palm: float
    device: torch.device | str = "cpu"

    def __call__(self, picture: Tensor, boxes: Tensor | None = None) -> Looks:
        """The hands of a picture [H, W, 3], float32 in [0, 1], in any order.

        Args:
            boxes: [K, 4] x0, y0, x1, y1 in pixels: look there alone. None: everywhere.
        """
        pyramid = Pyramid(picture.to(self.device))
        if self.thoroughness == "fast":
            found = self._fast(pyramid, boxes)
        else:
            found = self._with_plan(pyramid, boxes, PLANS[self.thoroughness])
        if boxes is not None:
            found = found[_inside(found.points, boxes)]
        return found

    def _fast(self, pyramid: Pyramid, boxes: Tensor | None) -> Looks:
        squares = places.whole(pyramid.width, pyramid.height)
        if boxes is not None:
            squares = _squares(boxes, BOX_SIDES[1])
        palms, scores = find_palms(pyramid, squares, self.palm)
        looks = look_at_hands(pyramid, palms)
        present = looks.presence >= self.presence
        looks = looks[present]
        return looks[_index(distinct(looks.points, looks.presence + 1e-3 * scores[present]))]

    def _with_plan(self, pyramid: Pyramid, boxes: Tensor | None, plan: Plan) -> Looks:
        first, then = _squares_of_picture(pyramid, plan) if boxes is None else _squares_of_boxes(boxes)
        finds = self._believed(pyramid, self._palms(pyramid, first, plan), plan)
        if plan.always or finds.doubtful or not len(finds.looks):
            palms = self._palms(pyramid, then, plan)
            finds = _joined(finds, self._believed(pyramid, palms, plan, partial(_new, known=finds.looks)))
            if boxes is not None:
                palms = _hands_in_boxes(boxes)
                finds = _joined(finds, self._believed(pyramid, palms, plan, partial(_new, known=finds.looks)))
        finds = _joined(finds, self._plain(pyramid, boxes, finds.looks, plan))
        below = self._below(pyramid, finds.looks, plan)
        finds = _joined(finds, below)
        part = fragments(finds.looks.points, finds.looks.presence, SURE)
        whole = with_whole_hands(pyramid, finds.looks[~part], self.presence, below.wavering)
        return with_own_views(pyramid, whole, self.presence)

    def _palms(self, pyramid: Pyramid, squares: Tensor, plan: Plan) -> Tensor:
        """[M, 4] regions of hands, each worth a look."""
        palms, scores = find_palms(pyramid, squares, self.palm * PALM_SHARE)
        return palms[_index(distinct_regions(palms, scores, plan.alike))]

    def _believed(self, pyramid: Pyramid, regions: Tensor, plan: Plan, wanted: Wanted | None = None) -> Finds:
        """The hands that are seen in the regions [M, 4] and seen again each time; of those ``wanted`` alone."""
        looks = look_at_hands(pyramid, regions)
        looks = looks[looks.presence >= self.presence * CANDIDATE]
        looks = looks if wanted is None else looks[wanted(looks)]
        looks = looks[_index(distinct(looks.points, looks.presence))]
        least = self.presence + (1 - self.presence) * STEADY
        agreed, share = self._again(pyramid, looks, plan, AGREEING_PLAIN, DOUBTFUL * least)
        needed = self._needed(agreed)
        good = (agreed.presence >= needed) & (share >= AGREEING)
        wavering = agreed[(agreed.presence >= needed) & ~good & (share >= AGREEING_PLAIN)]
        doubtful = bool((~good & (agreed.presence >= DOUBTFUL * needed) & (share >= DOUBTFUL * AGREEING)).any())
        agreed = agreed[good]
        return Finds(agreed[_index(distinct(agreed.points, agreed.presence))], doubtful, wavering)

    def _plain(self, pyramid: Pyramid, boxes: Tensor | None, known: Looks, plan: Plan) -> Finds:
        """The hands, other than those known, that a plain look finds and most further looks see again."""
        looks = self._fast(pyramid, boxes)
        looks = looks[_new(looks, known) & (extents(looks.points) >= TINY)]
        agreed, share = self._again(pyramid, looks, plan, AGREEING_PLAIN, 0)
        return Finds(agreed[(agreed.presence >= self.presence) & (share >= AGREEING_PLAIN)])

    def _again(self, pyramid: Pyramid, looks: Looks, plan: Plan, share: float, mean: float) -> tuple[Looks, Tensor]:
        """What further looks at N hands say together, and the share [N] of them that see the hand in one place.

        A hand is not looked at further, and the rest of its looks counted as empty, once it can no more be seen in the
        ``share`` of all looks, or no more with this ``mean`` presence.
        """
        followed = places.region_of_hand(looks.points)
        again: list[Looks] = []
        for number, (dx, dy, scale, turn, mirrored) in enumerate(AGAIN[: plan.again]):
            left = plan.again - number
            certain = torch.stack([torch.zeros(len(looks)), *(look.presence for look in again)])
            seen = (certain[1:] >= self.presence).sum(dim=0)
            hopeful = (seen + left >= share * plan.again) & (certain.sum(dim=0) + left >= mean * plan.again)
            rows = torch.nonzero(hopeful)[:, 0]
            look = Looks(
                looks.points.clone(), looks.world.clone(), torch.zeros(len(looks)), torch.full((len(looks),), 0.5)
            )
            look.put(rows, look_at_hands(pyramid, places.shifted(followed[rows], dx, dy, scale, turn), mirrored))
            again.append(look)
        return _agreement(again, self.presence)

    def _needed(self, seen: Looks) -> Tensor:
        """[N] the mean presence that is asked of hands of this mean right-handedness and size."""
        steady = (((seen.right - 0.5).abs() * 2 - SIDE_WAVERS) / (SIDE_STEADY - SIDE_WAVERS)).clamp(0, 1)
        part = WAVERING + (STEADY - WAVERING) * steady
        part = torch.where(extents(seen.points) < TINY, WAVERING, part)
        return self.presence + (1 - self.presence) * part

    def _below(self, pyramid: Pyramid, known: Looks, plan: Plan) -> Finds:
        """The hands that show once those already known are painted over: the other one of two that overlap."""
        found, wavering = [known[:0]], [known[:0]]
        for number in extents(known.points).argsort(descending=True)[:MOST_BELOW].tolist():
            local, to_picture = without_hands(pyramid, known.points, number)

            def another(looks: Looks, to_picture: Local = to_picture) -> Tensor:
                return self._another(pyramid, to_picture.looks(looks), known)

            squares = torch.cat([_squares(to_picture.box, side / max(ERASED_SIDES)) for side in ERASED_SIDES])
            for turn in plan.turns:
                regions = self._palms(local, places.turned(squares, (turn,)), plan)
                finds = self._believed(local, regions, plan, another)
                for looks, kept in ((finds.looks, found), (finds.wavering, wavering)):
                    if looks is not None:
                        kept.append(to_picture.looks(looks)[another(looks)])
        joined = _joined(*(Finds(more) for more in found))
        return Finds(joined.looks, wavering=Looks.joined(wavering))

    def _another(self, pyramid: Pyramid, finds: Looks, known: Looks) -> Tensor:
        """[N] bool: which finds among painted surroundings are hands in the picture itself, and none that is known.

        What lies on a known hand nearly with all its joints is what the paint made of that hand.
        """
        if not len(finds):
            return torch.zeros(0, dtype=torch.bool)
        same_side = (finds.right[:, None] > 0.5) == (known.right[None] > 0.5)
        limit = torch.where(same_side, OTHER_OF_SIDE, SAME_HAND)
        painted = torch.stack([covered(hand, finds.points).float().mean(dim=1) for hand in known.points]).amax(dim=0)
        other = (apart(finds.points, known.points) > limit).all(dim=1) & (painted < PAINTED)
        rows = torch.nonzero(other)[:, 0]
        seen = look_at_hands(pyramid, places.region_of_hand(finds.points[rows]))
        other[rows] = seen.presence >= self.presence * CANDIDATE
        return other


def _agreement(again: list[Looks], presence: float) -> tuple[Looks, Tensor]:
    """Several looks at each of N hands as one, and the share [N] of them that see the hand in one place."""
    points = torch.stack([look.points for look in again], dim=1)  # [N, looks, 21, 2]
    certain = torch.stack([look.presence for look in again], dim=1)
    size = extents(points).median(dim=1).values.clamp_min(1e-6)
    distance = (points[:, :, None] - points[:, None]).norm(dim=-1).mean(dim=-1) / size[:, None, None]
    middle = distance.clamp_max(SAME_HAND).sum(dim=2).argmin(dim=1)
    near = distance[torch.arange(len(points)), middle] <= SAME_HAND
    weight = (near & (certain >= presence)).float() * certain
    weight = torch.where(weight.sum(dim=1, keepdim=True) > 0, weight, near.float())
    weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-6)

    def mean(values: list[Tensor]) -> Tensor:
        return torch.einsum("nk,nk...->n...", weight, torch.stack(values, dim=1))

    looks = Looks(
        mean([look.points for look in again]),
        mean([look.world for look in again]),
        certain.mean(dim=1),
        mean([look.right for look in again]),
    )
    return looks, (near & (certain >= presence)).float().mean(dim=1)


def _new(looks: Looks, known: Looks) -> Tensor:
    """[N] bool: which looks show none of the known hands."""
    return (apart(looks.points, known.points) > SAME_HAND).all(dim=1)


def _joined(*finds: Finds) -> Finds:
    parts = [find.looks for find in finds]
    looks = Looks.joined(parts)
    # Of the same hand, the earlier find: later passes see it turned, or among painted surroundings.
    order = torch.cat([part.presence - 2 * i for i, part in enumerate(parts)])
    return Finds(looks[_index(distinct(looks.points, order))], any(find.doubtful for find in finds))


def _squares_of_picture(pyramid: Pyramid, plan: Plan) -> tuple[Tensor, Tensor]:
    """The first and the further squares to look at in a picture, [N, 4] and [M, 4]."""
    whole = places.whole(pyramid.width, pyramid.height)

    def parts(divisors: tuple[float, ...]) -> Tensor:
        return places.parts(pyramid.width, pyramid.height, divisors, LEAST_PART)

    long, short = max(pyramid.width, pyramid.height), min(pyramid.width, pyramid.height)
    # A long strip is also looked at in squares of its full width.
    first = (*FIRST, long / short) if long > max(FIRST) * short else FIRST
    turned = places.turned(torch.cat([whole, parts(plan.turned)]), (1, 2, 3))
    return torch.cat([whole, parts(first)]), torch.cat([parts(plan.finer), turned])


def _squares_of_boxes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The same for boxes [K, 4] that the user gave."""
    first = torch.cat([_squares(boxes, side) for side in BOX_SIDES])
    return first, places.turned(first, (1, 2, 3))


def _squares(boxes: Tensor, scale: float) -> Tensor:
    """[K, 4] upright squares round boxes [K, 4]."""
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
    return torch.cat([middle, size * scale, torch.zeros_like(size)], dim=1)


def _hands_in_boxes(boxes: Tensor) -> Tensor:
    """[BOX_TURNS * K, 4] regions of hands that fill the boxes and point in any direction: no palm need be seen."""
    turns = torch.arange(BOX_TURNS) * (2 * torch.pi / BOX_TURNS)
    return torch.cat([places.shifted(_squares(boxes, BOX_SIDES[0]), 0, 0, 1, float(turn)) for turn in turns])


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """[N] bool: whether the middle of the joints [N, 21, 2] lies in one of the boxes [K, 4]."""
    middle = points.mean(dim=1)[:, None]
    return ((middle >= boxes[None, :, :2]) & (middle <= boxes[None, :, 2:])).all(dim=-1).any(dim=1)


def _index(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long)
