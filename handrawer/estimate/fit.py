"""Landmarks to posed meshes: pose, shape, orientation and place of a hand model under the joint limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..hand.camera import Camera, default_camera
from ..hand.hands import SIDES, Hand
from ..hand.model import HandModel
from .build import build_hands
from .rig import ANGLES, State, landmark_rig
from .solver import BEHIND, Problem, minimise
from .start import starts_from_picture, starts_from_world

DTYPE = torch.float32  # of the solver: twice as fast as double, and exact to a hundredth of a pixel
PICTURE_STARTS, KEPT_STARTS = 6, 2  # starts from the picture of each hand, and how many of them are followed to the end
SCREENING, POLISHING = 4, 24  # iterations for every start, and for those that are kept
POOR = 0.04  # share of the box; a fit that misses its landmarks by more is tried again from the picture
CORRECTIONS = 2  # rounds for what a model's landmarks have beyond the rig's: pose correctives, blended tips
LEAST_EXTENT = 1e-4  # tangent of the viewing angle; landmarks nearer together show nothing
AGREEMENT = 0.04  # share of the hand's box; a landmark that far from the fitted one is half believed


@dataclass(frozen=True)
class Source:
    """Where landmarks come from: what they mark, and how exact they are."""

    point_sigma: float = 0.015
    """Standard deviation of the points, in shares of the longer side of their box."""
    world_sigma: float = 0.04
    """Metres, of the 3D points."""
    prior_weight: float = 0.8
    """Of natural poses and shapes; 1 would trust them as much as the landmarks."""
    calibrated: bool = True
    """MediaPipe's points, which lie beside the joints on the skin; False: the rig's own joints."""
    along_ray: bool = True
    """3D points are in the frame of a camera that looks straight at the hand, as MediaPipe's are; False: the
    picture's camera."""


MEDIAPIPE = Source()
JOINTS = Source(point_sigma=0.001, world_sigma=0.001, prior_weight=0.6, calibrated=False, along_ray=False)
"""Known joints of a rig, for instance another hand model's or a motion capture's."""


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
    joint_residual: Tensor
    """[N, 21] the distance at each landmark, over the longer side of the given ones' box (pixels)."""
    joint_confidence: Tensor
    """[N, 21] from 0 to 1: how far the landmark was believed. 0.5 where it is 4 % of the box off a possible hand."""

    def __getitem__(self, rows) -> Fit:
        """The fit of some of the hands, by an index of rows."""
        return Fit(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})

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
    shape: Tensor | None = None,
    group: Sequence[int] | None = None,
    source: Source = MEDIAPIPE,
) -> list[Hand]:
    """Hands whose meshes project onto MediaPipe's landmarks.

    Args:
        model: "open", or another one.
        points: [N, 21, 2] normalised picture coordinates, MediaPipe's points, not the rig's joints (see ``source``).
        width, height: of the picture, pixels.
        side: "left" or "right" for each of the N.
        world: [N, 21, 3] metres, MediaPipe's world landmarks; they tell near from far where the picture does not.
        confidence: of the N hands, 0 to 1; 1 if None.
        camera: ``default_camera`` if None. The depth follows from the size of the model's hand (about 19 cm).
        weights: [N, 21] from 0 to 1, how far each landmark is believed, 1 if None; one of weight 0 plays no part.
        shape: [N, S] coefficients that are known, NaN where they are not.
        group: a number for each hand: hands with the same one are views of one hand and get one shape.
        source: what the landmarks are; ``JOINTS`` for exact joints.

    Returns:
        N hands, in the order given, with their confidence and residual at each joint.
    """
    found = fit_landmarks(model, points, width, height, side, world, camera=camera, weights=weights, shape=shape,
                          group=group, source=source)  # fmt: skip
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
    unsure: Sequence[bool] | None = None,
) -> list[Hand]:
    """The N hands of a fit with their meshes; the arguments are those of the fit, and one note tuple a hand."""
    hands = build_hands(
        model, fit.angles, side, fit.orientation, fit.translation, fit.shape, camera or default_camera(width, height),
        width, height,
    )  # fmt: skip
    return [
        hand.replace(
            confidence=1.0 if confidence is None else float(confidence[i]),
            notes=() if notes is None else tuple(notes[i]),
            unsure=False if unsure is None else bool(unsure[i]),
            joint_confidence=fit.joint_confidence[i],
            joint_residual=fit.joint_residual[i],
        )
        for i, hand in enumerate(hands)
    ]


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
    shape: Tensor | None = None,
    group: Sequence[int] | None = None,
    source: Source = MEDIAPIPE,
) -> Fit:
    """The parameters behind ``fit_hands``, with how well they explain the landmarks. Deterministic.

    It needs no gradients and works in inference mode; what it returns is plain tensors there too.
    """
    with torch.inference_mode(False), torch.no_grad():
        points = points.detach().clone().to("cpu", torch.float64)
        world = None if world is None else world.detach().clone().to("cpu", torch.float64)
        _check(model, points, side, world, shape, group)
        if not len(side):
            return _empty(model.shape_count)
        camera = camera or default_camera(width, height)
        left = torch.tensor([s == "left" for s in side])
        problem = _problem(model, points, width, height, left, world, camera, weights, shape, source)
        state, loss = _solve(problem)
        for _ in range(0 if problem.rig.exact else CORRECTIONS):
            problem = dataclasses.replace(problem, extra=problem.rig.shortfall(state))
            state, loss = minimise(problem, state, POLISHING, cauchy=True)
        if group is not None:
            problem, state = _one_shape_a_group(problem, state, group)
            state, loss = minimise(problem, state, POLISHING, cauchy=True)
        return _fit_of(problem, state, loss, left, points, camera, width, height)


