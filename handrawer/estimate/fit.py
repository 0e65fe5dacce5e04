"""Landmarks to posed meshes: pose, shape, orientation and place of a hand model under the joint limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.anatomy import angles_to_rotations
from ..hand.camera import Camera, default_camera
from ..hand.hands import SIDES, Hand, make_hand
from ..hand.model import HandModel
from ..hand.skinning import pose_hand
from .rig import LandmarkRig, State, landmark_rig
from .solver import Residuals, minimise
from .start import starts

# Standard deviations of what the fit weighs against each other.
POINT_SIGMA = 0.01  # of the landmarks, in shares of the longer side of their box
WORLD_SIGMA = 0.025  # metres, of the world landmarks
PRIOR_WEIGHT = 0.6  # of natural poses; 1 would trust the sampler's poses as much as the landmarks
SHAPE_SIGMA = 1.0

FLAT_STARTS = {True: 2, False: 8}  # starts from the picture alone, with world landmarks and without
SCREENING, POLISHING = 6, 30  # iterations for every start, and for the best one of each hand
KEPT_STARTS = 2
HANDS_AT_ONCE = 16  # bounds memory
REACH = 0.5  # metres, more than any vertex lies from the wrist
NEAREST = 0.02  # metres, of any vertex to the camera
LEAST_EXTENT = 1e-4  # tangent of the viewing angle; landmarks nearer together show nothing


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted parameters of N hands, float64."""

    angles: Tensor
    """[N, 21] radians, within the limits."""
    shape: Tensor
    """[N, S]."""
    orientation: Tensor
    """[N, 3, 3]."""
    translation: Tensor
    """[N, 3] metres."""
    points: Tensor
    """[N, 21, 2] where the fitted hands' landmarks project to, normalised."""
    residual: Tensor
    """[N] mean distance between given and fitted landmarks (by their weights), over the longer side of the given ones'
    box, in pixels."""
    loss: Tensor
    """[N] what was minimised; comparable between fits of the same landmarks."""

    def replaced(self, row: int, other: Fit, other_row: int) -> Fit:
        """A copy in which one row is another fit's."""
        changed = {}
        for field in dataclasses.fields(self):
            changed[field.name] = getattr(self, field.name).clone()
            changed[field.name][row] = getattr(other, field.name)[other_row]
        return Fit(**changed)


def fit_hands(
    model: HandModel,
    points: Tensor,
    width: int,
    height: int,
    side: Sequence[str],
    world: Tensor | None = None,
    *,
    confidence: Sequence[float] | None = None,
    camera: Camera | None = None,
    weights: Tensor | None = None,
) -> list[Hand]:
    """Hands whose meshes project onto MediaPipe's landmarks.

    Args:
        model: "open", or another one.
        points: [N, 21, 2] normalised picture coordinates, MediaPipe's points, not the rig's joints.
        width, height: of the picture, pixels.
        side: "left" or "right" for each of the N.
        world: [N, 21, 3] metres, MediaPipe's world landmarks; they tell near from far where the picture does not.
        confidence: of the N hands, 0 to 1; 1 if None.
        camera: ``default_camera`` if None. The depth follows from the size of the model's hand (about 19 cm).
        weights: [N, 21] from 0 to 1, how far each point is believed, 1 if None; a point of weight 0 plays no part, but
            where the fit starts.

    Returns:
        N hands, in the order given.
    """
    found = fit_landmarks(model, points, width, height, side, world, camera=camera, weights=weights)
    return hands_of_fit(found, model, side, width, height, confidence, camera)


def hands_of_fit(
    fit: Fit,
    model: HandModel,
    side: Sequence[str],
    width: int,
    height: int,
    confidence: Sequence[float] | None = None,
    camera: Camera | None = None,
    notes: Sequence[tuple[str, ...]] | None = None,
) -> list[Hand]:
    """The N hands of a fit with their meshes; the arguments are those of the fit, and one note tuple a hand."""
    moved = _before_the_camera(model, fit, side)
    return [
        make_hand(
            model, angles=fit.angles[i], side=side[i], orientation=fit.orientation[i], translation=moved[i],
            shape=fit.shape[i], camera=camera, width=width, height=height,
            confidence=1.0 if confidence is None else float(confidence[i]), notes=() if notes is None else notes[i],
        )
        for i in range(len(side))
    ]  # fmt: skip


