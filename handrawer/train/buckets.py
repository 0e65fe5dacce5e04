"""Which pictures make up a batch, and how they are cropped: buckets of one size, in an order that a seed gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..hand.boxes import union_box
from ..hand.hands import Frame
from ..hand.transform import Transform

Size = tuple[int, int]  # width, height in pixels
STEP = 64
LONGEST = 2.0  # ratio of the sides


def bucket_sizes(size: int, step: int = STEP, longest: float = LONGEST) -> list[Size]:
    """Sizes of about size x size pixels whose sides are multiples of `step`, the square one first."""
    found = [(size, size)]
    for width in range(step, int(size * longest) + 1, step):
        height = max(step, round(size * size / width / step) * step)
        if 1 / longest <= width / height <= longest and (width, height) not in found:
            found.append((width, height))
    return found


def nearest_bucket(width: int, height: int, sizes: Sequence[Size]) -> Size:
    """The size of the most similar shape; the first of equals."""
    return min(sizes, key=lambda size: abs(math.log(size[0] / size[1] * height / width)))


def crop_for(frame: Frame, size: Size) -> Transform:
    """The uniform crop of a picture that fills `size`, with as much of its hands as possible in the middle."""
    width, height = size
    scale = max(width / frame.width, height / frame.height)
    centre_x, centre_y = 0.5, 0.5
    if boxes := [hand.box for hand in frame.hands if hand.enabled]:
        x0, y0, x1, y1 = union_box(boxes).tolist()
        centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2

    def offset(centre: float, source: int, target: int) -> float:
        return min(0.0, max(target - scale * source, target / 2 - centre * scale * source))

    return Transform(
        scale, 1.0, 0.0, False, offset(centre_x, frame.width, width), offset(centre_y, frame.height, height),
        frame.width, frame.height, width, height,
    )  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """One step's samples, those of all processes: places in the source, and the size that they are cropped to."""

    size: Size
    places: tuple[int, ...]


class Plan:
    """The order of a run: in every epoch all pictures once, in batches of one bucket.

    A bucket's last batch is filled with pictures of the same bucket from the epoch's beginning. The plan depends on
    the seed and on how many samples a step takes in all, not on how many processes share them.

    Args:
        sizes: width and height of every picture.
        buckets: the sizes to crop to.
        samples: of a step, in all processes together.
        seed: of the order.
        left_out: places that are never used (held out for validation).
        exact: the pictures have the buckets' sizes already.
    """

    def __init__(
        self, sizes: Sequence[Size], buckets: Sequence[Size], samples: int, seed: int, left_out: Sequence[int] = (),
        exact: bool = False,
    ) -> None:  # fmt: skip
        self.samples, self.seed = samples, seed
        hidden = set(left_out)
        self.buckets: dict[Size, list[int]] = {}
        for place, (width, height) in enumerate(sizes):
            if place not in hidden:
                size = (width, height) if exact else nearest_bucket(width, height, buckets)
                self.buckets.setdefault(size, []).append(place)
        if not self.buckets:
            raise ValueError("There is no picture to train on: every one is held out, or the data are empty.")
        self.per_epoch = sum(math.ceil(len(places) / samples) for places in self.buckets.values())
        self._epoch: tuple[int, list[Planned]] | None = None

    def step(self, number: int) -> Planned:
        """The samples of a step, numbered from 0 through the whole run."""
        epoch, place = divmod(number, self.per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        return self._epoch[1][place]

    def others(self, size: Size, place: int) -> list[int]:
        """What stands in for a picture that cannot be read: those of its bucket, from the one after it."""
        places = self.buckets[size]
        start = places.index(place) + 1
        return [*places[start:], *places[: start - 1]]

    def _order(self, epoch: int) -> list[Planned]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % (2**63 - 1))
        found = []
        for size, places in sorted(self.buckets.items()):
            order = [places[i] for i in torch.randperm(len(places), generator=generator).tolist()]
            for start in range(0, len(order), self.samples):
                chosen = [order[(start + i) % len(order)] for i in range(self.samples)]
                found.append(Planned(size, tuple(chosen)))
        return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]
