"""What the fit moves: a hand's parameters as one state, and the 21 landmarks that follow from them."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.anatomy import ANGLE_NAMES, LIMITS, angles_to_rotations, sample_angles
from ..hand.model import HandModel
from ..hand.skinning import axis_angle_to_matrix, pose_hand
from .calibration import rig_to_mediapipe

ANGLES = len(ANGLE_NAMES)
SHAPE_LIMIT = 2.5  # standard deviations


@dataclass(frozen=True)
class State:
    """Parameters of R hands, float64.

    ``place`` is the wrist's (x / z, y / z, log z), which are nearly independent of each other in a picture.
    """

    angles: Tensor  # [R, 21] radians
    shape: Tensor  # [R, S]
    orientation: Tensor  # [R, 3, 3]
    place: Tensor  # [R, 3]

    @property
    def translation(self) -> Tensor:
        """[R, 3] metres."""
        depth = self.place[:, 2:].exp()
        return torch.cat([self.place[:, :2] * depth, depth], dim=1)

    def moved(self, step: Tensor) -> State:
        """The state after a step [R, 21 + S + 3 + 3]; the orientation turns in the camera frame."""
        angles, shape, turn, place = step.split([ANGLES, self.shape.shape[1], 3, 3], dim=1)
        turned = axis_angle_to_matrix(turn) @ self.orientation
        return State(self.angles + angles, self.shape + shape, turned, self.place + place)

    def within_limits(self) -> State:
        """Angles and shape brought back to their limits."""
        limits = LIMITS.to(self.angles)
        angles = torch.minimum(torch.maximum(self.angles, limits[:, 0]), limits[:, 1])
        return dataclasses.replace(self, angles=angles, shape=self.shape.clamp(-SHAPE_LIMIT, SHAPE_LIMIT))

    def at_limits(self, uphill: Tensor) -> Tensor:
        """[R, P] bool: parameters at a limit that a step against the gradient ``uphill`` [R, P] would push over."""
        limits = LIMITS.to(self.angles)
        low = torch.cat([self.angles <= limits[:, 0], self.shape <= -SHAPE_LIMIT], dim=1)
        high = torch.cat([self.angles >= limits[:, 1], self.shape >= SHAPE_LIMIT], dim=1)
        bounded = low.shape[1]
        held = torch.zeros_like(uphill, dtype=torch.bool)
        held[:, :bounded] = (low & (uphill[:, :bounded] > 0)) | (high & (uphill[:, :bounded] < 0))
        return held

    def __getitem__(self, rows) -> State:
        return State(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def where(self, chosen: Tensor, other: State) -> State:
        """This state in the rows chosen [R] bool, the other one's elsewhere."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return State(*(torch.where(chosen.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs))


def join(states: list[State]) -> State:
    """The rows of several states, one after the other."""
    return State(*(torch.cat([getattr(s, f.name) for s in states]) for f in dataclasses.fields(State)))


@dataclass(frozen=True, eq=False)
class LandmarkRig:
    """A hand model reduced to what its landmarks need: joints, and the five tip vertices instead of the mesh."""

    model: HandModel
    prior_mean: Tensor
    """[21] natural angles."""
    prior_scale: Tensor
    """[21, 21]: ``(angles - mean) @ scale.T`` is white for natural poses."""

    def points(self, state: State, left: Tensor) -> Tensor:
        """MediaPipe's points [R, 21, 3] in metres, camera frame."""
        rotations = angles_to_rotations(self.model, state.angles)
        posed = pose_hand(self.model, rotations, state.shape, state.orientation, state.translation, left)
        return rig_to_mediapipe(self.model, posed, state.shape, left)


@functools.lru_cache(maxsize=4)
def landmark_rig(model: HandModel) -> LandmarkRig:
    """The reduced model in double precision on the CPU."""
    tips = model.tip_vertices.cpu()
    full = model.to("cpu", torch.float64)
    reduced = dataclasses.replace(
        full,
        template=full.template[tips],
        faces=full.faces[:0],
        shape_dirs=full.shape_dirs[tips],
        weights=full.weights[tips],
        tip_vertices=torch.arange(len(tips)),
        pose_dirs=None if full.pose_dirs is None else full.pose_dirs[tips],
        parts=full.parts[tips],
        regions={},
    )
    return LandmarkRig(reduced, *_natural_poses())


@functools.lru_cache(maxsize=1)
def _natural_poses() -> tuple[Tensor, Tensor]:
    """Mean and whitening of natural poses, from the sampler of plausible hands (its own seed, nothing global)."""
    angles = sample_angles(2048, torch.Generator().manual_seed(20250304)).double()
    mean = angles.mean(dim=0)
    spread = angles.T.cov() + torch.eye(ANGLES, dtype=torch.float64) * 0.06**2  # no direction is quite forbidden
    return mean, torch.linalg.inv(torch.linalg.cholesky(spread))