def _before_the_camera(model: HandModel, fit: Fit, side: Sequence[str]) -> Tensor:
    """[N, 3] translations, for hands that would reach behind the camera moved away along the wrist's ray.

    Landmarks of a real picture never ask for that; absurd ones must not stop the batch.
    """
    near = torch.nonzero(fit.translation[:, 2] < REACH)[:, 0]
    translation = fit.translation.clone()
    if len(near):
        full = model.to("cpu", torch.float64)
        rotations = angles_to_rotations(full, fit.angles[near])
        left = torch.tensor([side[i] == "left" for i in near.tolist()])
        posed = pose_hand(full, rotations, fit.shape[near], fit.orientation[near], translation[near], left)
        missing = (NEAREST - posed.vertices[..., 2].amin(dim=1)).clamp_min(0)
        translation[near] *= 1 + (missing / translation[near, 2])[:, None]
    return translation


def fit_landmarks(
    model: HandModel,
    points: Tensor,
    width: int,
    height: int,
    side: Sequence[str],
    world: Tensor | None = None,
    *,
    camera: Camera | None = None,
    weights: Tensor | None = None,
) -> Fit:
    """The parameters behind ``fit_hands``, with how well they explain the landmarks. Deterministic.

    It needs no gradients and works in inference mode; what it returns is plain tensors there too.
    """
    with torch.inference_mode(False), torch.no_grad():
        points = points.detach().clone().to("cpu", torch.float64)
        world = None if world is None else world.detach().clone().to("cpu", torch.float64)
        _check(points, side, world)
        weights = _believed(weights, len(points))
        camera = camera or default_camera(width, height)
        rig = landmark_rig(model)
        left = torch.tensor([s == "left" for s in side], dtype=torch.bool)
        flat = _tangents(points, camera, width, height)
        chunks = [
            _fit_some(rig, flat[i : i + HANDS_AT_ONCE], left[i : i + HANDS_AT_ONCE],
                      None if world is None else world[i : i + HANDS_AT_ONCE], weights[i : i + HANDS_AT_ONCE])
            for i in range(0, len(side), HANDS_AT_ONCE)
        ]  # fmt: skip
        if not chunks:
            return _empty(model.shape_count)
        angles, shape, orientation, translation, fitted, loss = (torch.cat(c) for c in zip(*chunks, strict=True))
        pixels = torch.tensor([width, height], dtype=torch.float64)
        drawn = fitted * torch.tensor([1.0, width / height]) * camera.focal + torch.tensor([camera.cx, camera.cy])
        extent = ((points.amax(dim=1) - points.amin(dim=1)) * pixels).amax(dim=1).clamp_min(1e-9)
        distance = ((drawn - points) * pixels).norm(dim=-1) * weights
        residual = distance.sum(dim=1) / weights.sum(dim=1).clamp_min(1e-9) / extent
        return Fit(angles, shape, orientation, translation, drawn, residual, loss)


def _fit_some(
    rig: LandmarkRig, flat: Tensor, left: Tensor, world: Tensor | None, weights: Tensor
) -> tuple[Tensor, ...]:
    """Fit N hands given as tangents [N, 21, 2]: angles, shape, orientation, translation, tangents, loss."""
    problem = _Problem(rig, flat, left, None if world is None else _to_camera(world, flat), weights)
    state = starts(rig, flat, left, problem.world, FLAT_STARTS[world is not None])
    count = len(state.place) // len(flat)
    hand = torch.arange(len(flat)).repeat_interleave(count)
    state, loss = minimise(lambda s, rows: problem.residuals(s, hand[rows]), state, SCREENING)
    order = loss.view(-1, count).argsort(dim=1, stable=True)[:, :KEPT_STARTS]
    kept = (order + torch.arange(len(flat))[:, None] * count).flatten()
    state, hand = state[kept], hand[kept]
    state, loss = minimise(lambda s, rows: problem.residuals(s, hand[rows]), state, POLISHING)
    per_hand = loss.view(len(flat), -1)
    best = per_hand.argmin(dim=1) + torch.arange(len(flat)) * per_hand.shape[1]
    state, loss = state[best], loss[best]
    drawn = _drawn(rig.points(state, left))
    return state.angles, state.shape, state.orientation, state.translation, drawn, loss


