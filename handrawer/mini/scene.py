"""What is in a synthetic picture, drawn by sample index: hand, camera, skin, sleeve, background, light.

A `Scene` holds the labels of N pictures, exactly; `picture` draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import einsum
from torch import Tensor

from ..hand.anatomy import ANGLE_NAMES, LIMITS, angles_to_rotations
from ..hand.camera import Camera
from ..hand.gestures import GESTURES, gesture_angles
from ..hand.hands import Frame, Hands, make_hand
from ..hand.model import HandModel
from ..hand.skinning import PosedHand, pose_hand
from .captions import BACKGROUNDS, LIGHTS, NAILS, SIDES, SKINS, SLEEVES, VIEWS, Caption
from .random_table import normals, pick, uniforms

GESTURE_NAMES: tuple[str, ...] = tuple(GESTURES)
NAMELESS = len(GESTURE_NAMES)  # the gesture index of a pose without a name
NAMELESS_SHARE = 0.38
# Detectors see few fists, so a picture of one teaches the score little: they are rare here, and scored apart.
RARE = {"fist": 0.3}
VIEW_SHARES = (0.45, 0.40, 0.15)
ANGLE_NOISE = math.radians(6)
FILL = (0.62, 0.88)  # the longer side of the hand's box over the picture's side
DISTANCE = (0.45, 1.2)  # metres


@dataclass(frozen=True)
class Scene:
    """Labels of N synthetic pictures. All tensors have N rows and lie on one device.

    Attributes:
        index: [N] int64 sample numbers.
        gesture: [N] int64 into GESTURE_NAMES, or NAMELESS.
        side, view, skin, sleeve, nails, background, light: [N] int64 into the lists of `captions`.
        angles: [N, D] radians, inside the joint limits.
        shape: [N, S].
        orientation: [N, 3, 3] rotation in the camera frame.
        translation: [N, 3] metres, the wrist joint.
        focal: [N] in picture widths; the principal point is the picture's middle.
        posed: vertices [N, V, 3] and joints [N, 21, 3] in metres, camera frame.
    """

    index: Tensor
    gesture: Tensor
    side: Tensor
    view: Tensor
    skin: Tensor
    sleeve: Tensor
    nails: Tensor
    background: Tensor
    light: Tensor
    angles: Tensor
    shape: Tensor
    orientation: Tensor
    translation: Tensor
    focal: Tensor
    posed: PosedHand

    @property
    def left(self) -> Tensor:
        """[N] bool."""
        return self.side == SIDES.index("left")

    def project(self, points: Tensor) -> Tensor:
        """[N, P, 3] metres to [N, P, 2] normalised picture coordinates (square pictures)."""
        return self.focal[:, None, None] * points[..., :2] / points[..., 2:] + 0.5

    @property
    def joints_2d(self) -> Tensor:
        """[N, 21, 2] normalised."""
        return self.project(self.posed.joints)

    def captions(self) -> list[Caption]:
        """The full caption of each picture."""
        columns = [t.tolist() for t in (self.side, self.view, self.skin, self.sleeve, self.nails)]
        columns += [self.background.tolist(), self.light.tolist()]
        lists = (SIDES, VIEWS, SKINS, SLEEVES, NAILS, BACKGROUNDS, LIGHTS)
        return [
            Caption(
                None if g == NAMELESS else GESTURE_NAMES[g], *(names[i] for names, i in zip(lists, row, strict=True))
            )
            for g, row in zip(self.gesture.tolist(), zip(*columns, strict=True), strict=True)
        ]


def euler(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotation about y, then x, then z of the camera: [N] radians each to [N, 3, 3]."""

    def about(axis: int, angle: Tensor) -> Tensor:
        i, j = [k for k in range(3) if k != axis]
        matrix = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
        cos, sin = torch.cos(angle), torch.sin(angle)
        sign = -1.0 if axis == 1 else 1.0
        matrix[:, i, i], matrix[:, j, j] = cos, cos
        matrix[:, i, j], matrix[:, j, i] = -sign * sin, sign * sin
        return matrix

    return einsum(about(2, roll), about(0, pitch), about(1, yaw), "n a b, n b c, n c d -> n a d")


def nameless_angles(u: Tensor, named: Tensor) -> Tensor:
    """Random poses without a name: every finger lies between those of two named gestures.

    Args:
        u: [N, 17] uniform in [0, 1).
        named: [G, D] radians, the named gestures.

    Returns:
        [N, D] radians. Fingers agree in a half of the poses' gestures, so that neighbours often move together.
    """
    fingers = ("thumb", "index", "middle", "ring", "little")
    finger = torch.tensor([fingers.index(name.split("_")[0]) for name in ANGLE_NAMES], device=u.device)
    count = len(named)
    own = (u[:, :10].reshape(-1, 5, 2) * count).long()
    shared = (u[:, 15:17] * count).long()[:, None]
    together = u[:, 10:15, None] < 0.5
    chosen = torch.where(together, shared, own)[:, finger]  # [N, D, 2]
    column = torch.arange(named.shape[1], device=u.device)
    first, second = (named[chosen[..., k], column] for k in range(2))
    # The first number of a finger's choice serves again for how far it is on the way: its low digits are independent.
    way = (u[:, :10:2] * 97 % 1)[:, finger]
    return first + (second - first) * way


