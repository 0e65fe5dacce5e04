"""The hands' meshes laid over a picture, for a person to see what was found."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..hand.hands import Frame, Hand, Hands
from ..hand.model import HandModel
from .maps import render_layers
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
    badges    labels each hand with its number in the list, from 0, and its side
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
        # One picture at a time: the masks of all hands of a long batch would not fit into memory.
        layers = render_layers(frame, ("normals", "visible"), normals="opengl", models=models, device=pictures.device)
        _draw(result[place], frame, layers["normals"][0], layers["visible"][0], opacity, outline)
        if badges:
            _label(result[place], frame)
    return result


def _draw(canvas: Tensor, frame: Frame, normals: Tensor, visible: Tensor, opacity: float, outline: bool) -> None:
    light = torch.tensor(LIGHT, device=canvas.device)
    shade = 0.3 + 0.75 * ((2 * normals - 1) @ light).clamp(min=0)[..., None]
    line = max(1.0, min(frame.width, frame.height) / 400)
    for place, hand in enumerate(frame.hands):
        if not hand.enabled:
            continue
        colour = torch.tensor(SIDE_COLOURS[hand.side], device=canvas.device)
        share = visible[place]
        canvas.lerp_((shade * colour).clamp(0, 1), (opacity * share)[..., None].expand_as(canvas))
    if not outline:
        return
    for place, hand in enumerate(frame.hands):
        if hand.enabled:
            rim = (dilate(visible[place], line) - visible[place])[..., None]
            dark = 0.25 * torch.tensor(SIDE_COLOURS[hand.side], device=canvas.device)
            canvas.lerp_(dark.expand_as(canvas), rim.expand_as(canvas))


def _label(canvas: Tensor, frame: Frame) -> None:
    for place, hand in enumerate(frame.hands):
        if hand.enabled:
            _badge(canvas, hand, str(place), f" {hand.side}")


def _badge(canvas: Tensor, hand: Hand, number: str, side: str) -> None:
    """A small plate in the hand's colour at the upper left corner of its box, kept inside the picture.

    The side is left out where the plate would be large against the hand: its colour says it too.
    """
    from PIL import Image, ImageDraw

    height, width = canvas.shape[:2]
    letters = font(max(11, min(width, height) // 24))
    roomy = letters.getlength(number + side) < 0.5 * float(hand.box[2] - hand.box[0]) * width
    text = number + side if roomy else number
    left, top, right, bottom = letters.getbbox(text)
    gap = max(2, int(bottom - top) // 3)
    plate = Image.new("L", (int(right - left) + 2 * gap, int(bottom - top) + 2 * gap), 0)
    ImageDraw.Draw(plate).text((gap - left, gap - top), text, fill=255, font=letters)
    ink = torch.frombuffer(bytearray(plate.tobytes()), dtype=torch.uint8).reshape(plate.height, plate.width, 1)
    ink = ink.to(canvas.device, torch.float32) / 255
    corner = (hand.box[:2] * torch.tensor([width, height]) - torch.tensor([0, plate.height])).clamp(min=0)
    x, y = corner.minimum(torch.tensor([width - plate.width, height - plate.height])).clamp(min=0).int().tolist()
    part = canvas[y : y + plate.height, x : x + plate.width]
    colour = torch.tensor(SIDE_COLOURS[hand.side], device=canvas.device)
    part.copy_((colour * (1 - ink))[: part.shape[0], : part.shape[1]])
