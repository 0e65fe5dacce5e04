"""Pictures without a hand: what hands are put over, and what a detector must find nothing in.

Each is made from its number alone. Some are made to be taken for hands: bars side by side in the colour of skin,
branches that fork, gloves' colours, arms that end before the hand.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..hand.model import HandModel
from ..mini.picture import BACK_COLOURS, BACKGROUND_COLOURS, Skin, draw_cutouts
from ..mini.scene import draw_scenes

if TYPE_CHECKING:
    from PIL import ImageDraw

Draw = Callable[["ImageDraw.ImageDraw", int, int, random.Random], None]
WORDS = ("hands", "rest", "on", "the", "table", "while", "long", "fingers", "drum", "and", "nobody", "listens")


def backdrop(kind: str, width: int, height: int, number: int) -> Tensor:
    """A picture without a hand, [height, width, 3] float32 in 0..1.

    Args:
        kind: one of ``KINDS``.
        number: which one; the same number gives the same picture.
    """
    chance = random.Random(f"{kind} {number}")
    generator = torch.Generator().manual_seed(chance.randrange(2**31))
    ground = _gradient(width, height, chance, generator)
    if kind == "gradient":
        return ground
    if kind == "noise":
        cells = chance.choice((8, 24, 80, max(width, height)))
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        return _spread(noise, width, height)
    if kind == "waves":
        return _waves(width, height, chance)
    return _drawn(ground, DRAWN[kind], chance)


def _gradient(width: int, height: int, chance: random.Random, generator: torch.Generator) -> Tensor:
    """A plain colour of the generator's, with a slope and soft blotches."""
    colour = torch.tensor(chance.choice(list(BACKGROUND_COLOURS.values())))
    blotches = torch.randn(1, 3, 5, 5, generator=generator) * 0.03
    slope = torch.linspace(-1, 1, height)[:, None, None] * chance.uniform(-0.15, 0.15)
    slope = slope + torch.linspace(-1, 1, width)[None, :, None] * chance.uniform(-0.15, 0.15)
    return (colour + slope + _spread(blotches, width, height, None)).clamp(0, 1)


def _spread(values: Tensor, width: int, height: int, limits: tuple[float, float] | None = (0, 1)) -> Tensor:
    picture = F.interpolate(values, size=(height, width), mode="bicubic")[0].permute(1, 2, 0)
    return picture.clamp(*limits) if limits else picture


def _waves(width: int, height: int, chance: random.Random) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    bands = [
        torch.sin(chance.uniform(5, 60) * x + chance.uniform(-40, 40) * y + chance.uniform(0, 30) * x * y)
        for _ in range(3)
    ]
    return torch.stack(bands, dim=-1) * 0.4 + 0.5


def _drawn(ground: Tensor, draw: Draw, chance: random.Random) -> Tensor:
    """A drawing over a picture, at twice its size and averaged down."""
    import numpy as np
    from PIL import Image, ImageDraw

    height, width = ground.shape[:2]
    image = Image.fromarray((ground * 255).round().to(torch.uint8).numpy()).resize((2 * width, 2 * height))
    draw(ImageDraw.Draw(image), 2 * width, 2 * height, chance)
    values = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
    return F.avg_pool2d(values.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0).contiguous()


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def _skin_colour(chance: random.Random, shade: float = 1.0) -> tuple[int, int, int]:
    red, green, blue = (min(255, int(255 * shade * part)) for part in chance.choice(list(BACK_COLOURS.values())))
    return red, green, blue


def _limb(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], thick: float, colour: tuple[int, ...]) -> None:
    """A thick line with round ends and corners."""
    draw.line(points, fill=colour, width=max(1, round(thick)))
    for x, y in points:
        draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=colour)


