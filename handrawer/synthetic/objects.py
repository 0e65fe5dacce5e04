"""Simple objects: turned on a lathe or cut as a box, all of one topology; and how the open hand holds them.

The grasps in ``grasps.json`` were found by ``scripts/make_grasps.py``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

SEGMENTS, RINGS = 24, 12
KINDS = ("can", "bottle", "cup", "stick", "ball", "box", "phone", "card", "pen")
FLAT = ("box", "phone", "card")
# Radius and height (-1 top, 1 bottom, as y points down) of each ring.
PROFILES: dict[str, tuple[tuple[float, float], ...]] = {
    "can": ((0, -1), (0.86, -1), (0.9, -0.985), (1, -0.93), (1, -0.5), (1, -0.2), (1, 0.2), (1, 0.5), (1, 0.93),
            (0.9, 0.985), (0.86, 1), (0, 1)),
    "bottle": ((0, -1), (0.4, -1), (0.42, -0.98), (0.42, -0.9), (0.36, -0.88), (0.36, -0.76), (0.62, -0.64),
               (0.93, -0.54), (1, -0.46), (1, 0.94), (0.9, 1), (0, 1)),
    "cup": ((0, 0.9), (0.74, 0.9), (0.9, -0.96), (0.93, -1), (0.97, -1), (0.985, -0.8), (0.96, -0.4), (0.92, 0.1),
            (0.86, 0.6), (0.82, 0.9), (0.78, 1), (0, 1)),
    "stick": ((0, -1), (0.9, -1), (1, -0.98), (1, -0.8), (1, -0.5), (1, -0.2), (1, 0.2), (1, 0.5), (1, 0.8),
              (1, 0.98), (0.9, 1), (0, 1)),
    "ball": tuple((float(torch.sin(torch.tensor(a))), -float(torch.cos(torch.tensor(a))))
                  for a in torch.linspace(0, torch.pi, RINGS).tolist()),
    "box": ((0, -1), (0.97, -1), (1, -0.985), (1, -0.6), (1, -0.3), (1, 0), (1, 0.3), (1, 0.6), (1, 0.8), (1, 0.985),
            (0.97, 1), (0, 1)),
    "pen": ((0, -1), (0.2, -0.985), (0.35, -0.95), (0.9, -0.8), (1, -0.76), (1, -0.3), (1, 0), (1, 0.3), (1, 0.6),
            (0.96, 0.62), (0.9, 1), (0, 1)),
}  # fmt: skip
PROFILES["phone"] = PROFILES["card"] = PROFILES["box"]
COLOURS = (
    (0.72, 0.12, 0.12), (0.12, 0.28, 0.60), (0.16, 0.45, 0.25), (0.88, 0.72, 0.20), (0.85, 0.85, 0.83),
    (0.13, 0.13, 0.15), (0.55, 0.36, 0.22), (0.80, 0.42, 0.14), (0.45, 0.25, 0.50), (0.35, 0.62, 0.68),
)  # fmt: skip
CAP_COLOUR = (0.10, 0.10, 0.11)


@dataclass(frozen=True)
class Grasps:
    """How the open right hand holds G objects, in the wrist's frame of a hand of mean size.

    Attributes:
        kind: [G] int64 into KINDS.
        angles: [G, 21] radians.
        place: [G, 3] metres, the object's middle.
        rotation: [G, 3, 3] of the object.
        extent: [G, 3] half width, height (along the lathe's axis) and depth in metres.
    """

    kind: Tensor
    angles: Tensor
    place: Tensor
    rotation: Tensor
    extent: Tensor

    def to(self, device: torch.device) -> Grasps:
        return Grasps(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@functools.lru_cache(maxsize=1)
def load_grasps() -> Grasps:
    """The grasps that come with the project."""
    rows = json.loads(Path(__file__).with_name("grasps.json").read_text(encoding="utf-8"))["grasps"]
    extents = []
    for row in rows:
        size = row["size"]
        extents.append(size if row["shape"] == "box" else [size[0], size[-1], size[0]])
    return Grasps(
        torch.tensor([KINDS.index(row["kind"]) for row in rows]), torch.tensor([row["angles"] for row in rows]),
        torch.tensor([row["place"] for row in rows]), torch.tensor([row["rotation"] for row in rows]),
        torch.tensor(extents),
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def unit_objects() -> tuple[Tensor, Tensor]:
    """Every kind's surface within -1..1: vertices [KINDS, V, 3], and the faces [F, 3] that they share."""
    angle = torch.arange(SEGMENTS) / SEGMENTS * 2 * torch.pi
    circle = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
    square = circle / circle.abs().amax(-1, keepdim=True)
    every = []
    for kind in KINDS:
        profile = torch.tensor(PROFILES[kind])
        around = square if kind in FLAT else circle
        x, z = (profile[:, :1] * around[:, k] for k in (0, 1))
        every.append(torch.stack([x, profile[:, 1:].expand_as(x), z], -1).reshape(-1, 3))
    ring = torch.arange(RINGS - 1)[:, None] * SEGMENTS
    here = torch.arange(SEGMENTS)[None]
    after = (here + 1) % SEGMENTS
    a, b, c, d = ring + here, ring + after, ring + SEGMENTS + here, ring + SEGMENTS + after
    faces = torch.cat([torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)])
    # The ends' faces at the axis have no area.
    vertices = torch.stack(every)
    return vertices, faces


def paint(kind: Tensor, local: Tensor, main: Tensor, accent: Tensor, pattern: Tensor) -> Tensor:
    """Colours [M, 3] of places on objects.

    Args:
        kind: [M] into KINDS.
        local: [M, 3] place within -1..1 on the unit object.
        main, accent: [M, 3] the object's two colours.
        pattern: [M] 0 plain, 1 a band around the middle, 2 stripes, 3 two halves.
    """
    x, y, z = local.unbind(-1)
    device = local.device
    second = (pattern == 1) & (y.abs() < 0.4) | (pattern == 2) & (torch.sin(y * 14) > 0.3) | (pattern == 3) & (y > 0.1)

    def of(name: str) -> Tensor:
        return kind == KINDS.index(name)

    cap = torch.tensor(CAP_COLOUR, device=device)
    light = torch.tensor((0.80, 0.86, 0.93), device=device)
    second = second | of("bottle") & (y < -0.87) | of("card") & (y > 0.45) & (y < 0.8)
    second = second & ~of("phone") & ~of("stick")
    colour = torch.where(second[:, None], accent, main)
    dark = of("phone") | of("pen") & (y < -0.8) | of("can") & (y.abs() > 0.99)
    colour = torch.where(dark[:, None], cap, colour)
    inside = of("cup") & (torch.hypot(x, z) < 0.8 + 0.13 * (0.9 - y) / 1.9) & (y < 0.99)
    colour = torch.where(inside[:, None], 0.55 * colour, colour)
    screen = of("phone") & (z < -0.9) & (x.abs() < 0.93) & (y.abs() < 0.94)
    shine = light + 0.12 * torch.stack([x, y, -x], -1)
    bar = screen & ((y * 6).floor() % 2 == 0) & (x.abs() < 0.75)
    colour = torch.where(screen[:, None], shine, colour)
    return torch.where(bar[:, None], 0.35 * shine + 0.65 * main, colour)
