"""Files in MANO's format, made here: nothing of the real ones is needed, and nothing of them is in it.

The hand is the open hand without its forearm, decimated to MANO's 778 vertices, in MANO's rest frame and joint order,
with joints, skinning, shapes and pose correctives of its own. ``write_official`` writes it as the official files are
written: a pickle of Python 2 with chumpy's objects and a sparse matrix.
"""

import functools
import heapq
import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from handrawer.hand.mano import MANO_TO_RIG, TIP_VERTICES
from handrawer.hand.model import load_open_hand

VERTICES = 778
SCALE = 0.96  # the open hand's is another size
JOINT_SHIFT = 0.002  # metres, along each axis: two rigs never agree about where a joint is
WRIST = np.array([0.0957, 0.0064, 0.0062])
# Rest frame of HandModel to MANO's: up (-y) to -x, palm (-z) to -y, thumb (+x) to +z; and leant by a few degrees.
SWAP = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
MIRROR = np.array([-1.0, 1.0, 1.0])


@functools.lru_cache(maxsize=2)
def mano_arrays(side: str = "right") -> dict[str, np.ndarray]:
    """Arrays under MANO's names. The left file's shape directions are the right one's, as in the official files."""
    rng = np.random.default_rng(7)
    kept, faces = _decimated()
    hand = load_open_hand()
    turn = SWAP @ _rotation((0.03, -0.05, 0.04))
    points = hand.template.double().numpy()[kept] * SCALE
    weights = _smoothed(hand.weights.double().numpy()[kept], faces)[:, np.argsort(MANO_TO_RIG)]
    joints = hand.joint_template.double().numpy()[np.argsort(MANO_TO_RIG)] * SCALE
    regressor = _regressor(weights, points, joints + rng.uniform(-1, 1, size=(16, 3)) * JOINT_SHIFT)
    template = points @ turn.T
    shapes = np.concatenate([0.05 * (points - points.mean(0))[..., None], _shapes(points, weights, rng)], axis=2)
    arrays = {
        "v_template": template + WRIST - regressor[0] @ template,
        "shapedirs": np.einsum("ij,vjs->vis", turn, shapes),
        "posedirs": _pose_correctives(weights, rng),
        "J_regressor": regressor,
        "weights": weights,
        "f": faces.astype(np.uint32),
        "hands_mean": rng.normal(size=45) * 0.15,
        "hands_components": np.linalg.qr(rng.normal(size=(45, 45)))[0],
        "kintree_table": np.array([[2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14], range(16)], np.uint32),
    }
    arrays["J"] = arrays["J_regressor"] @ arrays["v_template"]
    return arrays if side == "right" else _mirrored(arrays)


