"""What the adapter is told of each hand, made from posed meshes.

The raster over a hand's box is drawn by mapping the projected vertices into the box, so its resolution follows the
hand and not the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..hand.model import HandModel
from ..render.rasterise import interpolate, rasterise
from .mesh_graph import mesh_constants

if TYPE_CHECKING:
    from ..hand.hands import Hand, Hands

PADDING = 0.1
"""A box reaches beyond the projected vertices by this share of its longer side, in pixels, on every side."""
WITHOUT_WIDE_MINIMUM = ("mps",)
"""Kinds of devices where the rasteriser cannot work: Metal has no minimum of 64-bit integers before macOS 15."""
DILATION = 0.03
"""Visible silhouettes are dilated by this share of the box, so that an outline's neighbours belong to the hand."""


@dataclass(frozen=True)
class HandInputs:
    """N hands in B pictures, as tensors on one device.

    vertices  [N, V, 3] float32, camera frame, relative to the wrist, in lengths of the bone from the wrist to the
              middle finger's base
    points    [N, V, 2] float32, the vertices' projections in box coordinates, 0..1
    side      [N] float32, +1 right, -1 left (the person's own)
    box       [N, 4] float32 (x0, y0, x1, y1) in normalised picture coordinates, padded; may reach outside [0, 1]
    geometry  [N, 8, R, R] float32 over the box, zero where the hand is not: coverage; depth behind the wrist in bone
              lengths; outward normal x, y, z in the camera frame; rest position x, y, z in bone lengths
    visible   [N, R, R] float32 0..1 over the box, dilated visible silhouette
    picture   [N] int64, 0..B - 1
    weight    [N] float32, factor of the hand's residual
    sizes     [B, 2] int64, width and height of the pictures in pixels
    alone     true if no picture has more than one hand
    """

    vertices: Tensor
    points: Tensor
    side: Tensor
    box: Tensor
    geometry: Tensor
    visible: Tensor
    picture: Tensor
    weight: Tensor
    sizes: Tensor
    alone: bool

    def __len__(self) -> int:
        return len(self.box)

    @property
    def pictures(self) -> int:
        """B; a picture may have no hand."""
        return len(self.sizes)

    def to(self, device: torch.device | str) -> HandInputs:
        tensors = {f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self) if f.name != "alone"}
        return dataclasses.replace(self, **tensors)

    def hand(self, index: Tensor | slice) -> HandInputs:
        """Some of the hands, in the given order, of the same pictures."""
        fields = [f.name for f in dataclasses.fields(self) if f.name not in ("sizes", "alone")]
        return dataclasses.replace(self, **{name: getattr(self, name)[index] for name in fields})


@torch.no_grad()
def hand_inputs_from_tensors(
    vertices: Tensor,
    focal: Tensor,
    cx: Tensor,
    cy: Tensor,
    width: int,
    height: int,
    left: Tensor,
    model: HandModel,
    raster: int = 128,
    picture: Tensor | None = None,
    pictures: int | None = None,
) -> HandInputs:
    """Inputs for N hands in pictures of one size, batched on the tensors' device.

    vertices [N, V, 3] metres in the camera frame, in front of the camera; focal, cx, cy [N] float (focal length in
    picture widths, principal point normalised); width, height of the pictures in pixels; left [N] bool; model on the
    same device as the tensors, or it is moved there; raster R pixels a side; picture [N] int64 and how many pictures
    there are, where it is not one hand in each of N pictures. Of several hands in a picture depth decides which one
    is seen.
    """
    count, device = len(vertices), vertices.device
    several = picture is not None
    picture = torch.arange(count, device=device) if picture is None else picture.to(device, torch.int64)
    pictures = count if pictures is None else pictures
    sizes = torch.tensor([[width, height]], device=device).expand(pictures, 2)
    projected = _project(vertices.float(), focal.float(), cx.float(), cy.float(), sizes[picture])
    ones = torch.ones(count, device=device)
    with torch.autocast(device.type, enabled=False):
        inputs = _inputs(vertices.float(), projected, left, model, raster, picture, sizes, ones)
        if not several:
            return inputs
        shared = torch.nonzero(torch.bincount(picture, minlength=pictures)[picture] > 1)[:, 0]
        if not len(shared):
            return inputs
        order = torch.zeros_like(shared)
        depth = vertices[shared, :, 2].float()
        seen = _visible(inputs.box[shared], projected[shared], depth, picture[shared], order, model, raster)
        return dataclasses.replace(inputs, visible=inputs.visible.index_copy(0, shared, seen), alone=False)


