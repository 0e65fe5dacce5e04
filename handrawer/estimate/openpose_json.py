"""OpenPose's JSON, which pose nodes send over POSE_KEYPOINT sockets: read as it comes, and written from hands.

For each picture it has ``canvas_width``, ``canvas_height`` and ``people``, each person with body, face and
``hand_left_keypoints_2d`` and ``hand_right_keypoints_2d`` of 21 times x, y, confidence, in the order of ``joints.py``.
Producers differ: coordinates are pixels of the canvas or shares of it, what was not found is None, an empty list, zeros
or minus one, and points come flat or in threes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..hand.hands import Frame, Hand, Hands
from .calibration import mediapipe_points_2d

KEYS = {"left": "hand_left_keypoints_2d", "right": "hand_right_keypoints_2d"}
BODY = "pose_keypoints_2d"
FACE = "face_keypoints_2d"
BODY_WRISTS = {"right": 4, "left": 7}  # in the body's keypoints, of COCO's 18 and of BODY_25's alike
EMPTY_PERSON = {BODY: 18, FACE: 70, KEYS["left"]: 21, KEYS["right"]: 21}  # points of a person made for a hand

WRIST_REACH = 0.6  # in hand sizes, how far a body's wrist may lie from the wrist of its hand
NORMALISED = 2.0  # coordinates up to here, all of them, are shares of the canvas
LARGEST_SIDE = 2**16  # of a canvas, pixels
FARTHEST = 50.0  # in canvases, beyond which a point is no point
UNKNOWN_SIZE = (
    "These poses do not say how large their picture is (canvas_width and canvas_height): connect the picture."
)


@dataclass(frozen=True, eq=False)
class PoseHand:
    """One hand of a person, as given."""

    side: str
    points: Tensor
    """[21, 2] float64, shares of the canvas."""
    confidence: Tensor
    """[21] float64, 0 to 1, 0 where nothing was found."""
    person: int


@dataclass(frozen=True, eq=False)
class PoseFrame:
    """One picture's people."""

    width: int | None
    height: int | None
    """Of the canvas in pixels; None if the producer does not say."""
    normalised: bool
    """Whether the coordinates were shares of the canvas instead of its pixels."""
    people: int
    hands: tuple[PoseHand, ...]
    wrists: tuple[dict[str, Tensor], ...]
    """For each person the wrists of the body that were found, by side: [3] x and y as shares of the canvas, and the
    confidence."""


def read_poses(poses: Any, size: tuple[int, int] | None = None) -> tuple[PoseFrame, ...]:
    """What POSE_KEYPOINT holds: frames as a list or one alone, as JSON text too.

    Args:
        size: width and height of a canvas whose frames do not say it.

    Raises:
        ValueError: with a sentence, for what is not OpenPose's format, and for pixels of a canvas of unknown size.
    """
    frames = [_plain_frame(frame) for frame in _frames(poses)]
    people = [[_points_of(person) for person in frame["people"]] for frame in frames]
    found = [t[t[:, 2] > 0, :2] for frame in people for person in frame for t in person.values()]
    every = torch.cat([torch.zeros(0, 2, dtype=torch.float64), *found])
    normalised = bool(every.numel()) and float(every.abs().max()) <= NORMALISED
    return tuple(_frame(frame, parts, size, normalised) for frame, parts in zip(frames, people, strict=True))


