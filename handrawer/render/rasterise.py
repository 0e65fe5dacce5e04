"""An exact z-buffer rasteriser in pure PyTorch, for batches of meshes on the CPU and on accelerators.

Every face lists the pixels of its bounding box (a *fragment* is one face over one pixel centre), the edge functions
keep those that lie inside, and a scatter-minimum finds the nearest face of each pixel. There is no loop over meshes,
faces or pixels; the lists are cut into pieces of bounded length, which changes memory and never the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 1e-3
"""Faces with a vertex nearer than this (metres) are dropped: they are at or behind the camera."""

_DEPTH_BITS = 31  # a positive float32 has its sign bit clear, and its bits then sort as an integer
_NOTHING = torch.iinfo(torch.int64).max


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
class _Boxes:
    """The K faces that may cover a pixel centre: corners, and the pixels of their bounding boxes."""

    index: Tensor  # [K] int64, mesh * F + face
    corners: Tensor  # [9, K] float32: x0 y0 w0 x1 y1 w1 x2 y2 w2, where w is 1 / depth
    left: Tensor  # [K] int32
    top: Tensor  # [K] int32
    width: Tensor  # [K] int32, at least 1
    count: Tensor  # [K] int64, width * height
    end: Tensor  # [K] int64, running sum of count


@torch.no_grad()
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
    max_fragments  longest list worked on at once, 60 to 100 bytes each (default: 2**21 on the CPU, 2**25 elsewhere);
                   a single face of more pixels is still drawn

    A pixel belongs to a face when its centre lies inside or on the edge. The edge functions of the two faces at an
    edge are each other's exact negative in floating point, so a surface has no cracks. Equal depths go to the lower
    mesh, then the lower face: the result does not depend on the order of execution. Raises ValueError for shapes that
    do not fit.
    """
    _check(points, faces, picture, pictures, height, width, cull, order)
    points = points.to(torch.float32)
    faces = faces.to(points.device)
    picture = picture.to(points.device, torch.int64)
    if max_fragments is None:
        max_fragments = 2**21 if points.device.type == "cpu" else 2**25
    boxes = _bounding_boxes(points, faces, height, width, cull, near)
    rank = None if order is None else torch.unique(order.to(points.device), return_inverse=True)[1]
    # Some back ends (Metal) have no 64-bit integer scatter-minimum.
    buffer_type = _PackedBuffer if points.device.type in ("cpu", "cuda") else _SeparateBuffer
    buffer = buffer_type(pictures * height * width, points.shape[0] * faces.shape[0], rank, points.device)
    for start, stop in _pieces(boxes.end, max_fragments):
        pixel, index, depth, mesh = _fragments(boxes, start, stop, faces.shape[0], picture, height, width)
        buffer.add(pixel, index, depth, mesh)
    return _shade(buffer.nearest(), points, faces, pictures, height, width)


def interpolate(fragments: Fragments, attributes: Tensor, faces: Tensor) -> Tensor:
    """Spread values at the vertices over the drawn pixels, perspective-correct.

    attributes  [N, V, C] float, one row per vertex of each mesh (or [V, C], the same for all meshes)
    faces       [F, 3], as given to rasterise
    Returns [B, H, W, C] of the attributes' dtype, zero where nothing is drawn; differentiable in the attributes.
    """
    if attributes.ndim not in (2, 3):
        raise ValueError(f"attributes must be [N, V, C] or [V, C], not {list(attributes.shape)}")
    channels = attributes.shape[-1]
    face = fragments.face.flatten()
    pixels = torch.nonzero(face >= 0).squeeze(1)
    corners = faces.to(face.device)[face[pixels]]
    if attributes.ndim == 3:
        corners = corners + fragments.mesh.flatten()[pixels, None] * attributes.shape[1]
    values = attributes.reshape(-1, channels)
    weights = fragments.barycentric.reshape(-1, 3)[pixels].to(values.dtype)
    mixed = (values[corners] * weights[..., None]).sum(1)
    out = values.new_zeros(face.shape[0], channels)
    return out.index_copy(0, pixels, mixed).reshape(*fragments.face.shape, channels)


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


