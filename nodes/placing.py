"""Which hands of a picture are meant, and where they go. No host in here."""

import contextlib
import dataclasses
from collections.abc import Iterator

from torch import Tensor

from ..handrawer.hand.camera import Placement
from ..handrawer.hand.hands import Frame, Hands

MODES = ("contain", "cover", "crop")
ALL = -1


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Errors of the library said of a node's input."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def choose(hands: Hands, number: int) -> Hands:
    """One hand of every picture, or all. A picture without any hand stays as it is.

    Args:
        number: place in the picture's list, from 0, or ALL.

    Raises:
        ValueError: a picture has hands, but none of that number.
    """
    if number == ALL:
        return hands
    frames = []
    for place, frame in enumerate(hands.frames):
        if frame.hands and number >= len(frame.hands):
            raise ValueError(
                f"hand: there is no hand {number} in picture {place}, its hands are numbered 0 to "
                f"{len(frame.hands) - 1} (the overlay of Estimate Hands shows the numbers); choose one of them, "
                f"or {ALL} for all."
            )
        frames.append(dataclasses.replace(frame, hands=frame.hands[number : number + 1]))
    return Hands(tuple(frames))


def placement(frame: Frame, width: int, height: int, mode: str, margin: float) -> Placement:
    """How a picture and its hands come to another size."""
    return frame.placement(width, height, mode, margin=margin)


def check_sizes(hands: Hands, image: Tensor) -> None:
    """Refuse a picture that the hands do not lie in.

    Args:
        image: [B, H, W, C]; pictures beyond the hands' start again at the first.

    Raises:
        ValueError: naming both sizes.
    """
    height, width = image.shape[1:3]
    for frame in hands.frames:
        if (frame.width, frame.height) != (width, height):
            raise ValueError(
                f"image: it has {width} x {height} pixels, but the hands lie in a picture of {frame.width} x "
                f"{frame.height}; connect the picture that the hands come from, or send both through Place Hands."
            )


def note_of(hands: Hands) -> str:
    """What there is to say about the hands: missing ones, and the notes that they carry."""
    many = len(hands.frames) > 1
    notes = []
    for place, frame in enumerate(hands.frames):
        said = [frame.note] if frame.note else []
        if not frame.hands and not said:
            said = ["No hand."]
        for number, hand in enumerate(frame.hands):
            said += [f"Hand {number} ({hand.side}): {note}" for note in hand.notes]
        notes += [f"Picture {place}: {sentence}" if many else sentence for sentence in said]
    return "\n".join(notes)