class _Problem:
    """The residuals of N hands against their landmarks."""

    def __init__(self, rig: LandmarkRig, flat: Tensor, left: Tensor, world: Tensor | None, weights: Tensor):
        self.rig, self.flat, self.left, self.weights = rig, flat, left, weights
        self.extent = (flat.amax(dim=1) - flat.amin(dim=1)).amax(dim=1).clamp_min(LEAST_EXTENT)
        self.world = world

    def residuals(self, state: State, hand: Tensor) -> Residuals:
        """Of states whose rows belong to the hands [rows]."""
        points = self.rig.points(state, self.left[hand])
        drawn = (_drawn(points) - self.flat[hand]) / (POINT_SIGMA * self.extent[hand])[:, None, None]
        robust = [drawn * self.weights[hand][..., None]]
        if self.world is not None:
            centred = points - points.mean(dim=1, keepdim=True)
            robust.append((centred - self.world[hand]) / WORLD_SIGMA)
        natural = (state.angles - self.rig.prior_mean) @ self.rig.prior_scale.mT * PRIOR_WEIGHT
        return Residuals(tuple(robust), torch.cat([natural, state.shape / SHAPE_SIGMA], dim=1))


def _drawn(points: Tensor) -> Tensor:
    """[..., 3] to tangents [..., 2]; points behind the camera are kept finite, and so far off that none stays there."""
    return points[..., :2] / points[..., 2:].clamp_min(1e-3)


def _tangents(points: Tensor, camera: Camera, width: int, height: int) -> Tensor:
    """Normalised picture coordinates to (x / z, y / z)."""
    away = points - torch.tensor([camera.cx, camera.cy], dtype=torch.float64)
    return away / camera.focal * torch.tensor([1.0, height / width], dtype=torch.float64)


def _to_camera(world: Tensor, flat: Tensor) -> Tensor:
    """World landmarks [N, 21, 3] centred, and turned from the frame of the ray through the hand to the camera's.

    The network sees a crop round the hand, as if the camera pointed at it.
    """
    centre = flat.mean(dim=1)
    ray = torch.nn.functional.normalize(torch.cat([centre, torch.ones_like(centre[:, :1])], dim=1), dim=1)
    x, y, z = ray.unbind(dim=1)
    # The smallest rotation that takes (0, 0, 1) to the ray.
    k = 1 / (1 + z)
    rows = [[1 - k * x * x, -k * x * y, x], [-k * x * y, 1 - k * y * y, y], [-x, -y, z]]
    turn = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return (world - world.mean(dim=1, keepdim=True)) @ turn.mT


def _check(points: Tensor, side: Sequence[str], world: Tensor | None) -> None:
    if points.dim() != 3 or tuple(points.shape[1:]) != (21, 2):
        raise ValueError(f"Landmarks have shape {tuple(points.shape)}, expected (hands, 21, 2).")
    if len(side) != len(points) or any(s not in SIDES for s in side):
        raise ValueError(f"{len(points)} hands need as many sides, 'left' or 'right'; got {list(side)}.")
    if world is not None and tuple(world.shape) != (len(points), 21, 3):
        raise ValueError(f"World landmarks have shape {tuple(world.shape)}, expected ({len(points)}, 21, 3).")
    for name, value in (("Landmarks", points), ("World landmarks", world)):
        if value is not None and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} have numbers that are not finite.")


def _believed(weights: Tensor | None, hands: int) -> Tensor:
    """[N, 21] float64 weights of the landmarks."""
    if weights is None:
        return torch.ones(hands, 21, dtype=torch.float64)
    weights = weights.detach().clone().to("cpu", torch.float64)
    if tuple(weights.shape) != (hands, 21) or not bool(((weights >= 0) & (weights <= 1)).all()):
        raise ValueError(f"Weights of landmarks are numbers from 0 to 1 of shape ({hands}, 21).")
    return weights


def _empty(shapes: int) -> Fit:
    sizes = ((21,), (shapes,), (3, 3), (3,), (21, 2), (), ())
    return Fit(*(torch.zeros(0, *size, dtype=torch.float64) for size in sizes))
