"""What the fit moves: a hand's parameters, and the 21 landmarks that follow from them, with their derivatives.

Everything here is a right hand; a left one is fitted in the mirrored picture. A landmark hangs on its own finger alone,
so it is a sum of at most four fixed vectors, each turned by one of the bones on the way to it:

    m = sum over q of Q_q @ c_q(shape),    Q_0 the wrist's rotation, Q_1 to Q_3 the finger's bones'

and every bone's rotation is a product of turns about fixed axes by one angle each. That gives the derivatives by cross
products (the geometric Jacobian of robotics: Whitney 1972, J. Dynamic Systems 94), in about forty tensor operations for
any number of hands, where skinning the mesh and differentiating it would cost a hundred times as much.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.anatomy import ANGLE_NAMES, LIMITS, anatomical_axes, angles_to_rotations, sample_angles
from ..hand.joints import FINGERS, RIG_JOINTS
from ..hand.model import HandModel
from ..hand.skinning import pose_hand
from .calibration import MIDDLE_KNUCKLE, OWN_BONE, PARENT_BONE, offsets_of, rig_to_mediapipe

ANGLES = len(ANGLE_NAMES)
SHAPE_LIMIT = 2.5  # standard deviations
TURNS = 6  # about an axis each, on the way down a finger: three at its base, two at the next joint, one at the last
BONE_OF_TURN = (1, 1, 1, 2, 2, 3)  # the first of the finger's bones that a turn moves


@dataclass(frozen=True, eq=False)
class State:
    """Parameters of R right hands.

    ``place`` is (x / z, y / z, log z) of the middle of the 21 landmarks, which a picture shows nearly independently of
    each other and of the rest.
    """

    form: Tensor  # [R, 21 + S] angles in radians, then shape
    orientation: Tensor  # [R, 3, 3]
    place: Tensor  # [R, 3]

    @property
    def angles(self) -> Tensor:
        """[R, 21] radians."""
        return self.form[:, :ANGLES]

    @property
    def shape(self) -> Tensor:
        """[R, S]"""
        return self.form[:, ANGLES:]

    @property
    def middle(self) -> Tensor:
        """[R, 3] metres, of the landmarks."""
        depth = self.place[:, 2:].exp()
        return torch.cat([self.place[:, :2] * depth, depth], dim=1)

    def moved(self, step: Tensor) -> State:
        """The state after a step [R, 21 + S + 3 + 3]; the orientation turns in the camera frame."""
        count = self.form.shape[1]
        form, turn, place = step.split([count, 3, 3], dim=1)
        return State(self.form + form, rotation_of(turn) @ self.orientation, self.place + place)

    def __getitem__(self, rows) -> State:
        return State(self.form[rows], self.orientation[rows], self.place[rows])

    def where(self, chosen: Tensor, other: State) -> State:
        """This state in the rows chosen [R] bool, the other one's elsewhere."""
        column = chosen[:, None]
        return State(
            torch.where(column, self.form, other.form),
            torch.where(column[..., None], self.orientation, other.orientation),
            torch.where(column, self.place, other.place),
        )

    def put(self, rows: Tensor, part: State) -> None:
        """Overwrite some rows."""
        self.form[rows], self.orientation[rows], self.place[rows] = part.form, part.orientation, part.place


