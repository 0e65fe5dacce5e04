"""MediaPipe's own hand landmarker as the other way to find hands, with the networks that ship with HanDrawer.

mediapipe is imported at first use. Its landmarkers are kept for the life of the process, because making one takes a
tenth of a second; they are used under a lock and closed when Python ends.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  # before close_landmarkers is registered, see there
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .find import SMALL_SIDE, Landmarks, resized

if TYPE_CHECKING:
    import numpy as np

TASK_FILE = Path(__file__).with_name("hand_landmarker.task")
TASK_SHA256 = "1ae5a1f281c8a9dcc147d9993408fc187756205dde3c1bc014bb3ce69ecaba82"

LARGE_SIDE = 2048  # pixels; larger pictures are reduced, since MediaPipe samples them without smoothing
KEPT_LANDMARKERS = 4
MOST_HANDS = 20  # MediaPipe's list for one look; callers' limits are applied afterwards

# A look at a part of the picture finds small hands, but also takes fragments and faces for hands: what it finds must
# lie wholly inside the part and fill a fair share of it.
PART_FILL = 0.19
PART_EDGE = 0.02
PARTS_LEAST_SIDE = 192  # pixels; parts smaller than the palm detector's input show nothing new
CLOSE_UPS = (1.7, 2.3, 3.0)  # sides of further looks at a hand that was found, in sizes of the hand
SAME_HAND_DISTANCE = 0.15  # mean distance of joints over the larger hand's size
DISAGREEMENT = 0.2  # the same, from where it does not matter how far two views of a hand are apart
CLEARLY = 0.4  # the share of the second nearest hand's distance that the nearest one's must stay under
SAME_PLACE = 0.4  # share of the smaller box that two boxes have in common


def find(picture: Tensor, thorough: bool, palm: float, presence: float, boxes: Tensor | None) -> list[Landmarks]:
    """The hands of a picture [H, W, 3], clean float in [0, 1].

    Args:
        thorough: look at parts of the picture too, and of each hand take the view that most looks agree on.
        palm, presence: 0 to 1, how sure the two networks must be.
        boxes: [K, 4] x0, y0, x1, y1 in pixels: look there alone.
    """
    if max(picture.shape[:2]) > LARGE_SIDE:
        ratio = LARGE_SIDE / max(picture.shape[:2])
        picture, boxes = resized(picture, LARGE_SIDE), None if boxes is None else boxes * ratio
    height, width = picture.shape[:2]
    size = torch.tensor([width, height], dtype=torch.float32)
    palm = palm * (0.6 if thorough else 1.0)
    if boxes is not None:
        return _distinct(_look_at_boxes(picture, boxes, palm, presence), size)
    hands = _distinct(_look(picture, palm, presence), size)
    return _with_parts(picture, hands, palm, presence, size) if thorough else hands


def _look_at_boxes(picture: Tensor, boxes: Tensor, palm: float, presence: float) -> list[Landmarks]:
    """The hands whose middle lies in one of the boxes [K, 4], each looked at with what is round it."""
    size = torch.tensor([picture.shape[1], picture.shape[0]], dtype=torch.float32)
    found = []
    for box in boxes:
        middle, side = (box[:2] + box[2:]) / 2, 1.8 * float((box[2:] - box[:2]).max())
        low = (middle - side / 2).floor().clamp_min(0).minimum(size - 1).long()
        high = (middle + side / 2).ceil().minimum(size).long().maximum(low + 1)
        cut = picture[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
        for hand in _look(cut, palm, presence):
            pixels = hand.points * (high - low) + low
            centre = pixels.mean(dim=0)
            if bool(((centre >= box[:2]) & (centre <= box[2:])).all()):
                found.append(Landmarks(pixels / size, hand.world, hand.side, hand.score, hand.presence))
    return found


def _with_parts(picture: Tensor, hands: list[Landmarks], palm: float, presence: float, size: Tensor) -> list[Landmarks]:
    """The hands of the whole picture and of its parts: of each hand, the view that most looks agree on."""
    views = [[hand] for hand in hands]
    for part in _parts(int(size[0]), int(size[1])):
        for hand in _look_at_part(picture, part, palm, presence):
            if not any(_same_place(hand, view[0], size) for view in views):
                views.append([hand])
            else:
                _add_view(hand, views, size)
    for first in [view[0] for view in views]:
        for part in _parts_around(first, size):
            for hand in _look_at_part(picture, part, palm, presence):
                _add_view(hand, views, size)
    return _distinct([_middle_view(view, size) for view in views], size)


def _look(picture: Tensor, palm: float, presence: float) -> list[Landmarks]:
    """One look at a picture [H, W, 3], clean float in [0, 1].

    It is padded to a square first: in other shapes MediaPipe's turned crops are sheared a little.
    """
    if max(picture.shape[:2]) < SMALL_SIDE:
        picture = resized(picture, SMALL_SIDE)
    height, width = picture.shape[:2]
    side = max(height, width)
    square = torch.zeros(side, side, 3, dtype=torch.uint8)
    square[:height, :width] = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    result = _detect(square.numpy(), palm, presence)
    scale = torch.tensor([side / width, side / height])
    return [
        Landmarks(
            points=torch.tensor([(p.x, p.y) for p in points]) * scale,
            world=torch.tensor([(p.x, p.y, p.z) for p in world]),
            side=handedness[0].category_name.lower(),
            score=float(handedness[0].score),
            presence=float(handedness[0].score),
        )
        for handedness, points, world in zip(
            result.handedness, result.hand_landmarks, result.hand_world_landmarks, strict=True
        )
    ]


def _parts(width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Overlapping square parts of a picture, (x, y, side) in pixels: halves first, then thirds of the longer side."""
    for divisor in (2, 3):
        side = round(max(width, height) / divisor)
        if side < PARTS_LEAST_SIDE:
            return
        for y in _starts(height, side):
            for x in _starts(width, side):
                yield x, y, side