def _problem(
    model: HandModel, points: Tensor, width: int, height: int, left: Tensor, world: Tensor | None, camera: Camera,
    weights: Tensor | None, shape: Tensor | None, source: Source,
) -> Problem:  # fmt: skip
    """What is to be solved, with left hands mirrored to right ones."""
    rig = landmark_rig(model, DTYPE, source.calibrated)
    flat = _tangents(points, camera, width, height)
    count, believed = len(points), _believed(weights, len(points))
    extent = _extent(flat, believed).clamp_min(LEAST_EXTENT)
    if world is not None:
        world = world - world.mean(dim=1, keepdim=True)
        world = _to_camera(world, flat) if source.along_ray else world
        world = (world * _mirror(left, 3)).to(DTYPE)
    given = torch.full((count, rig.shapes), torch.nan) if shape is None else shape.detach().to("cpu", DTYPE)
    known, natural = ~given.isnan(), rig.natural[:ANGLES].expand(count, ANGLES)
    return Problem(
        rig=rig,
        flat=(flat * _mirror(left, 2)).to(DTYPE),
        world=world,
        weight=believed,
        scale=(1 / (source.point_sigma * extent)).to(DTYPE),
        world_scale=1 / source.world_sigma,
        prior_weight=source.prior_weight,
        expected=torch.cat([natural, torch.where(known, given, rig.natural[ANGLES:])], dim=1),
        known=torch.cat([torch.zeros(count, ANGLES, dtype=torch.bool), known], dim=1),
    )


def _solve(problem: Problem) -> tuple[State, Tensor]:
    """States and losses of the N hands: from the world landmarks, or from the picture where they are not there or fail.

    The picture's starts cost several times as much, and world landmarks seldom mislead.
    """
    if problem.world is None:
        return _from_picture(problem)
    state = starts_from_world(problem.rig, problem.flat, problem.world, problem.weight)
    state, loss = minimise(problem, _with_shape(problem, state), POLISHING, cauchy=True)
    poor = torch.nonzero(_misses(problem, state) > POOR)[:, 0]
    if len(poor):
        other, other_loss = _from_picture(problem[poor])
        better = other_loss < loss[poor]
        state = state[torch.arange(len(loss))]
        state.put(poor[better], other[better])
        loss[poor] = torch.minimum(loss[poor], other_loss)
    return state, loss


