"""A two-jaw gripper: a simple articulated machine part in the place of the hand.

It is a `HandModel` like any other, a mesh with a joint tree: the block is the wrist, one jaw takes the joints of the
index finger, the other those of the ring finger, and the other fingers have joints but no surface. Nothing in the
graph network, the fusion or the padding knows the difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from handrawer.adapter.inputs import HandInputs, hand_inputs_from_tensors, vertex_normals
from handrawer.hand.joints import RIG_JOINT_NAMES, RIG_PARENTS
from handrawer.hand.model import HandModel
from handrawer.hand.skinning import PosedHand, pose_hand
from handrawer.mini.captions import BACKGROUNDS
from handrawer.mini.picture import BACKGROUND_COLOURS
from handrawer.mini.random_table import normals, pick, uniforms
from handrawer.render.rasterise import interpolate, rasterise

GRID = 6  # vertices along each side of a box's face
CLUSTERS = (128, 32)
JAWS = ("index_mcp", "index_pip", "ring_mcp", "ring_pip")
LIMITS = ((-0.15, 0.9), (-0.9, 0.3))  # radians: a jaw's first joint opens, its second closes
PARTS = {  # middle and half sizes in metres, the joint that moves it, its colour
    "block": ((0.0, 0.035, 0.0), (0.045, 0.03, 0.02), "wrist", (0.35, 0.37, 0.40)),
    "stem": ((0.0, 0.085, 0.0), (0.014, 0.022, 0.014), "wrist", (0.20, 0.21, 0.23)),
    "left link": ((-0.034, -0.022, 0.0), (0.008, 0.03, 0.011), "index_mcp", (0.86, 0.45, 0.12)),
    "left tip": ((-0.034, -0.077, 0.0), (0.006, 0.027, 0.009), "index_pip", (0.92, 0.68, 0.15)),
    "right link": ((0.034, -0.022, 0.0), (0.008, 0.03, 0.011), "ring_mcp", (0.86, 0.45, 0.12)),
    "right tip": ((0.034, -0.077, 0.0), (0.006, 0.027, 0.009), "ring_pip", (0.92, 0.68, 0.15)),
}
JOINTS = {"index_mcp": (-0.034, 0.006), "index_pip": (-0.034, -0.05), "ring_mcp": (0.034, 0.006),
          "ring_pip": (0.034, -0.05), "middle_mcp": (0.0, -0.05)}  # fmt: skip


def _box() -> tuple[Tensor, Tensor]:
    """A box from -1 to 1: vertices [6 GRID^2, 3] (faces share none, so that edges stay sharp) and triangles."""
    line = torch.linspace(-1, 1, GRID)
    u, v = torch.meshgrid(line, line, indexing="ij")
    points, triangles = [], []
    cells = torch.arange(GRID * GRID).reshape(GRID, GRID)
    a, b, c, d = (x.flatten() for x in (cells[:-1, :-1], cells[1:, :-1], cells[1:, 1:], cells[:-1, 1:]))
    square = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = torch.zeros(GRID, GRID, 3)
            side[..., axis], side[..., (axis + 1) % 3], side[..., (axis + 2) % 3] = sign, u, v
            offset = sum(map(len, points))
            points.append(side.reshape(-1, 3))
            triangles.append((square if sign > 0 else square.flip(-1)) + offset)
    return torch.cat(points), torch.cat(triangles)


def make_gripper() -> HandModel:
    """The gripper as a model that can be posed, float32 on the CPU."""
    points, triangles = _box()
    vertices, faces, weights = [], [], []
    for middle, half, joint, _ in PARTS.values():
        faces.append(triangles + sum(map(len, vertices)))
        vertices.append(points * torch.tensor(half) + torch.tensor(middle))
        row = torch.zeros(16)
        row[RIG_JOINT_NAMES.index(joint)] = 1
        weights.append(row.expand(len(points), -1))
    template, weight = torch.cat(vertices), torch.cat(weights)
    joints = torch.zeros(16, 3)
    for name, place in JOINTS.items():
        joints[RIG_JOINT_NAMES.index(name), :2] = torch.tensor(place)
    tips = torch.tensor([0, 3 * len(points), 0, 5 * len(points), 0])
    return HandModel(
        name="gripper", template=template, faces=torch.cat(faces), shape_dirs=torch.zeros(len(template), 3, 1),
        shape_names=("none",), joint_template=joints, joint_shape_dirs=torch.zeros(16, 3, 1), weights=weight,
        parents=RIG_PARENTS, tip_vertices=tips, pose_dirs=None, parts=weight.argmax(1),
    )  # fmt: skip


@dataclass(frozen=True)
class GripperScene:
    """N pictures' labels: angles [N, 4] radians (as JAWS), orientation [N, 3, 3], translation [N, 3], focal [N] in
    picture widths, background [N], posed."""

    index: Tensor
    angles: Tensor
    orientation: Tensor
    translation: Tensor
    focal: Tensor
    background: Tensor
    posed: PosedHand

    def prompts(self) -> list[str]:
        """The base knows no word for the thing."""
        return [f"{BACKGROUNDS[k]} background" for k in self.background.tolist()]


def _about_z(angle: Tensor) -> Tensor:
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [torch.stack([cos, -sin, zero], -1), torch.stack([sin, cos, zero], -1)]
    return torch.stack([*rows, torch.stack([zero, zero, zero + 1], -1)], -2)


def joint_rotations(angles: Tensor) -> Tensor:
    """Angles [N, 4] of the jaws (first joint opens outward, second bends inward if negative) to [N, 15, 3, 3]."""
    rotations = torch.eye(3, device=angles.device).repeat(len(angles), 15, 1, 1)
    for k, name in enumerate(JAWS):
        outward = -1.0 if name.startswith("index") else 1.0
        rotations[:, RIG_JOINT_NAMES.index(name) - 1] = _about_z(outward * angles[:, k])
    return rotations


def pose_gripper(model: HandModel, angles: Tensor, orientation: Tensor, translation: Tensor) -> PosedHand:
    """Angles [N, 4], orientation [N, 3, 3], translation [N, 3] to the posed mesh."""
    right = torch.zeros(len(angles), dtype=torch.bool, device=angles.device)
    shape = torch.zeros(len(angles), 1, device=angles.device)
    return pose_hand(model, joint_rotations(angles), shape, orientation, translation, right)


def draw_scenes(seed: int, index: Tensor, model: HandModel) -> GripperScene:
    """The scenes with these numbers [N] int64, on the index's device."""
    device = index.device
    u, n = uniforms(seed, index, 12, stream=51), normals(seed, index, 3, stream=52)
    low, high = (torch.tensor([LIMITS[0][k], LIMITS[1][k]] * 2, device=device) for k in range(2))
    angles = low + (high - low) * u[:, :4]
    yaw, pitch, roll = n[:, 0] * math.radians(25), n[:, 1] * math.radians(20), (u[:, 4] * 2 - 1) * math.pi
    orientation = _about_z(roll) @ _tilt(pitch, 0) @ _tilt(yaw, 1)
    still = torch.zeros(len(index), 3, device=device)
    vertices = pose_gripper(model, angles, orientation, still).vertices
    middle = (vertices.amin(1) + vertices.amax(1)) / 2
    distance = 0.5 + 0.5 * u[:, 5]
    moved = vertices - middle[:, None]
    extent = ((moved[..., :2].amax(1) - moved[..., :2].amin(1)) / distance[:, None]).amax(-1)
    focal = (0.6 + 0.25 * u[:, 6]) / extent
    shift = (u[:, 7:9] - 0.5) * 0.14 / focal[:, None] * distance[:, None]
    translation = torch.cat([shift, distance[:, None]], 1) - middle
    posed = pose_gripper(model, angles, orientation, translation)
    background = pick(u[:, 9], (1.0,) * len(BACKGROUNDS))
    return GripperScene(index, angles, orientation, translation, focal, background, posed)


