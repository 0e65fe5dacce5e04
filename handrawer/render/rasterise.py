"""An exact z-buffer rasteriser in pure PyTorch, for batches of meshes on the CPU and on accelerators.

Every face lists the pixels of its bounding box (a *fragment* is one face over one pixel centre), the edge functions
keep those that lie inside, and a scatter-minimum finds the nearest face of each pixel. There is no loop over meshes,
faces or pixels; the lists are cut into pieces of bounded length, which changes memory and never the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .zbuffer import make_buffer

NEAR = 1e-3
"""Faces with a vertex nearer than this (metres) are dropped: they are at or behind the camera."""


@dataclass(frozen=True)
class Fragments:
    """The nearest face of every pixel of B pictures.

    face         [B, H, W] int64, index into the F faces; -1 where nothing is drawn
    mesh         [B, H, W] int64, index into the N meshes; -1 where nothing is drawn
    barycentric  [B, H, W, 3] float32, perspective-correct weights of the face's corners (sum 1); 0 where empty
    depth        [B, H, W] float32, metres along the viewing axis; inf where empty
    """

    face: Tensor
    mesh: Tensor
    barycentric: Tensor
    depth: Tensor

    @property
    def covered(self) -> Tensor:
        """[B, H, W] bool, true where a face is drawn."""
        return self.face >= 0


@dataclass(frozen=True)
class _Seen:
    """The K faces whose bounding boxes hold a pixel centre, mesh by mesh, face by face."""

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


@dataclass(frozen=True)
class Covered:
    """The M drawn pixels alone: what Fragments holds, without the empty ones, each worked out when it is asked for."""

    size: tuple[int, int, int]
    """B, H, W."""
    pixel: Tensor
    """[M] int64, ascending, flat index into [B, H, W]."""
    depth: Tensor
    """[M] float32, metres."""
    _winner: Tensor  # [M] int64, into the faces seen
    _seen: _Seen
    _faces: int

    @cached_property
    def mesh(self) -> Tensor:
        """[M] int64."""
        mesh = torch.div(self._seen.index, max(self._faces, 1), rounding_mode="floor")
        return mesh.index_select(0, self._winner)

    @cached_property
    def face(self) -> Tensor:
        """[M] int64."""
        return torch.remainder(self._seen.index, max(self._faces, 1)).index_select(0, self._winner)

    @cached_property
    def barycentric(self) -> Tensor:
        """[3, M] float32, perspective-correct."""
        _, height, width = self.size
        # 32-bit division is twice as quick on the CPU.
        flat = self.pixel.to(torch.int32) if self.size[0] * height * width < 2**31 else self.pixel
        row = torch.div(flat, width, rounding_mode="floor")
        column = (flat - row * width).to(torch.float32) + 0.5
        row = (row - torch.div(row, height, rounding_mode="floor") * height).to(torch.float32) + 0.5
        x, y = self._seen.x.index_select(1, self._winner), self._seen.y.index_select(1, self._winner)
        weighted = _flat_weights(_edges(x.sub_(column), y.sub_(row))).mul_(
            self._seen.near.index_select(1, self._winner)
        )
        return weighted.div_(weighted.sum(0))

    def select(self, places: Tensor) -> Covered:
        """Some of the drawn pixels, places [K] int64 into the M."""
        pixel, depth, winner = (v.index_select(0, places) for v in (self.pixel, self.depth, self._winner))
        return Covered(self.size, pixel, depth, winner, self._seen, self._faces)

    def spread(self, values: Tensor, empty: float = 0) -> Tensor:
        """[M, ...] values to pictures [B, H, W, ...], `empty` where nothing is drawn; differentiable."""
        return _spread(values, self.pixel, self.size, empty)


def rasterise(
    points: Tensor,
    faces: Tensor,
    picture: Tensor,
    pictures: int,
    height: int,
    width: int,
    cull: str | None = None,
    order: Tensor | None = None,
    *,
    near: float = NEAR,
    max_fragments: int | None = None,
) -> Fragments:
    """Draw N meshes of one topology into B pictures and keep the nearest face of each pixel.

    points         [N, V, 3] x and y in pixels (centre of pixel i at i + 0.5, y down), depth in metres along the axis
    faces          [F, 3] integer vertex indices
    picture        [N] integer, the picture 0..B-1 that each mesh is drawn into
    pictures       B; height, width: H and W, at least 1
    cull           None draws both sides. "back" leaves out faces that look away from the camera. The meshes must be
                   closed and consistently wound; which way round is measured for each mesh by the sign of its volume,
                   so mirrored (left) hands need no other face list
    order          [N] integer or None: in one picture, a mesh with a lower number lies in front of one with a higher
                   number whatever their depths; equal numbers are decided by depth
    near           faces with a vertex nearer than this, or with a vertex that is not finite, are dropped
    max_fragments  bound on the fragments worked on at once, about 80 bytes each (default: 2**18 on the CPU, where short
                   lists stay in the cache, 2**25 elsewhere); a single face of more pixels is still drawn

    A pixel belongs to a face when its centre lies inside or on the edge. The edge functions of the two faces at an
    edge are each other's exact negative in floating point, so a surface has no cracks. Equal depths go to the lower
    mesh, then the lower face: the result does not depend on the order of execution. Raises ValueError for shapes that
    do not fit.
    """
    covered = rasterise_covered(
        points, faces, picture, pictures, height, width, cull, order, near=near, max_fragments=max_fragments
    )
    return Fragments(
        face=covered.spread(covered.face, -1),
        mesh=covered.spread(covered.mesh, -1),
        barycentric=covered.spread(covered.barycentric.T.contiguous()),
        depth=covered.spread(covered.depth, torch.inf),
    )


@torch.no_grad()
def rasterise_covered(
    points: Tensor,
    faces: Tensor,
    picture: Tensor,
    pictures: int,
    height: int,
    width: int,
    cull: str | None = None,
    order: Tensor | None = None,
    *,
    near: float = NEAR,
    max_fragments: int | None = None,
) -> Covered:
    """As rasterise, for the drawn pixels alone, which is quicker where most of a picture is empty."""
    _check(points, faces, picture, pictures, height, width, cull, order)
    points = points.to(torch.float32)
    faces = faces.to(points.device)
    picture = picture.to(points.device, torch.int64)
    if max_fragments is None:
        max_fragments = 2**18 if points.device.type == "cpu" else 2**25
    seen = _seen_faces(points, faces, picture, height, width, cull, near)
    rank = None
    if order is not None:
        ranks = torch.unique(order.to(points.device), return_inverse=True)[1]
        rank = ranks[torch.div(seen.index, max(faces.shape[0], 1), rounding_mode="floor")]
    buffer = make_buffer(pictures * height * width, seen.index.shape[0], rank, points.device)
    for start, stop in _pieces(seen.ends, max_fragments):
        buffer.add(*_fragments(seen, start, stop, width))
    pixel, winner, depth = buffer.nearest()
    return Covered((pictures, height, width), pixel, depth, winner, seen, faces.shape[0])


def interpolate(fragments: Fragments, attributes: Tensor, faces: Tensor) -> Tensor:
    """Spread values at the vertices over the drawn pixels, perspective-correct.

    attributes  [N, V, C] float, one row per vertex of each mesh (or [V, C], the same for all meshes)
    faces       [F, 3], as given to rasterise
    Returns [B, H, W, C] of the attributes' dtype, zero where nothing is drawn; differentiable in the attributes.
    """
    face = fragments.face.flatten()
    pixel = torch.nonzero(face >= 0).squeeze(1)
    batch, height, width = fragments.face.shape
    mixed = _mix(
        face.index_select(0, pixel),
        fragments.mesh.flatten().index_select(0, pixel),
        fragments.barycentric.reshape(-1, 3).index_select(0, pixel).T,
        attributes,
        faces,
    )
    return _spread(mixed.T, pixel, (batch, height, width), 0)


def interpolate_covered(covered: Covered, attributes: Tensor, faces: Tensor) -> Tensor:
    """As interpolate, for the drawn pixels alone, channels first: [C, M]."""
    return _mix(covered.face, covered.mesh, covered.barycentric, attributes, faces)


def _mix(face: Tensor, mesh: Tensor, barycentric: Tensor, attributes: Tensor, faces: Tensor) -> Tensor:
    if attributes.ndim not in (2, 3):
        raise ValueError(f"attributes must be [N, V, C] or [V, C], not {list(attributes.shape)}")
    corners = faces.to(face.device).index_select(0, face)
    if attributes.ndim == 3:
        corners = corners + mesh[:, None] * attributes.shape[1]
    values = attributes.reshape(-1, attributes.shape[-1]).T.contiguous()
    weights = barycentric.to(values.dtype)
    mixed = values.index_select(1, corners[:, 0]) * weights[0]
    for k in (1, 2):
        mixed = torch.addcmul(mixed, values.index_select(1, corners[:, k]), weights[k])
    return mixed


def _spread(values: Tensor, pixel: Tensor, size: tuple[int, int, int], empty: float) -> Tensor:
    full = values.new_full((size[0] * size[1] * size[2], *values.shape[1:]), empty)
    return full.index_copy(0, pixel, values).reshape(*size, *values.shape[1:])


def _check(points, faces, picture, pictures, height, width, cull, order) -> None:
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be [N, V, 3], not {list(points.shape)}")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"faces must be [F, 3], not {list(faces.shape)}")
    if picture.shape != points.shape[:1]:
        raise ValueError(f"picture must be one number for each of {points.shape[0]} meshes, not {list(picture.shape)}")
    if order is not None and order.shape != points.shape[:1]:
        raise ValueError(f"order must hold one number for each of {points.shape[0]} meshes, not {list(order.shape)}")
    if height < 1 or width < 1 or pictures < 0:
        raise ValueError(f"cannot draw {pictures} pictures of {width} x {height} pixels")
    if cull not in (None, "back"):
        raise ValueError(f'cull must be None or "back", not {cull!r}')
    if picture.numel() and (int(picture.min()) < 0 or int(picture.max()) >= pictures):
        raise ValueError(f"picture must lie in 0..{pictures - 1}")


def _seen_faces(points, faces, picture, height: int, width: int, cull: str | None, near: float) -> _Seen:
    x, y, z = (points[..., k][:, faces.T].transpose(0, 1).reshape(3, -1) for k in range(3))  # [3, N * F]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    low_x, high_x, low_y, high_y = x.amin(0), x.amax(0), y.amin(0), y.amax(0)
    # A face seen from its edge covers nothing; comparisons with NaN are false, so broken vertices drop out here.
    keep = (z.amin(0) > near) & (area.abs() > 0) & torch.isfinite(area) & torch.isfinite(z.amax(0))
    if cull == "back":
        keep &= area * winding(points, faces, near).repeat_interleave(faces.shape[0]) < 0
    # Pixel i is inside [low, high] when low <= i + 0.5 <= high. The clamp comes first: far points overflow integers.
    left = torch.ceil((low_x - 0.5).clamp(0, width))
    right = torch.floor((high_x - 0.5).clamp(-1, width - 1))
    top = torch.ceil((low_y - 0.5).clamp(0, height))
    bottom = torch.floor((high_y - 0.5).clamp(-1, height - 1))
    index = torch.nonzero(keep & (right >= left) & (bottom >= top)).squeeze(1)
    left, right, top, bottom = (v.index_select(0, index).to(torch.int32) for v in (left, right, top, bottom))
    rows = (bottom - top + 1).to(torch.int64)
    base = picture.repeat_interleave(faces.shape[0]).index_select(0, index) * (height * width)
    x, y, z = (v.index_select(1, index) for v in (x, y, z))
    return _Seen(index, x, y, 1 / z, left, right, top, rows, torch.cumsum(rows * (right - left + 1), 0), base)


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


def _pieces(end: Tensor, limit: int):
    """Cut the faces into runs [start, stop) whose boxes together hold at most `limit` pixels (or are one face)."""
    start, faces = 0, end.shape[0]
    while start < faces:
        done = int(end[start - 1]) if start else 0
        stop = int(torch.searchsorted(end, done + limit, right=True))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _rows(seen: _Seen, start: int, stop: int):
    """The rows of pixels of faces start..stop: face [R] int64, row, first column and pixels in the row [R] int32."""
    counts = seen.rows[start:stop]
    face = torch.repeat_interleave(torch.arange(start, stop, device=counts.device), counts)
    first = (torch.cumsum(counts, 0) - counts - seen.top[start:stop]).index_select(0, face - start)
    row = torch.arange(face.shape[0], device=counts.device, dtype=torch.int32) - first.to(torch.int32)
    x, y = seen.x.index_select(1, face), seen.y.index_select(1, face)
    low, high = _span(x, y, row + 0.5)
    # Far wider than the rounding of the crossings: the edge functions decide, this only shortens their list.
    slack = 0.01 + 1e-6 * x.abs().amax(0)
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


def _fragments(seen: _Seen, start: int, stop: int, width: int):
    """The fragments of faces start..stop: flat pixel [M] int64, face [M] int64 (into the K seen), depth [M]."""
    face, row, left, counts = _rows(seen, start, stop)
    total = int(counts.sum())
    line = torch.repeat_interleave(torch.arange(face.shape[0], device=face.device), counts, output_size=total)
    offset = left - (torch.cumsum(counts, 0) - counts).to(torch.int32)
    column = torch.arange(total, device=face.device, dtype=torch.int32) + offset.index_select(0, line)
    across = seen.x.index_select(1, face).index_select(1, line).sub_(column + 0.5)
    down = (seen.y.index_select(1, face) - (row + 0.5)).index_select(1, line)
    edges = _edges(across, down)
    chosen = torch.nonzero((edges.amin(0) >= 0) | (edges.amax(0) <= 0)).squeeze(1)
    edges, column, line = edges.index_select(1, chosen), column.index_select(0, chosen), line.index_select(0, chosen)
    face_of = face.index_select(0, line)
    near = _flat_weights(edges).mul_(seen.near.index_select(1, face_of)).sum(0)
    first_pixel = seen.base.index_select(0, face) + row.to(torch.int64) * width
    return first_pixel.index_select(0, line) + column, face_of, 1 / near


def _edges(x: Tensor, y: Tensor) -> Tensor:
    """[3, M], twice the signed areas that the origin makes with the edges of triangles x, y [3, M].

    The pixel centre has been moved to the origin: that rounding depends on the corner and the pixel alone, and a cross
    product is exactly antisymmetric, so two faces that share an edge never both miss a centre.
    """
    return torch.stack([x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]])


def _flat_weights(edges: Tensor) -> Tensor:
    """[3, M], barycentric weights in the picture plane."""
    whole = edges[0] + edges[1] + edges[2]
    # On a sliver all three can be zero at a pixel, and the middle of the face is as good as any point of it.
    nothing = whole == 0
    return (edges / whole.masked_fill_(nothing, 1)).masked_fill_(nothing, 1 / 3)
