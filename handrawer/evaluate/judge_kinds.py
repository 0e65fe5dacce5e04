"""Malformations of the mesh that the judge's network learns from: many, and none of the four of its test.

None of them takes a digit away, grows another one from the palm, makes one of two, or bends a joint the wrong way, as
`malformed` does: a network that has not seen those four tells how the judge does on kinds that are new to it. The
nearest to them are a finger that forks, two joined by a skin, and one that stands in its neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hand.anatomy import angles_to_rotations
from ..hand.model import load_open_hand
from ..hand.skinning import pose_hand
from .judge_workbench import Work, along, between, finger_of, mask_of, outside, ramp, turned

NUMBERS = 24  # random numbers that an edit may use


def _stretch(work: Work, vertices: Tensor, finger: Tensor, factors: Tensor) -> Tensor:
    """Fingers whose three bones [N, 3] are longer or shorter, as thick as before."""
    chain = work.chain(finger)
    factors = torch.where((finger == 0)[:, None] & (torch.arange(3, device=finger.device) == 0), 1.0, factors)
    bones = (chain[:, 1:] - chain[:, :-1]) * factors[..., None]
    other = torch.cat([chain[:, :1], chain[:, :1] + bones.cumsum(dim=1)], dim=1)
    place = along(vertices, chain)
    return vertices + mask_of(work, finger) * (between(other, place) - between(chain, place))


def _bones(work: Work, u: Tensor) -> Tensor:
    """A finger of the wrong length, or with one bone far too short or long."""
    finger, which = finger_of(u[:, 0]), torch.arange(3, device=u.device)
    whole = outside(u[:, 1], (0.35, 0.6), (1.4, 1.9))[:, None].expand(-1, 3)
    one = outside(u[:, 2], (0.08, 0.3), (1.8, 2.6))[:, None]
    bone = torch.maximum((u[:, 3] * 3).long().clamp_max(2), (finger == 0).long())  # a thumb's first is in the palm
    single = torch.where(bone[:, None] == which, one, 1.0)
    return _stretch(work, work.vertices, finger, torch.where(u[:, 4:5] < 0.55, whole, single))


def _thick(work: Work, u: Tensor) -> Tensor:
    """A finger too thick or thin: all along, in a ring, at the tip, or tapering to a point."""
    finger = finger_of(u[:, 0])
    chain = work.chain(finger)
    place = along(work.vertices, chain)
    how, factor = u[:, 1:2], outside(u[:, 2], (0.35, 0.55), (1.6, 2.2))[:, None]
    ring = torch.exp(-(((place - (0.8 + 2.0 * u[:, 3:4])) / 0.35) ** 2))
    profile = torch.where(how < 0.4, ramp(place, 0.2, 0.6), torch.where(how < 0.7, ring, ramp(place, 1.8, 1.0)))
    profile = torch.where(how > 0.85, ramp(place, 0.5, 2.4), profile)
    factor = torch.where(how > 0.85, 0.12, factor)
    axis = between(chain, place)
    grown = axis + (work.vertices - axis) * (1 + (factor - 1) * profile)[..., None]
    return torch.lerp(work.vertices, grown, mask_of(work, finger))


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
    return torch.lerp(vertices, bent, mask_of(work, finger))


def _fracture(work: Work, u: Tensor) -> Tensor:
    """A finger broken in the middle of a bone; some of them twice, in a zigzag."""
    finger = finger_of(u[:, 0])
    once = _kink(work, work.vertices, finger, u[:, 1:4], (40, 85))
    at_both = u[:, 1:4].clone()
    at_both[:, 0] = 0.1
    back = at_both.clone()
    back[:, 0], back[:, 1] = 0.9, (back[:, 1] + 0.5) % 1
    zigzag = _kink(work, _kink(work, work.vertices, finger, back, (35, 70)), finger, at_both, (35, 70))
    return torch.where((u[:, 4] < 0.3)[:, None, None], zigzag, once)


def _twist(work: Work, u: Tensor) -> Tensor:
    """A finger wrung about its own length."""
    finger = finger_of(u[:, 0])
    chain = work.chain(finger)
    place = along(work.vertices, chain)
    axis = between(chain, place)
    bone = F.normalize(chain[:, 3] - chain[:, 1], dim=-1)
    angle = torch.deg2rad(100 + 100 * u[:, 1:2]) * ramp(place, 0.4, 1.6)
    wrung = axis + turned(work.vertices - axis, bone, torch.where(u[:, 2:3] < 0.5, angle, -angle))
    return torch.lerp(work.vertices, wrung, mask_of(work, finger))


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
    finger = finger_of(u[:, 0])
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
    gone = finger_of(u[:, 0])
    others = torch.tensor([(2, 1, 4), (0, 0, 0), (4, 0, 0), (0, 0, 0), (2, 0, 2)], device=u.device)
    source = others[gone, (u[:, 2] * 3).long().clamp_max(2)]
    turn = work.frame(gone) @ work.frame(source).mT
    size = 0.85 + 0.3 * u[:, 1]
    return _put(work, _stumped(work, gone), source, turn, work.base(gone), size)


def _boneless(work: Work, u: Tensor) -> Tensor:
    """A finger that curls along all its length to any side, as if there were no joints."""
    finger = finger_of(u[:, 0])
    chain = work.chain(finger)
    place = along(work.vertices, chain)
    bone = F.normalize(chain[:, 2] - chain[:, 1], dim=-1)
    any_way = work.frame(finger)[..., 1]
    across = F.normalize(any_way - (any_way * bone).sum(-1, keepdim=True) * bone, dim=-1)
    axis = turned(across[:, None], bone, 2 * math.pi * u[:, 1:2])[:, 0]
    first = (finger == 0)[:, None] * 0.7 + 0.35
    last, share = torch.deg2rad(80 + 110 * u[:, 2:3]), ((place - first) / (3.0 - first)).clamp(0, 1)
    # The line of a finger whose direction turns evenly, step by step, and each slice of it turned with the line.
    steps = torch.linspace(0, 1, 25, device=u.device)[None].expand(len(u), -1)
    directions = turned((between(chain, torch.full_like(first, 3.0)) - between(chain, first)).expand(-1, 25, -1),
                        axis, last * steps)  # fmt: skip
    walked = torch.cat([torch.zeros_like(directions[:, :1]), directions[:, :-1].cumsum(1) / 24], dim=1)
    line = between(chain, first) + walked
    at = share * 24
    low = at.floor().clamp(0, 23).long()
    pick = low[..., None].expand(-1, -1, 3)
    middle = torch.lerp(line.gather(1, pick), line.gather(1, pick + 1), (at - low)[..., None])
    curled = middle + turned(work.vertices - between(chain, place), axis, last * share)
    moved = torch.where((place > first)[..., None], curled, work.vertices)
    return torch.lerp(work.vertices, moved, mask_of(work, finger))


def _outsized(work: Work, u: Tensor) -> Tensor:
    """A finger of another hand's size, thick and long alike; in some of them two."""
    vertices = work.vertices
    first = finger_of(u[:, 0])
    second = (first + 1 + (u[:, 1] * 4).long().clamp_max(3)) % 5
    for finger, factor, some in (
        (first, outside(u[:, 2], (0.4, 0.62), (1.4, 1.8)), torch.ones_like(first, dtype=torch.bool)),
        (second, outside(u[:, 3], (0.4, 0.7), (1.3, 1.7)), u[:, 4] < 0.35),
    ):
        chain = work.chain(finger)
        start = (finger == 0).float()[:, None]  # a thumb's first bone is in the palm
        place, base = along(vertices, chain), between(chain, start)
        grown = base + (vertices - base) * (1 + (factor[:, None] - 1) * ramp(place, start, 0.35))[..., None]
        vertices = torch.lerp(vertices, grown, mask_of(work, finger) * some[:, None, None])
    return vertices


