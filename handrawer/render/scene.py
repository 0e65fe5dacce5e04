"""The hands of one picture as one batch of meshes that can be rasterised together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.camera import project
from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel, known_model
from .faces import winding
from .outline import Edges, closed_faces, join_edges


@dataclass(frozen=True)
class Scene:
    """The N enabled hands of a picture of `width` x `height` pixels.

    Hands of several models share one face list: each mesh holds the vertices of all models one after another, those of
    the other models not a number, and faces with such a vertex are never drawn.
    """

    width: int
    height: int
    places: tuple[int, ...]
    """[N] the place of each mesh among the hands of the picture, disabled ones counted."""
    left: tuple[bool, ...]
    """[N] true for a left hand."""
    vertices: Tensor
    """[N, V, 3] float32, metres in the camera frame (x right, y down, z away)."""
    pixels: Tensor
    """[N, V, 3] float32, x and y in pixels and depth in metres, as rasterise takes them."""
    faces: Tensor
    """[F, 3] int64, closed: holes of a model's mesh are covered."""
    weights: Tensor
    """[V, 16] float32, how much each vertex follows each rig joint."""
    order: Tensor | None
    """[N] int64, lower is in front, or None where depth alone decides."""
    edges: Edges
    """Those of the face list."""

    def normals(self) -> Tensor:
        """[N, V, 3] float32, unit vertex normals in the camera frame, out of the hand; zero where undefined."""
        a, b, c = self.vertices[:, self.faces].unbind(2)
        # The cross product is twice the area: larger faces count more, as they should.
        of_faces = torch.linalg.cross(b - a, c - a) * winding(self.pixels, self.faces)[:, None, None]
        total = torch.zeros_like(self.vertices)
        for k in range(3):
            total.index_add_(1, self.faces[:, k], of_faces)
        return torch.nn.functional.normalize(total.nan_to_num(), dim=-1, eps=1e-20)


def frames_of(hands: Hands | Frame, width: int | None = None, height: int | None = None) -> tuple[Frame, ...]:
    """The frames to draw, each of width x height pixels (both None: of its own size).

    Frames of another size are placed uniformly, as a whole and in the middle ("contain"): a hand keeps its shape.
    """
    if (width is None) != (height is None):
        raise ValueError("Give both the width and the height of the picture, or neither.")
    hands = Hands((hands,)) if isinstance(hands, Frame) else hands
    if width is None or height is None:
        sizes = {(frame.width, frame.height) for frame in hands.frames}
        if len(sizes) > 1:
            listed = ", ".join(f"{w} x {h}" for w, h in sorted(sizes))
            raise ValueError(f"The hands belong to pictures of different sizes ({listed}): give a width and a height.")
        return hands.frames
    if width < 1 or height < 1:
        raise ValueError(f"A picture of {width} x {height} pixels cannot be drawn: both must be at least 1.")
    if any((frame.width, frame.height) != (width, height) for frame in hands.frames):
        hands = hands.placed(width, height, "contain")
    return hands.frames


def build_scene(
    frame: Frame, models: Mapping[str, HandModel] | None = None, device: torch.device | str | None = None
) -> Scene:
    """Gather the enabled hands of a picture.

    models  hand models by name, for hands of a model that does not come with HanDrawer
    device  where to draw (None: where the hands' vertices are)
    Raises ValueError if a hand's model is not given or does not fit its vertices.
    """
    places = tuple(place for place, hand in enumerate(frame.hands) if hand.enabled)
    drawn = [frame.hands[place] for place in places]
    if device is None:
        device = drawn[0].vertices.device if drawn else "cpu"
    used = _models_of(drawn, models)
    starts, total = {}, 0
    for name, model in used.items():
        starts[name] = total
        total += model.template.shape[0]
    vertices = torch.full((len(drawn), total, 3), torch.nan, device=device)
    pixels = vertices.clone()
    for n, hand in enumerate(drawn):
        points = hand.vertices.to(device, torch.float32)
        own = slice(starts[hand.model], starts[hand.model] + points.shape[0])
        vertices[n, own] = points
        pixels[n, own] = to_pixels(points, hand, frame.width, frame.height)
    faces = [closed_faces(model) + starts[name] for name, model in used.items()]
    edges = join_edges(list(used.values()), list(starts.values()))
    ordered = any(hand.z_order is not None for hand in drawn)
    return Scene(
        width=frame.width,
        height=frame.height,
        places=places,
        left=tuple(hand.side == "left" for hand in drawn),
        vertices=vertices,
        pixels=pixels,
        faces=torch.cat([*faces, torch.zeros(0, 3, dtype=torch.int64)]).to(device),
        weights=torch.cat([*(model.weights for model in used.values()), torch.zeros(0, 16)]).to(device, torch.float32),
        # A greater z_order lies nearer; hands without one lie at 0. Here the lowest is in front.
        order=torch.tensor([-(hand.z_order or 0) for hand in drawn], device=device) if ordered else None,
        edges=Edges(edges.vertices.to(device), edges.faces.to(device)),
    )


def to_pixels(points: Tensor, hand: Hand, width: int, height: int) -> Tensor:
    """[..., 3] metres in the hand's camera frame to x and y in pixels of the picture, and depth in metres."""
    place = project(points, hand.camera, width, height)
    return torch.stack([place[..., 0] * width, place[..., 1] * height, points[..., 2]], -1)


def _models_of(hands: Sequence[Hand], models: Mapping[str, HandModel] | None) -> dict[str, HandModel]:
    used: dict[str, HandModel] = {}
    for hand in hands:
        if hand.model not in used:
            model = (models or {}).get(hand.model) or known_model(hand.model)
            if model is None:
                raise ValueError(
                    f'A hand of the model "{hand.model}" cannot be drawn without that model: load it, or estimate the '
                    "hand with the open model."
                )
            used[hand.model] = model
        expected = used[hand.model].template.shape[0]
        if hand.vertices.shape != (expected, 3):
            raise ValueError(
                f'A hand of the model "{hand.model}" has vertices of shape {list(hand.vertices.shape)} where the model '
                f"has {expected} vertices: it comes from another version of the model; estimate it again."
            )
    return used