def poses_from_hands(
    hands: Hands, poses: Any = None, *, normalised: bool = False, min_confidence: float = 0.3
) -> list[dict]:
    """POSE_KEYPOINT from hands; of each picture those that are enabled.

    Args:
        poses: bodies to which the hands go: each hand to the nearest person whose wrist of its side (or whose hand of
            its side, if there is no wrist) lies within ``WRIST_REACH`` of its size, in place of what that person had;
            the others become people of their own. Fewer poses than pictures repeat in turn. Hands are placed uniformly
            on a canvas of another size. None: every hand is a person.
        normalised: shares of the canvas instead of pixels, where ``poses`` do not decide it.
        min_confidence: wrists under it are not found.

    Returns:
        A frame for each picture, what it had but for the hands unchanged. Confidences of the hands are 1: what reads
        the format takes less for not found.
    """
    if not hands.frames:
        return []
    bodies = [] if poses is None else _frames(poses)
    read = list(read_poses(bodies, (hands.frames[0].width, hands.frames[0].height))) if bodies else []
    if any(known.hands or any(known.wrists) for known in read):
        normalised = read[0].normalised
    made = []
    for i, frame in enumerate(hands.frames):
        body = bodies[i % len(bodies)] if bodies else {}
        known = read[i % len(read)] if read else PoseFrame(frame.width, frame.height, normalised, 0, (), ())
        size = (known.width or frame.width, known.height or frame.height)
        placed = frame if size == (frame.width, frame.height) else frame.placed(frame.placement(*size, "contain"))
        made.append(_merged(body, known, placed, normalised, min_confidence))
    return made


def _frames(poses: Any) -> list:
    if isinstance(poses, str):
        try:
            poses = json.loads(poses)
        except json.JSONDecodeError as error:
            raise ValueError(f"This is no pose: it is not JSON ({error}).") from error
    if isinstance(poses, dict):
        poses = poses.get("frames", [poses])  # some save a sequence with its frame rate
    if isinstance(poses, (list, tuple)) and len(poses) == 1 and isinstance(poses[0], (list, tuple)):
        poses = poses[0]  # a batch of one sequence
    if not isinstance(poses, (list, tuple)) or not poses:
        raise ValueError("This is no pose: OpenPose's format is a list of pictures, each with its people.")
    return list(poses)


def _plain_frame(frame: Any) -> dict:
    if not isinstance(frame, dict) or not any(key in frame for key in ("people", "animals")):
        raise ValueError("This is no pose: OpenPose's format has people in every picture.")
    people = frame.get("people") or []
    if not isinstance(people, (list, tuple)) or not all(isinstance(person, dict) for person in people):
        raise ValueError("This is no pose: its people are not a list of keypoints by name.")
    width, height = frame.get("canvas_width"), frame.get("canvas_height")
    if width is None or height is None:
        return {"people": people, "size": None}
    try:
        size = (int(width), int(height))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"This pose is damaged: its canvas has the size {width} x {height}.") from error
    if min(size) < 1 or max(size) > LARGEST_SIDE:
        raise ValueError(f"This pose is damaged: its canvas has the size {width} x {height}.")
    return {"people": people, "size": size}


def _points_of(person: dict) -> dict[str, Tensor]:
    """The person's parts as [K, 3] float64, confidence 0 for points that were not found."""
    parts = {key: _triples(person.get(key), key) for key in EMPTY_PERSON}
    found = {key: part for key, part in parts.items() if part is not None}
    for key in KEYS.values():
        if key in found and len(found[key]) != 21:
            raise ValueError(f"This pose is damaged: {key} has {len(found[key])} points, a hand has 21.")
    return found


