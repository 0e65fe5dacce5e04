"""Parts of the open hand for cut_open_hand.py: skinning weights, nails, the palm's side."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

_THUMB_ROLL = np.radians(-60)  # of the thumb's hinges against the palm, as in handrawer/hand/anatomy.py


def skinning_weights(
    points: np.ndarray, joints: np.ndarray, bones: dict[str, np.ndarray], faces: np.ndarray
) -> np.ndarray:
    """[V, 16] weights: the rig's, with the knuckles' bend moved to the moved joints, smoothed over the mesh."""
    weights = np.zeros((len(points), 16))
    for finger in range(1, 6):
        for bone in range(3):
            weights[:, 1 + 3 * (finger - 1) + bone] = bones[f"finger{finger}-{bone + 1}"]
    weights = np.clip(weights, 0, None)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    weights[:, 1:3] = thumb_shares(points, joints, weights)
    for finger in range(2, 6):
        first = 1 + 3 * (finger - 1)
        weights[:, first] = np.maximum(weights[:, first], knuckle_share(points, joints, weights, finger))
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    weights[:, 0] = 1 - weights.sum(axis=1)
    weights = smooth(weights, faces, rounds=4)
    # The thumb's web is stretched and folded most: there the weights run over a longer way.
    web = np.linalg.norm(points - web_point(points, joints), axis=1)
    weights = smooth(weights, faces, rounds=16, where=1 - _step((web - 0.018) / 0.02))
    weights[weights < 0.005] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def thumb_shares(points: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[V, 2] weights of the thumb's metacarpal and proximal phalanx.

    The rig bends the thumb's base where its cube was; here the flesh around the longer metacarpal follows it, and gives
    way to the next bone at the knuckle.
    """
    base, knuckle, end = joints[1], joints[2], joints[3]
    first, second = knuckle - base, end - knuckle
    length = np.linalg.norm(first)
    along = (points - base) @ first / length**2
    off = np.linalg.norm(points - base - np.clip(along, 0, 1)[:, None] * first, axis=1)
    flesh = _step((along + 0.2) / 0.75) * (1 - _step((off - 0.011) / 0.017))
    total = np.maximum(weights[:, 1:3].sum(axis=1), np.minimum(flesh, 1 - weights[:, 3:].sum(axis=1)))
    bisector = first / length + second / np.linalg.norm(second)
    beyond = _step((points - knuckle) @ bisector / np.linalg.norm(bisector) / 0.022 + 0.5)
    return np.stack([total * (1 - beyond), total * beyond], axis=1)