def _bounding_boxes(points: Tensor, faces: Tensor, height: int, width: int, cull: str | None, near: float) -> _Boxes:
    """Corners and pixel boxes of all faces that can be seen, in the order mesh by mesh, face by face."""
    x, y, z = (points[..., k][:, faces].reshape(-1, 3).unbind(1) for k in range(3))  # each 3 of [N * F]
    low_x, high_x = _extent(x)
    low_y, high_y = _extent(y)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    # A face seen from its edge covers nothing; comparisons with NaN are false, so broken vertices drop out here.
    keep = (_extent(z)[0] > near) & (area.abs() > 0) & torch.isfinite(area) & torch.isfinite(_extent(z)[1])
    if cull == "back":
        keep &= area * _winding(points, faces, near).repeat_interleave(faces.shape[0]) < 0
    # Pixel i is inside [low, high] when low <= i + 0.5 <= high. The clamp comes first: far points overflow integers.
    left = torch.ceil((low_x - 0.5).clamp(0, width))
    right = torch.floor((high_x - 0.5).clamp(-1, width - 1))
    top = torch.ceil((low_y - 0.5).clamp(0, height))
    bottom = torch.floor((high_y - 0.5).clamp(-1, height - 1))
    index = torch.nonzero(keep & (right >= left) & (bottom >= top)).squeeze(1)
    left, top, columns, rows = (
        value[index].to(torch.int32) for value in (left, top, right - left + 1, bottom - top + 1)
    )
    corners = torch.stack([value[index] for k in range(3) for value in (x[k], y[k], z[k])])
    corners[2::3] = 1 / corners[2::3]
    count = columns.to(torch.int64) * rows
    return _Boxes(index, corners, left, top, columns, count, torch.cumsum(count, 0))


def _extent(corner: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    a, b, c = corner
    return torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)


def _winding(points: Tensor, faces: Tensor, near: float) -> Tensor:
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


def _fragments(boxes: _Boxes, start: int, stop: int, face_count: int, picture: Tensor, height: int, width: int):
    """The fragments of boxes start..stop that lie inside their faces: flat pixel, mesh * F + face, depth, mesh."""
    count = boxes.count[start:stop]
    total = int(count.sum())
    device = count.device
    box = torch.repeat_interleave(torch.arange(stop - start, device=device), count, output_size=total)
    first = (boxes.end[start:stop] - count - (boxes.end[start] - count[0])).to(torch.int32)
    place = torch.arange(total, device=device, dtype=torch.int32) - first[box]
    columns = boxes.width[start:stop][box]
    row = torch.div(place, columns, rounding_mode="floor")
    x = boxes.left[start:stop][box] + (place - row * columns)
    y = boxes.top[start:stop][box] + row
    x0, y0, w0, x1, y1, w1, x2, y2, w2 = boxes.corners[:, start:stop].index_select(1, box)
    e0, e1, e2 = _edges(x0, y0, x1, y1, x2, y2, x + 0.5, y + 0.5)
    inside = ((e0 >= 0) & (e1 >= 0) & (e2 >= 0)) | ((e0 <= 0) & (e1 <= 0) & (e2 <= 0))
    chosen = torch.nonzero(inside).squeeze(1)
    e0, e1, e2, w0, w1, w2, x, y, box = (value[chosen] for value in (e0, e1, e2, w0, w1, w2, x, y, box))
    whole = e0 + e1 + e2
    # On a sliver all three can cancel to zero at a pixel; the average depth is as good as any there.
    weighted = torch.where(whole == 0, (w0 + w1 + w2) / 3, (e0 * w0 + e1 * w1 + e2 * w2) / whole)
    depth = 1 / weighted
    index = boxes.index[start:stop][box]
    mesh = torch.div(index, face_count, rounding_mode="floor")
    pixel = (picture[mesh] * height + y) * width + x
    return pixel, index, depth, mesh


def _edges(x0, y0, x1, y1, x2, y2, x, y):
    """Twice the signed areas that a pixel centre makes with the three edges.

    The corners are first moved so that the centre is the origin: that rounding depends on the corner and the pixel
    alone, and a cross product is exactly antisymmetric, so two faces that share an edge never both miss a centre.
    """
    x0, x1, x2 = x0 - x, x1 - x, x2 - x
    y0, y1, y2 = y0 - y, y1 - y, y2 - y
    return x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0


