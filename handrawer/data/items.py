"""What a source says of its pictures, in one form for every kind of source."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".jfif", ".tif", ".tiff")
SIDES = ("left", "right")


@dataclass(frozen=True)
class SourceHand:
    """One hand as the source tells of it. Everything may be unknown."""

    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1, normalised."""
    label: str | None = None
    """The source's own word for the gesture."""
    side: str | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    """21 points, normalised, in MediaPipe's order."""


@dataclass(frozen=True)
class Item:
    """One picture of a source."""

    key: str
    """Its name in the shards: letters, digits, - and _; told apart from every other of the source."""
    file: str
    """Relative to the source."""
    start: int = 0
    """Where its members lie in a tar file; start = end = 0 for a picture's own file."""
    end: int = 0
    caption: str = ""
    hands: tuple[SourceHand, ...] | None = None
    """None where the source says nothing of hands; () where it says that there is none."""
    label: str | None = None
    """The gesture of the picture as a whole, where it is not known which hand makes it."""
    faults: tuple[str, ...] = ()
    """What could not be read of the source's words on it, in sentences."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What else is worth keeping: user, age, licence, ..."""


def fingerprint(items: Iterable[Item]) -> str:
    """A number that changes with anything in the items."""
    text = "\n".join(json.dumps(asdict(item), sort_keys=True) for item in items)
    return hashlib.sha256(text.encode()).hexdigest()


class Keys:
    """Makes keys that are safe in a tar file and told apart."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def make(self, name: str) -> str:
        safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:80] or "picture"
        key, number = safe, 2
        while key.lower() in self._taken:
            key, number = f"{safe}-{number}", number + 1
        self._taken.add(key.lower())
        return key


def hands_of_annotation(data: dict[str, Any]) -> tuple[tuple[SourceHand, ...], list[str]]:
    """HaGRID's annotation of one picture (v1 and v2): its hands, and what of it could not be used.

    Boxes are ``[x, y, width, height]`` of the whole picture, normalised. ``leading_hand`` (v1) is the side of the hand
    that makes the gesture, so of those whose label is not ``no_gesture``. ``hand_landmarks`` (v2; ``landmarks`` in some
    copies) are 21 points for each box, or none.
    """
    faults: list[str] = []
    boxes, labels = _list(data.get("bboxes")), _list(data.get("labels"))
    points = _list(data.get("hand_landmarks", data.get("landmarks")))
    leading = data.get("leading_hand")
    hands = []
    for place, box in enumerate(boxes):
        label = str(labels[place]) if place < len(labels) else None
        corners = _corners(box)
        if corners is None:
            faults.append(f"box {place} is not usable: {str(box)[:80]}")
        landmarks = _landmarks(points[place]) if place < len(points) and points[place] else None
        if place < len(points) and points[place] and landmarks is None:
            faults.append(f"the landmarks of box {place} are not 21 points")
        side = leading if leading in SIDES and label not in (None, "no_gesture") else None
        hands.append(SourceHand(corners, label, side, landmarks))
    if len(labels) != len(boxes):
        faults.append(f"{len(labels)} labels for {len(boxes)} boxes")
    # Two hands with a gesture and one leading hand: it cannot be both.
    if sum(hand.side is not None for hand in hands) > 1:
        hands = [SourceHand(hand.box, hand.label, None, hand.landmarks) for hand in hands]
    return tuple(hands), faults


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _numbers(values: Any, count: int) -> list[float] | None:
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        return None
    return [float(v) for v in values]


def _corners(box: Any) -> tuple[float, float, float, float] | None:
    """x, y, width, height to corners; None for what cannot be a normalised box."""
    numbers = _numbers(box, 4)
    if numbers is None:
        return None
    x, y, width, height = numbers
    if width <= 0 or height <= 0 or x < -1 or y < -1 or x + width > 2 or y + height > 2:
        return None
    return x, y, x + width, y + height


def _landmarks(points: Any) -> tuple[tuple[float, float], ...] | None:
    if not isinstance(points, list) or len(points) != 21:
        return None
    pairs = [_numbers(point[:2] if isinstance(point, list) else point, 2) for point in points]
    return None if any(pair is None for pair in pairs) else tuple((p[0], p[1]) for p in pairs if p is not None)


def read_words(path: Path) -> tuple[str, str]:
    """A text file whatever its encoding: the text, and a sentence where it was not UTF-8 (else "")."""
    data = path.read_bytes()
    for encoding, marks in (("utf-8-sig", ()), ("utf-16", (b"\xff\xfe", b"\xfe\xff"))):
        if marks and not data.startswith(marks):
            continue
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text.strip(), "" if encoding == "utf-8-sig" else f"{path.name} is not UTF-8: it was read as UTF-16"
    text = data.decode("cp1252", errors="replace").strip()
    return text, f"{path.name} is not UTF-8: it was read as Windows-1252"
