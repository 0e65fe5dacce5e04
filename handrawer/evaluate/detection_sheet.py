"""The picture of the documentation that shows what is found: drawn hands, MediaPipe's joints beside our meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..estimate.estimate import estimate_hands
from ..hand.hands import Hands
from ..hand.joints import JOINT_PARENTS
from ..hand.model import load_open_hand
from ..mini.picture import make_skin
from ..render.overlay import draw_overlay
from ..render.pictures import sheet, to_pil
from .crowds import Crowd, crowd
from .detection import MOST, Detector, Found, raw_mediapipe

# Which pictures are shown: kind and number, the first of each kind, whatever is found in them; of crossed hands the
# one in which part of a hand used to be taken for a hand of its own.
SHOWN = (("two hands", 0), ("small hands", 0), ("turned", 0), ("fists", 0), ("crossed", 2), ("ten hands", 0))
COLUMNS, CELL = 4, 300
QUALITIES = (85, 75, 65, 55, 45)
MOST_BYTES = 150_000
COLOURS = {"left": (255, 149, 46), "right": (64, 156, 255)}


@dataclass(frozen=True, eq=False)
class Entry:
    """One picture, twice: [H, W, 3] each, with a label."""

    theirs: Tensor
    ours: Tensor
    labels: tuple[str, str]


def draw_sheet(path: Path) -> str:
    """Draw the sheet into a JPEG file; gives its path and size in words. Needs the mediapipe package."""
    model = load_open_hand()
    skin, package = make_skin(model), raw_mediapipe(MOST)
    return write_sheet([entry(crowd(kind, number, model, skin), package) for kind, number in SHOWN], path)


def entry(drawn: Crowd, package: Detector) -> Entry:
    """A picture of several hands with what the package and what we find in it."""
    theirs = package(drawn.picture)
    ours: Hands = estimate_hands(drawn.picture[None], thoroughness="thorough", max_hands=MOST)
    count = len(drawn.hands)
    labels = f"{drawn.kind}: MediaPipe, {len(theirs)} of {count}", f"{drawn.kind}: thorough, {ours.count} of {count}"
    return Entry(with_joints(drawn.picture, theirs), draw_overlay(drawn.picture[None], ours)[0], labels)


def write_sheet(entries: Sequence[Entry], path: Path) -> str:
    pictures = [picture for e in entries for picture in (e.theirs, e.ours)]
    labels = [label for e in entries for label in e.labels]
    image = to_pil(sheet(pictures, COLUMNS, labels, cell=CELL)[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in QUALITIES:
        image.save(path, quality=quality, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            break
    return f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1024:.0f} KiB"


def with_joints(picture: Tensor, found: list[Found]) -> Tensor:
    """The picture [H, W, 3] with bones and joints drawn over it, orange left hands and blue right ones."""
    import numpy as np
    from PIL import ImageDraw

    image = to_pil(picture)
    draw = ImageDraw.Draw(image)
    for hand in found:
        points = [tuple(point) for point in hand.points.tolist()]
        for joint, parent in enumerate(JOINT_PARENTS):
            if parent >= 0:
                draw.line([points[parent], points[joint]], fill=COLOURS[hand.side], width=4)
        for x, y in points:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(255, 255, 255), outline=COLOURS[hand.side], width=2)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