@dataclass(frozen=True, eq=False)
class LandmarkRig:
    """A right hand model reduced to its landmarks; floating point tensors of one type on the CPU."""

    model: HandModel
    """The whole model, float64."""
    calibrated: bool
    """Whether the landmarks are MediaPipe's; else the rig's own joints."""
    limits: Tensor
    """[2, 21 + S] least and greatest angles and shapes."""
    natural: Tensor
    """[21 + S] the mean of natural poses and shapes."""
    stiffness: Tensor
    """[21 + S, 21 + S] their inverse covariance."""
    turn_of_angle: Tensor
    """[21, 30]: angles to the turns of the five fingers, without ``turn_at_zero`` [30]."""
    turn_at_zero: Tensor
    axes: Tensor
    """[5, 6, 3] unit vectors in the rest frame, zero where a finger has no such turn."""
    turns: Tensor
    """[3, 30, 9]: a turn's matrix is turns[0] + cos * turns[1] + sin * turns[2], the rest pose taken out."""
    arms: Tensor
    """[5, 4, 3, 5, 1 + S] metres: what bone q of a finger adds to its four landmarks and the wrist's, by shape."""
    palm_arms: Tensor
    """[5, 4, 3, 5]: the same in palm lengths, the calibrated offsets."""
    palm: Tensor
    """[3, 1 + S] wrist to middle knuckle, metres, by shape."""

    @property
    def dtype(self) -> torch.dtype:
        return self.axes.dtype

    @property
    def shapes(self) -> int:
        return self.palm.shape[1] - 1

    def within_limits(self, state: State) -> State:
        """Angles and shape brought back to their limits."""
        return State(torch.clamp(state.form, self.limits[0], self.limits[1]), state.orientation, state.place)

    def rotations(self, state: State) -> tuple[Tensor, Tensor]:
        """In the camera frame: the bones' [R, 5, 4, 3, 3], and before each turn the rotation [R, 5, 6, 3, 3]."""
        rows = len(state.form)
        turn = (state.angles @ self.turn_of_angle + self.turn_at_zero)[..., None]
        local = (self.turns[0] + turn.cos() * self.turns[1] + turn.sin() * self.turns[2]).view(rows, 5, TURNS, 3, 3)
        before = [state.orientation[:, None].expand(rows, 5, 3, 3)]
        for step in range(TURNS):
            before.append(before[-1] @ local[:, :, step])
        return torch.stack([before[0], before[3], before[5], before[6]], dim=2), torch.stack(before[:TURNS], dim=2)

    def points(self, state: State, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Landmarks [R, 21, 3] about their middle, and the wrist joint [R, 3]; metres, turned to the camera frame.

        ``extra`` [R, 21, 3] is added in the wrist's frame.
        """
        bones, _ = self.rotations(state)
        length = (self.palm[:, 1:] @ state.shape[..., None])[..., 0] + self.palm[:, 0]
        arms = self._arms(state.shape, length.norm(dim=1))
        points = self._ordered((bones @ arms).sum(dim=2).transpose(-1, -2))
        if extra is not None:
            points = points + extra @ state.orientation.mT
        middle = points.mean(dim=1, keepdim=True)
        return points - middle, -middle[:, 0]

    def points_and_slopes(self, state: State, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``points``, and their derivatives [R, 21, 3, 21 + S + 3] by angles, shape and orientation."""
        rows, shapes = len(state.form), self.shapes
        bones, before = self.rotations(state)
        axes = before @ self.axes[..., None]  # [R, 5, 6, 3, 1]
        turned = (bones @ self._arms_and_slopes(state.shape)).view(rows, 5, 4, 3, 5, 1 + shapes)
        moved = turned[..., 0].flip(2).cumsum(dim=2).flip(2)  # [R, 5, 4, 3, 5]: what turns with bone q and beyond
        lever = moved[:, :, BONE_OF_TURN]  # [R, 5, 6, 3, 5]
        by_turn = torch.linalg.cross(axes.expand_as(lever), lever, dim=3)
        chained = by_turn.permute(0, 1, 4, 3, 2).reshape(rows, 5, 15, TURNS) @ self._chain
        together = torch.cat(
            [turned.sum(dim=2).transpose(2, 3), chained.view(rows, 5, 5, 3, ANGLES)], dim=-1
        )  # point, shapes, angles
        together = together.flatten(1, 2).index_select(1, self._order)
        if extra is not None:
            together[..., 0] += extra @ state.orientation.mT
        together = together - together.mean(dim=1, keepdim=True)
        points = together[..., 0]
        about = (points @ self._cross).view(rows, 21, 3, 3)
        return points, torch.cat([together[..., 1 + shapes :], together[..., 1 : 1 + shapes], about], dim=-1)

    def _arms_and_slopes(self, shape: Tensor) -> Tensor:
        """[R, 5, 4, 3, 5 * (1 + S)] the arms, and their derivatives by shape."""
        rows, shapes = shape.shape
        length = shape @ self.palm[:, 1:].T + self.palm[:, 0]
        palm = length.norm(dim=1, keepdim=True)
        # Each row of the mixture makes one column of the answer from (arms at rest, by shape; in palm lengths).
        mixture = self._mixture.expand(rows, 1 + shapes, 2 + shapes).clone()
        mixture[:, 0, 1 : 1 + shapes] = shape
        mixture[:, 0, 1 + shapes] = palm[:, 0]
        mixture[:, 1:, 1 + shapes] = length @ self.palm[:, 1:] / palm
        return (self._all_arms @ mixture.mT).view(rows, 5, 4, 3, 5 * (1 + shapes))

    @functools.cached_property
    def _mixture(self) -> Tensor:
        """[1 + S, 2 + S] identity, and a column for the palm's length."""
        return torch.eye(1 + self.shapes, 2 + self.shapes, dtype=self.dtype)

    @functools.cached_property
    def _all_arms(self) -> Tensor:
        """[5 * 4 * 3 * 5, 1 + S + 1]"""
        return torch.cat([self.arms, self.palm_arms[..., None]], dim=-1).flatten(0, 3)

    @functools.cached_property
    def _order(self) -> Tensor:
        return torch.tensor(_ORDER)

    @functools.cached_property
    def exact(self) -> bool:
        """Whether the landmarks are exactly the model's: no pose correctives, and tips that hang on their finger."""
        tips = self.model.weights[self.model.tip_vertices]
        own = sum(float(tips[f, [0, 1 + 3 * f, 2 + 3 * f, 3 + 3 * f]].sum()) for f in range(5))
        return self.model.pose_dirs is None and own > 5 - 1e-5

    def shortfall(self, state: State) -> Tensor:
        """[R, 21, 3] metres in the wrist's frame: what ``points`` lacks of the model's landmarks, the ``extra``."""
        rows, model = len(state.form), self._tips_alone
        angles, shape = state.angles.double(), state.shape.double()
        still = torch.zeros(rows, 3, dtype=torch.float64)
        right = torch.zeros(rows, dtype=torch.bool)
        identity = torch.eye(3, dtype=torch.float64).expand(rows, 3, 3)
        posed = pose_hand(model, angles_to_rotations(self.model, angles), shape, identity, still, right)
        landmarks = rig_to_mediapipe(model, posed, shape, right) if self.calibrated else posed.joints
        points, wrist = self.points(dataclasses.replace(state, orientation=identity.to(self.dtype)))
        return landmarks.to(self.dtype) - (points - wrist[:, None])

    @functools.cached_property
    def _tips_alone(self) -> HandModel:
        """The model with its five tips for a mesh."""
        model, tips = self.model, self.model.tip_vertices
        return dataclasses.replace(
            model,
            template=model.template[tips],
            faces=model.faces[:0],
            shape_dirs=model.shape_dirs[tips],
            weights=model.weights[tips],
            tip_vertices=torch.arange(len(tips)),
            pose_dirs=None if model.pose_dirs is None else model.pose_dirs[tips],
            parts=model.parts[tips],
            regions={},
        )

    @functools.cached_property
    def _cross(self) -> Tensor:
        """[3, 9]: points times this is, flat, the derivative [3, 3] of each by a turn about the camera's three axes."""
        return -_SKEW.to(self.dtype)

    @functools.cached_property
    def _chain(self) -> Tensor:
        """[5, 6, 21] turns by angles."""
        return self.turn_of_angle.T.reshape(5, TURNS, ANGLES).contiguous()

    def _arms(self, shape: Tensor, palm: Tensor) -> Tensor:
        """[R, 5, 4, 3, 5]"""
        by_shape = shape @ self.arms[..., 1:].reshape(-1, self.shapes).T
        arms = self.arms[..., 0] + palm[:, None, None, None, None] * self.palm_arms
        return arms + by_shape.view(arms.shape)

    @staticmethod
    def _ordered(grid: Tensor) -> Tensor:
        """[R, 5 fingers, 4 landmarks and the wrist, ...] to the 21 landmarks [R, 21, ...]."""
        return grid.flatten(1, 2)[:, _ORDER]


# The wrist is in every finger; the first one's is taken.
_ORDER = [4] + [5 * finger + joint for finger in range(5) for joint in range(4)]
# vector @ _SKEW is its cross product matrix, flat.
_SKEW = torch.tensor(
    [[0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]], dtype=torch.float64
)


@functools.lru_cache(maxsize=4)
def _rotation_constants(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.eye(3, dtype=dtype), _SKEW.to(dtype)


def rotation_of(vector: Tensor) -> Tensor:
    """[R, 3] rotation vectors to [R, 3, 3], with few operations (no gradient is needed at zero)."""
    identity, cross = _rotation_constants(vector.dtype)
    skew = (vector @ cross).view(-1, 3, 3)
    half = vector.norm(dim=1)[:, None, None] * (0.5 / math.pi)
    # (1 - cos a) / a^2 = sinc(a / 2)^2 / 2
    return identity + half.mul(2).sinc() * skew + half.sinc().square() * 0.5 * (skew @ skew)


@functools.lru_cache(maxsize=8)
def landmark_rig(model: HandModel, dtype: torch.dtype = torch.float32, calibrated: bool = True) -> LandmarkRig:
    """The reduced model on the CPU; its landmarks are MediaPipe's, or the rig's own joints if not ``calibrated``."""
    with torch.inference_mode(False):
        model = model.to("cpu", torch.float64)
        to_turns, at_zero, axes, turns = _turns(model)
        arms, palm_arms, palm = _arms(model, calibrated)
        natural = torch.cat([_natural_poses()[0], torch.zeros(model.shape_count, dtype=torch.float64)])
        stiffness = torch.block_diag(_natural_poses()[1], torch.eye(model.shape_count, dtype=torch.float64))
        bound = torch.full((model.shape_count,), SHAPE_LIMIT, dtype=torch.float64)
        limits = torch.stack([torch.cat([LIMITS[:, 0], -bound]), torch.cat([LIMITS[:, 1], bound])])
        parts = (limits, natural, stiffness, to_turns, at_zero, axes, turns, arms, palm_arms, palm)
        return LandmarkRig(model, calibrated, *(part.to(dtype) for part in parts))


def _turns(model: HandModel) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fields ``turn_of_angle``, ``turn_at_zero``, ``axes`` and ``turns``."""
    anatomy = anatomical_axes(model)
    to_turns = torch.zeros(ANGLES, 5, TURNS, dtype=torch.float64)
    at_zero = torch.zeros(5, TURNS, dtype=torch.float64)
    axes = torch.zeros(5, TURNS, 3, dtype=torch.float64)
    after = torch.eye(3, dtype=torch.float64).repeat(5, TURNS, 1, 1)
    for finger in range(5):
        base = 3 * finger
        first = 0 if finger == 0 else 5 + 4 * (finger - 1)
        axes[finger, 0], axes[finger, 1] = anatomy.flexion[base], anatomy.abduction[base]
        to_turns[first, finger, 0] = to_turns[first + 1, finger, 1] = 1
        after[finger, 2] = anatomy.unrest[0 if finger == 0 else finger + 1]
        hinges = ((2, 5, first + 4),) if finger == 0 else ((1, 3, first + 2), (2, 5, first + 3))
        for joint, turn, angle in hinges:
            axes[finger, turn] = anatomy.flexion[base + joint]
            to_turns[angle, finger, turn], at_zero[finger, turn] = 1, -anatomy.rest[angle]
    axes[0, 2] = anatomy.bone[0]  # the thumb's base turns about its bone as well
    to_turns[0, 0, 2], to_turns[1, 0, 2] = anatomy.pronation
    axes[0, 3], axes[0, 4], after[0, 4] = anatomy.flexion[1], anatomy.abduction[1], anatomy.unrest[1]
    to_turns[2, 0, 3] = to_turns[3, 0, 4] = 1
    skew = (axes @ _SKEW).view(5, TURNS, 3, 3)
    outer = axes[..., None] * axes[..., None, :]
    there = axes.norm(dim=-1)[..., None, None] > 0
    identity = torch.eye(3, dtype=torch.float64).expand_as(outer)
    parts = torch.stack([torch.where(there, outer, identity), torch.where(there, identity - outer, 0 * outer), skew])
    return to_turns.flatten(1), at_zero.flatten(), axes, (parts @ after).view(3, 5 * TURNS, 9)


def _arms(model: HandModel, calibrated: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The fields ``arms``, ``palm_arms`` and ``palm``."""
    joints = torch.cat([model.joint_template[..., None], model.joint_shape_dirs], dim=-1)  # [16, 3, 1 + S]
    joints = joints - joints[:1]
    vertices = torch.cat([model.template[..., None], model.shape_dirs], dim=-1)[model.tip_vertices]
    vertices = vertices - torch.cat([model.joint_template[:1, :, None], model.joint_shape_dirs[:1]], dim=-1)
    arms = torch.zeros(5, 4, 3, 5, joints.shape[-1], dtype=torch.float64)
    palm_arms = torch.zeros(5, 4, 3, 5, dtype=torch.float64)
    offsets = offsets_of(model) if calibrated else torch.zeros(21, 2, 3, dtype=torch.float64)
    for finger, landmarks in enumerate(FINGERS.values()):
        chain = joints[1 + 3 * finger : 4 + 3 * finger]
        bones = torch.cat([chain[:1], chain.diff(dim=0)])
        for joint in range(3):
            for bone in range(joint + 1):
                arms[finger, bone, :, joint] = bones[bone]
        weights = _tip_weights(model, finger)
        for bone, weight in enumerate(weights):  # linear blend skinning of the tip's vertex
            start = joints[0] if bone == 0 else chain[bone - 1]
            arms[finger, bone, :, 3] += weight * (vertices[finger] - start)
            for before in range(bone):
                arms[finger, before, :, 3] += weight * bones[before]
        for place, landmark in enumerate((*landmarks, 0)):
            for carriers, offset in ((OWN_BONE, offsets[landmark, 0]), (PARENT_BONE, offsets[landmark, 1])):
                bone = carriers[landmark]
                palm_arms[finger, 0 if bone == 0 else bone - 3 * finger, :, place] += offset
    return arms, palm_arms, joints[RIG_JOINTS.index(MIDDLE_KNUCKLE)]


def _tip_weights(model: HandModel, finger: int) -> list[float]:
    """Skinning weights of a tip on the wrist and its finger's three bones; other fingers' go to the wrist."""
    weights = model.weights[model.tip_vertices[finger]]
    own = weights[1 + 3 * finger : 4 + 3 * finger].tolist()
    return [1 - sum(own), *own]


@functools.lru_cache(maxsize=1)
def _natural_poses() -> tuple[Tensor, Tensor]:
    """Mean and inverse covariance of natural poses, from the sampler of plausible hands (its own seed)."""
    angles = sample_angles(2048, torch.Generator().manual_seed(20250304)).double()
    mean = angles.mean(dim=0)
    spread = angles.T.cov() + torch.eye(ANGLES, dtype=torch.float64) * 0.06**2  # no direction is quite forbidden
    return mean, torch.linalg.inv(spread)