def _from_picture(problem: Problem) -> tuple[State, Tensor]:
    """States and losses of the hands, from the picture's starts."""
    count = len(problem.flat)
    state = starts_from_picture(problem.rig, problem.flat, problem.weight, PICTURE_STARTS)
    every = problem[torch.arange(count).repeat_interleave(PICTURE_STARTS)]
    state, loss = minimise(every, _with_shape(every, state), SCREENING)
    order = loss.view(count, PICTURE_STARTS).argsort(dim=1, stable=True)[:, :KEPT_STARTS]
    kept = (order + torch.arange(count)[:, None] * PICTURE_STARTS).flatten()
    state, loss = minimise(every[kept], state[kept], POLISHING, cauchy=True)
    best = loss.view(count, -1).argmin(dim=1) + torch.arange(count) * KEPT_STARTS
    return state[best], loss[best]


def _with_shape(problem: Problem, state: State) -> State:
    """The states with the shape that is expected."""
    return dataclasses.replace(state, form=torch.cat([state.angles, problem.expected[:, ANGLES:]], dim=1))


def _misses(problem: Problem, state: State) -> Tensor:
    """[N] mean distance of the landmarks, over the longer side of their box in tangents."""
    placed = problem.rig.points(state)[0] + state.middle[:, None]
    apart = (placed[..., :2] / placed[..., 2:].clamp_min(BEHIND) - problem.flat).norm(dim=-1)
    extent = _extent(problem.flat, problem.weight).clamp_min(LEAST_EXTENT)
    return (apart * problem.weight).sum(dim=1) / problem.weight.sum(dim=1).clamp_min(1e-9) / extent


def _one_shape_a_group(problem: Problem, state: State, group: Sequence[int]) -> tuple[Problem, State]:
    """The problem with the shape of each group known: the mean of its hands', each by how many landmarks it has."""
    number = torch.tensor(group)
    shape, share = state.shape.clone(), problem.weight.sum(dim=1, keepdim=True).clamp_min(1e-3)
    for each in number.unique():
        rows = number == each
        shape[rows] = (shape[rows] * share[rows]).sum(dim=0) / share[rows].sum()
    known = problem.known[:, ANGLES:]
    shape = torch.where(known, problem.expected[:, ANGLES:], shape)
    expected = torch.cat([problem.expected[:, :ANGLES], shape], dim=1)
    all_known = torch.cat([problem.known[:, :ANGLES], torch.ones_like(known)], dim=1)
    problem = dataclasses.replace(problem, expected=expected, known=all_known)
    return problem, _with_shape(problem, state)


def _fit_of(
    problem: Problem, state: State, loss: Tensor, left: Tensor, points: Tensor, camera: Camera, width: int, height: int
) -> Fit:
    mirror = _mirror(left, 3)[:, 0]  # [N, 3]
    about, wrist = problem.rig.points(state, problem.extra)
    found = (about + state.middle[:, None]).double() * mirror[:, None]
    flat = found[..., :2] / found[..., 2:].clamp_min(BEHIND)
    drawn = flat * torch.tensor([1.0, width / height]) * camera.focal + torch.tensor([camera.cx, camera.cy])
    pixels = torch.tensor([width, height], dtype=torch.float64)
    extent = _extent(points * pixels, problem.weight).clamp_min(1e-9)
    residual = ((drawn - points) * pixels).norm(dim=-1) / extent[:, None]
    weight = problem.weight.double()
    u, _, vh = torch.linalg.svd(state.orientation.double() * mirror[:, :, None] * mirror[:, None])
    return Fit(
        angles=state.angles.double(),
        shape=state.shape.double(),
        orientation=u @ vh,  # many small turns in single precision leave it a little off a rotation
        translation=(state.middle + wrist).double() * mirror,
        points=drawn,
        residual=(residual * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-9),
        loss=loss.double(),
        joint_residual=residual,
        joint_confidence=weight / (1 + (residual / AGREEMENT) ** 2),
    )


