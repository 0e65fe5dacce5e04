"""Malformed synthetic hands: what diffusion models do to hands, done to the mesh, with exact labels.

Each kind is an edit of a synthetic scene (`mini.scene`): a finger missing, with a closed stump; one too many; two
neighbours fused; joints bent where none bends. What is drawn is otherwise the same picture as of the sound hand, so
that only the malformation tells the two apart.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hand.anatomy import ANGLE_INDEX, angles_to_rotations
from ..hand.joints import FINGER_NAMES
from ..hand.model import HandModel, load_open_hand
from ..hand.skinning import PosedHand, axis_angle_to_matrix, pose_hand
from ..mini.picture import Skin, draw_pictures, make_skin
from ..mini.random_table import uniforms
from ..mini.scene import Scene, draw_scenes
from ..render.masks import dilate

KINDS = ("missing", "extra", "fused", "backwards")
STRAIGHT = math.radians(50)  # a finger bent by less at each joint shows what is done to it
VISIBLE = 0.06  # share of the hand's pixels that a malformation must change, for the picture to count as malformed
CHANGED = 0.06  # difference of a channel from where a pixel has changed
STUMP = 0.0035  # metres, how far a stump goes on behind the joint
_BASES = (2, 5, 9, 13, 17)  # the joint of the 21 from where a finger stands free
_STREAM = 40  # of the random numbers


@dataclass(frozen=True)
class Drawn:
    """Pictures of N hands and what is wrong with each.

    Attributes:
        pictures: [N, 3, size, size] float32 in 0..1.
        kind: for each one of ``KINDS``, or "sound".
        finger: for each the finger's name, or "".
        scene: of the sound hands; malformed ones have its side, camera and looks.
        twins: [N, 3, size, size] the same hands, sound.
    """

    pictures: Tensor
    kind: tuple[str, ...]
    finger: tuple[str, ...]
    scene: Scene
    twins: Tensor


@functools.lru_cache(maxsize=1)
def workshop() -> tuple[HandModel, tuple[Tensor, ...]]:
    """The open hand with a second copy of every finger (collapsed where unused), and the copies' vertices."""
    hand = load_open_hand()
    finger = torch.where(hand.parts > 0, torch.div(hand.parts - 1, 3, rounding_mode="floor"), -1)
    finger[hand.parts == 1] = -1  # the thumb's metacarpal belongs to the palm
    rows, faces, copies, count = [torch.arange(len(hand.template))], [hand.faces], [], len(hand.template)
    for number in range(5):
        own = torch.nonzero(finger == number)[:, 0]
        new = torch.full((len(hand.template),), -1)
        new[own] = torch.arange(len(own)) + count
        inside = (finger[hand.faces] == number).all(dim=1)
        faces.append(new[hand.faces[inside]])
        copies.append(torch.arange(len(own)) + count)
        rows.append(own)
        count += len(own)
    row = torch.cat(rows)
    more = {name: value[torch.isin(value, row)] for name, value in hand.regions.items()}
    nails = torch.nonzero(torch.isin(row, hand.regions["nails"]))[:, 0]
    model = dataclasses.replace(
        hand, template=hand.template[row], faces=torch.cat(faces), shape_dirs=hand.shape_dirs[row],
        weights=hand.weights[row], parts=hand.parts[row], regions={**more, "nails": nails},
    )  # fmt: skip
    return model, tuple(copies)


@functools.lru_cache(maxsize=16)
def stump_model(finger: int, kept: int) -> HandModel:
    """The workshop's hand whose finger ends in a closed stump behind its joint number ``kept`` (0: none is left)."""
    model, _ = workshop()
    base = 1 + 3 * finger  # the finger's first rig joint
    joint = base + kept
    chain = [*range(joint, base + 3)]
    gone = torch.zeros(len(model.template), dtype=torch.bool)
    gone[: len(load_open_hand().template)] = True
    gone &= torch.isin(model.parts, torch.tensor(chain))
    tip = model.template[model.tip_vertices[finger]] if kept == 2 else model.joint_template[joint + 1]
    origin = model.joint_template[joint]
    along = F.normalize(tip - origin, dim=0)
    if kept == 0 and finger > 0:
        origin = origin + 0.017 * along  # the web lies farther out than the knuckle
        gone &= (model.template - origin) @ along > 0
    away = model.template - origin
    ahead = (away @ along).clamp_min(0)
    around = away - (away @ along)[:, None] * along
    near = torch.exp(-ahead / STUMP)[:, None]
    stump = origin + (STUMP * (1 - near)) * along + around * near
    template = torch.where(gone[:, None], stump, model.template)
    rigid = torch.zeros(16)
    rigid[0 if kept == 0 else joint - 1] = 1.0
    weights = torch.where(gone[:, None], rigid, model.weights)
    shape_dirs = torch.where(gone[:, None, None], model.joint_shape_dirs[joint][None], model.shape_dirs)
    return dataclasses.replace(model, template=template, weights=weights, shape_dirs=shape_dirs)


