"""Hands from OpenPose's keypoints, so that no detector is needed where a pose node has found them.

The 21 points are taken for MediaPipe's, which lie beside the rig's joints (``calibration.py``). On three recordings of
signing, two seen by a COCO-WholeBody network (124 and 75 hands, as DWPose and SDPose are) and one by OpenPose (57), the
fitted hands miss the points by 1.72, 2.15 and 1.54 % of their size so, and by 1.86, 2.28 and 1.69 % if the points are
taken for the rig's joints (github.com/sign-language-processing/pose, its sample predictions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..hand.camera import Camera
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel, load_open_hand
from ..hand.transform import keeps_shape
from .doubt import fit_judged
from .fit import hands_of_fit
from .openpose_json import UNKNOWN_SIZE, PoseFrame, PoseHand, read_poses

SIDE_CHOICES = ("by wrists", "as given", "exchanged")

LEAST_JOINTS = 6  # fewer say nothing about a hand
HANDS_AT_ONCE = 32  # between calls of progress
LEAST_SIZE = 1e-4  # of the picture's longer side; smaller is a point
POOR_FIT = 0.05  # mean distance over the hand's size, from where a hand's note warns
CLEARLY = 0.5  # of the distance to the own name's wrists, under which the other name's are believed


def hands_from_poses(
    poses: Any,
    width: int | None = None,
    height: int | None = None,
    *,
    min_confidence: float = 0.3,
    sides: str = "by wrists",
    model: HandModel | None = None,
    camera: Camera | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Hands:
    """Fit the hand model to the hands of poses.

    Args:
        poses: POSE_KEYPOINT, or OpenPose's JSON.
        width, height: of the pictures that the poses belong to, pixels; None: the canvas is the picture. A canvas that
            was scaled for the detector has the same shape.
        min_confidence: joints under it count as not found; the others weigh as much as their confidence.
        sides: ``as given``; ``exchanged``; ``by wrists``: exchanged if the wrists of the bodies, over all frames, lie
            clearly nearer to the hands of the other name. A person's own left is left.
        model: the open hand if None; camera: ``default_camera`` if None.
        progress: called as ``progress(hands done, hands)``; what it raises stops the work.

    Returns:
        One frame for each of the poses', its hands person by person, left before right, flagged where palm and back
        look alike. Frames without a hand say so.

    Raises:
        ValueError: see ``read_poses``; a picture of another shape than the canvas.
    """
    if sides not in SIDE_CHOICES:
        raise ValueError(f"Unknown way of telling sides {sides!r}: choose one of {', '.join(SIDE_CHOICES)}.")
    given = None if width is None or height is None else (width, height)
    frames = read_poses(poses, given)
    exchanged = sides == "exchanged" or (sides == "by wrists" and wrists_say_exchanged(frames, min_confidence))
    hint = exchanged and sides == "by wrists"
    model = model or load_open_hand()
    kept = [[hand for hand in frame.hands if _enough(hand, min_confidence)] for frame in frames]
    sizes = [_size(frame, given) for frame in frames]
    fitted = _fit_all(kept, sizes, exchanged, min_confidence, model, camera, progress)
    made = []
    for frame, hands, size in zip(frames, fitted, sizes, strict=True):
        notes = [_nothing(frame)] if not hands else []
        if hint and hands:
            notes.append("Left and right were exchanged: the wrists of the bodies lie at the hands of the other name.")
        made.append(Frame(size[0], size[1], tuple(hands), " ".join(notes)))
    return Hands(tuple(made))


def wrists_say_exchanged(frames: Sequence[PoseFrame], min_confidence: float = 0.3) -> bool:
    """Whether hands lie at the wrists of the other side's name, by the sum over all frames.

    Only people with both wrists are asked. Hands that are held together say little and weigh little: distances count.
    """
    own = other = 0.0
    for frame in frames:
        shape = torch.tensor([frame.width or 1, frame.height or 1], dtype=torch.float64)
        for hand in frame.hands:
            wrists = {k: v[:2] for k, v in frame.wrists[hand.person].items() if float(v[2]) >= min_confidence}
            if len(wrists) < 2 or float(hand.confidence[0]) < min_confidence:
                continue
            names = (hand.side, "left" if hand.side == "right" else "right")
            near, far = (float(((wrists[name] - hand.points[0]) * shape).norm()) for name in names)
            own, other = own + near, other + far
    return other < CLEARLY * own


def _size(frame: PoseFrame, given: tuple[int, int] | None) -> tuple[int, int]:
    if given is None:
        if frame.width is None or frame.height is None:
            raise ValueError(UNKNOWN_SIZE)
        return frame.width, frame.height
    if frame.width is not None and frame.height is not None and not keeps_shape(frame.width, frame.height, *given):
        raise ValueError(
            f"The poses lie on a canvas of {frame.width} x {frame.height} pixels, the picture has {given[0]} x "
            f"{given[1]} and another shape: connect the picture that the poses come from."
        )
    return given


def _nothing(frame: PoseFrame) -> str:
    if not frame.people:
        return "No hand: there are no people in the pose."
    if not frame.hands:
        return "No hand: the pose has no keypoints of hands; switch them on in the pose node."
    return f"No hand: none of the pose's {len(frame.hands)} has {LEAST_JOINTS} joints that are sure enough."


def _enough(hand: PoseHand, min_confidence: float) -> bool:
    believed = _believed(hand, min_confidence) > 0
    if int(believed.sum()) < LEAST_JOINTS:
        return False
    points = hand.points[believed]
    return float((points.amax(dim=0) - points.amin(dim=0)).max()) > LEAST_SIZE


def _believed(hand: PoseHand, min_confidence: float) -> Tensor:
    return torch.where(hand.confidence >= min_confidence, hand.confidence, 0.0)


def _fit_all(
    kept: list[list[PoseHand]], sizes: list[tuple[int, int]], exchanged: bool, min_confidence: float,
    model: HandModel, camera: Camera | None, progress: Callable[[int, int], None] | None,
) -> list[list[Hand]]:  # fmt: skip
    """The hands of all frames, many at once; those of one call belong to pictures of one size."""
    fitted: list[list[Hand]] = [[] for _ in kept]
    total, done = sum(len(hands) for hands in kept), 0
    for size in dict.fromkeys(sizes):
        places = [(i, hand) for i, hands in enumerate(kept) if sizes[i] == size for hand in hands]
        for start in range(0, len(places), HANDS_AT_ONCE):
            some = places[start : start + HANDS_AT_ONCE]
            hands = _fit_some([hand for _, hand in some], size, exchanged, min_confidence, model, camera)
            for (i, _), hand in zip(some, hands, strict=True):
                fitted[i].append(hand)
            done += len(some)
            if progress is not None:
                progress(done, total)
    return fitted


def _fit_some(
    given: list[PoseHand], size: tuple[int, int], exchanged: bool, min_confidence: float, model: HandModel,
    camera: Camera | None,
) -> list[Hand]:  # fmt: skip
    sides = [_side(hand, exchanged) for hand in given]
    weights = torch.stack([_believed(hand, min_confidence) for hand in given])
    judged = fit_judged(
        model, torch.stack([hand.points for hand in given]), *size, sides, camera=camera, weights=weights
    )
    rows = zip(weights, judged.fit.residual, judged.notes, strict=True)
    notes = [(*said, *_notes(int((believed == 0).sum()), float(residual))) for believed, residual, said in rows]
    confidence = weights.mean(dim=1).tolist()
    return hands_of_fit(judged.fit, model, sides, *size, confidence, camera, notes, judged.unsure)


def _side(hand: PoseHand, exchanged: bool) -> str:
    return hand.side if not exchanged else {"left": "right", "right": "left"}[hand.side]


def _notes(missing: int, residual: float) -> tuple[str, ...]:
    notes = []
    if missing:
        notes.append(f"{missing} of 21 joints were not found and follow from the others.")
    if residual > POOR_FIT:
        notes.append(
            f"The fitted hand misses the given points by {100 * residual:.0f} % of its size: they may be wrong, or "
            "those of the other side."
        )
    return tuple(notes)
