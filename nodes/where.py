"""Where in the pictures to look for hands: what other nodes say, as boxes. Known by what it has; no host in here.

SEGS of the Impact Pack is a pair of the picture's (height, width) and a list of segments, each with its ``bbox``
(x0, y0, x1, y1) in pixels. Its BBOX_DETECTOR has ``detect(image, threshold, dilation, crop_factor, drop_size)``, which
takes a batch of one picture and gives SEGS. Both are used by these names alone; nothing of the pack is imported.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NUMBERS = ("corners", "corner and size")
GRID = 128  # cells on the longer side, in which a mask's spots are told apart
MOST_SPOTS = 40  # the largest spots of one mask that are looked at


def of_mask(mask: Tensor) -> list[Tensor]:
    """For each picture the boxes [K, 4] (normalised x0, y0, x1, y1) round the spots of a mask [B, H, W] in 0..1."""
    return [_spots(one) for one in mask]


def of_boxes(boxes: Any, numbers: str, width: int, height: int) -> list[Tensor]:
    """Boxes of the host's nodes: {x, y, width, height}, four numbers, lists of these, or such a list for each picture.

    Args:
        numbers: what four numbers are, ``corners`` (x0, y0, x1, y1) or ``corner and size`` (x, y, width, height).
        width, height: of the pictures, in whose pixels the boxes are.

    Returns:
        For each picture [K, 4], normalised; one list where the boxes are for all pictures alike.

    Raises:
        ValueError: these are no boxes.
    """
    try:
        if _is_box(boxes):
            lists = [[boxes]]
        else:
            lists = [list(boxes)] if all(_is_box(box) for box in boxes) else [_as_list(each) for each in boxes]
        corners = [[_corners(box, numbers) for box in each] for each in lists]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            "these are no boxes; connect boxes of four numbers, or with x, y, width and height, in pixels."
        ) from error
    return [_normalised(each, width, height) for each in corners]


def of_segs(segs: Any) -> Tensor:
    """[K, 4] the normalised boxes of SEGS; ValueError where they are none."""
    try:
        (height, width), segments = (int(side) for side in segs[0][:2]), list(segs[1])
        boxes = [_of_segment(segment) for segment in segments]
    except (TypeError, KeyError, AttributeError, ValueError, IndexError) as error:
        raise ValueError("these are no segments of the Impact Pack; connect SEGS.") from error
    return _normalised(boxes, width, height)


def of_detector(detector: Any, image: Tensor, threshold: float) -> list[Tensor]:
    """For each picture of a batch [B, H, W, 3] the boxes that a BBOX_DETECTOR finds in it."""
    if not callable(getattr(detector, "detect", None)):
        raise ValueError("this is no BBOX_DETECTOR; connect a detector provider of the Impact Subpack.")
    return [of_segs(detector.detect(picture[None], threshold, 0, 1.0, 1)) for picture in image]


def together(sources: Sequence[list[Tensor]], pictures: int) -> list[Tensor] | None:
    """All boxes of each picture; a source with fewer lists starts again at its first. None without any source."""
    if not sources:
        return None
    return [torch.cat([source[number % len(source)] for source in sources]) for number in range(pictures)]


def _is_box(value: Any) -> bool:
    if isinstance(value, dict):
        return True
    if isinstance(value, Tensor):
        return value.shape == (4,)
    return (
        isinstance(value, (list, tuple))
        and len(value) == 4
        and not any(isinstance(v, (list, tuple, dict)) for v in value)
    )


def _as_list(value: Any) -> list[Any]:
    return [value] if _is_box(value) else list(value)


def _corners(box: Any, numbers: str) -> tuple[float, float, float, float]:
    if isinstance(box, dict):
        x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
        return x, y, x + width, y + height
    x0, y0, x1, y1 = (float(value) for value in box)
    return (x0, y0, x1, y1) if numbers == NUMBERS[0] else (x0, y0, x0 + x1, y0 + y1)


def _of_segment(segment: Any) -> tuple[float, ...]:
    x0, y0, x1, y1 = (float(value) for value in (segment["bbox"] if isinstance(segment, dict) else segment.bbox))
    return x0, y0, x1, y1


def _normalised(boxes: Sequence[Sequence[float]], width: int, height: int) -> Tensor:
    """Boxes in pixels as [K, 4]; those without an area say nothing and are left out."""
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    found = found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1]) & found.isfinite().all(dim=1)]
    return found / torch.tensor([width, height, width, height], dtype=torch.float32)


def _spots(mask: Tensor) -> Tensor:
    """[K, 4] the boxes round the connected spots of a mask [H, W], the largest first."""
    height, width = mask.shape
    ratio = max(1.0, max(height, width) / GRID)
    cells = F.adaptive_max_pool2d(mask[None, None].cpu(), (max(1, round(height / ratio)), max(1, round(width / ratio))))
    inside = cells[0, 0] > 0.5
    names = torch.arange(1, inside.numel() + 1, dtype=torch.float32).reshape(inside.shape) * inside
    while True:  # every cell takes the greatest name among its neighbours, until spots have one name each
        spread = F.max_pool2d(names[None, None], 3, stride=1, padding=1)[0, 0] * inside
        if torch.equal(spread, names):
            break
        names = spread
    boxes = []
    for name in names.unique().tolist():
        if name > 0:
            y, x = (names == name).nonzero().unbind(dim=1)
            boxes.append([int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1])
    boxes.sort(key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
    return _normalised(boxes[:MOST_SPOTS], inside.shape[1], inside.shape[0])