def _posed(scene: Scene, rows: list[int], model: HandModel, rotations: Tensor) -> PosedHand:
    """The scene's rows, without copies of fingers: those are collapsed to where the finger starts."""
    posed = pose_hand(
        model, rotations, scene.shape[rows], scene.orientation[rows], scene.translation[rows], scene.left[rows]
    )
    vertices = posed.vertices.clone()
    for number, copies in enumerate(workshop()[1]):
        vertices[:, copies] = posed.joints[:, [1 + 4 * number]]
    return dataclasses.replace(posed, vertices=vertices)


def _rotations(scene: Scene, row: int, angles: Tensor | None = None) -> Tensor:
    return angles_to_rotations(load_open_hand(), (scene.angles[row] if angles is None else angles)[None])


def _missing(scene: Scene, row: int, finger: int, u: Tensor) -> PosedHand:
    """A half of them whole fingers, the others end behind the middle joint (of a thumb: always its two ends)."""
    kept = 1 if finger == 0 or float(u[0]) < 0.4 else 0
    return _posed(scene, [row], stump_model(finger, kept), _rotations(scene, row))


def _extra(scene: Scene, row: int, finger: int, u: Tensor) -> PosedHand:
    """A copy of the finger: between it and its neighbour, which part for it, or outside of the hand."""
    plain = workshop()[0]
    angles = scene.angles[row].clone()
    between = finger in (1, 2, 3)
    if between:
        for number, sign in ((finger, -1.0 if finger == 3 else 1.0), (finger + 1, -1.0 if finger == 1 else 1.0)):
            angles[ANGLE_INDEX[f"{FINGER_NAMES[number]}_mcp_abduction"]] += sign * math.radians(8)
    posed = _posed(scene, [row], plain, _rotations(scene, row, angles))
    joints, wrist = posed.joints[0], posed.rotations[0, 0]
    away = wrist[:, 2] * (-1.0 if bool(scene.left[row]) else 1.0)  # a turn about it goes from the thumb's side
    base = joints[_BASES[finger]]
    if between:
        step, share = joints[_BASES[finger + 1]] - base, 0.5
        bones = [joints[_BASES[number] + 1] - joints[_BASES[number]] for number in (finger, finger + 1)]
        turn = -_angle_about(away, bones[0], bones[1]) * (0.4 + 0.2 * float(u[1]))
    else:
        step = base - joints[_BASES[3]] if finger == 4 else joints[1] - base
        share, turn = (0.6, -math.radians(22)) if finger == 4 else (0.5, -math.radians(28))
        turn *= 0.8 + 0.6 * float(u[1])
    rotation = axis_angle_to_matrix((-away * turn)[None])[0]
    own = torch.nonzero(_finger_of_vertex(plain) == finger)[:, 0]
    length = 0.85 + 0.2 * float(u[2])
    vertices = posed.vertices.clone()
    moved = (vertices[0, own] - base) * length @ rotation.mT + base + share * step
    vertices[0, workshop()[1][finger]] = moved
    return dataclasses.replace(posed, vertices=vertices)


def _angle_about(axis: Tensor, first: Tensor, second: Tensor) -> float:
    """Signed angle from one bone to another as seen along an axis, at most 40 degrees to either side."""
    first, second = (bone - (bone @ axis) * axis for bone in (first, second))
    angle = math.atan2(float(axis @ torch.linalg.cross(first, second)), float(first @ second))
    return max(-math.radians(40), min(math.radians(40), angle))


def _finger_of_vertex(model: HandModel) -> Tensor:
    """[V] of the workshop's hand: the finger that may be copied, -1 for palm, thumb's base and copies."""
    finger = torch.where(model.parts > 1, torch.div(model.parts - 1, 3, rounding_mode="floor"), -1)
    finger[len(load_open_hand().template) :] = -1
    return finger


