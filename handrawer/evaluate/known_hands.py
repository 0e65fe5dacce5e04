"""Hands of known pose and what a fit of their landmarks got right: the measure of ``handrawer.evaluate.fitting``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..estimate.calibration import rig_to_mediapipe
from ..estimate.fit import Fit, Source
from ..hand.anatomy import ANGLE_NAMES, LIMITS, angles_to_rotations, sample_angles
from ..hand.camera import default_camera, project
from ..hand.gestures import GESTURES, gesture_angles
from ..hand.hands import orientation_from_degrees
from ..hand.joints import RIG_JOINTS
from ..hand.model import HandModel, load_open_hand
from ..hand.skinning import PosedHand, axis_angle_to_matrix, pose_hand

WIDTH, HEIGHT = 640, 480
HAND_SIZE = 190.0  # millimetres, wrist to middle fingertip: errors are given for a hand of this size
STRAIGHT = math.radians(10)  # a joint is bent the wrong way if it is this far from where it should be, beyond straight
YAWS = tuple(15 + 45 * turn for turn in range(8))  # never exactly from the edge, where there is no palm or back
PITCHES = (-40, 0, 40)
HINGES = [i for i, name in enumerate(ANGLE_NAMES) if name.endswith("flexion") and "cmc" not in name]


@dataclass(frozen=True, eq=False)
class Known:
    """N hands of the open hand with everything known; float64."""

    angles: Tensor  # [N, 21]
    shape: Tensor  # [N, S]
    orientation: Tensor  # [N, 3, 3]
    translation: Tensor  # [N, 3]
    left: Tensor  # [N] bool
    posed: PosedHand

    @property
    def side(self) -> list[str]:
        return ["left" if left else "right" for left in self.left.tolist()]

    @property
    def facing(self) -> Tensor:
        """[N] cosine between palm normal and view: positive shows the palm."""
        return _facing(self.orientation, self.translation)

    def landmarks(self, source: Source) -> tuple[Tensor, Tensor]:
        """Exact points [N, 21, 2], normalised, and [N, 21, 3] metres in the frame that the source has them in."""
        joints = self.posed.joints
        if source.calibrated:
            joints = rig_to_mediapipe(_exact_model(), self.posed, self.shape, self.left)
        points = project(joints, default_camera(WIDTH, HEIGHT), WIDTH, HEIGHT)
        world = joints - joints.mean(dim=1, keepdim=True)
        return points, world @ _towards(joints.mean(dim=1)) if source.along_ray else world

    def known_thickness(self) -> Tensor:
        """[N, S] the thickness, and NaN for the other coefficients: joints do not show how thick a finger is."""
        shape = torch.full_like(self.shape, torch.nan)
        thickness = load_open_hand().shape_names.index("thickness")
        shape[:, thickness] = self.shape[:, thickness]
        return shape


def random_hands(count: int, seed: int = 0) -> Known:
    """Plausible poses and shapes of both sides, seen from any direction, at 0.5 to 1.5 m."""
    generator = torch.Generator().manual_seed(seed)
    angles = sample_angles(count, generator).double()
    shape = (torch.randn(count, load_open_hand().shape_count, generator=generator) * 0.7).clamp(-1.5, 1.5).double()
    quaternion = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64), dim=1)
    half, axis = torch.acos(quaternion[:, :1].clamp(-1, 1)), torch.nn.functional.normalize(quaternion[:, 1:], dim=1)
    place = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    translation = torch.stack([(place[:, 0] - 0.5) * 0.3, (place[:, 1] - 0.5) * 0.3, 0.5 + place[:, 2]], dim=1)
    left = torch.rand(count, generator=generator) < 0.5
    return known_hands(angles, shape, axis_angle_to_matrix(2 * half * axis), translation, left)


def viewed_gestures(seed: int = 1, directions: int = len(YAWS) * len(PITCHES)) -> Known:
    """Every gesture of both sides from ``directions`` of the 24 directions, each turned at random in the picture."""
    views = [(yaw, pitch) for pitch in PITCHES for yaw in YAWS][:: len(YAWS) * len(PITCHES) // directions]
    rows = [(name, left, *view) for name in GESTURES for left in (False, True) for view in views]
    generator = torch.Generator().manual_seed(seed)
    roll = (torch.rand(len(rows), generator=generator) * 360).tolist()
    turns = torch.stack([orientation_from_degrees(r[2], r[3], a) for r, a in zip(rows, roll, strict=True)])
    shape = (torch.randn(len(rows), load_open_hand().shape_count, generator=generator) * 0.7).clamp(-1.5, 1.5)
    angles = torch.stack([gesture_angles(row[0]) for row in rows])
    place = torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64).expand(len(rows), 3)
    return known_hands(angles.double(), shape.double(), turns.double(), place, torch.tensor([row[1] for row in rows]))


def known_hands(angles: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor, left: Tensor) -> Known:
    model = _exact_model()
    posed = pose_hand(model, angles_to_rotations(model, angles), shape, orientation, translation, left)
    return Known(angles, shape, orientation, translation, left, posed)


def disturbed(points: Tensor, world: Tensor, seed: int, noise: float = 0.02, far: float = 0.5) -> tuple[Tensor, Tensor]:
    """Landmarks [N, 21, 2] and [N, 21, 3] with noise, and one of the 21 quite wrong.

    Args:
        noise: standard deviation over the longer side of the hand's box, and over its size in 3D.
        far: how far off the wrong one is put, in the same units.
    """
    generator = torch.Generator().manual_seed(seed)
    count, size = len(points), torch.tensor([WIDTH, HEIGHT], dtype=points.dtype)
    extent = ((points.amax(dim=1) - points.amin(dim=1)) * size).amax(dim=1)[:, None, None] / size
    span = (world.amax(dim=1) - world.amin(dim=1)).amax(dim=1)[:, None, None]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=points.dtype)

    points, world = points + noise * extent * normal(*points.shape), world + noise * span * normal(*world.shape)
    one = torch.randint(21, (count,), generator=generator)
    row = torch.arange(count)
    points[row, one] += far * extent[:, 0] * torch.nn.functional.normalize(normal(count, 2), dim=1)
    world[row, one] += far * span[:, 0] * torch.nn.functional.normalize(normal(count, 3), dim=1)
    return points, world


@dataclass(frozen=True, eq=False)
class Errors:
    """What N fits missed; lengths in millimetres at a hand of 190 mm."""

    aligned: Tensor
    """[N] mean vertex error after Procrustes (rotation, translation and scale)."""
    rooted: Tensor
    """[N] mean vertex error with the wrists put together."""
    joints: Tensor
    """[N] mean joint error after Procrustes."""
    wrong_way: Tensor
    """[N, 14] bool: hinges and knuckles bent to the other side of straight than they should."""
    facing: Tensor
    """[N] bool: palm or back right."""
    within: Tensor
    """[N] bool: all angles inside their limits."""
    residual: Tensor
    """[N, 21] shares of the hand's box."""


