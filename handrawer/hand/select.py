"""Which hands of a picture are meant: by number, side, size or place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .boxes import longer_side
from .hands import Frame

WAYS = ("all", "numbers", "left", "right", "largest", "nearest")
"""How hands can be named. ``left`` and ``right`` are the person's own."""


def choose_hands(
    frame: Frame,
    which: str,
    *,
    numbers: Sequence[int] = (),
    x: float = 0.5,
    y: float = 0.5,
    invert: bool = False,
) -> tuple[int, ...]:
    """Places in a picture's list of hands, in the list's order.

    Args:
        which: one of ``WAYS``. ``largest`` and ``nearest`` choose one hand; of equal ones, the first.
        numbers: for ``numbers``: places from 0, negative ones from the end; those that do not exist are left out.
        x, y: for ``nearest``: the point, normalised; distances are in pixels, to a hand's box (0 inside it), then to
            the box's middle.
        invert: all the others instead.

    Raises:
        ValueError: an unknown way.
    """
    everything = range(len(frame.hands))
    chosen: set[int]
    if which == "all":
        chosen = set(everything)
    elif which == "numbers":
        chosen = {n % len(everything) for n in numbers if -len(everything) <= n < len(everything)}
    elif which in ("left", "right"):
        chosen = {n for n in everything if frame.hands[n].side == which}
    elif which == "largest":
        chosen = {max(everything, key=lambda n: (_size(frame, n), -n))} if everything else set()
    elif which == "nearest":
        chosen = {min(everything, key=lambda n: (*_distances(frame, n, x, y), n))} if everything else set()
    else:
        raise ValueError(f"Unknown way of choosing hands {which!r}: choose one of {', '.join(WAYS)}.")
    return tuple(n for n in everything if (n in chosen) != invert)


def parse_numbers(text: str) -> tuple[int, ...]:
    """ "0, 2" or "1-3" or "-1" (the last) as numbers; empty text is no number.

    Raises:
        ValueError: with a sentence for text that is not such a list.
    """
    numbers: list[int] = []
    for part in re.split(r"[,;\s]+", text.strip()):
        span = re.fullmatch(r"(\d+)-(\d+)", part)
        if span:
            first, last = int(span[1]), int(span[2])
            if last < first or last - first > 999:
                raise ValueError(f"{part!r} is no range of hands: write the smaller number first, as in 1-3.")
            numbers.extend(range(first, last + 1))
        elif re.fullmatch(r"-?\d+", part):
            numbers.append(int(part))
        elif part:
            raise ValueError(f"{part!r} is no number of a hand: write numbers with commas, as in 0,2 or 1-3.")
    return tuple(numbers)


def _size(frame: Frame, number: int) -> float:
    return float(longer_side(frame.hands[number].box, frame.width, frame.height))


def _distances(frame: Frame, number: int, x: float, y: float) -> tuple[float, float]:
    """Pixels from a point to a hand's box, and to the box's middle."""
    x0, y0, x1, y1 = frame.hands[number].box.tolist()
    outside_x, outside_y = max(x0 - x, 0, x - x1), max(y0 - y, 0, y - y1)
    middle_x, middle_y = (x0 + x1) / 2 - x, (y0 + y1) / 2 - y

    def pixels(dx: float, dy: float) -> float:
        return ((dx * frame.width) ** 2 + (dy * frame.height) ** 2) ** 0.5

    return pixels(outside_x, outside_y), pixels(middle_x, middle_y)
