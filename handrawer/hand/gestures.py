"""Named gestures: joint angles that anyone would call by the name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .anatomy import ANGLE_NAMES, LIMITS

# Degrees. Thumb: CMC flexion, CMC abduction, MCP flexion, MCP abduction, IP flexion.
# Fingers: MCP flexion, MCP abduction, PIP flexion, DIP flexion.
_STRAIGHT = (5, 2, 5, 3)
_CURLED = (82, -3, 100, 60)
_THUMB_OPEN = (-48, 22, 5, 0, 5)
_THUMB_OVER_FINGERS = (-15, 45, 40, 0, 50)
_THUMB_ACROSS_PALM = (0, 35, 45, 0, 50)


@dataclass(frozen=True)
class Gesture:
    """A named pose. ``angles`` is [21] float32 in radians, in the order of ``anatomy.ANGLE_NAMES``."""

    name: str
    title: str
    angles: Tensor
    tags: tuple[str, ...] = ()


def _gesture(name: str, title: str, thumb, index, middle, ring, little, tags: tuple[str, ...] = ()) -> Gesture:
    degrees = [float(x) for part in (thumb, index, middle, ring, little) for x in part]
    angles = torch.tensor(degrees) * (math.pi / 180)
    if angles.shape != (len(ANGLE_NAMES),) or bool(((angles < LIMITS[:, 0]) | (angles > LIMITS[:, 1])).any()):
        raise ValueError(f"Gesture {name!r} does not have {len(ANGLE_NAMES)} angles within the joints' limits.")
    return Gesture(name, title, angles, tags)


GESTURES: dict[str, Gesture] = {
    gesture.name: gesture
    for gesture in (
        _gesture("open", "Open hand", _THUMB_OPEN, (3, 6, 5, 3), (3, 0, 5, 3), (3, 5, 5, 3), (3, 9, 5, 3)),
        _gesture("fist", "Fist", _THUMB_OVER_FINGERS, (82, -3, 100, 60), (85, 0, 102, 60), (86, -4, 102, 60),
                 (88, -8, 98, 60)),
        _gesture("point", "Pointing", _THUMB_OVER_FINGERS, _STRAIGHT, (85, 0, 102, 60), (86, -4, 102, 60),
                 (88, -8, 98, 60)),
    )
}


def gesture_angles(name: str) -> Tensor:
    """The angles [21] of a gesture, radians, float32 (a copy).

    Raises:
        ValueError: for a name that is not in ``GESTURES``.
    """
    if name not in GESTURES:
        raise ValueError(f"Unknown gesture {name!r}: choose one of {', '.join(GESTURES)}.")
    return GESTURES[name].angles.clone()
