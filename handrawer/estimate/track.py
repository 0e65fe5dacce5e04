"""Which hand of one picture of a video is which of the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..hand.hands import Frame, Hand, Hands

# Costs are mean joint distances over the hand's size.
OTHER_SIDE = 0.5  # of taking a left hand for a right one
OTHER_SIDE_UNSURE = 0.1  # the same, where a side is unsure
OTHER_SIZE = 0.5  # for each factor of e between two sizes
OTHER_POSE = 0.15  # for each radian between two orientations
REACH = 0.8  # a hand is not looked for farther away than this
WIDENING = 0.15  # and this for each picture in which it was not seen
MEMORY = 12  # pictures after which a hand that was not seen is forgotten
LATEST = 0.6  # share of the latest step in the speed that is expected to go on


@dataclass(eq=False)
class Track:
    """One hand through a video: which hand of which picture it is."""

    places: dict[int, int] = field(default_factory=dict)
    """Number of the picture to the number of the hand in it."""
    hands: dict[int, Hand] = field(default_factory=dict)
    """Number of the picture to the hand."""
    speed: Tensor = field(default_factory=lambda: torch.zeros(2))
    """[2] pixels a picture, of the middle of the joints."""

    @property
    def first(self) -> int:
        return min(self.places)

    @property
    def last(self) -> int:
        return max(self.places)

    def side(self) -> str:
        """The side that most pictures show, the sure ones counting four times."""
        votes = {"left": 0.0, "right": 0.0}
        for hand in self.hands.values():
            votes[hand.side] += hand.confidence * (1 if hand.unsure else 4)
        return max(votes, key=lambda side: (votes[side], side))

    def _take(self, frame: int, place: int, hand: Hand, size: Tensor) -> None:
        if self.places:
            before = self.last
            step = (_joints(hand, size) - _joints(self.hands[before], size)).mean(dim=0) / (frame - before)
            self.speed = LATEST * step + (1 - LATEST) * self.speed if len(self.places) > 1 else step
        self.places[frame], self.hands[frame] = place, hand


def track_hands(hands: Hands) -> list[Track]:
    """The hands of a video's pictures as tracks, in the order in which they come into it.

    Each picture's hands are given to the tracks so that the whole costs least: by where each hand would be if it went
    on as it did, by side, size and orientation.

    Raises:
        ValueError: pictures of different sizes are no video.
    """
    sizes = {(frame.width, frame.height) for frame in hands.frames}
    if len(sizes) > 1:
        raise ValueError(
            f"The hands belong to pictures of different sizes ({', '.join(f'{w} x {h}' for w, h in sorted(sizes))}): "
            "a video's pictures have one size."
        )
    tracks: list[Track] = []
    for number, frame in enumerate(hands.frames):
        alive = [track for track in tracks if number - track.last <= MEMORY]
        size = torch.tensor([frame.width, frame.height], dtype=torch.float32)
        for place, track in _matched(alive, frame, number, size).items():
            track._take(number, place, frame.hands[place], size)
        taken = {track.places[number] for track in tracks if number in track.places}
        for place, hand in enumerate(frame.hands):
            if place not in taken:
                tracks.append(Track())
                tracks[-1]._take(number, place, hand, size)
    return tracks


def _matched(tracks: list[Track], frame: Frame, number: int, size: Tensor) -> dict[int, Track]:
    """Number of the hand to its track, for the hands that belong to one."""
    if not tracks or not frame.hands:
        return {}
    # Nobody has to be matched: every track may also stay without a hand, at the price of its reach.
    reach = [REACH + WIDENING * (number - track.last - 1) for track in tracks]
    costs = [
        [_cost(track, hand, number, size) for hand in frame.hands] + [reach[row]] * len(tracks)
        for row, track in enumerate(tracks)
    ]
    chosen = assignment(costs)
    return {column: tracks[row] for row, column in enumerate(chosen) if column < len(frame.hands)}


def _cost(track: Track, hand: Hand, number: int, size: Tensor) -> float:
    before = track.hands[track.last]
    gap = number - track.last
    expected = _joints(before, size) + track.speed * min(gap, 3)  # no hand goes on for long as it did
    seen = _joints(hand, size)
    spans = [_span(joints) for joints in (expected, seen)]
    cost = float((expected - seen).norm(dim=-1).mean()) / max(spans)
    cost += OTHER_SIZE * abs(math.log(spans[0] / spans[1]))
    if before.side != hand.side:
        cost += OTHER_SIDE_UNSURE if before.unsure or hand.unsure else OTHER_SIDE
    else:
        cost += OTHER_POSE * _angle_between(before, hand)
    return cost


def _angle_between(one: Hand, other: Hand) -> float:
    """Radians between two orientations."""
    a, b = _quaternion(one.orientation), _quaternion(other.orientation)
    return 2 * math.acos(min(1.0, abs(float(a @ b))))


def _quaternion(rotation_vector: Tensor) -> Tensor:
    angle = rotation_vector.norm()
    axis = rotation_vector / angle.clamp_min(1e-9)
    return torch.cat([(angle / 2).cos()[None], (angle / 2).sin() * axis])


def _joints(hand: Hand, size: Tensor) -> Tensor:
    """[21, 2] pixels."""
    return hand.joints_2d * size


def _span(joints: Tensor) -> float:
    return max(1e-3, float((joints.amax(dim=0) - joints.amin(dim=0)).max()))


def assignment(costs: list[list[float]]) -> list[int]:
    """For each row the column that it gets, all different, so that the sum of costs is least; rows <= columns.

    The Hungarian method with potentials: rows are added one at a time, each by the cheapest alternating path (Kuhn
    1955; Jonker & Volgenant 1987).
    """
    rows, columns = len(costs), len(costs[0])
    row_price, column_price = [0.0] * rows, [0.0] * columns
    owner = [-1] * columns
    for start in range(rows):
        least, came_from, done = [math.inf] * columns, [-1] * columns, [False] * columns
        row, column = start, -1
        while row >= 0:
            if column >= 0:
                done[column] = True
            for other in range(columns):
                slack = costs[row][other] - row_price[row] - column_price[other]
                if not done[other] and slack < least[other]:
                    least[other], came_from[other] = slack, column
            nearest = min((c for c in range(columns) if not done[c]), key=least.__getitem__)
            step = least[nearest]
            row_price[start] += step
            for other in range(columns):
                if done[other]:
                    row_price[owner[other]] += step
                    column_price[other] -= step
                else:
                    least[other] -= step
            column, row = nearest, owner[nearest]
        while column >= 0:
            before = came_from[column]
            owner[column] = start if before < 0 else owner[before]
            column = before
    chosen = [-1] * rows
    for column, row in enumerate(owner):
        if row >= 0:
            chosen[row] = column
    return chosen
