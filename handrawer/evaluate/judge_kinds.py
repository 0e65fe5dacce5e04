"""Malformations of the mesh that the judge's network learns from: many, and none of the four of its test.

Every kind here leaves the hand its five digits (`malformed` takes them away, adds to them, fuses them and bends joints
the wrong way: a network that has not seen those four tells how the judge does on kinds that are new to it). All edits
run in batches on one device, with random numbers that depend on a scene's number alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hand.anatomy import angles_to_rotations
from ..hand.model import HandModel, load_open_hand
from ..hand.skinning import pose_hand
from ..mini.picture import Skin, make_skin
from ..mini.scene import Scene
from .malformed import stump_model, workshop

NUMBERS = 24  # random numbers that an edit may use
_BASES = (2, 5, 9, 13, 17)  # the joint of the 21 from where a finger stands free


@dataclass(frozen=True, eq=False)
class Workbench:
    """What the edits need to know of the hand, on one device."""

    hand: HandModel
    """The open hand."""
    model: HandModel
    """The workshop's: the open hand and a second copy of every finger."""
    skin: Skin
    copies: tuple[Tensor, ...]
    """For each finger its copy's vertices."""
    own: tuple[Tensor, ...]
    """For each finger the vertices that were copied."""
    finger: Tensor
    """[V] the finger of a vertex; -1 for palm and copies."""
    stumps: tuple[HandModel, ...]
    """For each finger the workshop's hand without it."""


