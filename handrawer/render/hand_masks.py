"""Masks of hands for inpainting: boxes, ellipses, hulls or silhouettes, grown and feathered by shares of the hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hand.boxes import longer_side
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel
from .drawing import Crop
from .maps import render_crops
from .masks import soft_box
from .scene import frames_of, to_pixels

SHAPES = ("box", "ellipse", "hull", "silhouette")

PADDING, FEATHER = 0.15, 0.05
"""In sizes of the hand. A mask that follows the hand tightly keeps the shape that is to be repaired."""

_FIELD = 512  # pixels a side of the field in which distances to a silhouette are worked out
_SHAPE_FIELD = 1024  # the same for an ellipse or a hull, whose distances are straight between two places


@dataclass(frozen=True)
class _Window:
    """The pixels left..right, top..bottom of a picture that a mask can reach."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def centres(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """x [1, columns] and y [rows, 1] of the centres of so many equal cells; with its own size, of the pixels."""
        height, width = self.size
        x = self.left + (torch.arange(columns) + 0.5) * (width / max(columns, 1))
        y = self.top + (torch.arange(rows) + 0.5) * (height / max(rows, 1))
        return x[None], y[:, None]


def hand_masks(
    hands: Hands | Frame,
    width: int | None = None,
    height: int | None = None,
    *,
    shape: str = "box",
    padding: float = PADDING,
    feather: float = FEATHER,
    each: bool = False,
    models: Mapping[str, HandModel] | None = None,
) -> Tensor:
    """Masks of the enabled hands, float32 in 0..1: [B, H, W], or with `each` [N, H, W], one for every enabled hand.

    width, height  as in render_layers
    shape          "box"; "ellipse", the least one along the hand that holds all of it; "hull", the convex outline; or
                   "silhouette", what is visible of the hand
    padding        grows the shape by this share of the hand's size (the longer side of its box), at least 0
    feather        width of the soft edge in the same measure; it lies outside the padded shape, which stays at 1.
                   With 0 the edge is as sharp as pixels can show
    each           the masks of all hands of all pictures, in their order, instead of one mask a picture, in which
                   overlapping hands join
    models         hand models by name, for silhouettes of another model than "open"

    What reaches over the picture's edge is cut there. Without hands masks are empty: with `each` there are none.
    Raises ValueError for an unknown shape or a negative share.
    """
    if shape not in SHAPES:
        raise ValueError(f'There is no mask shape "{shape}": choose from {", ".join(SHAPES)}.')
    if padding < 0 or feather < 0:
        raise ValueError(f"Padding and feather are shares of the hand's size, at least 0, not {padding} and {feather}.")
    frames = frames_of(hands, width, height)
    if not frames:
        return torch.zeros(0, 1, 1)
    masks = []
    for frame in frames:
        size = (frame.height, frame.width)
        union = torch.zeros(size)
        crops = render_crops(frame, models=models)[1] if shape == "silhouette" else [None] * len(frame.hands)
        for hand, crop in zip(frame.hands, crops, strict=True):
            if not hand.enabled:
                continue
            part, values = _mask(hand, crop, frame, shape, padding, feather)
            canvas = torch.zeros(size) if each else union
            canvas[part] = torch.maximum(canvas[part], values.to(canvas))
            if each:
                masks.append(canvas)
        if not each:
            masks.append(union)
    return torch.stack(masks) if masks else torch.zeros(0, frames[0].height, frames[0].width)


def padded_boxes(
    hands: Hands | Frame, width: int | None = None, height: int | None = None, *, padding: float = PADDING
) -> list[list[tuple[int, int, int, int]]]:
    """For each picture the boxes of its enabled hands in whole pixels: x, y, width, height, cut at the picture's edge.

    A hand that lies outside the picture has a box of no width or no height at its edge.
    """
    boxes = []
    for frame in frames_of(hands, width, height):
        found = []
        for hand in frame.hands:
            if hand.enabled:
                low, high = _grown_box(hand, frame, padding)
                window = _window(low, high, 0, frame)
                found.append((window.left, window.top, window.right - window.left, window.bottom - window.top))
        boxes.append(found)
    return boxes


def _grown_box(hand: Hand, frame: Frame, padding: float) -> tuple[Tensor, Tensor]:
    """Corners (x, y) in pixels."""
    box = hand.box.to("cpu", torch.float32)
    size = torch.tensor([frame.width, frame.height])
    grow = padding * longer_side(box, frame.width, frame.height)
    return box[:2] * size - grow, box[2:] * size + grow


def _window(low: Tensor, high: Tensor, reach: float, frame: Frame) -> _Window:
    size = torch.tensor([frame.width, frame.height])
    left, top = (low - reach).floor().clamp(min=0).minimum(size).int().tolist()
    right, bottom = (high + reach).ceil().clamp(min=0).minimum(size).int().tolist()
    return _Window(left, top, max(left, right), max(top, bottom))


def _mask(
    hand: Hand, crop: Crop | None, frame: Frame, shape: str, padding: float, feather: float
) -> tuple[tuple[slice, slice], Tensor]:
    """Which rows and columns of the picture one hand's mask reaches, and its values there."""
    size = float(longer_side(hand.box.to("cpu", torch.float32), frame.width, frame.height))
    # A feather of less than a pixel is none: pixels cannot show it.
    pad, soft = padding * size, feather * size if feather * size >= 1 else 0.0
    low, high = _grown_box(hand, frame, padding)
    # An ellipse is wider than the box: at most by the box's diagonal.
    window = _window(low, high, soft + 1 + (size if shape == "ellipse" else 0), frame)
    if shape == "box":
        return window.slices, soft_box(low, high, frame.width, frame.height, soft, window.slices)
    if shape == "silhouette":
        if crop is None:
            return (slice(0, 0), slice(0, 0)), torch.zeros(0, 0)
        return window.slices, _around_silhouette(crop, window, pad, soft)
    points = to_pixels(hand.vertices.to("cpu", torch.float32), hand, frame.width, frame.height)[:, :2]
    scale = max(1.0, max(window.size) / _SHAPE_FIELD)
    size = [math.ceil(side / scale) for side in window.size]
    distance = (_ellipse if shape == "ellipse" else _hull)(points, *window.centres(*size), pad)
    if scale > 1 and distance.numel():
        distance = F.interpolate(distance[None, None], window.size, mode="bilinear", align_corners=False)[0, 0]
    return window.slices, _edge(distance, soft)