def _severed(work: Work, u: Tensor) -> Tensor:
    """A finger that thins to a thread somewhere, its end farther out or beside itself."""
    finger = finger_of(u[:, 0])
    chain = work.chain(finger)
    place = along(work.vertices, chain)
    at = torch.where(finger == 0, 1.3 + 0.9 * u[:, 1], 0.5 + 1.7 * u[:, 1])[:, None]
    axis = between(chain, place)
    thin = torch.exp(-(((place - at) / 0.16) ** 2))[..., None]
    thread = axis + (work.vertices - axis) * (1 - 0.97 * thin)
    frame = work.frame(finger)
    turn = 2 * math.pi * u[:, 2:3]
    beside = frame[..., 1] * turn.cos() + frame[..., 2] * turn.sin()
    out = F.normalize(chain[:, 3] - chain[:, 2], dim=-1)
    gap = torch.where(u[:, 3:4] < 0.5, out * (0.006 + 0.012 * u[:, 4:5]), beside * (0.008 + 0.010 * u[:, 4:5]))
    ended = thread + gap[:, None] * ramp(place, at - 0.08, 0.16)[..., None]
    return torch.lerp(work.vertices, ended, mask_of(work, finger))


def _crowded(work: Work, u: Tensor) -> Tensor:
    """Fingers whose bases do not stand in their row: some stand in a neighbour, and leave a gap."""
    across = F.normalize(work.joints[:, 17] - work.joints[:, 5], dim=-1)
    pitch = (work.joints[:, 17] - work.joints[:, 5]).norm(dim=-1, keepdim=True) / 3
    vertices = work.vertices
    main = 1 + (u[:, 0] * 4).long().clamp_max(3)
    for number in (1, 2, 3, 4):
        finger = torch.full_like(main, number)
        sign = torch.where(u[:, number] < 0.5, -1.0, 1.0)
        if number in (1, 4):  # the outer two have neighbours on one side alone
            sign = torch.full_like(sign, 1.0 if number == 1 else -1.0)
        share = torch.where(main == number, 0.4 + 0.4 * u[:, 5 + number], 0.25 * u[:, 5 + number])
        chain = work.chain(finger)
        off = (across * pitch * (sign * share)[:, None])[:, None] * ramp(along(vertices, chain), -0.05, 0.4)[..., None]
        vertices = vertices + off * mask_of(work, finger)
    return vertices


