"""An exact z-buffer rasteriser in pure PyTorch, for batches of meshes on the CPU and on accelerators.

Every face lists the pixels of its bounding box (a *fragment* is one face over one pixel centre), the edge functions
keep those that lie inside, and a scatter-minimum finds the nearest face of each pixel. There is no loop over meshes,
faces or pixels; the lists are cut into pieces of bounded length, which changes memory and never the result.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from .faces import NEAR, Prepared, Seen, over_centres, pieces, prepare
from .fragments import centre_fragments, edges, flat_weights
from .zbuffer import make_buffer


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
class Covered:
    """The M drawn pixels (or samples) alone: what Fragments holds of them, each worked out when it is asked for."""

    size: tuple[int, ...]
    """[B, H, W]; or the shape of another list of samples."""
    pixel: Tensor
    """[M] int64, ascending, flat index into `size`."""
    depth: Tensor
    """[M] float32, metres."""
    _winner: Tensor  # [M] int64, into the faces seen
    _seen: Seen
    _faces: int
    _place: Callable[[Tensor], tuple[Tensor, Tensor]]  # from flat indices to x and y in pixels
    kept: dict[str, Tensor] = field(default_factory=dict)
    """What has been worked out of it before, for whoever asks again."""

    @cached_property
    def mesh(self) -> Tensor:
        """[M] int64."""
        return self.seen_mesh.index_select(0, self._winner)

    @cached_property
    def face(self) -> Tensor:
        """[M] int64."""
        return self.seen_face.index_select(0, self._winner)

    @cached_property
    def seen_mesh(self) -> Tensor:
        """[K] int64, the mesh of each face that was seen."""
        return torch.div(self._seen.index, max(self._faces, 1), rounding_mode="floor")

    @cached_property
    def seen_face(self) -> Tensor:
        """[K] int64, the number of each face that was seen in its mesh."""
        return torch.remainder(self._seen.index, max(self._faces, 1))

    def of_seen(self, values: Tensor) -> Tensor:
        """[M] from [K] values of the faces that were seen."""
        return values.index_select(0, self._winner)

    def weighed(self, corners: Tensor) -> Tensor:
        """[C, M] from [C, 3, K]: values at the corners of the faces that were seen, mixed at each drawn pixel."""
        weights = self.barycentric.to(corners.dtype)
        channels = []
        for first, second, third in corners.unbind(0):
            mixed = first.index_select(0, self._winner) * weights[0]
            mixed = torch.addcmul(mixed, second.index_select(0, self._winner), weights[1])
            channels.append(torch.addcmul(mixed, third.index_select(0, self._winner), weights[2]))
        return torch.stack(channels)

    @cached_property
    def barycentric(self) -> Tensor:
        """[3, M] float32, perspective-correct."""
        column, row = self._place(self.pixel)
        x, y = self._seen.x.index_select(1, self._winner), self._seen.y.index_select(1, self._winner)
        weighted = flat_weights(edges(x.sub_(column), y.sub_(row))).mul_(self._seen.near.index_select(1, self._winner))
        return weighted.div_(weighted.sum(0))

    def select(self, places: Tensor) -> Covered:
        """Some of the drawn pixels, places [K] int64 into the M."""
        pixel, depth, winner = (v.index_select(0, places) for v in (self.pixel, self.depth, self._winner))
        return replace(self, pixel=pixel, depth=depth, _winner=winner, kept={})

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
    prepared = prepare(points, faces, picture, height, width, cull, near)
    return centres(prepared, pictures, height, width, order, max_fragments)


def centres(
    prepared: Prepared,
    pictures: int,
    height: int,
    width: int,
    order: Tensor | None = None,
    max_fragments: int | None = None,
) -> Covered:
    """What is nearest at the pixels' centres, of faces that are prepared."""
    seen = over_centres(prepared, height, width)
    buffer = make_buffer(pictures * height * width, len(seen.index), ranks(seen, prepared, order), seen.x.device)
    for start, stop in pieces(seen.ends, max_fragments or fragments_at_once(seen.x.device)):
        buffer.add(*centre_fragments(seen, start, stop, width))
    pixel, winner, depth = buffer.nearest()
    place = functools.partial(_pixel_centres, height=height, width=width)
    return Covered((pictures, height, width), pixel, depth, winner, seen, prepared.faces, place)


def _pixel_centres(flat: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    row = torch.div(flat, width, rounding_mode="floor")
    column = (flat - row * width).to(torch.float32) + 0.5
    row = (row - torch.div(row, height, rounding_mode="floor") * height).to(torch.float32) + 0.5
    return column, row


def ranks(seen: Seen, prepared: Prepared, order: Tensor | None) -> Tensor | None:
    """[K] int64 from 0 for the faces seen, lower lies in front; None where no mesh has an order of its own."""
    if order is None:
        return None
    of_meshes = torch.unique(order.to(seen.index.device), return_inverse=True)[1]
    return of_meshes[torch.div(seen.index, max(prepared.faces, 1), rounding_mode="floor")]


def fragments_at_once(device: torch.device) -> int:
    """How many fragments are worked on together; on the CPU short lists stay in the cache."""
    return 2**18 if device.type == "cpu" else 2**25


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
    _check_attributes(attributes)
    corners = faces.to(covered.pixel.device).T.index_select(1, covered.seen_face)
    if attributes.ndim == 3:
        corners = corners + covered.seen_mesh * attributes.shape[1]
    # By face first: there are far fewer of them than pixels, and pixels find them one beside the other.
    of_faces = attributes.reshape(-1, attributes.shape[-1]).T[:, corners]  # [C, 3, K]
    return covered.weighed(of_faces)


def _mix(face: Tensor, mesh: Tensor, barycentric: Tensor, attributes: Tensor, faces: Tensor) -> Tensor:
    _check_attributes(attributes)
    corners = faces.to(face.device).index_select(0, face)
    if attributes.ndim == 3:
        corners = corners + mesh[:, None] * attributes.shape[1]
    values = attributes.reshape(-1, attributes.shape[-1]).T.contiguous()
    weights = barycentric.to(values.dtype)
    mixed = values.index_select(1, corners[:, 0]) * weights[0]
    for k in (1, 2):
        mixed = torch.addcmul(mixed, values.index_select(1, corners[:, k]), weights[k])
    return mixed


def _check_attributes(attributes: Tensor) -> None:
    if attributes.ndim not in (2, 3):
        raise ValueError(f"attributes must be [N, V, C] or [V, C], not {list(attributes.shape)}")


def _spread(values: Tensor, pixel: Tensor, size: tuple[int, ...], empty: float) -> Tensor:
    full = values.new_full((math.prod(size), *values.shape[1:]), empty)
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