class _PackedBuffer:
    """Nearest fragment of each pixel through one 64-bit key: rank, bits of the depth, index of the face."""

    def __init__(self, pixels: int, faces: int, rank: Tensor | None, device: torch.device) -> None:
        self._face_bits = max(faces - 1, 1).bit_length()
        self._rank = rank
        ranks = int(rank.max()) + 1 if rank is not None and rank.numel() else 1
        if (ranks - 1).bit_length() + _DEPTH_BITS + self._face_bits > 63:
            raise ValueError(f"{ranks} different orders over {faces} faces do not fit; draw fewer hands at once")
        self._key = torch.full((pixels,), _NOTHING, dtype=torch.int64, device=device)

    def add(self, pixel: Tensor, index: Tensor, depth: Tensor, mesh: Tensor) -> None:
        key = depth.view(torch.int32).to(torch.int64)
        if self._rank is not None:
            key = key | (self._rank[mesh] << _DEPTH_BITS)
        self._key.scatter_reduce_(0, pixel, (key << self._face_bits) | index, "amin")

    def nearest(self) -> Tensor:
        """[pixels] int64, mesh * F + face, or -1."""
        return torch.where(self._key == _NOTHING, -1, self._key & ((1 << self._face_bits) - 1))


class _SeparateBuffer:
    """The same result through one scatter-minimum each for rank, depth and face, in 32 bits."""

    def __init__(self, pixels: int, faces: int, rank: Tensor | None, device: torch.device) -> None:
        if faces >= 2**31:
            raise ValueError(f"{faces} faces are too many; draw fewer hands at once")
        self._rank = rank
        self._best_rank = torch.full((pixels,), torch.inf, device=device)
        self._best_depth = torch.full((pixels,), torch.inf, device=device)
        self._best_face = torch.full((pixels,), 2**31 - 1, dtype=torch.int32, device=device)

    def add(self, pixel: Tensor, index: Tensor, depth: Tensor, mesh: Tensor) -> None:
        face = index.to(torch.int32)
        if self._rank is not None:
            rank = self._rank[mesh].to(torch.float32)
            before = self._best_rank.clone()
            self._best_rank.scatter_reduce_(0, pixel, rank, "amin")
            # What a lower rank covers is forgotten, as if it had never been drawn.
            beaten = self._best_rank < before
            self._best_depth[beaten] = torch.inf
            self._best_face[beaten] = 2**31 - 1
            pixel, face, depth = _where(rank == self._best_rank[pixel], pixel, face, depth)
        before = self._best_depth.clone()
        self._best_depth.scatter_reduce_(0, pixel, depth, "amin")
        self._best_face[self._best_depth < before] = 2**31 - 1
        pixel, face = _where(depth == self._best_depth[pixel], pixel, face)
        self._best_face.scatter_reduce_(0, pixel, face, "amin")

    def nearest(self) -> Tensor:
        face = self._best_face.to(torch.int64)
        return torch.where(face == 2**31 - 1, -1, face)


def _where(chosen: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    places = torch.nonzero(chosen).squeeze(1)
    return tuple(value[places] for value in values)


def _shade(nearest: Tensor, points: Tensor, faces: Tensor, pictures: int, height: int, width: int) -> Fragments:
    """Barycentric weights and depth of the drawn pixels, worked out again from the winning faces."""
    pixels = torch.nonzero(nearest >= 0).squeeze(1)
    index = nearest[pixels]
    mesh_of = torch.div(index, max(faces.shape[0], 1), rounding_mode="floor")
    face_of = index - mesh_of * faces.shape[0]
    corners = points.reshape(-1, 3)[faces[face_of] + mesh_of[:, None] * points.shape[1]]  # [M, 3, 3]
    x, y, z = corners.unbind(2)
    in_picture = pixels % (height * width)
    column = (in_picture % width) + 0.5
    row = torch.div(in_picture, width, rounding_mode="floor") + 0.5
    edges = torch.stack(_edges(x[:, 0], y[:, 0], x[:, 1], y[:, 1], x[:, 2], y[:, 2], column, row), 1)
    whole = edges.sum(1, keepdim=True)
    flat = torch.where(whole == 0, 1 / 3, edges / whole)
    weighted = flat / z
    inverse = weighted.sum(1, keepdim=True)

    def spread(values: Tensor, empty: float, dtype: torch.dtype) -> Tensor:
        full = torch.full((nearest.shape[0], *values.shape[1:]), empty, dtype=dtype, device=nearest.device)
        full[pixels] = values
        return full.reshape(pictures, height, width, *values.shape[1:])

    return Fragments(
        face=spread(face_of, -1, torch.int64),
        mesh=spread(mesh_of, -1, torch.int64),
        barycentric=spread(weighted / inverse, 0.0, torch.float32),
        depth=spread((1 / inverse).squeeze(1), torch.inf, torch.float32),
    )
