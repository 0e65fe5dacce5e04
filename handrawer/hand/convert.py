"""Hands of one hand model brought over to another: the same pose, place and, as far as its shapes reach, the same skin.

The other model's rotations, shape and place are fitted to the hand's 21 joints and to its surface (``refit.py``). Two
rigs do not agree about where a joint is, and a vertex of one is none of the other's; so the two models are laid over
each other once, at rest (``correspondence.py``), and what belongs together is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from .anatomy import angles_to_rotations, rotations_to_angles
from .boxes import box_around
from .camera import project
from .correspondence import Correspondence, correspond
from .hands import Frame, Hand, Hands, pose_parameters
from .model import HandModel, known_model
from .refit import RefitState, Wanted, reduced, refit
from .skinning import axis_angle_to_matrix, matrix_to_axis_angle

JOINT_SIGMA, SURFACE_SIGMA = 0.002, 0.002  # metres
HANDS_AT_ONCE = 32  # bounds memory


def convert_hands(hands: Hands, model: HandModel, source: HandModel | None = None) -> Hands:
    """The hands, each with ``model`` in place of its own; hands that have it already stay as they are.

    Pose, place, shape, joints and vertices follow the new model; camera, side, confidence and all the rest stay.

    Args:
        source: the model of the hands that are brought over; where it is None, the one known by their model's name.
            Hands whose model is not at hand are brought over by their joints alone.

    Raises:
        ValueError: a converted hand would reach behind its camera.
    """
    with torch.inference_mode(False):
        others = [hand for frame in hands.frames for hand in frame.hands if hand.model != model.name]
        converted = iter(_convert(others, model, source))
        frames = []
        for frame in hands.frames:
            brought = [h if h.model == model.name else _finish(h, next(converted), model, frame) for h in frame.hands]
            frames.append(dataclasses.replace(frame, hands=tuple(brought)))
        return Hands(tuple(frames))


def refit_for(hands: Hands, model_name: str) -> tuple[Hands, str]:
    """The hands for whoever needs a certain hand model, and a note where some had to be brought over ("" where none).

    Raises:
        ValueError: the model is not at hand; one sentence.
    """
    others = [hand for frame in hands.frames for hand in frame.hands if hand.model != model_name]
    if not others:
        return hands, ""
    model = known_model(model_name)
    names = ", ".join(sorted({hand.model for hand in others}))
    if model is None:
        raise ValueError(
            f"Hands of the hand model {names} are needed as {model_name}, which is not at hand: load that hand model "
            "first."
        )
    note = f"{len(others)} {'hand' if len(others) == 1 else 'hands'} of the model {names} brought over to {model_name}."
    if any(known_model(hand.model) is None for hand in others):
        note = f"{note[:-1]} by the joints alone, since the model they came from is not at hand."
    return convert_hands(hands, model), note


def _convert(hands: Sequence[Hand], model: HandModel, source: HandModel | None) -> list[dict[str, Tensor]]:
    """For each hand its parameters with the other model: pose, orientation, shape, translation; float64."""
    found: dict[int, dict[str, Tensor]] = {}
    groups: dict[tuple, list[int]] = {}
    for i, hand in enumerate(hands):
        groups.setdefault((hand.model, len(hand.vertices), len(hand.shape)), []).append(i)
    for (name, vertices, shapes), rows in groups.items():
        own = source if source is not None and source.name == name else known_model(name)
        if own is not None and (len(own.template), own.shape_count) != (vertices, shapes):
            own = None  # another file of that name
        for start in range(0, len(rows), HANDS_AT_ONCE):
            some = rows[start : start + HANDS_AT_ONCE]
            found.update(zip(some, _convert_some([hands[i] for i in some], model, own), strict=True))
    return [found[i] for i in range(len(hands))]


def _convert_some(hands: Sequence[Hand], model: HandModel, source: HandModel | None) -> list[dict[str, Tensor]]:
    """Hands of one model, which may not be at hand."""
    orientation = axis_angle_to_matrix(torch.stack([hand.orientation for hand in hands]).double())
    translation = torch.stack([hand.translation for hand in hands]).double()
    mirror = torch.ones(len(hands), 1, 3, dtype=torch.float64)
    mirror[[hand.left for hand in hands], :, 0] = -1

    def to_rest(points: Tensor) -> Tensor:
        """From the camera frame to the frame in which a right hand stands upright."""
        return (points.double() - translation[:, None]) @ orientation * mirror

    joints = to_rest(torch.stack([hand.joints for hand in hands]))
    if source is None:
        state = _by_joints(model, joints)
    else:
        rotations = axis_angle_to_matrix(torch.stack([hand.pose for hand in hands]).double())
        matched = correspond(source, model)
        places = matched.places(to_rest(torch.stack([hand.vertices for hand in hands])))
        state = _by_surface(model, source, matched, rotations, joints, places)
    turned = matrix_to_axis_angle(orientation * mirror @ state.orientation * mirror)
    wrist = (state.translation[:, None] * mirror @ orientation.mT)[:, 0] + translation
    pose = matrix_to_axis_angle(state.rotations)
    return [
        {"pose": pose[i], "orientation": turned[i], "shape": state.shape[i], "translation": wrist[i]}
        for i in range(len(hands))
    ]  # fmt: skip


def _by_surface(
    model: HandModel, source: HandModel, matched: Correspondence, rotations: Tensor, joints: Tensor, places: Tensor
) -> RefitState:
    """Start with the anatomical angles, which mean the same for every model."""
    full, own = model.to("cpu", torch.float64), source.to("cpu", torch.float64)
    start = angles_to_rotations(full, rotations_to_angles(own, rotations))
    state = _start(full, start, joints)
    return refit(matched.target, state, Wanted(joints, places, JOINT_SIGMA, SURFACE_SIGMA), matched.offsets)


def _by_joints(model: HandModel, joints: Tensor) -> RefitState:
    """Start with each bone turned the shortest way from rest to where it points."""
    small = reduced(model, torch.zeros(0, dtype=torch.int64))
    state = _start(small, _pointing(small, joints), joints)
    nothing = torch.zeros(len(joints), 0, 3, dtype=torch.float64)
    return refit(small, state, Wanted(joints, nothing, JOINT_SIGMA, SURFACE_SIGMA))


def _start(model: HandModel, rotations: Tensor, joints: Tensor) -> RefitState:
    count = len(joints)
    eye = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    return RefitState(rotations, torch.zeros(count, model.shape_count, dtype=torch.float64), eye, joints[:, 0])


def _pointing(model: HandModel, joints: Tensor) -> Tensor:
    """[N, 15, 3, 3] rotations for which the bones point as those between joints [N, 21, 3] do."""
    rest = torch.cat(
        [model.joint_template[1:].unflatten(0, (5, 3)), model.template[model.tip_vertices][:, None]], dim=1
    )
    bones = torch.nn.functional.normalize(rest.diff(dim=1), dim=-1)
    wanted = torch.nn.functional.normalize(joints[:, 1:].unflatten(1, (5, 4)).diff(dim=2), dim=-1)
    turned = torch.eye(3, dtype=torch.float64).expand(len(joints), 5, 3, 3)
    found = []
    for bone in range(3):
        local = (turned.mT @ wanted[:, :, bone, :, None])[..., 0]
        found.append(_shortest_turn(bones[:, bone].expand_as(local), local))
        turned = turned @ found[-1]
    return torch.stack(found, dim=2).flatten(1, 2)


def _shortest_turn(before: Tensor, after: Tensor) -> Tensor:
    """[..., 3, 3] the smallest rotation of unit vectors onto others."""
    axis = torch.linalg.cross(before, after, dim=-1)
    angle = torch.atan2(axis.norm(dim=-1), (before * after).sum(dim=-1))
    return axis_angle_to_matrix(torch.nn.functional.normalize(axis, dim=-1) * angle[..., None])


def _finish(hand: Hand, found: dict[str, Tensor], model: HandModel, frame: Frame) -> Hand:
    """The hand with its new parameters, and what follows from them."""
    parameters = {name: value.float() for name, value in found.items()}
    posed = pose_parameters(model.to("cpu", torch.float32), **parameters, side=hand.side)
    vertices, joints = posed.vertices[0], posed.joints[0]
    if float(vertices[:, 2].min()) <= 0:
        raise ValueError(
            f"A hand lies so near to its camera that, as a hand of the model {model.name}, it would reach behind it: "
            "move it away from the camera."
        )
    return hand.replace(
        model=model.name, **parameters, joints=joints, vertices=vertices,
        joints_2d=project(joints, hand.camera, frame.width, frame.height),
        box=box_around(project(vertices, hand.camera, frame.width, frame.height)),
    )  # fmt: skip
