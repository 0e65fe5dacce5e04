"""The graph of a hand mesh and two coarser graphs of it, all fixed by the mesh alone.

Clusters are geodesic: centres are chosen farthest-first along the edges of the rest pose, and every vertex joins the
centre that is nearest along the surface, so neighbouring fingers are not mixed although they touch in space. The
procedure has no random part.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.joints import RIG_JOINT_NAMES
from ..hand.model import HandModel


@dataclass(frozen=True)
class MeshGraph:
    """Three graphs, finest first: the vertices, then the clusters, then clusters of clusters.

    rest        [V, 3] float32, rest positions in units of the bone from the wrist to the middle finger's base
    edges       three tensors [2, E_i] int32, undirected edges i < j of each graph, in ascending order
    clusters    two tensors int32: [V] cluster of each vertex, [K_1] second cluster of each first one
    regressor   [2, V] float32: wrist joint and middle finger's base as fixed sums of vertices (see joint_regressor)
    """

    rest: Tensor
    edges: tuple[Tensor, Tensor, Tensor]
    clusters: tuple[Tensor, Tensor]
    regressor: Tensor

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Nodes of the three graphs."""
        return len(self.rest), len(self.clusters[1]), int(self.clusters[1].max()) + 1


def topology_hash(model: HandModel) -> str:
    """16 hexadecimal digits that identify a hand model's mesh: its vertex count and its triangles, in order."""
    digest = hashlib.sha256(str(len(model.template)).encode())
    digest.update(model.faces.detach().cpu().to(torch.int64).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def bone_length(model: HandModel) -> float:
    """Metres from the wrist to the middle finger's base at rest, the unit of the adapter's lengths."""
    return float(model.joint_template[RIG_JOINT_NAMES.index("middle_mcp")].detach().cpu().double().norm())


class _Identity:
    """A hand model as a key of a cache: equal only to itself."""

    def __init__(self, model: HandModel) -> None:
        self.model = model

    def __hash__(self) -> int:
        return id(self.model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.model is self.model


@dataclass(frozen=True)
class MeshConstants:
    """What every encoding needs of a hand model, on that model's device: rest [V, 3] in bone lengths, the regressor."""

    rest: Tensor
    regressor: Tensor


def mesh_constants(model: HandModel) -> MeshConstants:
    """Worked out once for a model, so that a training step does not wait for it."""
    return _mesh_constants(_Identity(model))


@functools.lru_cache(maxsize=4)
def _mesh_constants(key: _Identity) -> MeshConstants:
    template = key.model.template
    rest = (template / bone_length(key.model)).float()
    return MeshConstants(rest, joint_regressor(key.model).to(template.device))


def joint_regressor(model: HandModel) -> Tensor:
    """Weights [2, V] float32 that give the wrist and the middle finger's base of a posed hand from its vertices.

    Both joints move with the wrist's rigid part. Among all weights that sum to 1 and give the joint at rest, these are
    the least in the norm weighed by the skinning weight of the wrist, so they are exact under any rigid motion,
    mirroring and scale of that part, and stay close under the shape directions.
    """
    part = model.weights[:, 0].detach().cpu().double() ** 4
    points = torch.cat([torch.ones(len(part), 1).double(), model.template.detach().cpu().double()], 1)  # [V, 4]
    joints = model.joint_template.detach().cpu().double()[[0, RIG_JOINT_NAMES.index("middle_mcp")]]
    wanted = torch.cat([torch.ones(2, 1).double(), joints], 1)  # [2, 4]
    weighted = part[:, None] * points
    return (wanted @ torch.linalg.solve(points.T @ weighted, weighted.T)).float()


def build_graph(model: HandModel, clusters: tuple[int, int] = (256, 64)) -> MeshGraph:
    """The graphs of a hand model's mesh. Raises ValueError if the mesh has fewer vertices than clusters."""
    rest = model.template.detach().cpu().double()
    if not len(rest) > clusters[0] > clusters[1] > 0:
        raise ValueError(
            f"A mesh of {len(rest)} vertices cannot be grouped into {clusters[0]} and then {clusters[1]} clusters: "
            "ask for fewer."
        )
    fine = _join_components(_face_edges(model.faces), rest)
    first, centres = _cluster(fine, rest, clusters[0])
    middle = _coarse_edges(fine, first)
    second, _ = _cluster(middle, rest[torch.tensor(centres)], clusters[1])
    coarse = _coarse_edges(middle, second)
    edges = tuple(torch.tensor(sorted(graph), dtype=torch.int32).reshape(-1, 2).T for graph in (fine, middle, coarse))
    assignments = (torch.tensor(first, dtype=torch.int32), torch.tensor(second, dtype=torch.int32))
    return MeshGraph((rest / bone_length(model)).float(), edges, assignments, joint_regressor(model))  # pyright: ignore


def _face_edges(faces: Tensor) -> set[tuple[int, int]]:
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).cpu()
    return {(min(a, b), max(a, b)) for a, b in pairs.tolist()}


def _coarse_edges(edges: set[tuple[int, int]], cluster: list[int]) -> set[tuple[int, int]]:
    """Clusters are neighbours where an edge of the finer graph runs between them."""
    pairs = ((cluster[a], cluster[b]) for a, b in edges)
    return {(min(a, b), max(a, b)) for a, b in pairs if a != b}


def _components(edges: set[tuple[int, int]], nodes: int) -> list[list[int]]:
    neighbours = _neighbours(edges, nodes)
    seen = [False] * nodes
    found = []
    for start in range(nodes):
        if seen[start]:
            continue
        seen[start], stack, members = True, [start], []
        while stack:
            node = stack.pop()
            members.append(node)
            for other in neighbours[node]:
                if not seen[other]:
                    seen[other] = True
                    stack.append(other)
        found.append(sorted(members))
    return sorted(found, key=lambda members: (-len(members), members[0]))


def _join_components(edges: set[tuple[int, int]], points: Tensor) -> set[tuple[int, int]]:
    """Loose pieces of the mesh (nails) are tied to the rest by the shortest edge, largest piece first."""
    edges = set(edges)
    pieces = _components(edges, len(points))
    joined = pieces[0]
    for piece in pieces[1:]:
        distance = torch.cdist(points[torch.tensor(piece)], points[torch.tensor(joined)])
        place = int(distance.argmin())
        a, b = piece[place // len(joined)], joined[place % len(joined)]
        edges.add((min(a, b), max(a, b)))
        joined = joined + piece
    return edges


def _neighbours(edges: set[tuple[int, int]], nodes: int) -> list[list[int]]:
    neighbours: list[list[int]] = [[] for _ in range(nodes)]
    for a, b in sorted(edges):
        neighbours[a].append(b)
        neighbours[b].append(a)
    return neighbours


def _cluster(edges: set[tuple[int, int]], points: Tensor, count: int) -> tuple[list[int], list[int]]:
    """Farthest-first geodesic clusters: the cluster of each node, and the node at the centre of each cluster."""
    neighbours = _neighbours(edges, len(points))
    place = points.tolist()
    distance = [float("inf")] * len(place)
    cluster = [0] * len(place)
    centres: list[int] = []
    node = int(points.norm(dim=1).argmin())
    while len(centres) < count:
        _spread(node, len(centres), neighbours, place, distance, cluster)
        centres.append(node)
        node = max(range(len(place)), key=lambda i: (distance[i], -i))
    return cluster, centres


def _spread(
    start: int,
    label: int,
    neighbours: list[list[int]],
    place: list[list[float]],
    distance: list[float],
    cluster: list[int],
) -> None:
    """Dijkstra from a new centre, only as far as it is nearer than the centres before it."""
    distance[start], cluster[start] = 0.0, label
    queue = [(0.0, start)]
    while queue:
        reached, node = heapq.heappop(queue)
        if reached > distance[node]:
            continue
        x, y, z = place[node]
        for other in neighbours[node]:
            ox, oy, oz = place[other]
            length = reached + ((x - ox) ** 2 + (y - oy) ** 2 + (z - oz) ** 2) ** 0.5
            if length < distance[other]:
                distance[other], cluster[other] = length, label
                heapq.heappush(queue, (length, other))
