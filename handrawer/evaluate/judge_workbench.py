"""Where the meshes of the judge's training hands are edited: hands in batches, their chains of joints, a spare finger.

All edits run in batches on one device, with random numbers that depend on a scene's number alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hand.model import HandModel, load_open_hand
from ..mini.picture import Skin, make_skin
from ..mini.scene import Scene
from .malformed import stump_model, workshop

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


def finger_of(u: Tensor) -> Tensor:
    """[N] a finger's number for each number in [0, 1)."""
    return (u * 5).long().clamp_max(4)


def mask_of(work: Work, finger: Tensor) -> Tensor:
    """[N, V, 1] 1 on the finger."""
    return (work.bench.finger[None] == finger[:, None]).float()[..., None]


def outside(u: Tensor, low: tuple[float, float], high: tuple[float, float]) -> Tensor:
    """Uniform in ``low`` for u under a half, else in ``high``."""
    first = low[0] + (low[1] - low[0]) * 2 * u
    return torch.where(u < 0.5, first, high[0] + (high[1] - high[0]) * (2 * u - 1))
