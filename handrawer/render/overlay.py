"""The hands' meshes laid over a picture, for a person to see what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel
from .drawing import Crop
from .maps import render_crops
from .masks import dilate
from .pictures import font
from .scene import frames_of

SIDE_COLOURS = {"right": (0.25, 0.62, 1.0), "left": (1.0, 0.58, 0.18)}
"""Blue for the person's right hands, orange for the left ones."""

LIGHT = (-0.35, 0.5, 0.79)
"""Where the light comes from (x right, y up, z to the viewer): above the viewer's left shoulder. Length 1."""


def draw_overlay(
    pictures: Tensor,
    hands: Hands | Frame,
    *,
    opacity: float = 0.75,
    outline: bool = True,
    badges: bool = True,
    models: Mapping[str, HandModel] | None = None,
) -> Tensor:
    """[B, H, W, 3] float32: each picture with the shaded meshes of its enabled hands over it.

    pictures  [B, H, W, C] float 0..1 with 1, 3 or 4 channels (a fourth one, alpha, is dropped); not changed
    hands     of one picture or of a batch; fewer than B lists of hands repeat cyclically, more are cut, and hands of
              pictures of another size are placed uniformly
    opacity   of the meshes, 0..1
    outline   draws the outline of what is visible of each hand
    badges    labels each hand at its wrist with its number in the list, from 0, and its side
    models    hand models by name, for hands of another model than "open"
    """
    if pictures.ndim != 4 or pictures.shape[-1] not in (1, 3, 4):
        raise ValueError(f"The pictures must be [B, H, W, 3], not {list(pictures.shape)}.")
    count, height, width, _ = pictures.shape
    hands = Hands((hands,)) if isinstance(hands, Frame) else hands
    if len(hands.frames) != count:
        hands, _ = hands.for_batch(count)
    result = pictures[..., :3].to(torch.float32).expand(-1, -1, -1, 3).clone()
    for place, frame in enumerate(frames_of(hands, width, height)):
        layers, crops = render_crops(frame, ("normals",), normals="opengl", models=models, device=pictures.device)
        _draw(result[place], frame, layers["normals"], crops, opacity, outline)
        if badges:
            _label(result[place], frame, crops)
    return result


def _draw(
    canvas: Tensor, frame: Frame, normals: Tensor, crops: list[Crop | None], opacity: float, outline: bool
) -> None:
    light = torch.tensor(LIGHT, device=canvas.device)
    drawn = [(hand, crop) for hand, crop in zip(frame.hands, crops, strict=True) if crop is not None]
    for hand, crop in drawn:
        part = (crop.rows, crop.columns)
        colour = torch.tensor(SIDE_COLOURS[hand.side], device=canvas.device)
        shade = 0.3 + 0.75 * ((2 * normals[part] - 1) @ light).clamp(min=0)[..., None]
        canvas[part] = torch.lerp(canvas[part], (shade * colour).clamp(0, 1), opacity * crop.share[..., None])
    if not outline:
        return
    line = max(1.0, min(frame.width, frame.height) / 400)
    for hand, crop in drawn:
        part, share = _grown(crop, frame, math.ceil(line))
        rim = (dilate(share, line) - share)[..., None]
        dark = 0.25 * torch.tensor(SIDE_COLOURS[hand.side], device=canvas.device)
        canvas[part] = torch.lerp(canvas[part], dark.expand_as(canvas[part]), rim)


def _grown(crop: Crop, frame: Frame, by: int) -> tuple[tuple[slice, slice], Tensor]:
    """The crop with so many pixels more on every side, where the picture has them: rows and columns, shares."""
    rows = slice(max(0, crop.rows.start - by), min(frame.height, crop.rows.stop + by))
    columns = slice(max(0, crop.columns.start - by), min(frame.width, crop.columns.stop + by))
    margins = (
        crop.columns.start - columns.start,
        columns.stop - crop.columns.stop,
        crop.rows.start - rows.start,
        rows.stop - crop.rows.stop,
    )
    return (rows, columns), F.pad(crop.share, margins)


def _label(canvas: Tensor, frame: Frame, crops: list[Crop | None]) -> None:
    taken: list[tuple[int, int, int, int]] = []
    for place, hand in enumerate(frame.hands):
        if hand.enabled:
            plate = _plate(hand, str(place), frame.width, frame.height).to(canvas.device)
            x, y = _free_place(_anchor(hand, crops[place], frame), plate, canvas, taken)
            part = canvas[y : y + plate.shape[0], x : x + plate.shape[1]]
            part.copy_(plate[: part.shape[0], : part.shape[1]])


def _plate(hand: Hand, number: str, width: int, height: int) -> Tensor:
    """[h, w, 3]: dark letters on the hand's colour.

    The side is left out where the plate would be large against the hand: its colour says it too.
    """
    from PIL import Image, ImageDraw

    letters = font(max(11, min(width, height) // 24))
    text = f"{number} {hand.side}"
    if letters.getlength(text) > 0.5 * float(hand.box[2] - hand.box[0]) * width:
        text = number
    left, top, right, bottom = letters.getbbox(text)
    gap = max(2, int(bottom - top) // 3)
    plate = Image.new("L", (int(right - left) + 2 * gap, int(bottom - top) + 2 * gap), 0)
    ImageDraw.Draw(plate).text((gap - left, gap - top), text, fill=255, font=letters)
    ink = torch.frombuffer(bytearray(plate.tobytes()), dtype=torch.uint8).reshape(plate.height, plate.width, 1)
    return torch.tensor(SIDE_COLOURS[hand.side]) * (1 - ink.to(torch.float32) / 255)


def _anchor(hand: Hand, crop: Crop | None, frame: Frame) -> tuple[float, float]:
    """(x, y) in pixels: the wrist, or what is seen of the hand nearest to it, so that the label lies on its hand."""
    wrist = hand.joints_2d[0].to(torch.float32).cpu() * torch.tensor([frame.width, frame.height])
    if crop is not None:
        seen = torch.nonzero(crop.share > 0.5)
        if seen.shape[0]:
            points = seen.cpu().flip(1) + torch.tensor([crop.columns.start, crop.rows.start]) + 0.5
            wrist = points[(points - wrist).square().sum(1).argmin()]
    x, y = wrist.nan_to_num().tolist()
    return x, y


def _free_place(anchor: tuple[float, float], plate: Tensor, canvas: Tensor, taken: list) -> tuple[int, int]:
    """Upper left corner of a plate around the anchor, inside the picture, above or below the plates already there."""
    high, wide = plate.shape[:2]
    height, width = canvas.shape[:2]
    x = max(0, min(round(anchor[0] - wide / 2), width - wide))
    steps = (0, 1, -1, 2, -2, 3, -3)
    places = [max(0, min(round(anchor[1] - high / 2) + step * (high + 1), height - high)) for step in steps]

    def free(y: int) -> bool:
        return not any(
            x < right and x + wide > left and y < below and y + high > top for left, top, right, below in taken
        )

    y = next((place for place in places if free(place)), places[0])
    taken.append((x, y, x + wide, y + high))
    return x, y