def _edge(distance: Tensor, feather: float) -> Tensor:
    """1 inside a shape, falling to 0 outside within `feather` pixels; `distance` to it in pixels, negative inside."""
    if not feather:
        return (0.5 - distance).clamp(0, 1)
    ramp = (1 - distance / feather).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _ellipse(points: Tensor, x: Tensor, y: Tensor, pad: float) -> Tensor:
    """Distance [h, w] to the ellipse around points [V, 2], along their main axes, grown by `pad`."""
    low, high = points.amin(0), points.amax(0)
    centred = points - (low + high) / 2
    axes = torch.linalg.eigh(centred.T @ centred / len(centred))[1]  # columns
    turned = centred @ axes
    middle = (turned.amin(0) + turned.amax(0)) / 2
    half = ((turned.amax(0) - turned.amin(0)) / 2).clamp(min=0.5)
    # The axes keep the proportion of the box along them; the ellipse is as large as the farthest point needs.
    half = half * ((turned - middle) / half).norm(dim=1).amax() + pad
    place = (low + high) / 2
    across = (x - place[0]) * axes[0, 0] + (y - place[1]) * axes[1, 0] - middle[0]
    down = (x - place[0]) * axes[0, 1] + (y - place[1]) * axes[1, 1] - middle[1]
    # The distance to the first order: how far the level of the ellipse's equation is, over its slope.
    level = torch.hypot(across / half[0], down / half[1])
    slope = torch.hypot(across / half[0] ** 2, down / half[1] ** 2).clamp(min=1e-9)
    return level * (level - 1) / slope


def _hull(points: Tensor, x: Tensor, y: Tensor, pad: float) -> Tensor:
    """Distance [h, w] to the convex hull of points [V, 2] grown by `pad`."""
    corners = torch.tensor(convex_hull(points.tolist()))
    distance = torch.full((y.shape[0], x.shape[1]), torch.inf)
    inside = torch.ones_like(distance, dtype=torch.bool)
    for start, end in zip(corners, corners.roll(-1, 0), strict=True):
        run = end - start
        over, under = x - start[0], y - start[1]
        share = ((over * run[0] + under * run[1]) / run.square().sum().clamp(min=1e-12)).clamp(0, 1)
        distance = torch.minimum(distance, torch.hypot(over - share * run[0], under - share * run[1]))
        inside &= run[0] * under - run[1] * over >= 0
    return torch.where(inside, -distance, distance) - pad


def convex_hull(points: list[list[float]]) -> list[list[float]]:
    """The corners of the convex hull in order (clockwise with y down), by Andrew's monotone chain."""

    def half(ordered: list[list[float]]) -> list[list[float]]:
        chain: list[list[float]] = []
        for point in ordered:
            while len(chain) > 1:
                (ax, ay), (bx, by) = chain[-2:]
                if (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax) > 0:
                    break
                chain.pop()
            chain.append(point)
        return chain[:-1]

    ordered = sorted(points)
    return half(ordered) + half(ordered[::-1]) or ordered[:1]


def _around_silhouette(crop: Crop, window: _Window, pad: float, feather: float) -> Tensor:
    """[h, w] over the window: the crop's shares, grown by `pad` pixels, with a soft edge of `feather` around that."""
    margins = (
        crop.columns.start - window.left,
        window.right - crop.columns.stop,
        crop.rows.start - window.top,
        window.bottom - crop.rows.stop,
    )
    share = F.pad(crop.share, margins)
    reach = pad + feather
    if reach < 0.5:
        return share
    scale = max(1.0, max(share.shape) / _FIELD)
    size = [max(1, math.ceil(side / scale)) for side in share.shape]
    small = share[None, None]
    if scale > 1:
        small = F.interpolate(small, size=size, mode="area")
    distance = _distance(small[0, 0], reach / scale + 2) * scale
    if scale > 1:
        distance = F.interpolate(distance[None, None], size=share.shape, mode="bilinear", align_corners=False)[0, 0]
    return torch.maximum(share, _edge(distance - pad, feather))


def _distance(share: Tensor, reach: float) -> Tensor:
    """[h, w]: how far each pixel's centre is from the shape, in pixels, up to about `reach`; share [h, w] in 0..1.

    Exact to the half pixel by which a covered pixel's share moves the edge: a Euclidean distance transform, first along
    the columns, then over the columns within reach.
    """
    height, width = share.shape
    far = float(height + width)
    covered = share > 0
    row = torch.arange(height, device=share.device, dtype=torch.float32)[:, None]
    above = torch.where(covered, row, -far).cummax(0)[0]
    below = torch.where(covered, row, 2 * far).flip(0).cummin(0)[0].flip(0)
    column = torch.minimum(row - above, below - row).square()
    nearest = column.clone()
    for step in range(1, min(width, math.ceil(reach) + 1)):
        shifted = column + step * step
        nearest[:, step:] = torch.minimum(nearest[:, step:], shifted[:, :-step])
        nearest[:, :-step] = torch.minimum(nearest[:, :-step], shifted[:, step:])
    return torch.where(covered, 0.5 - share, nearest.sqrt())
