"""Fragments: one face over one pixel centre or sample. Lists of them, made of lists of faces without a loop."""

from __future__ import annotations

import torch
from torch import Tensor

from .faces import Seen, repeated

SLACK = 0.01
"""Pixels by which spans are taken too long: far more than their rounding. The edge functions decide what is inside."""


def centre_fragments(seen: Seen, start: int, stop: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fragments of faces start..stop at the centres of pixels, width pixels a row of the picture.

    Returns the flat pixel [M] int64, the face [M] int64 (into the K seen), its depth there [M] float32, and [M] bool
    whether the face covers the centre: a few of a list do not, and their depth means nothing.
    """
    face, row, left, counts = _rows_of_centres(seen, start, stop)
    line, column = repeated(counts)
    column += left.index_select(0, line)
    across = seen.x.index_select(1, face).index_select(1, line).sub_(column + 0.5)
    down = (seen.y.index_select(1, face) - (row + 0.5)).index_select(1, line)
    face_of = face.index_select(0, line)
    inside, depth = cover(across, down, seen.near.index_select(1, face).index_select(1, line))
    first_pixel = seen.base.index_select(0, face) + row.to(torch.int64) * width
    return first_pixel.index_select(0, line) + column, face_of, depth, inside


def cover(across: Tensor, down: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Whether triangles cover the origin, and how deep they lie there: [M] bool, [M] float32.

    across, down: [3, M] the corners; near: [3, M] 1 / depth of the corners
    """
    sides = edges(across, down)
    inside = (sides.amin(0) >= 0).logical_or_(sides.amax(0) <= 0)
    return inside, flat_weights(sides).mul_(near).sum(0).reciprocal_()


def edges(x: Tensor, y: Tensor) -> Tensor:
    """[3, M], twice the signed areas that the origin makes with the edges of triangles x, y [3, M].

    The pixel centre has been moved to the origin: that rounding depends on the corner and the pixel alone, and a cross
    product is exactly antisymmetric, so two faces that share an edge never both miss a centre.
    """
    sides = torch.empty_like(x)
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        torch.mul(x[a], y[b], out=sides[k])
        sides[k] -= x[b] * y[a]
    return sides


def flat_weights(sides: Tensor) -> Tensor:
    """[3, M], barycentric weights in the picture plane; takes the place of `sides`, what edges returned."""
    whole = sides.sum(0)
    # On a sliver all three can be zero at a pixel, and the middle of the face is as good as any point of it.
    return sides.div_(whole).nan_to_num_(nan=1 / 3, posinf=torch.inf, neginf=-torch.inf)


def _rows_of_centres(seen: Seen, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The rows of pixels of faces start..stop: face [R] int64, row, first column and pixels in the row [R] int32."""
    face, row = repeated(seen.rows[start:stop])
    face = face.add_(start)
    row += seen.top.index_select(0, face)
    x, y = seen.x.index_select(1, face), seen.y.index_select(1, face)
    low, high = _span(x, y, row + 0.5)
    slack = SLACK + 1e-6 * x.abs().amax(0)
    left, right = seen.left.index_select(0, face), seen.right.index_select(0, face)
    left = torch.maximum(left, torch.ceil((low - slack - 0.5).clamp(-1, 2**30)).to(torch.int32))
    right = torch.minimum(right, torch.floor((high + slack - 0.5).clamp(-1, 2**30)).to(torch.int32))
    return face, row, left, (right - left + 1).clamp(min=0)


def _span(x: Tensor, y: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest x at which the edges of triangles x, y [3, R] cross the horizontals y = centre [R]."""
    low = torch.full_like(centre, torch.inf)
    high = torch.full_like(centre, -torch.inf)
    for k in range(3):
        a, b = k, (k + 1) % 3
        along = (centre - y[a]) / (y[b] - y[a])  # NaN on a horizontal edge, whose ends the other two edges reach
        crossing = x[a] + along * (x[b] - x[a])
        met = (along >= 0) & (along <= 1)
        low = torch.minimum(low, torch.where(met, crossing, torch.inf))
        high = torch.maximum(high, torch.where(met, crossing, -torch.inf))
    return low, high