def _forked(work: Work, u: Tensor) -> Tensor:
    """A finger that forks into two ends behind one of its joints."""
    finger = finger_of(u[:, 0])
    chain = work.chain(finger)
    at = torch.where(finger == 0, 1.2 + 0.5 * u[:, 1], 0.7 + 1.2 * u[:, 1])[:, None]
    pivot = between(chain, at)
    angle = torch.deg2rad(14 + 16 * u[:, 2:3])
    axis = F.normalize(work.frame(finger)[..., 1], dim=-1)
    size = (0.75 + 0.35 * u[:, 3])[:, None, None]

    def bent(vertices: Tensor, sign: float) -> Tensor:
        share = ramp(along(vertices, chain), at - 0.1, 0.2)
        return pivot + turned(vertices - pivot, axis, sign * angle * share)

    vertices = torch.lerp(work.vertices, bent(work.vertices, 1.0), mask_of(work, finger))
    for number in range(5):
        rows = torch.nonzero(finger == number)[:, 0]
        if len(rows):
            own, copy = work.bench.own[number], work.bench.copies[number]
            place = along(work.vertices[:, own], chain)
            second = bent(work.vertices[:, own], -1.0)
            inside = between(chain, place)  # before the fork the second end's skin is hidden in the first
            second = pivot + (torch.where((place < at - 0.1)[..., None], inside, second) - pivot) * size
            vertices[rows[:, None], copy[None]] = second[rows]
    return vertices


def _webbed(work: Work, u: Tensor) -> Tensor:
    """Two neighbours with a skin between them, up to a joint or to the tips, as a duck has."""
    first = 1 + (u[:, 0] * 3).long().clamp_max(2)
    pair = (first, first + 1)
    chains = [work.chain(finger) for finger in pair]
    high = (0.9 + 1.6 * u[:, 1])[:, None]
    vertices = work.vertices
    for finger, own, other in ((pair[0], *chains), (pair[1], *chains[::-1])):
        place = along(work.vertices, own)
        here, there = between(own, place), between(other, place)
        step = there - here
        toward = ((work.vertices - here) * step).sum(-1) / (step * step).sum(-1).clamp_min(1e-9)
        radius = 0.008 / step.norm(dim=-1).clamp_min(1e-4)  # of a finger, as a share of the way
        edge = (toward / radius).clamp(0, 1) ** 0.5 * ramp(high - place, 0.0, 0.3)
        target = here + step * 0.51 + (work.vertices - here - step * toward[..., None]) * 0.6  # a thin skin
        webbed = torch.lerp(work.vertices, target, edge[..., None])
        vertices = torch.where(mask_of(work, finger) > 0, webbed, vertices)
    return vertices


MESH_EDITS: dict[str, Callable[[Work, Tensor], Tensor]] = {
    "bones": _bones, "thick": _thick, "fracture": _fracture, "twist": _twist, "lump": _lump, "gnarled": _gnarled,
    "moved": _moved, "replaced": _replaced, "boneless": _boneless, "outsized": _outsized, "severed": _severed,
    "crowded": _crowded, "forked": _forked, "webbed": _webbed,
}  # fmt: skip
"""Each: N hands and [N, NUMBERS] numbers in [0, 1) to vertices [N, V, 3]."""
OF_A_FINGER = (
    "bones", "thick", "fracture", "twist", "moved", "replaced", "boneless", "outsized", "severed", "forked",
)  # fmt: skip
"""Those whose first number chooses the finger."""