def _furniture(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """Boards, legs and frames."""
    for _ in range(chance.randint(4, 9)):
        x, y = chance.uniform(-0.1, 0.9) * width, chance.uniform(0, 0.9) * height
        w, h = chance.uniform(0.05, 0.5) * width, chance.uniform(0.02, 0.5) * height
        draw.rectangle((x, y, x + w, y + h), fill=_colour(chance), outline=_colour(chance), width=4)
    wood = (120, 80, 50)
    for i in range(4):
        x = width * (0.2 + 0.18 * i)
        _limb(draw, [(x, 0.6 * height), (x + chance.uniform(-40, 40), height)], 0.03 * width, wood)


def _text(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    from ..render.pictures import font

    size = chance.choice((28, 48, 90))
    for row in range(height // (size + 8)):
        words = " ".join(chance.choice(WORDS) for _ in range(30))
        draw.text((10, row * (size + 8)), words, fill=(20, 20, 20), font=font(size))


def _branches(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """A tree without leaves, brown or in the colour of skin."""
    colour = _skin_colour(chance, chance.uniform(0.5, 1))

    def grow(x: float, y: float, angle: float, length: float, thick: float, depth: int) -> None:
        end = x + length * math.sin(angle), y - length * math.cos(angle)
        _limb(draw, [(x, y), end], thick, colour)
        if depth:
            for turn in (-1, 0, 1)[: chance.randint(2, 3)]:
                spread = angle + turn * chance.uniform(0.3, 0.7) + chance.uniform(-0.15, 0.15)
                grow(*end, spread, length * chance.uniform(0.6, 0.85), thick * 0.7, depth - 1)

    grow(width * chance.uniform(0.3, 0.7), height, chance.uniform(-0.3, 0.3), height * 0.25, width * 0.05, 4)


def _bars(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """Sausages side by side: as many and as long as fingers, but for a palm."""
    colour, count = _skin_colour(chance), chance.choice((3, 6, 8))
    thick = width * chance.uniform(0.04, 0.08)
    x, y, length = width * 0.3, height * chance.uniform(0.55, 0.8), height * chance.uniform(0.2, 0.4)
    for i in range(count):
        at = x + i * thick * 1.15
        _limb(draw, [(at, y), (at, y - length * chance.uniform(0.9, 1.1))], thick, colour)


def _blobs(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """Round things, in the colour of skin and of gloves."""
    for _ in range(chance.randint(2, 6)):
        x, y, r = chance.uniform(0, width), chance.uniform(0, height), chance.uniform(0.05, 0.25) * height
        colour = _skin_colour(chance) if chance.random() < 0.6 else _colour(chance)
        draw.ellipse((x - r, y - r * chance.uniform(0.5, 1.3), x + r, y + r), fill=colour)


def _face(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """A head with hair, eyes, nose, mouth and ears, on shoulders."""
    x, y, r = width * chance.uniform(0.35, 0.65), height * 0.4, height * chance.uniform(0.15, 0.25)
    skin, hair = _skin_colour(chance), chance.choice([(30, 20, 15), (120, 80, 40), (200, 170, 110)])
    draw.ellipse((x - 2.2 * r, y + 1.2 * r, x + 2.2 * r, y + 5 * r), fill=_colour(chance))
    draw.rectangle((x - 0.4 * r, y + 0.7 * r, x + 0.4 * r, y + 1.6 * r), fill=skin)
    draw.ellipse((x - 1.05 * r, y - 1.5 * r, x + 1.05 * r, y + 0.8 * r), fill=hair)
    for side in (-1, 1):
        draw.ellipse(
            (x + side * 0.9 * r - 0.15 * r, y - 0.2 * r, x + side * 0.9 * r + 0.15 * r, y + 0.3 * r), fill=skin
        )
    draw.ellipse((x - 0.9 * r, y - 1.1 * r, x + 0.9 * r, y + 1.2 * r), fill=skin)
    for side in (-1, 1):
        ex, ey = x + side * 0.38 * r, y - 0.1 * r
        draw.ellipse((ex - 0.18 * r, ey - 0.1 * r, ex + 0.18 * r, ey + 0.1 * r), fill=(250, 250, 250))
        draw.ellipse((ex - 0.08 * r, ey - 0.08 * r, ex + 0.08 * r, ey + 0.08 * r), fill=(40, 30, 20))
    draw.line([(x, y), (x - 0.1 * r, y + 0.4 * r), (x + 0.1 * r, y + 0.4 * r)], fill=hair, width=5)
    draw.arc((x - 0.4 * r, y + 0.3 * r, x + 0.4 * r, y + 0.8 * r), 20, 160, fill=(160, 60, 60), width=8)


DRAWN: dict[str, Draw] = {
    "furniture": _furniture,
    "text": _text,
    "branches": _branches,
    "bars": _bars,
    "blobs": _blobs,
    "face": _face,
}
KINDS = ("gradient", "noise", "waves", *DRAWN)


def arms(model: HandModel, skin: Skin, size: int, number: int) -> Tensor:
    """A drawn arm whose hand lies outside of the picture, [size, size, 3]: wrists and sleeves are no hands."""
    scene = draw_scenes(9100, torch.tensor([number]), model)
    scene = dataclasses.replace(scene, focal=scene.focal / 2)
    cutout = draw_cutouts(scene, model, skin, size=2 * size)[0]
    wrist = (scene.joints_2d[0, 0] * 2 * size).round().long()
    away = F.normalize(scene.joints_2d[0, 0] - scene.joints_2d[0, 9], dim=0)
    # A square that begins a little behind the wrist.
    corner = (wrist + 0.65 * size * away - size / 2).round().long()
    padded = F.pad(cutout, (2 * size,) * 4)
    x, y = (corner + 2 * size).clamp(0, 5 * size).tolist()
    cut = padded[:, y : y + size, x : x + size].permute(1, 2, 0)
    return (cut[..., :3] + (1 - cut[..., 3:]) * backdrop("gradient", size, size, number)).clamp(0, 1)


def empty_picture(number: int, model: HandModel, skin: Skin, size: int = 256) -> tuple[str, Tensor]:
    """A picture without a hand, and its kind: all kinds in turn, arms last."""
    kind = (*KINDS, "arms")[number % (len(KINDS) + 1)]
    return kind, arms(model, skin, size // 2, number) if kind == "arms" else backdrop(kind, size, size, number)
