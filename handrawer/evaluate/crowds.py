"""Pictures of several hands, as people take them, whose places and sides are known: what a detector is measured on.

Hands of the project's own generator are put over backdrops: two hands, small ones, hands across the edge, turned
ones, fists, hands that cross, crowds, hands of one side that overlap, and blurred hands.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hand.model import HandModel
from ..mini.captions import SIDES, VIEWS
from ..mini.picture import Skin, draw_cutouts
from ..mini.scene import GESTURE_NAMES, Scene, draw_scenes
from .backdrops import KINDS, backdrop

SEED = 7300
POOL = 1600  # scenes to choose from
SHRUNK = 0.6  # of the focal length: much of the forearm lies in the drawn square too
MOST_DRAWN = 400  # pixels of that square; larger ones take seconds
HIDDEN = 0.5  # share of a hand's joints that others cover, from where nobody would ask for it to be found
LEFT, RIGHT = SIDES


@dataclass(frozen=True)
class Wish:
    """One hand that is to be drawn.

    Attributes:
        x, y: the middle of its joints, in shares of the picture.
        size: longer side of the joints' box over the picture's height.
        turn: radians clockwise, on top of how its scene has it.
        side, gesture: None for any.
    """

    x: float
    y: float
    size: float
    turn: float = 0.0
    side: str | None = None
    gesture: str | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """One hand of a picture."""

    points: Tensor
    """[21, 2] its joints in pixels; some may lie outside."""
    side: str
    hidden: float
    """Share of the joints over which other hands lie."""

    @property
    def visible(self) -> bool:
        return self.hidden <= HIDDEN


@dataclass(frozen=True, eq=False)
class Crowd:
    kind: str
    picture: Tensor
    """[H, W, 3] float32 in 0..1."""
    hands: tuple[Drawn, ...]


def _two(chance: random.Random) -> list[Wish]:
    a, b = chance.uniform(0.35, 0.5), chance.uniform(0.3, 0.5)
    return [
        Wish(0.28, chance.uniform(0.4, 0.6), a, side=chance.choice(SIDES)),
        Wish(0.72, chance.uniform(0.4, 0.6), b, side=chance.choice(SIDES)),
    ]


def _small(chance: random.Random) -> list[Wish]:
    places = [(0.15 + 0.23 * (i % 4), 0.3 + 0.4 * (i // 4)) for i in range(8)]
    return [
        Wish(x + chance.uniform(-0.03, 0.03), y + chance.uniform(-0.06, 0.06), chance.uniform(0.09, 0.14))
        for x, y in chance.sample(places, 4)
    ]


def _edge(chance: random.Random) -> list[Wish]:
    found = []
    for x, y in chance.sample([(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)], 2):
        found.append(Wish(x + chance.uniform(-0.02, 0.02), y + chance.uniform(-0.02, 0.02), 0.5, chance.uniform(-1, 1)))
    # The middle of the joints lies a fifth of the hand inside, so that a third is cut off.
    return [
        dataclasses.replace(w, x=min(max(w.x, 0.075), 0.925), y=min(max(w.y, 0.1), 0.9)) for w in found
    ]  # fmt: skip


def _turned(chance: random.Random) -> list[Wish]:
    return [
        Wish(x, 0.5 + chance.uniform(-0.1, 0.1), chance.uniform(0.35, 0.45), chance.uniform(-math.pi, math.pi))
        for x in (0.27, 0.73)
    ]


def _fists(chance: random.Random) -> list[Wish]:
    return [
        Wish(x, 0.5 + chance.uniform(-0.1, 0.1), chance.uniform(0.2, 0.35), gesture="fist", side=chance.choice(SIDES))
        for x in (0.3, 0.7)
    ]


def _crossed(chance: random.Random) -> list[Wish]:
    size, away = chance.uniform(0.45, 0.6), chance.uniform(0.07, 0.13)
    sides = chance.sample(SIDES, 2)
    y = chance.uniform(0.42, 0.58)
    return [
        Wish(0.5 - away, y, size, chance.uniform(0.1, 1.0), sides[0]),
        Wish(0.5 + away, y + chance.uniform(-0.12, 0.12), size, -chance.uniform(0.1, 1.0), sides[1]),
    ]


def _same_side(chance: random.Random) -> list[Wish]:
    first, second = _crossed(chance)
    side = chance.choice(SIDES)
    return [dataclasses.replace(first, side=side), dataclasses.replace(second, side=side)]


def _many(chance: random.Random) -> list[Wish]:
    return [
        Wish(
            0.11 + 0.195 * (i % 5), 0.25 + 0.5 * (i // 5) + chance.uniform(-0.05, 0.05), chance.uniform(0.2, 0.3),
            chance.uniform(-0.6, 0.6),
        )
        for i in range(10)
    ]  # fmt: skip


WISHES: dict[str, Callable[[random.Random], list[Wish]]] = {
    "two hands": _two,
    "small hands": _small,
    "at the edge": _edge,
    "turned": _turned,
    "fists": _fists,
    "crossed": _crossed,
    "crossed, of one side": _same_side,
    "ten hands": _many,
    "blurred and noisy": _two,
}


def crowd(kind: str, number: int, model: HandModel, skin: Skin, width: int = 640, height: int = 480) -> Crowd:
    """A picture of several hands.

    Args:
        kind: one of ``WISHES``.
        number: which one; the same number gives the same picture.
    """
    chance = random.Random(f"{kind} {number}")
    picture = backdrop(chance.choice(("gradient", *KINDS)), width, height, number)
    placed: list[tuple[Tensor, str, Tensor]] = []
    for wish in WISHES[kind](chance):
        layer, points, side = _placed(wish, model, skin, width, height, chance)
        placed.append((points, side, layer[3]))
        picture = layer[:3].permute(1, 2, 0) + (1 - layer[3][..., None]) * picture
    picture = picture.clamp(0, 1)
    if kind == "blurred and noisy":
        picture = _spoiled(picture, chance)
    hands = []
    for i, (points, side, _) in enumerate(placed):
        over = torch.stack([torch.zeros(height, width), *(coverage for _, _, coverage in placed[i + 1 :])]).amax(dim=0)
        hands.append(Drawn(points, side, _share_under(points, over)))
    return Crowd(kind, picture, tuple(hands))


def _share_under(points: Tensor, coverage: Tensor) -> float:
    height, width = coverage.shape
    x, y = points.round().long().unbind(-1)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    covered = coverage[y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0.5
    return float((covered & inside).float().mean())


def _spoiled(picture: Tensor, chance: random.Random) -> Tensor:
    """As a phone's picture in the dusk: out of focus, dark and grainy."""
    reach = chance.choice((2, 3, 4))
    blurred = picture.permute(2, 0, 1)[None]
    for _ in range(3):
        blurred = F.avg_pool2d(blurred, 2 * reach + 1, 1, reach, count_include_pad=False)
    grain = torch.randn(picture.shape, generator=torch.Generator().manual_seed(chance.randrange(2**31)))
    return (blurred[0].permute(1, 2, 0) * chance.uniform(0.5, 1) + 0.04 * grain).clamp(0, 1)


