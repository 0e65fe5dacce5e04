"""The faces of a batch of meshes, sorted out before any pixel is looked at: which are drawn, and what they span."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 1e-3
"""Faces with a vertex nearer than this (metres) are dropped: they are at or behind the camera."""


@dataclass(frozen=True)
class Prepared:
    """All N * F faces of N meshes, mesh by mesh."""

    x: Tensor  # [3, N * F] float32, pixels
    y: Tensor  # [3, N * F] float32, pixels
    z: Tensor  # [3, N * F] float32, metres
    drawn: Tensor  # [N * F] bool: in front of the camera, not seen from its edge, not culled
    base: Tensor  # [N * F] int64, flat index of the first pixel of the face's picture
    faces: int  # F


@dataclass(frozen=True)
class Seen:
    """The K faces that can touch the picture, mesh by mesh, face by face, and the pixels that bound them."""

    index: Tensor  # [K] int64, mesh * F + face
    x: Tensor  # [3, K] float32, pixels
    y: Tensor  # [3, K] float32, pixels
    near: Tensor  # [3, K] float32, 1 / depth
    left: Tensor  # [K] int32, first column of the box
    right: Tensor  # [K] int32, last column
    top: Tensor  # [K] int32
    rows: Tensor  # [K] int64, at least 1
    ends: Tensor  # [K] int64, running sum of the boxes' areas
    base: Tensor  # [K] int64, flat index of the first pixel of the face's picture


def prepare(
    points: Tensor, faces: Tensor, picture: Tensor, height: int, width: int, cull: str | None, near: float = NEAR
) -> Prepared:
    """Arguments as rasterise takes them."""
    x, y, z = (points[..., k][:, faces.T].transpose(0, 1).reshape(3, -1) for k in range(3))  # [3, N * F]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    # A face seen from its edge covers nothing; comparisons with NaN are false, so broken vertices drop out here.
    drawn = (z.amin(0) > near) & (area.abs() > 0) & torch.isfinite(area) & torch.isfinite(z.amax(0))
    if cull == "back":
        drawn &= area * winding(points, faces, near).repeat_interleave(faces.shape[0]) < 0
    base = picture.repeat_interleave(faces.shape[0]) * (height * width)
    return Prepared(x, y, z, drawn, base, faces.shape[0])


def winding(points: Tensor, faces: Tensor, near: float = NEAR) -> Tensor:
    """[N] float, 1 where the faces are wound outward counter-clockwise as a viewer with y up sees them, else -1.

    Perspective keeps orientation (its Jacobian 1 / z^2 is positive), so the sign of the volume can be taken in
    (pixel x, pixel y, depth). x right, y down, z away is as right-handed as x right, y up, z to the viewer, so outward
    counter-clockwise faces enclose a positive volume.
    """
    seen = points[..., 2:] > near
    counted = seen.sum(1, keepdim=True).clamp(min=1)
    middle = torch.where(seen, points, 0).sum(1, keepdim=True) / counted
    centred = torch.where(seen, points - middle, 0)
    a, b, c = centred[:, faces].unbind(2)
    volume = (a * torch.linalg.cross(b, c)).sum((1, 2))
    return torch.where(volume < 0, -1.0, 1.0)


def over_centres(prepared: Prepared, height: int, width: int) -> Seen:
    """The faces whose bounding boxes hold a pixel centre, with the pixels of those centres."""
    low_x, high_x, low_y, high_y = _bounds(prepared)
    # Pixel i is inside [low, high] when low <= i + 0.5 <= high. The clamp comes first: far points overflow integers.
    left = torch.ceil((low_x - 0.5).clamp(0, width))
    right = torch.floor((high_x - 0.5).clamp(-1, width - 1))
    top = torch.ceil((low_y - 0.5).clamp(0, height))
    bottom = torch.floor((high_y - 0.5).clamp(-1, height - 1))
    return _seen(prepared, left, right, top, bottom)


def over_pixels(prepared: Prepared, height: int, width: int) -> Seen:
    """The faces whose bounding boxes touch a pixel anywhere, with the pixels touched."""
    low_x, high_x, low_y, high_y = _bounds(prepared)
    left = torch.floor(low_x.clamp(0, width))
    right = torch.floor(high_x.clamp(-1, width - 1))
    top = torch.floor(low_y.clamp(0, height))
    bottom = torch.floor(high_y.clamp(-1, height - 1))
    return _seen(prepared, left, right, top, bottom)


def _bounds(prepared: Prepared) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return prepared.x.amin(0), prepared.x.amax(0), prepared.y.amin(0), prepared.y.amax(0)


def _seen(prepared: Prepared, left: Tensor, right: Tensor, top: Tensor, bottom: Tensor) -> Seen:
    index = torch.nonzero(prepared.drawn & (right >= left) & (bottom >= top)).squeeze(1)
    left, right, top, bottom = (v.index_select(0, index).to(torch.int32) for v in (left, right, top, bottom))
    rows = (bottom - top + 1).to(torch.int64)
    x, y, z = (v.index_select(1, index) for v in (prepared.x, prepared.y, prepared.z))
    ends = torch.cumsum(rows * (right - left + 1), 0)
    return Seen(index, x, y, 1 / z, left, right, top, rows, ends, prepared.base.index_select(0, index))


def pieces(ends: Tensor, limit: int) -> Iterator[tuple[int, int]]:
    """Cut a list into runs [start, stop) which together count at most `limit` (or are one entry alone).

    ends [K] int64: the running sum of what the entries count
    """
    until, start = ends.tolist(), 0
    while start < len(until):
        done = until[start - 1] if start else 0
        stop = max(bisect.bisect_right(until, done + limit), start + 1)
        yield start, stop
        start = stop


def repeated(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Entry i written counts[i] times: whose [M] int64 the entry of each place, and [M] int32 which time it is."""
    total = int(counts.sum())
    whose = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts, output_size=total)
    first = (torch.cumsum(counts, 0) - counts).to(torch.int32)
    return whose, torch.arange(total, device=counts.device, dtype=torch.int32) - first.index_select(0, whose)