def _extent(points: Tensor, weight: Tensor) -> Tensor:
    """[N] the longer side of the box round the points [N, 21, 2] that are believed at all."""
    out = (weight == 0)[..., None]
    span = points.masked_fill(out, -torch.inf).amax(dim=1) - points.masked_fill(out, torch.inf).amin(dim=1)
    return span.amax(dim=1).clamp_min(0)


def _mirror(left: Tensor, size: int) -> Tensor:
    """[N, 1, size] float64: -1 for x of left hands, 1 elsewhere."""
    mirror = torch.ones(len(left), 1, size, dtype=torch.float64)
    mirror[left, :, 0] = -1
    return mirror


def _tangents(points: Tensor, camera: Camera, width: int, height: int) -> Tensor:
    """Normalised picture coordinates to (x / z, y / z)."""
    away = points - torch.tensor([camera.cx, camera.cy], dtype=torch.float64)
    return away / camera.focal * torch.tensor([1.0, height / width], dtype=torch.float64)


def _to_camera(world: Tensor, flat: Tensor) -> Tensor:
    """World landmarks [N, 21, 3] turned from the frame of the ray through the hand to the camera's.

    The network sees a crop round the hand, as if the camera pointed at it.
    """
    centre = flat.mean(dim=1)
    ray = torch.nn.functional.normalize(torch.cat([centre, torch.ones_like(centre[:, :1])], dim=1), dim=1)
    x, y, z = ray.unbind(dim=1)
    # The smallest rotation that takes (0, 0, 1) to the ray.
    k = 1 / (1 + z)
    rows = [[1 - k * x * x, -k * x * y, x], [-k * x * y, 1 - k * y * y, y], [-x, -y, z]]
    turn = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return world @ turn.mT


def _check(model, points, side, world, shape, group) -> None:
    if points.dim() != 3 or tuple(points.shape[1:]) != (21, 2):
        raise ValueError(f"Landmarks have shape {tuple(points.shape)}, expected (hands, 21, 2).")
    count = len(points)
    if len(side) != count or any(s not in SIDES for s in side):
        raise ValueError(f"{count} hands need as many sides, 'left' or 'right'; got {list(side)}.")
    if group is not None and len(group) != count:
        raise ValueError(f"{count} hands need as many group numbers, got {len(group)}.")
    for name, value, size in (
        ("World landmarks", world, (count, 21, 3)),
        ("Known shapes", shape, (count, model.shape_count)),
    ):
        if value is not None and tuple(value.shape) != size:
            raise ValueError(f"{name} have shape {tuple(value.shape)}, expected {size}.")
    for name, value in (("Landmarks", points), ("World landmarks", world)):
        if value is not None and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} have numbers that are not finite.")


def _believed(weights: Tensor | None, hands: int) -> Tensor:
    """[N, 21] weights of the landmarks."""
    if weights is None:
        return torch.ones(hands, 21, dtype=DTYPE)
    weights = weights.detach().clone().to("cpu", DTYPE)
    if tuple(weights.shape) != (hands, 21) or not bool(((weights >= 0) & (weights <= 1)).all()):
        raise ValueError(f"Weights of landmarks are numbers from 0 to 1 of shape ({hands}, 21).")
    return weights


def _empty(shapes: int) -> Fit:
    sizes = ((21,), (shapes,), (3, 3), (3,), (21, 2), (), (), (21,), (21,))
    return Fit(*(torch.zeros(0, *size, dtype=torch.float64) for size in sizes))
