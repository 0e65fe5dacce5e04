"""Named gestures: joint angles that anyone would call by the name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .anatomy import ANGLE_NAMES, LIMITS

# Degrees. Thumb: CMC flexion, CMC abduction, MCP flexion, MCP abduction, IP flexion.
# Fingers: MCP flexion, MCP abduction, PIP flexion, DIP flexion.
_THUMB_OUT = (-48, 22, 5, 0, 5)
_THUMB_BESIDE = (-20, 12, 8, 0, 8)
_THUMB_ON_INDEX = (-28, 42, 26, 0, 79)
_THUMB_ON_MIDDLE = (-35, 37, 49, 0, 48)
_THUMB_ON_RING = (-21, 36, 52, 0, 52)
_THUMB_ON_LITTLE = (-4, 34, 48, 0, 41)
_THUMB_IN_PALM = (-10, 26, 52, 0, 50)
_INDEX_CURLED, _MIDDLE_CURLED = (82, -3, 100, 60), (85, 0, 102, 60)
_RING_CURLED, _LITTLE_CURLED = (86, -4, 102, 60), (88, -8, 98, 60)


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


# fmt: off
GESTURES: dict[str, Gesture] = {
    gesture.name: gesture
    for gesture in (
        _gesture("open", "Open hand", _THUMB_OUT, (3, 6, 5, 3), (3, 0, 5, 3), (3, 5, 5, 3), (3, 9, 5, 3),
                 ("straight",)),
        _gesture("fist", "Fist", _THUMB_ON_INDEX, _INDEX_CURLED, _MIDDLE_CURLED, _RING_CURLED, _LITTLE_CURLED,
                 ("closed",)),
        _gesture("point", "Pointing", _THUMB_ON_MIDDLE, (3, 0, 4, 3), _MIDDLE_CURLED, _RING_CURLED, _LITTLE_CURLED),
        _gesture("peace", "Peace sign", _THUMB_ON_RING, (3, 12, 4, 3), (3, -10, 4, 3), _RING_CURLED, _LITTLE_CURLED),
        _gesture("ok", "OK sign", (-25, 48, 14, 0, 28), (47, 2, 51, 30), (14, 0, 14, 8), (8, 4, 12, 6), (4, 9, 8, 5),
                 ("contact",)),
        _gesture("thumbs_up", "Thumbs up", (-60, 5, -5, 0, -10), _INDEX_CURLED, _MIDDLE_CURLED, _RING_CURLED,
                 _LITTLE_CURLED),
        _gesture("pinch", "Pinch", (-24, 47, 14, 0, 15), (51, 0, 44, 18), (66, 0, 72, 45), (74, -2, 80, 50),
                 (80, -4, 80, 50), ("contact",)),
        _gesture("relaxed", "Relaxed hand", (-35, 30, 15, 0, 20), (22, 2, 28, 15), (27, 0, 33, 18), (30, 1, 36, 20),
                 (32, 3, 36, 20)),
        _gesture("three", "Three fingers", _THUMB_ON_LITTLE, (3, 10, 4, 3), (3, 0, 4, 3), (3, 9, 4, 3),
                 (80, -5, 90, 55)),
        _gesture("four", "Four fingers", _THUMB_IN_PALM, (3, 5, 4, 3), (3, 0, 4, 3), (3, 5, 4, 3), (3, 10, 4, 3)),
        _gesture("call", "Call me", (-60, 18, -5, 0, -10), _INDEX_CURLED, _MIDDLE_CURLED, _RING_CURLED, (3, 20, 4, 3)),
        _gesture("rock", "Rock on", _THUMB_ON_MIDDLE, (3, 4, 4, 3), _MIDDLE_CURLED, _RING_CURLED, (3, 12, 4, 3)),
        _gesture("spread", "Fingers spread wide", (-65, 18, -5, 0, -8), (-5, 18, 2, 0), (-5, 0, 2, 0), (-5, 15, 2, 0),
                 (-5, 24, 2, 0), ("straight",)),
        _gesture("flat", "Fingers together", _THUMB_BESIDE, (3, -8, 4, 3), (3, 0, 4, 3), (3, -7, 4, 3), (3, -13, 4, 3),
                 ("straight",)),
        _gesture("claw", "Claw", (-40, 40, 20, 0, 40), (-5, 10, 75, 50), (-5, 0, 78, 52), (-5, 8, 76, 50),
                 (-5, 14, 72, 48)),
        _gesture("gun", "Finger gun", (-60, 5, -5, 0, -10), (3, 0, 4, 3), _MIDDLE_CURLED, _RING_CURLED, _LITTLE_CURLED),
    )
}
# fmt: on


def gesture_angles(name: str) -> Tensor:
    """The angles [21] of a gesture, radians, float32 (a copy).

    Raises:
        ValueError: for a name that is not in ``GESTURES``.
    """
    if name not in GESTURES:
        raise ValueError(f"Unknown gesture {name!r}: choose one of {', '.join(GESTURES)}.")
    return GESTURES[name].angles.clone()
