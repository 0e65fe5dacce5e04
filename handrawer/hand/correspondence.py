"""Two hand models laid over each other at rest: which places of their surfaces belong together, and which of joints."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from .anatomy import angles_to_rotations, rest_angles
from .model import HandModel
from .refit import CARRIERS, RefitState, Wanted, reduced, refit
from .skinning import PosedHand, pose_hand

PLACES = 120  # of the surface, spread evenly; more take longer and tell no more
ROUNDS = 4
FARTHEST = 0.012  # metres between places that belong together
AGREEING = 0.5  # least cosine between their normals
REST_SIGMAS = (0.004, 0.002)  # metres, of joints and surface while laying over: the rigs differ more than the skins do
CLOSEST = 24  # triangles, by their middles, of which the nearest place is looked for


@dataclass(frozen=True, eq=False)
class Correspondence:
    """What belongs together of a source and a target model; float64."""

    target: HandModel
    """Reduced to its tips and the vertices that have a place on the source."""
    vertices: Tensor
    """[K] int64 those vertices, in the whole target model."""
    corners: Tensor
    """[K, 3] int64 vertices of the source."""
    shares: Tensor
    """[K, 3] of the corners in the place; they sum to 1."""
    offsets: Tensor
    """[21, 3] metres from the target's joints to the source's, in the frames of the target's bones."""
    laid: PosedHand
    """The target, one hand, as it lies over the source's rest pose."""

    def places(self, vertices: Tensor) -> Tensor:
        """[N, K, 3] on the source's vertices [N, V, 3]."""
        return (vertices[:, self.corners] * self.shares[..., None]).sum(dim=2)


@functools.lru_cache(maxsize=8)
def correspond(source: HandModel, target: HandModel) -> Correspondence:
    """Lay the target over the source in the source's rest pose. Deterministic; a few hundred milliseconds, once.

    Kept outside of any inference mode, since fits differentiate through it.
    """
    with torch.inference_mode(False):
        return _correspond(source.to("cpu", torch.float64), target.to("cpu", torch.float64))


def _correspond(source: HandModel, target: HandModel) -> Correspondence:
    at_rest = posed(source, rest_state(source, rest_angles(source)))
    candidates = spread(target, PLACES)
    joint_sigma, surface_sigma = REST_SIGMAS
    nothing = torch.zeros(1, 0, 3, dtype=torch.float64)
    state = rest_state(target, rest_angles(source))
    state = refit(reduced(target, candidates[:0]), state, Wanted(at_rest.joints, nothing, joint_sigma, surface_sigma))
    for _ in range(ROUNDS):
        laid = posed(target, state)
        corners, shares, close = nearest(source, at_rest.vertices[0], target, laid.vertices[0], candidates)
        vertices, corners, shares = candidates[close], corners[close], shares[close]
        small = reduced(target, vertices)
        places = (at_rest.vertices[:, corners] * shares[..., None]).sum(dim=2)
        state = refit(small, state, Wanted(at_rest.joints, places, joint_sigma, surface_sigma))
    laid = posed(target, state)
    away = (at_rest.joints - laid.joints)[0]
    offsets = torch.einsum("kji,kj->ki", laid.rotations[0, list(CARRIERS)], away)
    return Correspondence(small, vertices, corners, shares, offsets, laid)


def rest_state(model: HandModel, angles: Tensor) -> RefitState:
    """One hand with anatomical angles [21], at the origin."""
    return RefitState(
        angles_to_rotations(model, angles[None].double()),
        torch.zeros(1, model.shape_count, dtype=torch.float64),
        torch.eye(3, dtype=torch.float64)[None],
        torch.zeros(1, 3, dtype=torch.float64),
    )


def posed(model: HandModel, state: RefitState) -> PosedHand:
    right = torch.zeros(len(state.shape), dtype=torch.bool)
    return pose_hand(model, state.rotations, state.shape, state.orientation, state.translation, right)


def spread(model: HandModel, count: int) -> Tensor:
    """[K] vertices of the hand, each as far from the ones before as can be (Gonzalez 1985); none of the forearm's."""
    open_to = torch.ones(len(model.template), dtype=torch.bool)
    if "forearm" in model.regions:
        open_to[model.regions["forearm"]] = False
    places = torch.nonzero(open_to)[:, 0]
    points = model.template[places]
    chosen = [0]
    distance = (points - points[0]).norm(dim=1)
    for _ in range(min(count, len(places)) - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
    return places[torch.tensor(chosen)]


def nearest(
    source: HandModel, vertices: Tensor, target: HandModel, laid: Tensor, candidates: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For the target's vertices [K] the nearest places of the source's surface: corners and shares [K, 3], close [K].

    A place must lie on the same finger (or on the palm, as both do) and face the same way.
    """
    points, facing = laid[candidates], vertex_normals(laid, target.faces)[candidates]
    triangles = vertices[source.faces]
    normals = torch.nn.functional.normalize(
        torch.linalg.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), dim=-1
    )
    away = torch.cdist(points, triangles.mean(dim=1))
    own, theirs = finger_of(target.parts)[candidates], finger_of(source.parts)[source.faces]
    other = (own[:, None, None] != theirs).all(dim=-1) | ((facing @ normals.mT) < AGREEING)
    some = away.masked_fill(other, torch.inf).topk(CLOSEST, dim=1, largest=False).indices
    place, shares = _on_triangles(points, triangles[some])
    distance = (place - points[:, None]).norm(dim=-1).masked_fill(other.gather(1, some), torch.inf)
    best = distance.argmin(dim=1)
    row = torch.arange(len(points))
    return source.faces[some[row, best]], shares[row, best], distance[row, best] < FARTHEST


def finger_of(parts: Tensor) -> Tensor:
    """0 for the palm, 1 to 5 for the fingers, of rig joints."""
    return (parts + 2) // 3


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """[V, 3] unit normals, weighed by area."""
    a, b, c = vertices[faces].unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in faces.unbind(dim=1):
        total.index_add_(0, corner, normal)
    return torch.nn.functional.normalize(total, dim=-1)


def _on_triangles(points: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest places [P, T, 3] on triangles [P, T, 3, 3] to points [P, 3], and their barycentric shares [P, T, 3].

    The foot of the perpendicular where it lies inside; else the best of the nearest points on the three edges.
    """
    a, b, c = triangles.unbind(dim=2)
    ab, ac, to = b - a, c - a, points[:, None] - a
    d00, d01, d11, d20, d21 = ((x * y).sum(-1) for x, y in ((ab, ab), (ab, ac), (ac, ac), (to, ab), (to, ac)))
    area = (d00 * d11 - d01 * d01).clamp_min(1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = torch.stack([1 - v - w, v, w], dim=-1)
    shares = [torch.where((inside >= 0).all(dim=-1, keepdim=True), inside, torch.inf)]
    for start, end in ((0, 1), (1, 2), (2, 0)):
        one, other = triangles[:, :, start], triangles[:, :, end]
        along = other - one
        at = ((points[:, None] - one) * along).sum(-1) / (along * along).sum(-1).clamp_min(1e-30)
        share = torch.zeros_like(inside)
        share[..., start], share[..., end] = 1 - at.clamp(0, 1), at.clamp(0, 1)
        shares.append(share)
    choices = torch.stack(shares)
    places = torch.einsum("cpts,ptsi->cpti", choices, triangles)
    distance = (places - points[:, None]).norm(dim=-1).nan_to_num(torch.inf)
    best = distance.argmin(dim=0)[None, ..., None].expand(1, *inside.shape)
    return places.gather(0, best)[0], choices.gather(0, best)[0]