def hand_inputs(hands: Hands, model: HandModel, raster: int = 128, device: torch.device | str = "cpu") -> HandInputs:
    """Inputs for all enabled hands of a batch of pictures.

    Every hand must have been made with `model`, the hand model that the adapter was trained with (hands of another
    are refitted first), and lie in front of its camera. Of two hands in a picture the one with the greater `z_order`
    lies in front; hands without count as 0, and equal numbers are decided by depth. Raises ValueError otherwise.
    The inputs lie on `device`; they are drawn there, or on the CPU where the device cannot.
    """
    if drawing_device(device) != torch.device(device):
        return hand_inputs(hands, model, raster, drawing_device(device)).to(device)
    chosen = [(k, hand) for k, frame in enumerate(hands.frames) for hand in frame.hands if hand.enabled]
    for _, hand in chosen:
        _check(hand, model)
    sizes = torch.tensor([[f.width, f.height] for f in hands.frames], dtype=torch.int64, device=device).reshape(-1, 2)
    picture = torch.tensor([k for k, _ in chosen], dtype=torch.int64, device=device)
    if not chosen:
        return _no_hands(model, raster, sizes, device)
    vertices = torch.stack([hand.vertices for _, hand in chosen]).to(device, torch.float32)
    camera = torch.tensor([[h.camera.focal, h.camera.cx, h.camera.cy] for _, h in chosen], device=device)
    left = torch.tensor([hand.side == "left" for _, hand in chosen], device=device)
    weight = torch.tensor([float(hand.weight) for _, hand in chosen], device=device)
    projected = _project(vertices, camera[:, 0], camera[:, 1], camera[:, 2], sizes[picture])
    # One by one: in a batch the last bits of a hand could depend on the others.
    each = [slice(i, i + 1) for i in range(len(chosen))]
    with torch.autocast(torch.device(device).type, enabled=False):
        parts = [_inputs(vertices[i], projected[i], left[i], model, raster, picture[i], sizes, weight[i]) for i in each]
    inputs = join_inputs(parts, picture, sizes)
    if len(torch.unique(picture)) == len(picture):
        return inputs
    order = torch.tensor([-(hand.z_order or 0) for _, hand in chosen], device=device)  # lower lies in front
    visible = _visible(inputs.box, projected, vertices[..., 2], picture, order, model, raster)
    return dataclasses.replace(inputs, visible=visible, alone=False)


def drawing_device(device: torch.device | str) -> torch.device:
    """Where hands for a device are drawn: there, or on the CPU where the device lacks what the rasteriser needs."""
    device = torch.device(device)
    return torch.device("cpu") if device.type in WITHOUT_WIDE_MINIMUM else device


def join_inputs(parts: Sequence[HandInputs], picture: Tensor, sizes: Tensor, alone: bool = True) -> HandInputs:
    """The hands of all parts as one, with a new picture index [N], picture sizes [B, 2] and `alone`."""
    kept = ("picture", "sizes", "alone")
    names = [f.name for f in dataclasses.fields(HandInputs) if f.name not in kept]
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return HandInputs(**tensors, picture=picture, sizes=sizes, alone=alone)


def _check(hand: Hand, model: HandModel) -> None:
    if hand.model != model.name or hand.vertices.shape != model.template.shape:
        raise ValueError(
            f"A hand of the model {hand.model!r} with {len(hand.vertices)} vertices cannot be encoded with the model "
            f"{model.name!r} of {len(model.template)} vertices: refit it to that model first."
        )
    if float(hand.vertices[:, 2].min()) <= 0:
        raise ValueError("A hand reaches behind its camera: move it away from the camera.")


def _no_hands(model: HandModel, raster: int, sizes: Tensor, device: torch.device | str) -> HandInputs:
    vertices = torch.zeros(0, len(model.template), 3, device=device)
    zero = torch.zeros(0, device=device)
    raster_of = torch.zeros(0, 8, raster, raster, device=device)
    picture = torch.zeros(0, dtype=torch.int64, device=device)
    box = torch.zeros(0, 4, device=device)
    points = vertices[..., :2]
    return HandInputs(vertices, points, zero, box, raster_of, raster_of[:, 0], picture, zero, sizes, True)


def _project(vertices: Tensor, focal: Tensor, cx: Tensor, cy: Tensor, size: Tensor) -> Tensor:
    """[N, V, 3] metres -> [N, V, 2] normalised picture coordinates; size [N, 2] width and height.

    The batched form of hand.camera.project: u = f x / z + cx, v = f (y / z)(width / height) + cy.
    """
    x, y, z = vertices.unbind(-1)
    z = z.clamp(min=1e-3)
    aspect = (size[:, 0] / size[:, 1])[:, None]
    return torch.stack([focal[:, None] * x / z + cx[:, None], focal[:, None] * y / z * aspect + cy[:, None]], -1)


