"""People for the background: posed once by ``scripts/pose_people.py`` from MakeHuman's CC0 body."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

FILE = Path(__file__).with_name("people.safetensors")
PARTS = ("skin", "shirt", "sleeve", "trousers", "shin", "shoe", "hair", "eye")
HAIR = ((0.08, 0.06, 0.05), (0.20, 0.12, 0.08), (0.38, 0.26, 0.15), (0.62, 0.58, 0.54), (0.70, 0.55, 0.32))
CLOTHES = (
    (0.16, 0.22, 0.38), (0.55, 0.16, 0.15), (0.82, 0.81, 0.78), (0.12, 0.12, 0.13), (0.26, 0.40, 0.28),
    (0.48, 0.42, 0.34), (0.62, 0.60, 0.60), (0.72, 0.58, 0.30), (0.35, 0.28, 0.42), (0.40, 0.55, 0.65),
)  # fmt: skip
EYE = (0.10, 0.08, 0.07)
SHOE = (0.12, 0.11, 0.11)


@dataclass(frozen=True)
class People:
    """P posed bodies of one topology.

    Attributes:
        vertices: [P, V, 3] metres, feet at y = 0, y down, facing the camera (-z).
        faces: [F, 3] int64.
        part: [F] int64 into PARTS.
        dark: [V] 0..1, brows and lips.
    """

    vertices: Tensor
    faces: Tensor
    part: Tensor
    dark: Tensor

    @property
    def heights(self) -> Tensor:
        """[P] metres."""
        return -self.vertices[..., 1].amin(1)


@functools.lru_cache(maxsize=4)
def load_people(device: torch.device) -> People:
    """The people that come with the project, on a device."""
    from safetensors import safe_open

    with safe_open(str(FILE), framework="pt") as file:
        vertices, faces, part, dark = (file.get_tensor(name) for name in ("vertices", "faces", "part", "dark"))
    return People(
        vertices.float().to(device), faces.long().to(device), part.long().to(device), dark.float().to(device) / 255
    )


def dress(part: Tensor, skin: Tensor, looks: Tensor) -> Tensor:
    """Colours [M, 3] of parts [M] of people.

    Args:
        part: [M] into PARTS.
        skin: [M, 3].
        looks: [M, 5] uniform in [0, 1): hair, shirt, sleeves (short under 0.4), trousers, shorts (under 0.15).
    """
    device = part.device
    hair, clothes = torch.tensor(HAIR, device=device), torch.tensor(CLOTHES, device=device)
    shirt = clothes[(looks[:, 1] * len(CLOTHES)).long()]
    trousers = clothes[(looks[:, 3] * len(CLOTHES)).long()] * 0.75
    kinds = [
        skin, shirt, torch.where(looks[:, 2:3] < 0.4, skin, shirt), trousers,
        torch.where(looks[:, 4:5] < 0.15, skin, trousers), torch.tensor(SHOE, device=device).expand_as(skin),
        hair[(looks[:, 0] * len(HAIR)).long()], torch.tensor(EYE, device=device).expand_as(skin),
    ]  # fmt: skip
    return torch.stack(kinds, 1)[torch.arange(len(part), device=device), part]