@cache
def _pool(model: HandModel) -> Scene:
    return draw_scenes(SEED, torch.arange(POOL), model)


def _chosen(wish: Wish, model: HandModel, chance: random.Random) -> int:
    """The number of a scene as wished; seen from its palm or back, since from the edge few can tell a hand's side."""
    pool = _pool(model)
    good = pool.view != VIEWS.index("side")
    if wish.side is not None:
        good &= pool.side == SIDES.index(wish.side)
    if wish.gesture is not None:
        good &= pool.gesture == GESTURE_NAMES.index(wish.gesture)
    return chance.choice(torch.nonzero(good)[:, 0].tolist())


def _placed(
    wish: Wish, model: HandModel, skin: Skin, width: int, height: int, chance: random.Random
) -> tuple[Tensor, Tensor, str]:
    """A hand in its place: [4, height, width] colour times coverage and coverage, its joints in pixels, its side."""
    scene = draw_scenes(SEED, torch.tensor([_chosen(wish, model, chance)]), model)
    scene = dataclasses.replace(scene, focal=scene.focal * SHRUNK)
    joints = scene.joints_2d[0]
    extent = float((joints.amax(dim=0) - joints.amin(dim=0)).max())
    size = min(MOST_DRAWN, max(96, round(wish.size * height / extent)))  # drawn in the size in which it is needed
    cutout = draw_cutouts(scene, model, skin, size=size)
    scale = wish.size * height / (extent * size)
    middle = (joints.amax(dim=0) + joints.amin(dim=0)) / 2 * size
    centre = torch.tensor([wish.x * width, wish.y * height])
    cos, sin = math.cos(wish.turn), math.sin(wish.turn)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    points = (joints * size - middle) @ turn.T * scale + centre
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    source = ((torch.stack([x, y], dim=-1) - centre) @ turn) / scale + middle
    layer = F.grid_sample(cutout, (2 * source / size - 1)[None], align_corners=False)[0]
    # A point at pixel i's middle has the coordinate i + 0.5; joints are compared with landmarks in the same way.
    return layer, points, SIDES[int(scene.side[0])]


def crowds(count: int, model: HandModel, skin: Skin) -> list[Crowd]:
    """``count`` pictures of each kind."""
    return [crowd(kind, number, model, skin) for kind in WISHES for number in range(count)]