def _mirrored(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    signs = np.tile(np.outer(MIRROR, MIRROR).ravel(), 15)
    flip = np.tile(MIRROR * MIRROR.prod(), 15)
    return {
        **arrays,
        "v_template": arrays["v_template"] * MIRROR,
        "posedirs": arrays["posedirs"] * MIRROR[:, None] * signs,
        "f": arrays["f"][:, ::-1].copy(),
        "hands_mean": arrays["hands_mean"] * flip,
        "hands_components": arrays["hands_components"] * flip,
        "J": arrays["J"] * MIRROR,
    }


def _rotation(axis_angle) -> np.ndarray:
    x, y, z = axis_angle
    angle = np.linalg.norm(axis_angle)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / angle
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _decimated() -> tuple[np.ndarray, np.ndarray]:
    """The open hand's vertices [778] that stay, in an order that puts the tips where MANO has them, and the faces."""
    hand = load_open_hand()
    points, faces = hand.template.double().numpy(), hand.faces.numpy()
    forearm = np.zeros(len(points), bool)
    forearm[hand.regions["forearm"].numpy()] = True
    faces = faces[~forearm[faces].any(axis=1)]
    faces = _collapse(points, faces, set(hand.tip_vertices.tolist()))
    kept = np.unique(faces)
    place = dict(zip(TIP_VERTICES, hand.tip_vertices.tolist(), strict=True))
    others = iter(sorted(set(kept.tolist()) - set(place.values())))
    order = np.array([place[i] if i in place else next(others) for i in range(VERTICES)])
    number = np.zeros(len(points), int)
    number[order] = np.arange(VERTICES)
    return order, number[faces]


def _collapse(points: np.ndarray, faces: np.ndarray, protected: set[int]) -> np.ndarray:
    """Shortest edges shrink to one of their ends until 778 vertices are left."""
    rim = _rim(faces)
    around: dict[int, set[int]] = {}
    triangles = {i: tuple(face) for i, face in enumerate(faces.tolist())}
    for i, face in triangles.items():
        for vertex in face:
            around.setdefault(vertex, set()).add(i)

    def neighbours(vertex: int) -> set[int]:
        return {other for i in around[vertex] for other in triangles[i]} - {vertex}

    queue = [(float(np.linalg.norm(points[a] - points[b])), a, b) for a in around for b in neighbours(a)]
    heapq.heapify(queue)
    while len(around) > VERTICES:
        _, gone, stays = heapq.heappop(queue)
        if gone not in around or stays not in around or gone in protected or gone in rim:
            continue
        if stays not in neighbours(gone) or len(neighbours(gone) & neighbours(stays)) != 2:
            continue
        for i in around.pop(gone):
            face = tuple(stays if vertex == gone else vertex for vertex in triangles[i])
            if len(set(face)) < 3:
                del triangles[i]
                for vertex in set(face):
                    around[vertex].discard(i)
            else:
                triangles[i] = face
                around[stays].add(i)
        for other in neighbours(stays):
            length = float(np.linalg.norm(points[other] - points[stays]))
            heapq.heappush(queue, (length, other, stays))
            heapq.heappush(queue, (length, stays, other))
    return np.array(list(triangles.values()))


def _rim(faces: np.ndarray) -> set[int]:
    """Vertices on the open edge at the wrist."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    return set(edges[count == 1].ravel().tolist())


def _smoothed(weights: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The mean over the neighbours as well, so that the skinning is not the open hand's."""
    total, count = weights.copy(), np.ones(len(weights))
    for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)):
        np.add.at(total, faces[:, a], weights[faces[:, b]])
        np.add.at(count, faces[:, a], 1)
    total = total / count[:, None]
    return total / total.sum(axis=1, keepdims=True)


def _regressor(weights: np.ndarray, points: np.ndarray, near: np.ndarray) -> np.ndarray:
    """[16, V] each joint is the mean of a few vertices round it: near the open hand's joints, not in them."""
    regressor = np.zeros((16, len(points)))
    for joint, place in enumerate(near):
        distance = np.linalg.norm(points - place, axis=1)
        weight = np.exp(-((distance / 0.009) ** 2)) * (weights[:, joint] + 0.05)
        chosen = np.argsort(-weight)[:40]
        # Pulled towards the place: a mean of the surface alone lies too near to where the vertices are dense.
        share = weight[chosen] / weight[chosen].sum()
        for _ in range(50):
            off = points[chosen].T @ share - place
            share = np.clip(share * np.exp(-40 * (points[chosen] - place) @ off / 0.02), 1e-9, None)
            share /= share.sum()
        regressor[joint, chosen] = share
    return regressor