def _triples(values: Any, key: str) -> Tensor | None:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if values is None or values == []:
        return None
    try:
        values = list(values)
        if isinstance(values[0], (list, tuple)) or None in values:
            rows = [(0.0, 0.0, 0.0) if row is None else (*row, 1.0)[:3] for row in values]
            table = torch.tensor(rows, dtype=torch.float64)
        else:
            table = torch.tensor(values, dtype=torch.float64).view(-1, 3)
    except (TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
        raise ValueError(f"This pose is damaged: {key} is not a list of x, y and confidence.") from error
    xy, confidence = table[:, :2], table[:, 2]
    # Not found: zeros as OpenPose has it, minus one pixel, or a bit less than 0 for minus one pixel as a share.
    missing = (xy == 0).all(dim=1) | (xy == -1).all(dim=1) | ((xy < 0) & (xy > -1 / 32)).all(dim=1)
    missing |= ~torch.isfinite(table).all(dim=1)
    confidence = torch.where(missing, 0.0, confidence).clamp(0, 1)
    return torch.cat([xy.nan_to_num(0.0, 0.0, 0.0), confidence[:, None]], dim=1)


def _frame(frame: dict, people: list[dict[str, Tensor]], size: tuple[int, int] | None, normalised: bool) -> PoseFrame:
    canvas = frame["size"] or size
    if canvas is None and people:
        raise ValueError(UNKNOWN_SIZE)
    scale = torch.tensor([1.0, 1.0] if normalised or canvas is None else canvas, dtype=torch.float64)
    hands, wrists = [], []
    for number, parts in enumerate(people):
        for side, key in KEYS.items():
            if key in parts:
                points = parts[key][:, :2] / scale
                beyond = (points.abs() > FARTHEST).any(dim=1)
                confidence = torch.where(beyond, 0.0, parts[key][:, 2])
                hands.append(PoseHand(side, torch.where(beyond[:, None], 0.0, points), confidence, number))
        body = parts.get(BODY, torch.zeros(0, 3, dtype=torch.float64))
        places = {side: body[place] for side, place in BODY_WRISTS.items() if place < len(body)}
        unit = torch.cat([scale, torch.ones(1, dtype=torch.float64)])
        wrists.append({side: point / unit for side, point in places.items() if point[2] > 0})
    width, height = canvas or (None, None)
    return PoseFrame(width, height, normalised, len(people), tuple(hands), tuple(wrists))


def _merged(body: dict, known: PoseFrame, frame: Frame, normalised: bool, min_confidence: float) -> dict:
    """A copy of a frame of poses with the hands of a picture of its size in it."""
    people = [dict(person) for person in body.get("people") or []]
    shown = [hand for hand in frame.hands if hand.enabled]
    points = [mediapipe_points_2d(hand, frame.width, frame.height).double() for hand in shown]
    owners = _owners(shown, points, known, frame, min_confidence)
    size = torch.tensor([1.0, 1.0] if normalised else [frame.width, frame.height], dtype=torch.float64)
    for number, hand in enumerate(shown):
        flat = [x for point in (points[number] * size).tolist() for x in (*point, 1.0)]
        if number not in owners:
            people.append(_nobody())
        people[owners.get(number, -1)][KEYS[hand.side]] = flat
    return {**body, "people": people, "canvas_width": frame.width, "canvas_height": frame.height}


def _nobody() -> dict:
    """A person of whom nothing was found, complete for readers that want every part."""
    return {key: [0.0] * (3 * count) for key, count in EMPTY_PERSON.items()}


def _owners(
    hands: list[Hand], points: list[Tensor], known: PoseFrame, frame: Frame, min_confidence: float
) -> dict[int, int]:
    """Which hand belongs to which person: the nearest pairs first, a person's each side once."""
    pixels = torch.tensor([frame.width, frame.height], dtype=torch.float64)
    pairs = []
    for number, (hand, own) in enumerate(zip(hands, points, strict=True)):
        extent = float(((own.amax(dim=0) - own.amin(dim=0)) * pixels).max())
        for person in range(known.people):
            wrist = _wrist(known, person, hand.side, min_confidence)
            distance = math.inf if wrist is None else float(((own[0] - wrist) * pixels).norm())
            if distance < WRIST_REACH * extent:
                pairs.append((distance, number, person))
    owners: dict[int, int] = {}
    taken = set()
    for _, number, person in sorted(pairs):
        if number not in owners and (person, hands[number].side) not in taken:
            owners[number] = person
            taken.add((person, hands[number].side))
    return owners


def _wrist(known: PoseFrame, person: int, side: str, min_confidence: float) -> Tensor | None:
    body = known.wrists[person].get(side)
    if body is not None and float(body[2]) >= min_confidence:
        return body[:2]
    for hand in known.hands:
        if hand.person == person and hand.side == side and float(hand.confidence[0]) >= min_confidence:
            return hand.points[0]
    return None