def _angles(seed: int, index: Tensor, gesture: Tensor) -> Tensor:
    device = index.device
    limits = LIMITS.to(device, torch.float32)
    named = torch.stack([gesture_angles(name) for name in GESTURE_NAMES]).to(device, torch.float32)
    noise = normals(seed, index, named.shape[1], stream=1) * ANGLE_NOISE
    random = nameless_angles(uniforms(seed, index, 17, stream=2), named)
    angles = torch.where((gesture == NAMELESS)[:, None], random, named[gesture.clamp_max(NAMELESS - 1)]) + noise
    return torch.maximum(torch.minimum(angles, limits[:, 1]), limits[:, 0])


def _orientation(seed: int, index: Tensor, view: Tensor, left: Tensor) -> Tensor:
    n = normals(seed, index, 3, stream=3)
    u = uniforms(seed, index, 3, stream=4)
    turned = torch.tensor([0.0, math.pi, math.pi / 2], device=index.device)[view]
    turned = torch.where((view == 2) & (u[:, 0] < 0.5), -turned, turned)
    yaw = turned + n[:, 0] * math.radians(17)
    pitch = n[:, 1] * math.radians(15)
    roll = torch.where(u[:, 1] < 0.72, n[:, 2] * math.radians(22), (u[:, 2] * 2 - 1) * math.pi)
    return euler(yaw, pitch, roll)


def draw_scenes(seed: int, index: Tensor, model: HandModel) -> Scene:
    """The scenes with these numbers.

    Args:
        seed: of the data set; held-out scenes have another seed than training's.
        index: [N] int64.
        model: the hand, on the index's device.
    """
    device = index.device
    u = uniforms(seed, index, 16)
    shares = tuple(RARE.get(name, 1.0) for name in GESTURE_NAMES)
    total = sum(shares)
    gesture = pick(u[:, 0], (*(s / total * (1 - NAMELESS_SHARE) for s in shares), NAMELESS_SHARE))
    side = pick(u[:, 1], (1.0, 1.0))
    view = pick(u[:, 2], VIEW_SHARES)
    left = side == SIDES.index("left")
    angles = _angles(seed, index, gesture)
    shape = (normals(seed, index, model.shape_dirs.shape[-1], stream=5) * 0.8).clamp(-2, 2)
    orientation = _orientation(seed, index, view, left)
    rotations = angles_to_rotations(model, angles)
    still = torch.zeros(len(index), 3, device=device)
    posed = pose_hand(model, rotations, shape, orientation, still, left)
    translation, focal = _place(posed, u[:, 3:8], hand_vertices(model))
    posed = pose_hand(model, rotations, shape, orientation, translation, left)
    kinds = {
        "skin": pick(u[:, 8], (1.0,) * len(SKINS)),
        "sleeve": pick(u[:, 9], (3.0,) + (1.0,) * (len(SLEEVES) - 1)),
        "nails": pick(u[:, 10], (5.0, 1.0, 1.0)),
        "background": pick(u[:, 11], (1.0,) * len(BACKGROUNDS)),
        "light": pick(u[:, 12], (1.0,) * len(LIGHTS)),
    }
    return Scene(
        index=index, gesture=gesture, side=side, view=view, **kinds, angles=angles, shape=shape,
        orientation=orientation, translation=translation, focal=focal, posed=posed,
    )  # fmt: skip


def hand_vertices(model: HandModel) -> Tensor:
    """[K] int64: the vertices of the hand proper, without the stub of forearm."""
    forearm = torch.zeros(len(model.template), dtype=torch.bool, device=model.template.device)
    if "forearm" in model.regions:
        forearm[model.regions["forearm"].to(forearm.device)] = True
    return torch.nonzero(~forearm)[:, 0]


def _place(posed: PosedHand, u: Tensor, hand: Tensor) -> tuple[Tensor, Tensor]:
    """Translation [N, 3] and focal length [N] which put a hand at the origin into the frame as wanted."""
    vertices = posed.vertices[:, hand]
    middle = (vertices.amin(1) + vertices.amax(1)) / 2
    distance = DISTANCE[0] + (DISTANCE[1] - DISTANCE[0]) * u[:, 0]
    ahead = torch.stack([torch.zeros_like(distance), torch.zeros_like(distance), distance], -1)
    moved = vertices - middle[:, None] + ahead[:, None]
    flat = moved[..., :2] / moved[..., 2:]
    extent = (flat.amax(1) - flat.amin(1)).amax(-1)
    fill = FILL[0] + (FILL[1] - FILL[0]) * u[:, 1]
    focal = fill / extent
    # The box lies anywhere in the frame, and now and then a little over its edge.
    room = (1 - fill) / 2 + torch.where(u[:, 2] < 0.12, 0.12, 0.0)
    wanted = (u[:, 3:5] * 2 - 1) * room[:, None]
    offset = (flat.amax(1) + flat.amin(1)) / 2
    shift = (wanted / focal[:, None] - offset) * distance[:, None]
    ahead[:, :2] = shift
    return ahead - middle, focal


def scene_hands(scene: Scene, model: HandModel, size: int = 256) -> Hands:
    """The scenes' hands as one frame each, of square pictures of `size` pixels."""
    rotations = angles_to_rotations(model, scene.angles)
    frames = []
    for k in range(len(scene.index)):
        hand = make_hand(
            model,
            pose=rotations[k],
            side=SIDES[int(scene.side[k])],
            orientation=scene.orientation[k],
            translation=scene.translation[k],
            shape=scene.shape[k],
            camera=Camera(float(scene.focal[k])),
            width=size,
            height=size,
        )
        frames.append(Frame(size, size, (hand,)))
    return Hands(tuple(frames))