def _fused(scene: Scene, row: int, finger: int, u: Tensor) -> PosedHand:
    """The finger and its neighbour on the little finger's side grow into one."""
    plain = workshop()[0]
    other = min(finger + 1, 4)
    finger = other - 1
    angles = scene.angles[row].clone()
    for part in ("mcp_flexion", "pip_flexion", "dip_flexion"):
        both = [ANGLE_INDEX[f"{FINGER_NAMES[number]}_{part}"] for number in (finger, other)]
        angles[both] = angles[both].mean()
    for number, degrees in ((finger, -2.0), (other, -2.0)):
        angles[ANGLE_INDEX[f"{FINGER_NAMES[number]}_mcp_abduction"]] = math.radians(degrees)
    posed = _posed(scene, [row], plain, _rotations(scene, row, angles))
    vertices = posed.vertices.clone()
    joints = posed.joints[0]
    chains = [joints[1 + 4 * number : 5 + 4 * number] for number in (finger, other)]
    middle = (chains[0] + chains[1]) / 2
    reach = 0.6 + 0.3 * float(u[0])  # how much of the way to the common middle
    for number, chain in zip((finger, other), chains, strict=True):
        own = _finger_of_vertex(plain) == number
        points = vertices[0, own]
        along, share = _along(points, chain)
        pull = torch.stack([_between(middle, along[i]) - _between(chain, along[i]) for i in range(len(along))])
        vertices[0, own] = points + pull * (reach * share)[:, None]
    return dataclasses.replace(posed, vertices=vertices)


def _along(points: Tensor, chain: Tensor) -> tuple[Tensor, Tensor]:
    """[P] place on the chain of 4 joints, 0 to 3 bones, and [P] how far the pull has grown there, 0 to 1."""
    lengths = (chain[1:] - chain[:-1]).norm(dim=-1)
    candidates, distances = [], []
    for bone in range(3):
        t = ((points - chain[bone]) @ (chain[bone + 1] - chain[bone]) / lengths[bone] ** 2).clamp(0, 1)
        distances.append((points - (chain[bone] + t[:, None] * (chain[bone + 1] - chain[bone]))).norm(dim=-1))
        candidates.append(bone + t)
    best = torch.stack(distances).argmin(dim=0)
    place = torch.stack(candidates)[best, torch.arange(len(points))]
    return place, (place / 0.8).clamp(0, 1)


def _between(chain: Tensor, place: Tensor) -> Tensor:
    bone = min(int(place), 2)
    return torch.lerp(chain[bone], chain[bone + 1], float(place) - bone)


def _backwards(scene: Scene, row: int, finger: int, u: Tensor) -> PosedHand:
    """Joints bent to the back of the hand or sideways, or turned about the finger, beyond what any hand can do."""
    rotations = _rotations(scene, row).clone()
    angles = scene.angles[row].clone()
    name, back = FINGER_NAMES[finger], -math.radians(50 + 40 * float(u[1]))
    how = float(u[0])
    if finger == 0:
        angles[ANGLE_INDEX["thumb_ip_flexion"]] = back
        angles[ANGLE_INDEX["thumb_mcp_flexion"]] = back * 0.6
        rotations = _rotations(scene, row, angles)
    elif how < 0.45:
        angles[ANGLE_INDEX[f"{name}_pip_flexion"]] = back
        if how < 0.2:
            angles[ANGLE_INDEX[f"{name}_mcp_flexion"]] = back * 0.7
        rotations = _rotations(scene, row, angles)
    else:  # sideways at the middle joint, and back again at the last one in some
        sign = 1.0 if float(u[2]) < 0.5 else -1.0
        sideways = torch.tensor([[0.0, 0.0, sign * math.radians(45 + 30 * float(u[1]))]])
        rotations[0, 3 * finger + 1] = axis_angle_to_matrix(sideways)[0] @ rotations[0, 3 * finger + 1]
        if how > 0.75:
            rotations[0, 3 * finger + 2] = axis_angle_to_matrix(-sideways)[0] @ rotations[0, 3 * finger + 2]
    return _posed(scene, [row], workshop()[0], rotations)


_EDITS = {"missing": _missing, "extra": _extra, "fused": _fused, "backwards": _backwards}


def straight_fingers(angles: Tensor) -> Tensor:
    """[N, 5] bool: the fingers of hands with angles [N, A] that are stretched enough to show what is done to them."""
    found = []
    for number, name in enumerate(FINGER_NAMES):
        bends = ("mcp_flexion", "ip_flexion") if number == 0 else ("mcp_flexion", "pip_flexion")
        found.append((angles[:, [ANGLE_INDEX[f"{name}_{part}"] for part in bends]] < STRAIGHT).all(dim=1))
    return torch.stack(found, dim=1)


def _choice(scene: Scene, row: int, kind: str | None, u: float) -> int | None:
    """The finger to change; None where the pose would hide that anything is wrong.

    A folded finger beside a copied one makes a perfect peace sign, and a pointing hand without its finger a fist: what
    changes the number of fingers is done to hands that show most of them.
    """
    straight = straight_fingers(scene.angles[[row]])[0].tolist()
    shown = sum(straight[1:])
    if shown < 3 and kind != "backwards":
        return None
    if kind == "fused":
        able = [i for i in (1, 2, 3) if straight[i] and straight[i + 1]]
    elif kind == "extra":
        able = [i for i in range(5) if straight[i] and (i == 0 or shown == 4)]
    else:
        able = [i for i in range(5) if straight[i]]
    return able[min(int(u * len(able)), len(able) - 1)] if able else None