def _tilt(angle: Tensor, axis: int) -> Tensor:
    turned = _about_z(angle)
    order = [1, 2, 0] if axis == 0 else [0, 2, 1]
    return turned[:, order][:, :, order]


def _pixels(scene: GripperScene, vertices: Tensor, side: int) -> Tensor:
    flat = scene.focal[:, None, None] * vertices[..., :2] / vertices[..., 2:] + 0.5
    return torch.cat([flat * side, vertices[..., 2:]], -1)


@torch.no_grad()
def draw_pictures(scene: GripperScene, model: HandModel, side: int = 256) -> Tensor:
    """[N, 3, side, side] in 0..1: painted metal under a lamp up left, on a plain background."""
    device, count = scene.index.device, len(scene.index)
    paint = torch.tensor([part[3] for part in PARTS.values()], device=device)
    paint = paint.repeat_interleave(len(model.template) // len(PARTS), 0).expand(count, -1, -1)
    vertices = scene.posed.vertices
    right = torch.zeros(count, dtype=torch.bool, device=device)
    normal = vertex_normals(vertices, model.faces, right)
    drawn = rasterise(_pixels(scene, vertices, 2 * side), model.faces, torch.arange(count, device=device), count,
                      2 * side, 2 * side)  # fmt: skip
    values = interpolate(drawn, torch.cat([paint, normal], -1), model.faces)
    lamp = F.normalize(torch.tensor([-0.5, -0.6, -0.7], device=device), dim=0)
    light = 0.45 + 0.6 * (F.normalize(values[..., 3:6], dim=-1) * lamp).sum(-1, keepdim=True).clamp_min(0)
    covered = drawn.covered[..., None].float()
    back = torch.tensor(list(BACKGROUND_COLOURS.values()), device=device)[scene.background][:, None, None]
    picture = covered * values[..., :3] * light + (1 - covered) * back
    return F.avg_pool2d(picture.permute(0, 3, 1, 2), 2).clamp(0, 1)


@torch.no_grad()
def scene_inputs(scene: GripperScene, model: HandModel, raster: int = 128) -> HandInputs:
    """The adapter's inputs, one gripper a picture."""
    middle = torch.full_like(scene.focal, 0.5)
    right = torch.zeros(len(scene.index), dtype=torch.bool, device=scene.index.device)
    return hand_inputs_from_tensors(scene.posed.vertices, scene.focal, middle, middle, 256, 256, right, model, raster)


@torch.no_grad()
def coverage(scene: GripperScene, vertices: Tensor, faces: Tensor, cells: int = 32) -> Tensor:
    """[N, cells, cells] share of each latent cell that meshes [N, V, 3] under the scenes' cameras cover."""
    count = len(vertices)
    drawn = rasterise(_pixels(scene, vertices, 2 * cells), faces, torch.arange(count, device=vertices.device), count,
                      2 * cells, 2 * cells)  # fmt: skip
    return F.avg_pool2d(drawn.covered[:, None].float(), 2)[:, 0]