def padded_box(projected: Tensor, size: Tensor, padding: float = PADDING) -> Tensor:
    """Boxes [N, 4] around points [N, V, 2] (normalised), padded by a share of the longer side; size [N, 2] pixels."""
    low, high = projected.amin(1), projected.amax(1)
    # At least a hundredth of a pixel, so that no box is empty.
    longer = ((high - low) * size).amax(1, keepdim=True).clamp(min=0.01)
    margin = padding * longer / size
    return torch.cat([low - margin, high + margin], 1)


def _inputs(
    vertices: Tensor,
    projected: Tensor,
    left: Tensor,
    model: HandModel,
    raster: int,
    picture: Tensor,
    sizes: Tensor,
    weight: Tensor,
) -> HandInputs:
    regressor = mesh_constants(model).regressor.to(vertices)
    wrist, knuckle = torch.einsum("kv,nvc->knc", regressor, vertices)
    bone = (knuckle - wrist).norm(dim=-1).clamp(min=1e-6)[:, None, None]
    relative = (vertices - wrist[:, None]) / bone
    box = padded_box(projected, sizes[picture])
    points = _in_boxes(projected, box)
    geometry = _geometry(points, vertices[..., 2], relative, left, model, raster)
    return HandInputs(
        vertices=relative,
        points=points,
        side=torch.where(left, -1.0, 1.0),
        box=box,
        geometry=geometry,
        visible=dilate(geometry[:, 0]),
        picture=picture,
        weight=weight,
        sizes=sizes.to(torch.int64),
        alone=True,
    )


def _in_boxes(points: Tensor, box: Tensor) -> Tensor:
    return (points - box[:, None, :2]) / (box[:, None, 2:] - box[:, None, :2])


def _geometry(points: Tensor, depth: Tensor, relative: Tensor, left: Tensor, model: HandModel, raster: int) -> Tensor:
    faces = model.faces.to(points.device)
    rest = mesh_constants(model).rest.to(relative).expand_as(relative)
    attributes = torch.cat([relative[..., 2:], vertex_normals(relative, faces, left), rest], -1)
    drawn = [
        _draw(points[i : i + 256], depth[i : i + 256], attributes[i : i + 256], faces, raster)
        for i in range(0, len(points), 256)  # bounds the memory, not the result
    ]
    return torch.cat(drawn)


def _draw(points: Tensor, depth: Tensor, attributes: Tensor, faces: Tensor, raster: int) -> Tensor:
    count = len(points)
    pixels = torch.cat([points * raster, depth[..., None]], -1)
    own = torch.arange(count, device=points.device)
    fragments = rasterise(pixels, faces, own, count, raster, raster)
    values = interpolate(fragments, attributes, faces)
    normal = torch.nn.functional.normalize(values[..., 1:4], dim=-1)
    coverage = fragments.covered[..., None].to(values)
    channels = torch.cat([coverage, values[..., :1], normal, values[..., 4:]], -1)
    return channels.permute(0, 3, 1, 2).contiguous()


def vertex_normals(vertices: Tensor, faces: Tensor, left: Tensor) -> Tensor:
    """Unit outward normals [N, V, 3] of vertices [N, V, 3], weighed by area; left [N] bool marks mirrored meshes."""
    a, b, c = vertices[:, faces].unbind(2)
    normal = torch.linalg.cross(b - a, c - a)
    normal = torch.where(left[:, None, None], -normal, normal)
    # Corner by corner, so that a vertex sums its faces in a fixed order on the CPU.
    total = torch.zeros_like(vertices)
    for corner in faces.unbind(1):
        total = total.index_add(1, corner, normal)
    return torch.nn.functional.normalize(total, dim=-1)


def dilate(mask: Tensor, share: float = DILATION) -> Tensor:
    """Grow masks [N, R, R] by a share of R in every direction."""
    radius = max(1, round(share * mask.shape[-1]))
    return torch.nn.functional.max_pool2d(mask[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0]


def _visible(
    box: Tensor, projected: Tensor, depth: Tensor, picture: Tensor, order: Tensor, model: HandModel, raster: int
) -> Tensor:
    """[N, R, R] dilated visible silhouettes: every hand's box is drawn with all hands of its picture."""
    faces = model.faces.to(box.device)
    found = []
    for k in range(len(box)):
        together = (picture == picture[k]).nonzero().flatten()
        points = _in_boxes(projected[together], box[k : k + 1].expand(len(together), 4))
        pixels = torch.cat([points * raster, depth[together][..., None]], -1)
        same = torch.zeros_like(together)
        fragments = rasterise(pixels, faces, same, 1, raster, raster, order=order[together])
        found.append((together[fragments.mesh] == k) & fragments.covered)
    return dilate(torch.cat(found).to(projected))