def draw_malformed(
    seed: int, index: Tensor, kind: str | None, *, size: int = 256, any_pose: bool = False, device: str = "cpu"
) -> Drawn:
    """Pictures of malformed hands, or of sound ones drawn alike.

    Of the scenes with these numbers those are left out that show the hand from its edge, have no finger to change, or
    where the change is hidden (under ``VISIBLE`` of the hand's pixels).

    Args:
        seed, index: [N] int64, see ``mini.scene.draw_scenes``.
        kind: one of ``KINDS``; None for sound hands, of scenes in which a finger could have been missing.
        size: side of the pictures, pixels.
        any_pose: sound hands of all poses and views, fists too.
        device: to draw on, where the pictures stay; all else is done on the processor.

    Raises:
        ValueError: an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"Unknown kind of malformation {kind!r}: choose one of {', '.join(KINDS)}.")
    model = workshop()[0]
    scene = draw_scenes(seed, index, load_open_hand())
    u = uniforms(seed, index, 4, stream=_STREAM)
    fingers = {row: _choice(scene, row, kind, float(u[row, 3])) for row in range(len(index))}
    rows = [row for row, finger in fingers.items() if finger is not None and int(scene.view[row]) < 2]
    rows = list(fingers) if any_pose and kind is None else rows
    if not rows:
        nothing = torch.zeros(0, 3, size, size, device=device)
        return Drawn(nothing, (), (), rows_of(scene, []), nothing)
    sound = _posed(scene, rows, model, angles_to_rotations(load_open_hand(), scene.angles[rows]))
    whole = dataclasses.replace(rows_of(scene, rows), posed=sound)
    pictures = _pictures(whole, size, seed, device)
    if kind is None:
        return Drawn(pictures, ("sound",) * len(rows), ("",) * len(rows), rows_of(scene, rows), pictures)
    edited = [_EDITS[kind](scene, row, fingers[row] or 0, u[row]) for row in rows]
    posed = PosedHand(*(torch.cat([getattr(e, name) for e in edited]) for name in ("vertices", "joints", "rotations")))
    changed = _pictures(dataclasses.replace(whole, posed=posed), size, seed, device)
    share = ((changed - pictures).abs().amax(dim=1) > CHANGED).float().mean(dim=(1, 2)).cpu() / _covered(whole)
    seen = [i for i in range(len(rows)) if float(share[i]) > VISIBLE]
    names = tuple(FINGER_NAMES[fingers[rows[i]] or 0] for i in seen)
    return Drawn(changed[seen], (kind,) * len(seen), names, rows_of(scene, [rows[i] for i in seen]), pictures[seen])


@functools.lru_cache(maxsize=2)
def _workshop_on(device: str) -> tuple[HandModel, Skin]:
    model = workshop()[0].to(device)
    return model, make_skin(model)


def _pictures(scene: Scene, size: int, seed: int, device: str) -> Tensor:
    model, skin = _workshop_on(device)
    return draw_pictures(on_device(scene, device), model, skin, size=size, seed=seed)


def on_device(scene: Scene, device: str) -> Scene:
    """The scene's tensors on a device."""
    posed = PosedHand(*(getattr(scene.posed, part.name).to(device) for part in dataclasses.fields(scene.posed)))
    values = {f.name: getattr(scene, f.name) for f in dataclasses.fields(scene) if f.name != "posed"}
    return dataclasses.replace(scene, **{name: value.to(device) for name, value in values.items()}, posed=posed)


def _covered(scene: Scene) -> Tensor:
    """[N] share of the picture that the hand covers, about: the dots of its vertices, grown together."""
    points = (scene.project(scene.posed.vertices) * 64).long().clamp(0, 63)
    mask = torch.zeros(len(points), 64, 64)
    for row, places in enumerate(points):
        mask[row, places[:, 1], places[:, 0]] = 1.0
    return dilate(dilate(mask, 2), -2).mean(dim=(1, 2)).clamp_min(1e-3)


def rows_of(scene: Scene, rows: list[int]) -> Scene:
    """Some of a scene's samples."""
    changes = {}
    for field in dataclasses.fields(scene):
        value = getattr(scene, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = value[rows]
        else:
            parts = {part.name: getattr(value, part.name)[rows] for part in dataclasses.fields(value)}
            changes[field.name] = dataclasses.replace(value, **parts)
    return dataclasses.replace(scene, **changes)