def errors_of(fit: Fit, known: Known) -> Errors:
    model = _exact_model()
    rotations = angles_to_rotations(model, fit.angles)
    found = pose_hand(model, rotations, fit.shape, fit.orientation, fit.translation, known.left)
    ends = model.joint_template[RIG_JOINTS.index(0)], model.template[model.tip_vertices[2]]
    length = ((ends[1] - ends[0]) + (model.shape_dirs[model.tip_vertices[2]] @ known.shape.T).T).norm(dim=1)
    scale = HAND_SIZE / length  # the error in metres over the length, times the size in millimetres
    true, seen = known.posed, found
    rooted = (seen.vertices - seen.joints[:, :1]) - (true.vertices - true.joints[:, :1])
    limits = LIMITS.double()
    bend, wanted = fit.angles[:, HINGES], known.angles[:, HINGES]
    return Errors(
        aligned=(procrustes(seen.vertices, true.vertices) - true.vertices).norm(dim=-1).mean(dim=1) * scale,
        rooted=rooted.norm(dim=-1).mean(dim=1) * scale,
        joints=(procrustes(seen.joints, true.joints) - true.joints).norm(dim=-1).mean(dim=1) * scale,
        wrong_way=(bend * wanted < 0) & ((bend - wanted).abs() > STRAIGHT),
        facing=_facing(fit.orientation, fit.translation) * known.facing > 0,
        within=((fit.angles >= limits[:, 0] - 1e-6) & (fit.angles <= limits[:, 1] + 1e-6)).all(dim=1),
        residual=fit.joint_residual,
    )


def procrustes(points: Tensor, target: Tensor) -> Tensor:
    """Points [N, P, 3] moved, turned and scaled onto targets [N, P, 3] as near as can be (Umeyama 1991)."""
    middle = target.mean(dim=1, keepdim=True)
    a, b = points - points.mean(dim=1, keepdim=True), target - middle
    u, values, vh = torch.linalg.svd(b.mT @ a)
    sign = torch.ones_like(values)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    scale = (values * sign).sum(dim=1) / a.square().sum(dim=(1, 2))
    return scale[:, None, None] * a @ ((u * sign[:, None]) @ vh).mT + middle


def _facing(orientation: Tensor, translation: Tensor) -> Tensor:
    return (orientation[:, :, 2] * torch.nn.functional.normalize(translation, dim=1)).sum(dim=1)


def _towards(middle: Tensor) -> Tensor:
    """[N, 3, 3] the smallest rotations that take (0, 0, 1) to the rays through ``middle`` [N, 3]."""
    ray = torch.nn.functional.normalize(middle, dim=1)
    ahead = torch.tensor([0.0, 0.0, 1.0], dtype=middle.dtype).expand_as(ray)
    axis = torch.linalg.cross(ahead, ray)
    sine = axis.norm(dim=1, keepdim=True)
    angle = torch.atan2(sine, ray[:, 2:])
    return axis_angle_to_matrix(axis * torch.where(sine > 1e-12, angle / sine.clamp_min(1e-12), 1.0))


def _exact_model() -> HandModel:
    return _double(load_open_hand())


_MODELS: dict[int, HandModel] = {}


def _double(model: HandModel) -> HandModel:
    return _MODELS.setdefault(id(model), model.to("cpu", torch.float64))