def _step(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def knuckle_share(points: np.ndarray, joints: np.ndarray, weights: np.ndarray, finger: int) -> np.ndarray:
    """How far the flesh around a knuckle follows the finger's first bone, for vertices that no finger has yet."""
    first = 1 + 3 * (finger - 1)
    knuckles = joints[[4, 7, 10, 13]]
    ends = joints[[5, 8, 11, 14]]
    directions = (ends - knuckles) / np.linalg.norm(ends - knuckles, axis=1, keepdims=True)
    offsets = points[:, None] - knuckles
    along = (offsets * directions).sum(axis=-1)
    across = offsets - along[..., None] * directions
    distance = np.linalg.norm(across * [1, 1, 0.3], axis=-1)  # side to side decides, not front to back
    ray = np.exp(-0.5 * (distance / 0.006) ** 2) + 1e-12
    ray /= ray.sum(axis=1, keepdims=True)
    follows = ray[:, finger - 2] * _step((along[:, finger - 2] + 0.009) / 0.018)
    taken = weights.sum(axis=1) - weights[:, first]
    return np.where(points[:, 1] < joints[0, 1] - 0.05, follows * np.clip(1 - taken, 0, 1), 0)


def web_point(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """[3] the vertex deepest in the notch between thumb and index: nearest to the middle of their two knuckles."""
    middle = (joints[2] + joints[4]) / 2
    return points[np.argmin(np.linalg.norm(points - middle, axis=1))]


def smooth(values: np.ndarray, faces: np.ndarray, rounds: int, where: np.ndarray | float = 1.0) -> np.ndarray:
    """Move every vertex's row half of the way (times ``where``, [V]) to its neighbours' mean, ``rounds`` times."""
    share = 0.5 * np.broadcast_to(where, len(values))[:, None]
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    both = np.concatenate([edges, edges[:, ::-1]])
    degree = np.bincount(both[:, 0], minlength=len(values))[:, None]
    for _ in range(rounds):
        total = np.zeros_like(values)
        np.add.at(total, both[:, 0], values[both[:, 1]])
        values = (1 - share) * values + share * total / degree
    return values


# --- regions ----------------------------------------------------------------------------------------------------------


def back_of_fingers(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the five end bones: direction [5, 3], flexion axis [5, 3], and the direction out of the nail [5, 3]."""
    along = joints[16:21] - joints[[3, 6, 9, 12, 15]]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    axis = np.cross(along, [0.0, 0.0, -1.0])
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    axis[0] = axis[0] * np.cos(_THUMB_ROLL) + np.cross(along[0], axis[0]) * np.sin(_THUMB_ROLL)
    return along, axis, np.cross(along, axis)


def nails(points: np.ndarray, quads: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sorted indices of the nail plates' vertices.

    A nail is what can be reached from its middle without stepping into a fold (an edge that is concave by over 8
    degrees) or over a sharp rim (convex by over 35), as far as it faces the finger's back.
    """
    cross = np.cross(points[quads[:, 2]] - points[quads[:, 0]], points[quads[:, 3]] - points[quads[:, 1]])
    normals = cross / np.linalg.norm(cross, axis=1, keepdims=True)
    centres, neighbours = points[quads].mean(axis=1), _quad_neighbours(quads)
    found = [
        quads[_nail(finger, centres, normals, neighbours, joints, weights[quads].mean(axis=1))] for finger in range(5)
    ]
    return np.unique(np.concatenate([corners.ravel() for corners in found]))


def _nail(
    finger: int, centres: np.ndarray, normals: np.ndarray, neighbours: dict, joints: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Indices of one nail's quads."""
    along, axis, back = (x[finger] for x in back_of_fingers(joints))
    bone = 3 * finger + 3
    length = np.linalg.norm(joints[16 + finger] - joints[bone])
    place = (centres - joints[bone]) @ along / length  # 0 at the last joint, 1 at the tip
    across = (centres - joints[bone]) @ axis
    own = (weights[:, bone] > 0.5) & (place > 0.5)
    middle, half_width = np.median(across[own]), np.ptp(across[own]) / 2
    facing = normals @ back
    seeds = np.nonzero(own & (place > 0.6) & (place < 0.85) & (facing > 0.6))[0]
    seed = seeds[np.argmin(np.abs(across[seeds] - middle) + length * np.abs(place[seeds] - 0.72))]
    reached, queue = {seed}, [seed]
    while queue:
        here = queue.pop()
        for there in neighbours[here] - reached:
            angle = np.degrees(np.arccos(np.clip(normals[here] @ normals[there], -1, 1)))
            concave = (centres[there] - centres[here]) @ normals[here] > 0
            if angle < (8 if concave else 35) and place[there] > 0.4 and facing[there] > 0.45:
                reached.add(there)
                queue.append(there)
    plate = np.array(sorted(reached))
    off = np.abs(across[plate] - middle) / half_width
    root = place[plate[off < 0.35]].min()  # where the fold ends the nail in its middle; it may leak beside it
    return plate[(off < 0.85) & (place[plate] >= root - 0.02)]


def _quad_neighbours(quads: np.ndarray) -> dict[int, set[int]]:
    sharing, neighbours = defaultdict(list), defaultdict(set)
    for face, quad in enumerate(quads.tolist()):
        for edge in zip(quad, quad[1:] + quad[:1], strict=True):
            sharing[frozenset(edge)].append(face)
    for faces in sharing.values():
        for face in faces:
            neighbours[face].update(f for f in faces if f != face)
    return neighbours


def palm_side(points: np.ndarray, faces: np.ndarray, weights: np.ndarray, forearm_from: float) -> np.ndarray:
    """Sorted indices of the vertices that face the palm's side: the palm and the fingers' pads, not the forearm."""
    corner = points[faces]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = np.zeros_like(points)
    for i in range(3):
        np.add.at(normals, faces[:, i], cross)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    thumb = weights[:, 2:4].sum(axis=1) > 0.5
    inward = np.where(thumb[:, None], [-0.8, 0.1, -0.6], [0.0, 0.0, -1.0])  # the thumb's pad faces across the palm
    return np.nonzero(((normals * inward).sum(axis=1) > 0.25) & (points[:, 1] <= forearm_from))[0]