def _parts_around(hand: Landmarks, size: Tensor) -> Iterator[tuple[int, int, int]]:
    """Square parts of the picture round a hand, in which it stands large enough to be seen well."""
    pixels = hand.points * size
    middle = (pixels.amin(dim=0) + pixels.amax(dim=0)) / 2
    for factor in CLOSE_UPS:
        side = min(round(factor * _extent(hand, size)), int(size.max()))
        x, y = (max(0, min(round(float(m) - side / 2), int(s) - side)) for m, s in zip(middle, size, strict=True))
        yield x, y, side


def _starts(length: int, side: int) -> list[int]:
    """Where parts begin along one edge, so that neighbours share at least half."""
    room = length - side
    if room <= 0:
        return [0]
    steps = -(-room // (side // 2))
    return [round(room * i / steps) for i in range(steps + 1)]


def _look_at_part(picture: Tensor, part: tuple[int, int, int], palm: float, presence: float) -> list[Landmarks]:
    x, y, side = part
    cut = picture[y : y + side, x : x + side]
    height, width = picture.shape[:2]
    seen = torch.tensor([cut.shape[1], cut.shape[0]], dtype=torch.float32)
    found = []
    for hand in _look(cut, palm, presence):
        pixels = hand.points * seen
        low, high = pixels.amin(dim=0), pixels.amax(dim=0)
        margin = PART_EDGE * side
        cut_off = (low < margin) & (torch.tensor([x, y]) > 0)
        cut_off |= (high > seen - margin) & (torch.tensor([x + side, y + side]) < torch.tensor([width, height]))
        if bool(cut_off.any()) or float((high - low).max()) < PART_FILL * side:
            continue
        points = (pixels + torch.tensor([x, y])) / torch.tensor([width, height])
        found.append(Landmarks(points, hand.world, hand.side, hand.score, hand.presence))
    return found


def _extent(hand: Landmarks, size: Tensor) -> float:
    """The longer side of the hand's box in pixels."""
    pixels = hand.points * size
    return float((pixels.amax(dim=0) - pixels.amin(dim=0)).max())


def _distinct(hands: list[Landmarks], size: Tensor) -> list[Landmarks]:
    """One of each hand that was found twice: the more certain one."""
    kept: list[Landmarks] = []
    for hand in sorted(hands, key=lambda hand: -hand.score):
        reach = [SAME_HAND_DISTANCE * max(_extent(hand, size), _extent(other, size)) for other in kept]
        if all(_apart(hand, other, size) > r for other, r in zip(kept, reach, strict=True)):
            kept.append(hand)
    return kept


def _apart(hand: Landmarks, other: Landmarks, size: Tensor) -> float:
    """Mean distance of the joints of two hands in pixels."""
    return float(((hand.points - other.points) * size).norm(dim=-1).mean())


def _add_view(hand: Landmarks, views: list[list[Landmarks]], size: Tensor) -> None:
    """Add another view to those of the known hand in its place; of overlapping hands, to one that is clearly nearer."""
    here = [view for view in views if _same_place(hand, view[0], size)]
    here.sort(key=lambda view: _apart(hand, view[0], size))
    if len(here) == 1 or (here and _apart(hand, here[0][0], size) < CLEARLY * _apart(hand, here[1][0], size)):
        here[0].append(hand)


def _middle_view(views: list[Landmarks], size: Tensor) -> Landmarks:
    """The view of one hand that is nearest to all the others; the first of equals."""
    points = torch.stack([view.points * size for view in views])
    reach = max(_extent(view, size) for view in views) * DISAGREEMENT
    apart = (points[:, None] - points[None]).norm(dim=-1).mean(dim=-1)
    return views[int(apart.clamp_max(reach).sum(dim=1).argmin())]


def _same_place(hand: Landmarks, other: Landmarks, size: Tensor) -> bool:
    """Whether two hands' boxes cover each other so far that the second look may have seen the first one's hand."""
    a, b = hand.points * size, other.points * size
    low = torch.maximum(a.amin(dim=0), b.amin(dim=0))
    high = torch.minimum(a.amax(dim=0), b.amax(dim=0))
    common = (high - low).clamp_min(0).prod()
    smaller = min((p.amax(dim=0) - p.amin(dim=0)).prod() for p in (a, b))
    return bool(common > SAME_PLACE * smaller)


_LOCK = threading.Lock()
_LANDMARKERS: OrderedDict[tuple[float, float], Any] = OrderedDict()


def _detect(pixels: np.ndarray, palm: float, presence: float) -> Any:
    """MediaPipe's result for square pixels [S, S, 3] uint8."""
    with _LOCK:
        mediapipe = _mediapipe()
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        return _landmarker(mediapipe, palm, presence).detect(image)


def _mediapipe() -> Any:
    try:
        import mediapipe
    except ImportError as error:
        raise ImportError(
            "The backend mediapipe needs the package of that name: install it with `pip install mediapipe` into the "
            f"Python that runs this, or choose the backend torch, which needs nothing more. ({error})"
        ) from error
    return mediapipe


def _landmarker(mediapipe: Any, palm: float, presence: float) -> Any:
    """The landmarker with these thresholds; the one that was used longest ago is closed. Call under the lock."""
    key = (palm, presence)
    if key in _LANDMARKERS:
        _LANDMARKERS.move_to_end(key)
        return _LANDMARKERS[key]
    tasks = mediapipe.tasks
    options = tasks.vision.HandLandmarkerOptions(
        base_options=tasks.BaseOptions(model_asset_buffer=read_task()),
        num_hands=MOST_HANDS,
        min_hand_detection_confidence=palm,
        min_hand_presence_confidence=presence,
    )
    _LANDMARKERS[key] = tasks.vision.HandLandmarker.create_from_options(options)
    if len(_LANDMARKERS) > KEPT_LANDMARKERS:
        _LANDMARKERS.popitem(last=False)[1].close()
    return _LANDMARKERS[key]


def read_task(path: Path = TASK_FILE) -> bytes:
    """The bytes of the landmark networks' bundle, checked against its SHA-256; FileNotFoundError otherwise."""
    if not path.is_file():
        raise FileNotFoundError(
            f"The landmark networks are missing ({path}): install HanDrawer again, or make the file with "
            "scripts/make_landmarker.py."
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != TASK_SHA256:
        raise FileNotFoundError(
            f"The landmark networks' file is damaged ({path}, {len(data):,} bytes): install HanDrawer again, or make "
            "the file with scripts/make_landmarker.py."
        )
    return data


def close_landmarkers() -> None:
    """Close every landmarker; the next picture makes new ones. Runs by itself when Python ends."""
    with _LOCK:
        while _LANDMARKERS:
            _LANDMARKERS.popitem()[1].close()


# MediaPipe closes through a thread pool, and Python ends thread pools before it calls what atexit holds: there it would
# raise. What threading holds is called last in, first out, so after the import above this comes before the pools' own.
before_pools_end: Any = getattr(threading, "_register_atexit", atexit.register)
before_pools_end(close_landmarkers)