@functools.lru_cache(maxsize=2)
def workbench(device: str = "cpu") -> Workbench:
    """The workbench on a device, made once."""
    model, copies = workshop()
    hand = load_open_hand()
    count = len(hand.template)
    number = torch.div(hand.parts - 1, 3, rounding_mode="floor")
    finger = torch.full((len(model.template),), -1)
    finger[:count] = torch.where(hand.parts > 1, number, -1)
    own = tuple(torch.nonzero(finger[:count] == k)[:, 0].to(device) for k in range(5))
    stumps = tuple(stump_model(k, 1 if k == 0 else 0).to(device) for k in range(5))
    on_device = model.to(device)
    return Workbench(
        hand.to(device), on_device, make_skin(on_device), tuple(c.to(device) for c in copies), own, finger.to(device),
        stumps,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Work:
    """N hands that are being edited."""

    bench: Workbench
    scene: Scene
    vertices: Tensor
    """[N, V, 3] metres, camera frame, the copies collapsed to a point inside the hand."""
    joints: Tensor
    """[N, 21, 3] of the sound hand."""
    wrist: Tensor
    """[N, 3, 3] the wrist's rotation."""

    @property
    def unit(self) -> Tensor:
        """[N] metres from the wrist to the middle finger's base."""
        return (self.joints[:, 9] - self.joints[:, 0]).norm(dim=-1)

    def chain(self, finger: Tensor) -> Tensor:
        """[N, 4, 3] the joints of each hand's finger [N], base to tip."""
        rows = 1 + 4 * finger[:, None] + torch.arange(4, device=finger.device)
        return self.joints.gather(1, rows[..., None].expand(-1, -1, 3))

    def base(self, finger: Tensor) -> Tensor:
        """[N, 3] where the finger stands free."""
        rows = torch.tensor(_BASES, device=finger.device)[finger]
        return self.joints.gather(1, rows[:, None, None].expand(-1, 1, 3))[:, 0]

    def frame(self, finger: Tensor) -> Tensor:
        """[N, 3, 3] columns: along the finger, away from the palm, and across."""
        rows = torch.tensor(_BASES, device=finger.device)[finger][:, None, None].expand(-1, 1, 3)
        along = F.normalize((self.joints.gather(1, rows + 1) - self.joints.gather(1, rows))[:, 0], dim=-1)
        back = self.wrist[..., 2]
        back = F.normalize(back - (back * along).sum(-1, keepdim=True) * along, dim=-1)
        return torch.stack([along, back, torch.linalg.cross(along, back)], dim=-1)


def start_work(scene: Scene, bench: Workbench) -> Work:
    """The scene's hands, nothing edited yet."""
    posed = scene.posed
    hidden = [posed.joints[:, [1 + 4 * k]].expand(-1, len(copy), -1) for k, copy in enumerate(bench.copies)]
    return Work(bench, scene, torch.cat([posed.vertices, *hidden], dim=1), posed.joints, posed.rotations[:, 0])


def along(points: Tensor, chain: Tensor) -> Tensor:
    """[N, P] where on chains of four joints [N, 4, 3] points [N, P, 3] lie: 0 at the base to 3 at the tip."""
    places, distances = [], []
    for bone in range(3):
        a, step = chain[:, None, bone], (chain[:, bone + 1] - chain[:, bone])[:, None]
        t = (((points - a) * step).sum(-1) / (step * step).sum(-1).clamp_min(1e-12)).clamp(0, 1)
        distances.append((points - (a + t[..., None] * step)).norm(dim=-1))
        places.append(bone + t)
    best = torch.stack(distances).argmin(dim=0, keepdim=True)
    return torch.stack(places).gather(0, best)[0]


def between(chain: Tensor, place: Tensor) -> Tensor:
    """[N, P, 3] the points of chains [N, 4, 3] at places [N, P], 0 to 3."""
    bone = place.floor().clamp(0, 2).long()
    low = chain.gather(1, bone[..., None].expand(-1, -1, 3))
    high = chain.gather(1, (bone + 1)[..., None].expand(-1, -1, 3))
    return torch.lerp(low, high, (place - bone)[..., None])


def turned(points: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """Points [N, P, 3] about axes [N, 3] through the origin by [N, P] radians (Rodrigues)."""
    axis = axis[:, None].expand_as(points)
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    inner = (axis * points).sum(-1, keepdim=True)
    return points * cos + torch.linalg.cross(axis, points) * sin + axis * inner * (1 - cos)


def ramp(place: Tensor, start: Tensor | float, over: float) -> Tensor:
    """0 before ``start``, 1 after ``start + over``, smooth between."""
    t = ((place - start) / over).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _finger(u: Tensor) -> Tensor:
    return (u * 5).long().clamp_max(4)


def _mask(work: Work, finger: Tensor) -> Tensor:
    """[N, V, 1] 1 on the finger."""
    return (work.bench.finger[None] == finger[:, None]).float()[..., None]


def _outside(u: Tensor, low: tuple[float, float], high: tuple[float, float]) -> Tensor:
    """Uniform in ``low`` for u under a half, else in ``high``."""
    first = low[0] + (low[1] - low[0]) * 2 * u
    return torch.where(u < 0.5, first, high[0] + (high[1] - high[0]) * (2 * u - 1))


def _stretch(work: Work, vertices: Tensor, finger: Tensor, factors: Tensor) -> Tensor:
    """Fingers whose three bones [N, 3] are longer or shorter, as thick as before."""
    chain = work.chain(finger)
    factors = torch.where((finger == 0)[:, None] & (torch.arange(3, device=finger.device) == 0), 1.0, factors)
    bones = (chain[:, 1:] - chain[:, :-1]) * factors[..., None]
    other = torch.cat([chain[:, :1], chain[:, :1] + bones.cumsum(dim=1)], dim=1)
    place = along(vertices, chain)
    return vertices + _mask(work, finger) * (between(other, place) - between(chain, place))


def _bones(work: Work, u: Tensor) -> Tensor:
    """A finger of the wrong length, or with one bone far too short or long."""
    finger, which = _finger(u[:, 0]), torch.arange(3, device=u.device)
    whole = _outside(u[:, 1], (0.35, 0.6), (1.4, 1.9))[:, None].expand(-1, 3)
    one = _outside(u[:, 2], (0.08, 0.3), (1.8, 2.6))[:, None]
    bone = torch.maximum((u[:, 3] * 3).long().clamp_max(2), (finger == 0).long())  # a thumb's first is in the palm
    single = torch.where(bone[:, None] == which, one, 1.0)
    return _stretch(work, work.vertices, finger, torch.where(u[:, 4:5] < 0.55, whole, single))


def _thick(work: Work, u: Tensor) -> Tensor:
    """A finger too thick or thin: all along, in a ring, at the tip, or tapering to a point."""
    finger = _finger(u[:, 0])
    chain = work.chain(finger)
    place = along(work.vertices, chain)
    how, factor = u[:, 1:2], _outside(u[:, 2], (0.35, 0.55), (1.6, 2.2))[:, None]
    ring = torch.exp(-(((place - (0.8 + 2.0 * u[:, 3:4])) / 0.35) ** 2))
    profile = torch.where(how < 0.4, ramp(place, 0.2, 0.6), torch.where(how < 0.7, ring, ramp(place, 1.8, 1.0)))
    profile = torch.where(how > 0.85, ramp(place, 0.5, 2.4), profile)
    factor = torch.where(how > 0.85, 0.12, factor)
    axis = between(chain, place)
    grown = axis + (work.vertices - axis) * (1 + (factor - 1) * profile)[..., None]
    return torch.lerp(work.vertices, grown, _mask(work, finger))


def _kink(work: Work, vertices: Tensor, finger: Tensor, u: Tensor, degrees: tuple[float, float]) -> Tensor:
    """Fingers broken between two joints, to any side."""
    chain = work.chain(finger)
    at = torch.where(finger == 0, 1.5, torch.where(u[:, 0] < 0.5, 0.55, 1.5))[:, None]
    pivot = between(chain, at)
    bone = F.normalize(between(chain, at + 0.1)[:, 0] - pivot[:, 0], dim=-1)
    any_way = F.normalize(work.frame(finger)[..., 1], dim=-1)
    across = F.normalize(any_way - (any_way * bone).sum(-1, keepdim=True) * bone, dim=-1)
    axis = turned(across[:, None], bone, 2 * math.pi * u[:, 1:2])[:, 0]
    angle = torch.deg2rad(degrees[0] + (degrees[1] - degrees[0]) * u[:, 2:3])
    share = ramp(along(vertices, chain), at - 0.15, 0.3)
    bent = pivot + turned(vertices - pivot, axis, angle * share)
    return torch.lerp(vertices, bent, _mask(work, finger))


def _fracture(work: Work, u: Tensor) -> Tensor:
    """A finger broken in the middle of a bone; some of them twice, in a zigzag."""
    finger = _finger(u[:, 0])
    once = _kink(work, work.vertices, finger, u[:, 1:4], (40, 85))
    at_both = u[:, 1:4].clone()
    at_both[:, 0] = 0.1
    back = at_both.clone()
    back[:, 0], back[:, 1] = 0.9, (back[:, 1] + 0.5) % 1
    zigzag = _kink(work, _kink(work, work.vertices, finger, back, (35, 70)), finger, at_both, (35, 70))
    return torch.where((u[:, 4] < 0.3)[:, None, None], zigzag, once)


def _twist(work: Work, u: Tensor) -> Tensor:
    """A finger wrung about its own length."""
    finger = _finger(u[:, 0])
    chain = work.chain(finger)
    place = along(work.vertices, chain)
    axis = between(chain, place)
    bone = F.normalize(chain[:, 3] - chain[:, 1], dim=-1)
    angle = torch.deg2rad(100 + 100 * u[:, 1:2]) * ramp(place, 0.4, 1.6)
    wrung = axis + turned(work.vertices - axis, bone, torch.where(u[:, 2:3] < 0.5, angle, -angle))
    return torch.lerp(work.vertices, wrung, _mask(work, finger))


def _lump(work: Work, u: Tensor) -> Tensor:
    """Three lumps or dents anywhere on the hand."""
    vertices, count = work.vertices, len(load_open_hand().template)
    for k in range(3):
        row = (u[:, 3 * k] * count).long().clamp_max(count - 1)
        middle = work.vertices.gather(1, row[:, None, None].expand(-1, 1, 3))
        side = F.normalize(u[:, 3 * k + 1 : 3 * k + 4] - 0.5, dim=-1)[:, None]
        reach = (0.008 + 0.012 * u[:, 10 + k])[:, None, None]
        near = torch.exp(-(((work.vertices - middle).norm(dim=-1, keepdim=True) / reach) ** 2))
        vertices = vertices + side * near * (0.010 + 0.014 * u[:, 13 + k])[:, None, None]
    return vertices


def _gnarled(work: Work, u: Tensor) -> Tensor:
    """Every finger a little wrong: lengths and small breaks."""
    vertices = work.vertices
    for number in range(5):
        finger = torch.full_like(u[:, 0], number).long()
        v = u.roll(4 * number, dims=1)
        bent = _kink(work, vertices, finger, v[:, :3], (15, 45))
        vertices = torch.where((v[:, 3] < 0.6)[:, None, None], bent, vertices)
        vertices = _stretch(work, vertices, finger, 0.6 + 0.9 * v[:, 4:7])
    return vertices


def _stumped(work: Work, finger: Tensor) -> Tensor:
    """[N, V, 3] the hands without the finger [N]; copies are collapsed."""
    scene, bench = work.scene, work.bench
    vertices = work.vertices.clone()
    count = len(bench.hand.template)
    rotations = angles_to_rotations(bench.hand, scene.angles)
    for number in range(5):
        rows = torch.nonzero(finger == number)[:, 0]
        if len(rows):
            posed = pose_hand(
                bench.stumps[number], rotations[rows], scene.shape[rows], scene.orientation[rows],
                scene.translation[rows], scene.left[rows],
            )  # fmt: skip
            vertices[rows, :count] = posed.vertices[:, :count]
    return vertices


def _put(work: Work, vertices: Tensor, source: Tensor, turn: Tensor, target: Tensor, size: Tensor) -> Tensor:
    """A copy of the finger ``source`` [N], turned about its base by ``turn`` [N, 3, 3] and moved to ``target``."""
    vertices = vertices.clone()
    base = work.base(source)
    for number in range(5):
        rows = torch.nonzero(source == number)[:, 0]
        if len(rows):
            points = work.vertices[rows][:, work.bench.own[number]] - base[rows, None]
            moved = (points * size[rows, None, None]) @ turn[rows].mT + target[rows, None]
            vertices[rows[:, None], work.bench.copies[number][None]] = moved
    return vertices


def _about(axis: Tensor, angle: Tensor) -> Tensor:
    """[N, 3, 3] rotations about unit axes [N, 3] by [N] radians."""
    eye = torch.eye(3, device=axis.device).expand(len(axis), 3, 3)
    return turned(eye, axis, angle[:, None].expand(-1, 3)).mT


def _moved(work: Work, u: Tensor) -> Tensor:
    """A finger that grows from somewhere else: farther down, or on the other side; the thumb beside the little one."""
    finger = _finger(u[:, 0])
    joints, wrist = work.joints, work.wrist
    base, unit = work.base(finger), work.unit[:, None]
    down = F.normalize(joints[:, 0] - base, dim=-1)
    across = F.normalize(joints[:, 5] - joints[:, 17], dim=-1)
    sideways = torch.where(u[:, 1:2] < 0.5, -1.0, 1.0) * (0.15 + 0.3 * u[:, 2:3]) * unit
    target = base + down * (0.25 + 0.55 * u[:, 3:4]) * unit + across * torch.where(u[:, 4:5] < 0.5, sideways, 0.0)
    turn = _about(wrist[..., 2], torch.deg2rad(140 * u[:, 5] - 70))
    # The thumb goes to the other side by half a turn about the palm's length.
    length = F.normalize(joints[:, 9] - joints[:, 0], dim=-1)
    half = _about(length, torch.full_like(u[:, 0], math.pi))
    middle = (joints[:, 5] + joints[:, 17]) / 2
    over = middle + (half @ (base - middle)[..., None])[..., 0]
    thumb = (finger == 0) & (u[:, 6] < 0.7)
    target = torch.where(thumb[:, None], over, target)
    turn = torch.where(thumb[:, None, None], half, turn)
    return _put(work, _stumped(work, finger), finger, turn, target, torch.ones_like(unit[:, 0]))


def _replaced(work: Work, u: Tensor) -> Tensor:
    """One finger in another's place: a finger for the thumb, a thumb for a finger, a little one for the middle one."""
    gone = _finger(u[:, 0])
    others = torch.tensor([(2, 1, 4), (0, 0, 0), (4, 0, 0), (0, 0, 0), (2, 0, 2)], device=u.device)
    source = others[gone, (u[:, 2] * 3).long().clamp_max(2)]
    turn = work.frame(gone) @ work.frame(source).mT
    size = 0.85 + 0.3 * u[:, 1]
    return _put(work, _stumped(work, gone), source, turn, work.base(gone), size)


MESH_EDITS: dict[str, Callable[[Work, Tensor], Tensor]] = {
    "bones": _bones, "thick": _thick, "fracture": _fracture, "twist": _twist, "lump": _lump, "gnarled": _gnarled,
    "moved": _moved, "replaced": _replaced,
}  # fmt: skip
"""Each: N hands and [N, NUMBERS] numbers in [0, 1) to vertices [N, V, 3]."""
OF_A_FINGER = ("bones", "thick", "fracture", "twist", "moved", "replaced")  # the first number chooses the finger
