"""Several hands' pictures together: as one batch, or in the same pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .hands import Frame, Hands


def join(parts: Sequence[Hands]) -> tuple[Hands, bool]:
    """The pictures of several, one after another, all of the first picture's size.

    Returns:
        The hands, and whether any had to be placed (uniformly, in the middle) for that.
    """
    frames = [frame for part in parts for frame in part.frames]
    placed = [_sized(frame, frames[0]) for frame in frames]
    return Hands(tuple(placed)), any(new is not old for new, old in zip(placed, frames, strict=True))


def merge(first: Hands, second: Hands) -> tuple[Hands, bool]:
    """The hands of both in the same pictures, of the first's size; the pictures of the shorter one repeat in turn.

    Returns:
        The hands, and whether any had to be placed (uniformly, in the middle) for that.
    """
    count = max(len(first.frames), len(second.frames))
    frames, moved = [], False
    for base, added in zip(first.for_batch(count)[0].frames, second.for_batch(count)[0].frames, strict=True):
        sized = _sized(added, base)
        moved |= sized is not added
        hands = base.hands + sized.hands
        # That no hand was found is no longer true once there is one.
        notes = [frame.note for frame in (base, sized) if frame.note and (frame.hands or not hands)]
        frames.append(dataclasses.replace(base, hands=hands, note=" ".join(dict.fromkeys(notes))))
    return Hands(tuple(frames)), moved


def _sized(frame: Frame, like: Frame) -> Frame:
    if (frame.width, frame.height) == (like.width, like.height):
        return frame
    return frame.placed(frame.placement(like.width, like.height, "contain"))