def _shapes(points: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[V, 3, 9] long and short fingers, broad and narrow hands, thick and thin ones, and slow waves over the hand."""
    centre = points.mean(axis=0)
    waves = np.stack([np.sin(points @ rng.normal(size=3) * 25 + rng.uniform(0, 6)) for _ in range(6)], axis=1)
    smooth = np.einsum("vk,ksc->vcs", waves, rng.normal(size=(6, 6, 3)) * 0.0004)
    along = np.zeros((len(points), 3, 3))
    for i, strength in enumerate((0.03, 0.04, 0.06)):
        along[:, i, i] = strength * (points - centre)[:, i]
    return np.concatenate([along, smooth], axis=2)


def _pose_correctives(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[V, 3, 135] up to a few millimetres, where the joint moves the skin."""
    at_joint = (weights[:, 1:] * (1 - weights[:, 1:])) * 4
    return np.einsum("vj,cjf->vcjf", at_joint, rng.normal(size=(3, 15, 9)) * 0.0006).reshape(len(weights), 3, 135)


def write_npz(path: Path, side: str = "right", **changes) -> Path:
    """The arrays as .npz; ``changes`` replace some, or leave them out where None."""
    arrays: dict[str, Any] = {**mano_arrays(side), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def write_plain(path: Path, side: str = "right", protocol: int = 2) -> Path:
    """A pickle without chumpy, as people re-save it."""
    from scipy.sparse import csc_matrix

    arrays = {**mano_arrays(side), "J_regressor": csc_matrix(mano_arrays(side)["J_regressor"]), "bs_style": "lbs"}
    path.write_bytes(pickle.dumps(arrays, protocol))
    return path


def write_official(path: Path, side: str = "right", protocol: int = 2) -> Path:
    """As the official files are: Python 2's strings and names, chumpy's Select over a Ch, scipy's old csc_matrix."""
    from scipy.sparse import csc_matrix

    arrays = mano_arrays(side)
    rng = np.random.default_rng(1)
    whole = np.concatenate([arrays["shapedirs"], rng.normal(size=(VERTICES, 3, 10))], axis=2)
    numbers = np.arange(whole.size).reshape(whole.shape)[:, :, :10].ravel()
    book = {"_dirty_vars": {"x"}, "_itr": None, "_make_dense": False, "_make_sparse": False, "_depends_on_deps": {}}
    shapes = Select({"a": Ch({"x": whole, **book}), "idxs": numbers, "preferred_shape": (VERTICES, 3, 10), **book})
    sparse = csc_matrix(arrays["J_regressor"])
    state = {"_shape": (16, VERTICES), "maxprint": 50, "data": sparse.data, "indices": sparse.indices,
             "indptr": sparse.indptr}  # fmt: skip
    content = {**arrays, "shapedirs": shapes, "J_regressor": Csc(state), "bs_style": "lbs", "bs_type": "lrotmin"}
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol).dump(content)
    path.write_bytes(stream.getvalue())
    return path


class _State:
    """An object of which pickle keeps the state."""

    def __init__(self, state: dict):
        self.state = state

    def __getstate__(self):
        return self.state


class Ch(_State):
    pass


class Select(_State):
    pass


class Csc(_State):
    pass


_PYTHON2_NAMES = {
    "Ch": b"chumpy.ch\nCh",
    "Select": b"chumpy.reordering\nSelect",
    "Csc": b"scipy.sparse.csc\ncsc_matrix",
    "_reconstruct": b"numpy.core.multiarray\n_reconstruct",
    "ndarray": b"numpy\nndarray",
    "dtype": b"numpy\ndtype",
    "set": b"__builtin__\nset",
    "_reconstructor": b"copy_reg\n_reconstructor",
    "object": b"__builtin__\nobject",
}


_Pickler: Any = pickle._Pickler  # the pure Python one: its steps can be replaced


class _Python2Pickler(_Pickler):
    """Writes bytes and text as Python 2 wrote its strings, and classes by the names that they had then."""

    dispatch: ClassVar[dict[Any, Any]] = dict(_Pickler.dispatch)

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin-1")
        if self.proto == 0:
            self.write(b"S" + repr(content)[1:].encode("ascii") + b"\n")
        elif len(content) < 256:
            self.write(b"U" + bytes([len(content)]) + content)
        else:
            self.write(b"T" + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    def save_global(self, obj, name=None):
        self.write(b"c" + _PYTHON2_NAMES[name or obj.__name__] + b"\n")
        self.memoize(obj)

    dispatch[bytes] = save_string
    dispatch[str] = save_string
    dispatch[type] = save_global
    dispatch[type(len)] = save_global
    dispatch[type(lambda: None)] = save_global
