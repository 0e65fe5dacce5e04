"""The edges of closed meshes, and the pixels that their outlines pass through: one sample cannot stand for those."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.model import HandModel
from .faces import Prepared, repeated
from .fragments import SLACK


@dataclass(frozen=True)
class Edges:
    """The E edges of a mesh of F faces."""

    vertices: Tensor
    """[2, E] int64, the ends."""
    faces: Tensor
    """[2, E] int64, the faces on both sides; F where there is only one."""


@functools.lru_cache(maxsize=8)
def closed_faces(model: HandModel) -> Tensor:
    """[F, 3] int64 on the CPU: the model's faces and, where its mesh is open (MANO's at the wrist), fans over holes.

    Without them one could look into the hand, and through it where its far side faces away.
    """
    faces = model.faces.cpu()
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    vertices = len(model.template)
    back = ends[:, 1] * vertices + ends[:, 0]
    alone = ~torch.isin(ends[:, 0] * vertices + ends[:, 1], back)
    following: dict[int, list[int]] = {}
    for start, end in ends[alone].tolist():
        following.setdefault(start, []).append(end)
    fans = []
    while following:
        ring = [next(iter(following))]
        while ring[-1] in following and (len(ring) == 1 or ring[-1] != ring[0]):
            ends_here = following[ring[-1]]
            ring.append(ends_here.pop())
            if not ends_here:
                del following[ring[-2]]
        # The other way round than the faces beside it.
        fans += [[ring[0], ring[k + 1], ring[k]] for k in range(1, len(ring) - 2)]
    return torch.cat([faces, torch.tensor(fans, dtype=torch.int64)]) if fans else faces


@functools.lru_cache(maxsize=8)
def mesh_edges(model: HandModel) -> Edges:
    """The edges of a hand model's closed mesh, on the CPU; an edge of more than two faces is listed several times."""
    faces = closed_faces(model)
    count, vertices = len(faces), len(model.template)
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1)[0]
    key, order = (ends[:, 0] * vertices + ends[:, 1]).sort(stable=True)
    face = order.remainder(count)
    equal, no = key[1:] == key[:-1], torch.zeros(1, dtype=torch.bool)
    before, after = torch.cat([no, equal]), torch.cat([equal, no])  # whether that entry is of the same edge
    sides = torch.stack([face, torch.where(after, face.roll(-1), count)])
    kept = torch.nonzero(after | ~before).squeeze(1)
    return Edges(torch.stack([key // vertices, key % vertices])[:, kept], sides[:, kept])


def join_edges(models: Sequence[HandModel], starts: Sequence[int]) -> Edges:
    """The edges of several models whose vertices and faces are listed one model after another.

    starts  the first vertex of each model
    """
    total = sum(len(closed_faces(model)) for model in models)
    ends, sides, first = [torch.zeros(2, 0, dtype=torch.int64)], [torch.zeros(2, 0, dtype=torch.int64)], 0
    for model, start in zip(models, starts, strict=True):
        edges, count = mesh_edges(model), len(closed_faces(model))
        ends.append(edges.vertices + start)
        sides.append(torch.where(edges.faces == count, total, edges.faces + first))
        first += count
    return Edges(torch.cat(ends, 1), torch.cat(sides, 1))


def outlines(points: Tensor, edges: Edges, prepared: Prepared) -> tuple[Tensor, Tensor]:
    """The edges where a drawn face meets none: x and y of their ends in pixels, [2, S] each.

    points [N, V, 3] as rasterise takes them; edges on the same device; prepared: the faces of these meshes. Wherever
    something that is not drawn, or lies at another depth, begins in the picture, such an edge lies.
    """
    drawn = prepared.drawn.reshape(len(points), -1)
    drawn = torch.cat([drawn, drawn.new_zeros(len(points), 1)], 1)
    mesh, edge = torch.nonzero(drawn[:, edges.faces[0]] != drawn[:, edges.faces[1]]).unbind(1)
    ends = edges.vertices[:, edge] + mesh * points.shape[1]
    flat = points.reshape(-1, points.shape[-1])
    return flat[:, 0][ends], flat[:, 1][ends]


def touched(x: Tensor, y: Tensor, height: int, width: int) -> Tensor:
    """[H * W] bool: the pixels that the lines from (x[0], y[0]) to (x[1], y[1]), [2, S] in pixels, pass through."""
    marked = torch.zeros(height * width, dtype=torch.bool, device=x.device)
    low, high = y.amin(0), y.amax(0)
    slack = SLACK + 1e-6 * torch.maximum(x.abs().amax(0), y.abs().amax(0))
    top = (low - slack).floor().clamp(0, height)
    bottom = (high + slack).floor().clamp(-1, height - 1)
    counts = torch.where((bottom >= top) & torch.isfinite(slack), bottom - top + 1, 0).to(torch.int64)
    line, row = repeated(counts)
    row = row + top.to(torch.int32).index_select(0, line)
    x, y, slack = x.index_select(1, line), y.index_select(1, line), slack.index_select(0, line)
    across = (x[1] - x[0]) / (y[1] - y[0])
    reach = slack * (1 + across.abs())
    ends = [x[0] + (at - y[0]) * across for at in (row, row + 1)]
    # Where the line runs (nearly) along the row, its ends bound it better; NaN on a horizontal line.
    shortest, longest = x.amin(0) - slack, x.amax(0) + slack
    left = torch.fmax(torch.fmin(ends[0], ends[1]) - reach, shortest)
    right = torch.fmin(torch.fmax(ends[0], ends[1]) + reach, longest)
    left = left.floor().clamp(0, width)
    right = right.floor().clamp(-1, width - 1)
    pixel, column = repeated((right - left + 1).clamp(min=0).to(torch.int64))
    first = row.to(torch.int64) * width + left.to(torch.int64)
    marked[first.index_select(0, pixel) + column] = True
    return marked
